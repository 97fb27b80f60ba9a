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
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// File appends events to a file, each by one write. Its methods are safe for concurrent use. Others may append to the same
// file, in this process and elsewhere, whole lines by one write each: what one of them has cut short, as on a full disk, stays
// a line of its own. Where the system has flock(2), the file is locked for the time of a write; one who writes without that may
// have an empty line come after his.
type File struct {
	path string
	sync bool

	mu     sync.Mutex
	file   *os.File    // nil where opening it anew has failed
	id     os.FileInfo // which file it is
	reads  bool        // the file's end can be looked at: it is a regular one, and we may read it
	torn   bool        // the file ends within a line, as far as we know: what follows begins on a line of its own
	end    int64       // the file's size when we knew that
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
// away or deleted, as log rotation does, is made anew. While another holds the file's lock, it waits until ctx is over.
func (f *File) Handle(ctx context.Context, e router.Event) error {
	line, err := e.MarshalJSON()
	if err != nil {
		return pipelines.Permanent(fmt.Errorf("%s: %w", f.path, err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.follow(); err != nil {
		return err
	}
	if err := f.append(ctx, append(line, '\n')); err != nil {
		return err
	}
	if f.sync {
		return f.file.Sync()
	}
	return nil
}

// append writes a line. Its errors name the path, as those of package os do.
func (f *File) append(ctx context.Context, line []byte) error {
	if f.reads {
		if err := f.lock(ctx); err != nil {
			return err
		}
		defer unlock(f.file)
		if err := f.look(); err != nil {
			return err
		}
	}
	if f.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := f.file.Write(line)
	if n > 0 {
		f.torn = line[n-1] != '\n'
		f.end += int64(n)
	}
	return err
}

// The waits between attempts at the lock: the first is as short as a write is, and each is twice the one before.
const (
	leastLockWait = 20 * time.Microsecond
	mostLockWait  = 10 * time.Millisecond
)

// lock waits for the file's lock, by asking again and again: a wait in the system could not be given up.
func (f *File) lock(ctx context.Context) error {
	for wait := leastLockWait; !tryLock(f.file); wait = min(2*wait, mostLockWait) {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: another holds its lock: %w", f.path, context.Cause(ctx))
		}
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
	if there, err := os.Stat(f.path); err == nil && os.SameFile(there, f.id) {
		return nil
	}
	old := f.file
	f.file = nil
	return errors.Join(old.Close(), f.open())
}

func (f *File) open() error {
	file, reads, err := openFile(f.path)
	if err != nil {
		return err
	}
	id, err := file.Stat()
	if err == nil && f.sync {
		err = syncFolder(filepath.Dir(f.path))
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	f.file, f.id, f.reads, f.torn, f.end = file, id, reads, false, 0
	return nil
}

// openFile opens a file for appending, and for reading where that can be. What is no regular file, such as a pipe, is only written to.
func openFile(path string) (file *os.File, reads bool, err error) {
	const flags, mode = os.O_APPEND | os.O_CREATE, 0o640
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		file, err = os.OpenFile(path, flags|os.O_WRONLY, mode)
		return file, false, err
	}
	file, err = os.OpenFile(path, flags|os.O_RDWR, mode)
	if errors.Is(err, os.ErrPermission) {
		file, err = os.OpenFile(path, flags|os.O_WRONLY, mode)
		return file, false, err
	}
	return file, err == nil, err
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

// look finds out whether the file ends within a line, as a crash or a full disk leaves it, whoever wrote there last.
func (f *File) look() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() == f.end {
		return nil // nobody has written since we did
	}
	f.end = info.Size()
	if f.end == 0 {
		f.torn = false
		return nil
	}
	var last [1]byte
	switch _, err := f.file.ReadAt(last[:], f.end-1); {
	case errors.Is(err, io.EOF):
		f.torn = false // cut to nothing in the meantime
	case err != nil:
		return err
	default:
		f.torn = last[0] != '\n'
	}
	return nil
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
