//go:build !unix

package main

import (
	"os"
	"os/exec"
)

func apart(*exec.Cmd) {}

// askToStop ends the process: there is no gentle way here.
func askToStop(p *os.Process) error { return p.Kill() }
