//go:build unix

package execute

import (
	"os/exec"
	"syscall"
)

// killWhole gives the command a process group of its own, which is killed as a whole.
func killWhole(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
