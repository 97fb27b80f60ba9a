package embedded

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/store"
)

const (
	// linger is how long changes that nobody waits for, such as acknowledgements, wait for others to go with.
	linger = 20 * time.Millisecond
	// pendingMost is how many bytes of messages may wait for the disk before publishers do.
	pendingMost = 8 << 20
)

// journal writes down what is to outlive the broker, in the order in which it happens. One goroutine commits, again and again, all that has
// come since it began the last time: however many publishers there are, they share a sync. What is changed meanwhile is told by a ticket,
// which is the number of the batch that it will be on disk with. A broker in memory has none (nil), on which all methods do nothing.
//
// A message that is gone before it was its turn to be written is not written at all.
type journal struct {
	store *store.Store
	logf  func(format string, args ...any)
	ids   atomic.Uint64 // of exchanges, queues, bindings and messages
	done  chan struct{} // closed when the goroutine has ended
	wake  chan struct{}
	full  atomic.Bool // nothing can be written for now, or any more

	mu        sync.Mutex
	moved     *sync.Cond // a batch is on disk, or will not be
	changes   []change
	spare     []change
	size      int        // of the messages in changes, in bytes
	urgent    bool       // somebody waits for changes
	batch     uint64     // the number of the batch that changes are for
	taken     uint64     // of the newest that was begun
	committed uint64     // of the newest that is on disk
	failed    uint64     // up to here, what is not on disk is refused
	gathering []*channel // that wait for changes
	writing   []*channel // that wait for the batch that is being written
	closing   bool
}

func newJournal(logf func(string, ...any)) *journal {
	j := &journal{logf: logf, done: make(chan struct{}), wake: make(chan struct{}, 1), batch: 1}
	j.moved = sync.NewCond(&j.mu)
	return j
}

// newID makes a number that nothing else in the folder has.
func (j *journal) newID() uint64 {
	if j == nil {
		return 0
	}
	return j.ids.Add(1)
}

// add takes a change on; j.mu is held.
func (j *journal) add(c change, urgent bool) {
	j.changes = append(j.changes, c)
	if len(j.changes) == 1 || urgent && !j.urgent {
		select {
		case j.wake <- struct{}{}:
		default:
		}
	}
	j.urgent = j.urgent || urgent
}

// put writes a message into a queue; expires is the item's, which does not have it yet.
func (j *journal) put(q *queue, i *item, expires int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i.kept = keptPending
	j.size += len(i.msg.content)
	j.add(change{kind: putItem, id: q.id, seq: i.seq, item: i, expires: expires}, true)
}

// drop takes a message out of its queue.
func (j *journal) drop(q *queue, i *item) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if i.kept&keptState == keptStored {
		j.store.Live(-i.stored())
		j.add(change{kind: dropItem, id: q.id, seq: i.seq, state: i.kept}, false)
	}
	i.kept = keptGone
}

// forget is drop of a message whose queue is gone.
func (j *journal) forget(i *item) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if i.kept&keptState == keptStored {
		j.store.Live(-i.stored())
	}
	i.kept = keptGone
}

// delivered notes that a consumer has a message, before it has; it may have it when the ticket's batch is on disk. A broker that ends before
// the message is settled counts that as a return.
func (j *journal) delivered(q *queue, i *item) (ticket uint64) {
	if j == nil {
		return 0
	}
	return j.mark(q, i, keptDelivered, true)
}

// returned notes that a message has come back.
func (j *journal) returned(q *queue, i *item) {
	if j != nil {
		j.mark(q, i, 0, false)
	}
}

// dying notes that a message is on its way to the dead letters.
func (j *journal) dying(q *queue, i *item, reason string) {
	if j != nil {
		j.mark(q, i, keptReason(reason), false)
	}
}

func (j *journal) mark(q *queue, i *item, bits uint32, urgent bool) (ticket uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	state := i.kept & keptState
	i.kept = state | i.kept&keptMarked | bits | min(i.returned, keptMostReturns)<<keptReturns
	switch state {
	case keptPending: // it will be written as it is by then
	case keptStored:
		i.kept |= keptMarked
		j.add(change{kind: markItem, id: q.id, seq: i.seq, state: i.kept}, urgent)
	default:
		return 0
	}
	return j.batch
}

// set writes a record that is no message, unset takes it away.
func (j *journal) set(kind byte, id uint64, value []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(change{kind: setRecord, record: kind, id: id, value: value}, true)
}

func (j *journal) unset(kind byte, id uint64) {
	if j == nil || id == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(change{kind: unsetRecord, record: kind, id: id}, true)
}

// dropQueue takes a queue away with all that is in it.
func (j *journal) dropQueue(q *queue) {
	if j == nil || q.id == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(change{kind: dropQueue, id: q.id}, true)
}

// ticket is that of all that was changed up to now.
func (j *journal) ticket() uint64 {
	if j == nil {
		return 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.current()
}

func (j *journal) current() uint64 {
	if len(j.changes) == 0 {
		return j.taken
	}
	return j.batch
}

// await is ticket, and has the channel's confirms sent once it is known what became of it.
func (j *journal) await(ch *channel) uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	ticket := j.current()
	if ch.awaited == ticket || ticket <= j.committed {
		return ticket
	}
	ch.awaited = ticket
	if ticket == j.taken {
		j.writing = append(j.writing, ch)
	} else {
		j.gathering = append(j.gathering, ch)
	}
	return ticket
}

// progress is up to where all is on disk, and up to where the rest is refused.
func (j *journal) progress() (committed, failed uint64) {
	if j == nil {
		return 0, 0
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.committed, j.failed
}

// wait returns when the batch is on disk, or cannot be written for now.
func (j *journal) wait(ticket uint64) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.committed < ticket && !j.full.Load() {
		j.moved.Wait()
	}
}

// refuses reports whether nothing can be written for now.
func (j *journal) refuses() bool { return j != nil && j.full.Load() }

// waitForRoom holds a publisher back while too much waits for the disk.
func (j *journal) waitForRoom() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for j.size > pendingMost && !j.full.Load() {
		j.moved.Wait()
	}
}
