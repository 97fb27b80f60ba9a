// Package store keeps the embedded broker's data folder: keys and values on pebble, written in numbered batches, each of which is on disk before
// Commit returns.
//
// What was committed is never silently missing. Pebble has checksums on all that it writes. But it takes the newest log to end where that is
// damaged or cut, as if a write had been under way there, and a folder without a database to be a new one. So three things are added: each batch
// has a number and leaves it under a key of its own; a file named CONFIRMED says which batch was confirmed last; a file named FORMAT says that
// there has to be a database. A folder whose log ends before what was confirmed, or lacks a batch, is refused.
package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Format is the version of what is in the folder. A folder of a newer one is refused.
const Format = 1

const (
	formatFile = "FORMAT"
	formatHead = "eventrouter broker data, format "
	database   = "db"
	memTable   = 8 << 20 // of the database: what is in memory before it goes to a table, and about the size of a log file
	slots      = 4096    // batches whose numbers are kept
)

// The keys of the store itself. All others begin with something above them.
const (
	keyClosed = 0x01 // the folder was closed in order
	keySlot   = 0x02 // the number of a batch
)

// Options say how a store is opened.
type Options struct {
	Logf func(format string, args ...any) // told what the user should know
	Full func(full bool)                  // told when the disk is full, and when there is room again
	Dead func(err error)                  // told when nothing can be written any more
	FS   vfs.FS                           // default: the machine's
}

// Store is an open folder. Commit and Close are for one goroutine; Scan is for the time before the first Commit.
type Store struct {
	dir       string
	options   Options
	fs        *patientFS
	lock      *pebble.Lock
	db        *pebble.DB
	confirmed *confirmedFile
	number    uint64 // of the newest batch
	closed    bool   // the folder was closed in order before
	death     death
	written   atomic.Uint64 // batches
	live      atomic.Int64  // bytes
	cleaning  sync.WaitGroup
	endClean  context.CancelFunc
}

// Open opens the folder, or makes it. It fails where another process has it open, where it is of a newer format, or where something
// in it is damaged or missing; the error names the file.
func Open(dir string, o Options) (*Store, error) {
	s := &Store{dir: dir, options: o}
	if o.FS == nil {
		o.FS = vfs.Default
	}
	s.fs = newPatientFS(o.FS, o.Full)
	s.death.tell, s.death.ended = o.Dead, make(chan struct{})
	if err := os.MkdirAll(filepath.Join(dir, database), 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	var err error
	if s.lock, err = pebble.LockDirectory(filepath.Join(dir, database), o.FS); err != nil {
		return nil, fmt.Errorf("data folder %s: another process has it open (%w)", dir, err)
	}
	if err := s.death.outlive(s.open); err != nil {
		if s.death.is() {
			err = fmt.Errorf("data folder %s: %w", dir, err)
		}
		return nil, errors.Join(err, s.release())
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.endClean = cancel
	s.cleaning.Go(func() { s.reclaim(ctx) })
	return s, nil
}

func (s *Store) open() error {
	isNew, err := s.checkFormat()
	if err != nil {
		return err
	}
	s.db, err = pebble.Open(filepath.Join(s.dir, database), &pebble.Options{
		FS: s.fs, Lock: s.lock, Logger: &s.death, ErrorIfNotExists: !isNew, FormatMajorVersion: pebble.FormatNewest,
		MemTableSize: memTable, EventListener: &pebble.EventListener{DataCorruption: s.death.corrupt},
	})
	switch {
	case errors.Is(err, pebble.ErrDBDoesNotExist):
		return fmt.Errorf("data folder %s: %s says that there is a database, but its manifest is missing in %s", s.dir, formatFile, database)
	case err != nil:
		return fmt.Errorf("data folder %s is damaged: %w", s.dir, err)
	}
	if s.confirmed, err = openConfirmed(filepath.Join(s.dir, confirmedName), isNew); err != nil {
		return fmt.Errorf("data folder %s: %w", s.dir, err)
	}
	if err := s.checkNumbers(); err != nil || !isNew {
		return err
	}
	if s.number > 0 {
		return fmt.Errorf("data folder %s is damaged: %s is missing", s.dir, formatFile)
	}
	return s.writeFormat()
}

// checkFormat reads FORMAT; isNew is that the folder is empty.
func (s *Store) checkFormat() (isNew bool, err error) {
	name := filepath.Join(s.dir, formatFile)
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return true, s.checkNothing()
	}
	if err != nil {
		return false, fmt.Errorf("data folder: %w", err)
	}
	text, ok := strings.CutPrefix(strings.TrimSpace(string(b)), formatHead)
	version, err := strconv.Atoi(text)
	switch {
	case !ok || err != nil:
		return false, fmt.Errorf("data folder: %s is damaged: it says %q", name, b)
	case version > Format:
		return false, fmt.Errorf("data folder %s is of format %d, of a newer eventrouter: this one knows formats up to %d", s.dir, version, Format)
	case version < 1:
		return false, fmt.Errorf("data folder: %s is damaged: there is no format %d", name, version)
	}
	return false, nil
}

// checkNothing: FORMAT is written last, so that what a folder without one has is either not ours or of a start that did not get far, before
// which nothing was confirmed.
func (s *Store) checkNothing() error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	for _, e := range entries {
		switch e.Name() {
		case database:
		case confirmedName:
			b, err := os.ReadFile(filepath.Join(s.dir, confirmedName))
			if n, ok := parseConfirmed(b); err != nil || len(b) > 0 && (!ok || n > 0) {
				return fmt.Errorf("data folder %s is damaged: %s is missing", s.dir, formatFile)
			}
		default:
			return fmt.Errorf("data folder %s: it is not a broker's: there is %q in it, and no %s", s.dir, e.Name(), formatFile)
		}
	}
	return nil
}

