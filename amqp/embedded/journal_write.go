package embedded

import (
	"fmt"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/store"
)

// change is something to write.
type change struct {
	kind    changeKind
	record  byte // the kind of a record that is no message
	state   uint32
	id      uint64 // of the queue, or of the record
	seq     uint64
	expires int64
	item    *item
	value   []byte
}

type changeKind uint8

const (
	putItem changeKind = iota
	markItem
	dropItem
	dropQueue
	setRecord
	unsetRecord
)

// open opens the folder. The journal is to be started when all is read.
func (j *journal) open(dir string, fs vfs.FS) error {
	s, err := store.Open(dir, store.Options{Logf: j.logf, Full: j.diskFull, Dead: j.broken, FS: fs})
	j.store = s
	return err
}

// run commits until close.
func (j *journal) run() {
	defer close(j.done)
	for {
		changes, number, ok := j.next()
		if !ok {
			return
		}
		j.finish(number, j.commit(changes))
	}
}

// next waits for changes and takes them. Those that nobody waits for are given time to become more.
func (j *journal) next() (changes []change, number uint64, ok bool) {
	late := false
	for {
		j.mu.Lock()
		some := len(j.changes) > 0
		if some && (j.urgent || late || j.closing) {
			changes, number = j.take()
			j.mu.Unlock()
			return changes, number, true
		}
		closing := j.closing
		j.mu.Unlock()
		switch {
		case closing:
			return nil, 0, false
		case some:
			select {
			case <-j.wake:
			case <-time.After(linger):
				late = true
			}
		default:
			<-j.wake
		}
	}
}

// take begins a batch. Messages that are gone are left out. j.mu is held.
func (j *journal) take() ([]change, uint64) {
	out := j.changes[:0]
	for _, c := range j.changes {
		if c.kind == putItem {
			if c.item.kept&keptState == keptGone {
				continue
			}
			c.item.kept = c.item.kept&^keptState | keptStored
			j.store.Live(c.item.stored())
			c.state = c.item.kept
		}
		out = append(out, c)
	}
	clear(j.changes[len(out):])
	j.changes, j.spare = j.spare[:0], nil
	j.size, j.urgent = 0, false
	j.writing, j.gathering = append(j.writing, j.gathering...), nil
	j.taken = j.batch
	j.batch++
	return out, j.taken
}

// commit writes a batch.
func (j *journal) commit(changes []change) error {
	if len(changes) == 0 {
		return nil
	}
	b := j.store.NewBatch()
	var key, value []byte
	for i := range changes {
		c := &changes[i]
		switch c.kind {
		case putItem:
			key, value = appendKey(key[:0], recordItem, c.id, c.seq), appendItem(value[:0], c)
			b.Put(key, value)
		case markItem:
			key = appendKey(key[:0], recordMark, c.id, c.seq)
			b.Put(key, appendMark(value[:0], c.state))
		case dropItem:
			b.Drop(appendKey(key[:0], recordItem, c.id, c.seq))
			if c.state&keptMarked != 0 {
				b.Drop(appendKey(key[:0], recordMark, c.id, c.seq))
			}
		case dropQueue:
			b.Drop(appendKey(key[:0], recordQueue, c.id))
			b.DropAll(appendKey(key[:0], recordItem, c.id))
			b.DropAll(appendKey(key[:0], recordMark, c.id))
		case setRecord:
			b.Put(appendKey(key[:0], c.record, c.id), c.value)
		case unsetRecord:
			b.Drop(appendKey(key[:0], c.record, c.id))
		}
	}
	err := j.store.Commit(b)
	clear(changes)
	j.mu.Lock()
	if cap(changes) <= keptChanges {
		j.spare = changes[:0]
	}
	j.mu.Unlock()
	return err
}

// keptChanges is the largest list of changes that is kept for reuse.
const keptChanges = 1 << 16

// finish tells of a batch that is on disk, or will not be.
func (j *journal) finish(number uint64, err error) {
	if err != nil {
		j.broken(err)
		return
	}
	j.mu.Lock()
	j.committed = number
	waiting := j.writing
	j.writing = nil
	j.moved.Broadcast()
	j.mu.Unlock()
	for _, ch := range waiting {
		ch.flushConfirms()
	}
}

// diskFull is told when the disk is full and when there is room again.
func (j *journal) diskFull(full bool) {
	if !full {
		j.mu.Lock()
		j.batch++ // what comes now is not refused
		j.full.Store(false)
		j.mu.Unlock()
		j.logf("there is room on the disk again: messages are taken")
		return
	}
	j.logf("the disk is full: persistent messages are refused until there is room")
	j.refuse(false)
}

// broken is told when nothing can be written any more.
func (j *journal) broken(err error) {
	j.logf("the data folder cannot be written any more, persistent messages are refused until the broker is started anew: %v", err)
	j.refuse(true)
}

// refuse refuses all that is not on disk, and for ever what is to come.
func (j *journal) refuse(forever bool) {
	j.mu.Lock()
	j.full.Store(true)
	j.failed = max(j.failed, j.batch)
	if forever {
		j.failed = math.MaxUint64
	}
	waiting := append(j.writing, j.gathering...)
	j.writing, j.gathering = nil, nil
	j.moved.Broadcast()
	j.mu.Unlock()
	for _, ch := range waiting {
		ch.flushConfirms()
	}
}

// close writes what is left and closes the folder. Nothing is changed any more.
func (j *journal) close() error {
	if j == nil {
		return nil
	}
	j.mu.Lock()
	j.closing = true
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
	for ended := false; !ended; {
		select {
		case <-j.done:
			ended = true
		case <-j.store.Ended():
			ended = true // and the goroutine with it, wherever it is
		case <-time.After(linger):
			j.store.GiveUp() // where the disk is full, it is not waited for
		}
	}
	if err := j.store.Close(); err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	return nil
}
