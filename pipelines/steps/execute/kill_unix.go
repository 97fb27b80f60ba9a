//go:build unix

package execute

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

// killWhole gives the command a process group of its own, which is killed as a whole.
func killWhole(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
}