func (s *Store) writeFormat() error {
	name := filepath.Join(s.dir, formatFile)
	if err := writeSynced(name, []byte(formatHead+strconv.Itoa(Format)+"\n")); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return syncDir(s.dir)
}

// checkNumbers finds the newest batch and sees that none is missing.
func (s *Store) checkNumbers() error {
	held := map[uint64]bool{}
	err := s.Scan([]byte{keySlot}, func(_, value []byte) error {
		if len(value) != 8 {
			return errors.New("the number of a write is not one")
		}
		n := binary.BigEndian.Uint64(value)
		held[n] = true
		s.number = max(s.number, n)
		return nil
	})
	if err != nil {
		return err
	}
	if last := s.confirmed.last(); s.number < last {
		return fmt.Errorf("data folder %s is damaged: %s ends at write %d, but write %d was confirmed: it was cut, or its end was overwritten",
			s.dir, s.newestLog(), s.number, last)
	}
	for n := s.number; n > 0 && n+slots > s.number; n-- {
		if !held[n] {
			return fmt.Errorf("data folder %s is damaged: write %d of %d is missing in the logs of %s", s.dir, n, s.number, filepath.Join(s.dir, database))
		}
	}
	_, closer, err := s.db.Get([]byte{keyClosed})
	switch {
	case err == nil:
		s.closed = true
		return closer.Close()
	case errors.Is(err, pebble.ErrNotFound):
		if s.number > 0 {
			s.options.Logf("data folder %s was not closed in order: it holds all up to write %d; of what came later, nothing was confirmed", s.dir, s.number)
		}
		return nil
	}
	return fmt.Errorf("data folder %s is damaged: %w", s.dir, err)
}

// newestLog names the log file that was written last.
func (s *Store) newestLog() string {
	names, err := filepath.Glob(filepath.Join(s.dir, database, "*.log"))
	if err != nil || len(names) == 0 {
		return "the log, which is missing,"
	}
	return names[len(names)-1] // they are numbered
}

