package store

import (
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// death is what the database is told to call when it cannot go on, from any goroutine and with locks held. It expects the process to end
// then. The broker's process is not the store's to end: the goroutine stops where it is, for ever, and the database is not used any more.
type death struct {
	tell  func(error)
	once  sync.Once
	err   error
	ended chan struct{} // closed once err is there
}

func (d *death) die(err error) {
	d.once.Do(func() {
		d.err = err
		close(d.ended)
		if d.tell != nil {
			d.tell(err)
		}
	})
}

func (d *death) is() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// outlive does something to the database, which may not return.
func (d *death) outlive(do func() error) error {
	done := make(chan error, 1)
	go func() { done <- do() }()
	select {
	case err := <-done:
		return err
	case <-d.ended:
		return d.err
	}
}

// Infof is one of the database's three.
func (*death) Infof(string, ...any) {}

// Errorf is told of what the database tries again or returns.
func (*death) Errorf(string, ...any) {}

// Fatalf does not return.
func (d *death) Fatalf(format string, args ...any) {
	d.die(fmt.Errorf(format, args...))
	select {}
}

// corrupt is told of damage that is found in a table, while it is read or in the background. The database goes on, but nothing is to be
// trusted to it any more.
func (d *death) corrupt(info pebble.DataCorruptionInfo) {
	if d.tell != nil {
		d.tell(fmt.Errorf("%s is damaged: %w", info.Path, info.Details))
	}
}
