package store

import (
	"errors"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lookForRoom is how often a write that found the disk full is tried again.
const lookForRoom = 100 * time.Millisecond

// patientFS is a file system on which a write to a full disk waits for room, since to the database a failed write is the end.
type patientFS struct {
	vfs.FS
	full func(bool)

	mu      sync.Mutex
	waiting int // writes that wait for room
	done    chan struct{}
	over    bool
}

func newPatientFS(fs vfs.FS, full func(bool)) *patientFS {
	return &patientFS{FS: fs, full: full, done: make(chan struct{})}
}

// giveUp has no write wait any more, where some do.
func (p *patientFS) giveUp() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting > 0 && !p.over {
		p.over = true
		close(p.done)
	}
}

func (p *patientFS) isOver() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.over
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// errGivenUp: the disk was full until the end.
var errGivenUp = errors.New("the disk is full")

// try does what may find the disk full until it does not.
func (p *patientFS) try(do func() error) error {
	err := do()
	if !isFull(err) {
		return err
	}
	p.count(1)
	defer p.count(-1)
	for isFull(err) {
		select {
		case <-p.done:
			return errGivenUp
		case <-time.After(lookForRoom):
		}
		err = do()
	}
	return err
}

func (p *patientFS) count(n int) {
	p.mu.Lock()
	before := p.waiting
	p.waiting += n
	after := p.waiting
	p.mu.Unlock()
	if p.full != nil && (before == 0) != (after == 0) {
		p.full(after > 0)
	}
}

func (p *patientFS) open(name string, open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := p.try(func() (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &patientFile{File: f, fs: p, log: strings.HasSuffix(name, ".log")}, nil
}

func (p *patientFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.open(name, func() (vfs.File, error) { return p.FS.Create(name, c) })
}

func (p *patientFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return p.open(name, func() (vfs.File, error) { return p.FS.OpenReadWrite(name, c, o...) })
}

func (p *patientFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return p.open(name, func() (vfs.File, error) { return p.FS.ReuseForWrite(old, name, c) })
}

func (p *patientFS) Link(old, name string) error {
	return p.try(func() error { return p.FS.Link(old, name) })
}

func (p *patientFS) Rename(old, name string) error {
	return p.try(func() error { return p.FS.Rename(old, name) })
}

func (p *patientFS) MkdirAll(dir string, perm os.FileMode) error {
	return p.try(func() error { return p.FS.MkdirAll(dir, perm) })
}

// Unwrap is for the database, which looks for the machine's file system.
func (p *patientFS) Unwrap() vfs.FS { return p.FS }

// patientFile is a file of it. A log that was given up takes no more, and says that it did: what comes after a write that is not there is not
// to be there either, and nobody is told that it is.
type patientFile struct {
	vfs.File
	fs      *patientFS
	log     bool
	givenUp atomic.Bool
}

func (f *patientFile) Write(b []byte) (int, error) {
	if f.givenUp.Load() {
		return len(b), nil
	}
	written := 0
	err := f.fs.try(func() error {
		n, err := f.File.Write(b[written:])
		written += n
		return err
	})
	if errors.Is(err, errGivenUp) && f.log {
		f.givenUp.Store(true)
		return len(b), nil
	}
	return written, err
}

func (f *patientFile) WriteAt(b []byte, at int64) (int, error) {
	written := 0
	err := f.fs.try(func() error {
		n, err := f.File.WriteAt(b[written:], at+int64(written))
		written += n
		return err
	})
	return written, err
}

func (f *patientFile) Preallocate(offset, length int64) error {
	return f.fs.try(func() error { return f.File.Preallocate(offset, length) })
}

func (f *patientFile) Sync() error { return f.sync(f.File.Sync) }

func (f *patientFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *patientFile) sync(sync func() error) error {
	if f.givenUp.Load() {
		return nil
	}
	err := f.fs.try(sync)
	if errors.Is(err, errGivenUp) && f.log {
		f.givenUp.Store(true)
		return nil
	}
	return err
}

func (f *patientFile) SyncTo(length int64) (full bool, err error) {
	if f.givenUp.Load() {
		return true, nil
	}
	err = f.fs.try(func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}