// ClosedInOrder reports whether the folder's last user closed it.
func (s *Store) ClosedInOrder() bool { return s.closed || s.number == 0 }

// Scan calls f for each key with the prefix, in order. Neither may be kept.
func (s *Store) Scan(prefix []byte, f func(key, value []byte) error) error {
	upper := append([]byte{}, prefix...)
	upper[len(upper)-1]++
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: upper})
	if err != nil {
		return fmt.Errorf("data folder %s is damaged: %w", s.dir, err)
	}
	for it.First(); it.Valid(); it.Next() {
		if err := f(it.Key(), it.Value()); err != nil {
			return errors.Join(fmt.Errorf("data folder %s: the record %x is damaged: %w", s.dir, it.Key(), err), it.Close())
		}
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("data folder %s is damaged: %w", s.dir, err)
	}
	return nil
}

// Batch is what is written together: all of it or nothing.
type Batch struct{ *pebble.Batch }

// Put sets a key.
func (b Batch) Put(key, value []byte) { _ = b.Set(key, value, nil) } // which fails only on a batch that is committed

// Drop takes a key away.
func (b Batch) Drop(key []byte) { _ = b.Delete(key, nil) }

// DropAll takes all keys with the prefix away; its last byte is not the highest.
func (b Batch) DropAll(prefix []byte) {
	upper := append([]byte{}, prefix...)
	for i := len(upper) - 1; i >= 0; i-- {
		if upper[i]++; upper[i] != 0 {
			break
		}
	}
	_ = b.DeleteRange(prefix, upper, nil)
}

// NewBatch begins a batch.
func (s *Store) NewBatch() Batch { return Batch{s.db.NewBatch()} }

// Ended is closed when nothing can be written any more, whereupon a Commit may never return.
func (s *Store) Ended() <-chan struct{} { return s.death.ended }

// Commit writes a batch and returns when it is on disk. While the disk is full it waits for room.
func (s *Store) Commit(b Batch) error {
	if s.closed {
		b.Drop([]byte{keyClosed})
		s.closed = false
	}
	return s.commit(b)
}

func (s *Store) commit(b Batch) error {
	s.number++
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], s.number)
	b.Put(binary.BigEndian.AppendUint16([]byte{keySlot}, uint16(s.number%slots)), number[:])
	if err := s.db.Apply(b.Batch, pebble.Sync); err != nil {
		return err
	}
	if s.fs.isOver() { // and only seems to be written
		return errGivenUp
	}
	s.written.Add(1)
	return errors.Join(b.Close(), s.confirmed.write(s.number))
}

// GiveUp has a Commit that waits for room on a full disk fail. It may be called at any time, and only before Close.
func (s *Store) GiveUp() { s.fs.giveUp() }

// Close notes that the folder is whole and closes it. Where the disk is full or broken, what is not on disk yet is given up: it was not
// confirmed.
func (s *Store) Close() error {
	if s.death.is() {
		return s.release()
	}
	if s.fs.isOver() {
		s.options.Logf("data folder %s: it is closed while the disk is full: what was not confirmed is lost", s.dir)
		return s.release()
	}
	b := s.NewBatch()
	b.Put([]byte{keyClosed}, nil)
	return errors.Join(s.death.outlive(func() error { return s.commit(b) }), s.release())
}

// Abandon closes the folder without a word in it, after it was read and found wanting.
func (s *Store) Abandon() error { return s.release() }

func (s *Store) release() error {
	var errs []error
	if s.endClean != nil {
		s.endClean()
	}
	if s.death.is() {
		errs = append(errs, s.lock.Close()) // for the database, which cannot be closed any more
	} else if s.db != nil {
		errs = append(errs, s.death.outlive(func() error {
			s.cleaning.Wait()
			return s.db.Close()
		}))
	}
	if s.confirmed != nil {
		errs = append(errs, s.confirmed.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}
