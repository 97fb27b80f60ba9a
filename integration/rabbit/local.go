package rabbit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// programs are where a rabbitmq-server is installed. Debian's own /usr/sbin/rabbitmq-server is a wrapper that wants to be a service.
var programs = []string{"/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server", "/usr/local/sbin/rabbitmq-server"}

// installed starts the rabbitmq-server that is installed, on free ports and in a temporary folder.
func installed(_ context.Context, v Version) (*Server, error) {
	program := ""
	for _, p := range programs {
		if _, err := os.Stat(p); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		var err error
		if program, err = exec.LookPath("rabbitmq-server"); err != nil {
			return nil, errors.New("no rabbitmq-server is installed")
		}
	}
	folder, err := os.MkdirTemp("", "eventrouter-rabbit-")
	if err != nil {
		return nil, err
	}
	n, err := newNode(program, folder)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	s := &Server{URL: url(n.port), How: program, kill: n.kill, start: n.start, ctl: n.ctl, end: n.end}
	if err := n.start(context.Background()); err != nil {
		return nil, errors.Join(err, os.RemoveAll(folder))
	}
	if err := s.Ready(context.Background()); err != nil {
		return nil, errors.Join(err, n.complaint(), n.end())
	}
	if v != V4 && !strings.HasPrefix(s.Version, string(v)+".") {
		return nil, errors.Join(fmt.Errorf("%s is version %s", program, s.Version), n.end())
	}
	return s, nil
}

// node is a RabbitMQ in a process of this machine.
type node struct {
	program string
	folder  string
	port    int
	env     []string
	cmd     *exec.Cmd
	ended   chan struct{}
}

func newNode(program, folder string) (*node, error) {
	var ports [3]int
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	// The limit of messages is what it is by default since RabbitMQ 4.
	config := "loopback_users = none\nvm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\nmax_message_size = 16777216\n"
	if err := os.WriteFile(filepath.Join(folder, "rabbitmq.conf"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(folder, "enabled_plugins"), []byte("[].\n"), 0o600); err != nil {
		return nil, err
	}
	return &node{program: program, folder: folder, port: ports[0], env: append(os.Environ(),
		"HOME="+folder,
		fmt.Sprintf("RABBITMQ_NODENAME=eventrouter%d@localhost", ports[0]),
		fmt.Sprintf("RABBITMQ_NODE_PORT=%d", ports[0]),
		fmt.Sprintf("RABBITMQ_DIST_PORT=%d", ports[1]),
		fmt.Sprintf("ERL_EPMD_PORT=%d", ports[2]),
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_CONFIG_FILE="+filepath.Join(folder, "rabbitmq"),
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(folder, "enabled_plugins"),
		"RABBITMQ_MNESIA_BASE="+filepath.Join(folder, "data"),
		"RABBITMQ_LOG_BASE="+filepath.Join(folder, "log"),
		"RABBITMQ_PID_FILE="+filepath.Join(folder, "pid"),
		"LANG=C.UTF-8",
	)}, nil
}

func (n *node) start(context.Context) error {
	out, err := os.OpenFile(filepath.Join(n.folder, "output"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	n.cmd = exec.Command(n.program)
	n.cmd.Env = n.env
	n.cmd.Stdout, n.cmd.Stderr = out, out
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	cmd, ended := n.cmd, make(chan struct{})
	n.ended = ended
	go func() {
		_ = cmd.Wait() // it says that it was killed
		close(ended)
	}()
	return nil
}

func (n *node) kill(context.Context) error {
	if err := syscall.Kill(-n.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		return err
	}
	<-n.ended
	return nil
}

// ctl runs the rabbitmqctl that stands beside the server's program.
func (n *node) ctl(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(n.program), "rabbitmqctl"), args...)
	cmd.Env = n.env
	return runCommand(cmd)
}

func (n *node) end() error {
	err := n.kill(context.Background())
	if errors.Is(err, syscall.ESRCH) {
		err = nil // a test has killed it
	}
	return errors.Join(err, os.RemoveAll(n.folder))
}

// complaint is the end of what the server printed.
func (n *node) complaint() error {
	out, err := os.ReadFile(filepath.Join(n.folder, "output"))
	if err != nil {
		return err
	}
	return fmt.Errorf("it printed: %s", out[max(0, len(out)-1000):])
}

// install installs Debian's package, and starts what is installed.
func install(ctx context.Context, v Version) (*Server, error) {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return nil, errors.New("only root on Debian can install it")
	}
	// Tests, and test programs, may want it at the same time: the second waits, and finds it installed.
	script := `set -e
exec 9>"${TMPDIR:-/tmp}/eventrouter-install.lock"
flock 9
if [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]; then exit 0; fi
export DEBIAN_FRONTEND=noninteractive
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d # the package must not start a service
  chmod +x /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
wait="-o DPkg::Lock::Timeout=300"
apt-get $wait update -qq
apt-get $wait install -y -qq --no-install-recommends rabbitmq-server`
	if err := run(ctx, "sh", "-c", script); err != nil {
		return nil, err
	}
	return installed(ctx, v)
}
