//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
)

// apart keeps Ctrl-C from reaching cmd by way of the terminal: it gets its one signal from us.
func apart(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// askToStop lets the process finish what it has in hand.
func askToStop(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
