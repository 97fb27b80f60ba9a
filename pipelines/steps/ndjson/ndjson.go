// Package ndjson is the step `file`: it appends each event to a file, as a line of JSON.
package ndjson

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// File appends events to a file, each by one write. Its methods are safe for concurrent use. Other processes may append to
// the same file.
type File struct {
	path string
	sync bool

	mu     sync.Mutex
	file   *os.File // nil where opening it anew has failed
	torn   bool     // the file ends within a line: what follows begins on a line of its own
	closed bool
}

// Open opens the file, or makes it; its folder has to be there. With sync each event is on disk before it counts as done;
// without, the operating system has it.
func Open(path string, sync bool) (*File, error) {
	if path == "" {
		return nil, errors.New("path is empty")
	}
	f := &File{path: path, sync: sync}
	if err := f.open(); err != nil {
		return nil, err
	}
	return f, nil
}

// Handle appends an event; it is a [pipelines.Handler]. Errors, such as a full disk, are tried again. A file that was moved
// away or deleted, as log rotation does, is made anew.
func (f *File) Handle(_ context.Context, e router.Event) error {
	line, err := e.MarshalJSON()
	if err != nil {
		return pipelines.Permanent(fmt.Errorf("%s: %w", f.path, err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.follow(); err != nil {
		return err
	}
	return f.append(append(line, '\n'))
}

// append writes a line. Its errors are those of package os, which name the path.
func (f *File) append(line []byte) error {
	if f.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := f.file.Write(line)
	if n > 0 {
		f.torn = line[n-1] != '\n'
	}
	if err != nil {
		return err
	}
	if f.sync {
		return f.file.Sync()
	}
	return nil
}

// follow opens the file anew where another one, or none, is at its path now.
func (f *File) follow() error {
	if f.closed {
		return fmt.Errorf("%s: %w", f.path, os.ErrClosed)
	}
	if f.file == nil {
		return f.open()
	}
	there, err := os.Stat(f.path)
	if err == nil {
		ours, err := f.file.Stat()
		if err == nil && os.SameFile(there, ours) {
			return nil
		}
	}
	old := f.file
	f.file = nil
	return errors.Join(old.Close(), f.open())
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	torn, err := endsTorn(f.path)
	if err == nil && f.sync {
		err = syncFolder(filepath.Dir(f.path))
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.torn = file, torn
	return nil
}

// syncFolder brings a new file's name onto the disk. Windows has no such call, and needs none.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// endsTorn reports whether the file ends within a line, as a crash or a full disk leaves it. What is no regular file, or may
// not be read, is taken for whole.
func endsTorn(path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	if !info.Mode().IsRegular() || info.Size() == 0 {
		return false, nil
	}
	file, err := os.Open(path)
	if errors.Is(err, os.ErrPermission) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	var last [1]byte
	_, err = file.ReadAt(last[:], info.Size()-1)
	if errors.Is(err, io.EOF) {
		return false, nil // cut to nothing in the meantime
	}
	return err == nil && last[0] != '\n', err
}

// Close closes the file; later events are errors. Calls after the first do nothing.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
