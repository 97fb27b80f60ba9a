//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ndjson

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the file's lock. It is false while another holds it, and true on a file system that has no locks.
func tryLock(f *os.File) bool {
	return !errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

func unlock(f *os.File) { _ = syscall.Flock(int(f.Fd()), syscall.LOCK_UN) } // it fails only where there was none
