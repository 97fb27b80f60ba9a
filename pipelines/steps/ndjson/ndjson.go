// Package ndjson is the step `file`: it appends each event to a file, as a line of JSON.
package ndjson

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// File appends events to a file. Its methods are safe for concurrent use.
type File struct {
	path string
	sync bool

	mu   sync.Mutex
	file *os.File
	torn bool // the last write was cut short: what follows begins on a line of its own
}

// Open opens the file, or makes it. With sync each event is on disk before it counts as done; without, the operating system has it.
func Open(path string, sync bool) (*File, error) {
	if path == "" {
		return nil, errors.New("path is empty")
	}
	f := &File{path: path, sync: sync}
	return f, f.open()
}

func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	f.file = file
	return nil
}

// Handle appends an event; it is a [pipelines.Handler]. Errors, such as a full disk, are tried again.
func (f *File) Handle(_ context.Context, e router.Event) error {
	line, err := e.MarshalJSON()
	if err != nil {
		return pipelines.Permanent(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.reopen(); err != nil {
		return err
	}
	line = append(line, '\n')
	if f.torn {
		line = append([]byte("\n"), line...)
	}
	n, err := f.file.Write(line)
	if err != nil {
		f.torn = f.torn || n > 0
		return err
	}
	f.torn = false
	if f.sync {
		return f.file.Sync()
	}
	return nil
}

// reopen follows a file that was moved away or deleted, as log rotation does.
func (f *File) reopen() error {
	if f.file == nil {
		return fmt.Errorf("%s: %w", f.path, os.ErrClosed)
	}
	there, err := os.Stat(f.path)
	if err == nil {
		ours, err := f.file.Stat()
		if err == nil && os.SameFile(there, ours) {
			return nil
		}
	}
	if err := f.file.Close(); err != nil {
		return err
	}
	f.torn = false
	return f.open()
}

// Close closes the file; later events are errors.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}
