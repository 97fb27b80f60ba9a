package embedded

import (
	"slices"
	"sync"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// queue is a queue with its messages and consumers. Locks are taken in the order vhost, queue, channel, connection's output; what dies
// in a queue is handed to other queues after its lock is let go.
type queue struct {
	vhost      *vhost
	name       string
	id         uint64 // in the data folder; 0: not there
	durable    bool
	autoDelete bool
	owner      *connection // of an exclusive queue
	arguments  wire.Table
	shape
	incoming map[*binding]struct{} // guarded by the vhost's lock

	mu        sync.Mutex
	deleted   bool
	seq       uint64
	backlog   backlog
	unacked   int
	consumers []*consumer // by priority; those of one priority take turns
	parting   int         // consumers of a quorum queue that are cancelled, and have messages yet
	dead      []dying     // on their way to the dead-letter exchange, oldest first
	burying   bool        // somebody hands dead over
	deadCount int64       // of those that no queue has yet, and their bytes
	deadBytes int64
	refusing  bool        // a quorum queue that refuses what is published
	head      *time.Timer // until the message at the head expires
	unused    *time.Timer // until the queue expires
	retry     *time.Timer // until dead is tried again, where dead letters must not be lost
}

// consumer is a basic.consume.
type consumer struct {
	tag       string
	channel   *channel
	queue     *queue
	noAck     bool
	exclusive bool
	priority  int64
	prefetch  int  // 0: no limit
	unacked   int  // guarded by the queue's lock
	leaving   bool // its channel ends: guarded by the queue's lock
	parting   bool // see queue.parting; likewise
}

// dying is a message that leaves its queue for the dead letters.
type dying struct {
	item   *item
	reason string
	taken  []*queue // that have it already, of those that it should go to (at least once)
}

// The reasons of x-death.
const (
	diedRejected = "rejected"
	diedExpired  = "expired"
	diedMaxLen   = "maxlen"
	diedLimit    = "delivery_limit"
)

// enqueue takes a message in. It is not taken where the queue is full and refuses what it cannot hold. What dies of it has to be buried by who calls,
// when all queues have the message: what it pushes out of one comes to the others behind it.
func (q *queue) enqueue(m *message) (taken, dead bool) {
	q.mu.Lock()
	if q.deleted {
		q.mu.Unlock()
		return true, false
	}
	if q.reject && q.refuses(m) {
		q.mu.Unlock()
		return false, false
	}
	q.seq++
	i := &item{msg: m, seq: q.seq}
	q.vhost.broker.memory.hold(m)
	expires := q.deadline(m)
	if q.keeps(m) {
		q.vhost.broker.journal.put(q, i, expires)
	}
	q.backlog.push(i)
	q.deliver() // before it can expire: a TTL of 0 is for consumers that wait
	i.expires = expires
	q.trim()
	q.expireHead()
	return true, q.release()
}

// trim drops what is over the limits, from the head. What a quorum queue drops at once becomes dead letters from the last to the first, as on RabbitMQ.
func (q *queue) trim() {
	before := len(q.dead)
	for !q.reject && q.over() {
		q.die(q.backlog.pop(), diedMaxLen)
	}
	if q.quorum {
		slices.Reverse(q.dead[before:])
	}
}

// keeps reports whether a message is to outlive the broker. Quorum queues keep all.
func (q *queue) keeps(m *message) bool { return q.id != 0 && (q.quorum || m.persistent) && !m.unkept }

// delivering notes that a consumer is handed a message, which has it once the ticket's batch is on disk: a quorum queue counts it as a return if
// the broker ends before it is settled.
func (q *queue) delivering(i *item, noAck bool) (ticket uint64) {
	if noAck || !q.quorum || q.id == 0 {
		return 0
	}
	return q.vhost.broker.journal.delivered(q, i)
}

// gone forgets a message that has left the queue for good.
func (q *queue) gone(i *item) {
	q.vhost.broker.memory.release(i.msg)
	if q.deleted { // what was kept of it is gone with the queue
		q.vhost.broker.journal.forget(i)
		return
	}
	q.vhost.broker.journal.drop(q, i)
}

// unlock lets the queue go after a change, and hands over what has died.
func (q *queue) unlock() {
	if q.release() {
		q.bury()
	}
}

// release lets the queue go after a change: it sees to the next expiry, and reports whether who calls has to bury what has died.
func (q *queue) release() (dead bool) {
	q.watchLimit()
	q.armHead()
	dead = len(q.dead) > 0 && !q.burying && !q.deleted
	q.burying = q.burying || dead
	q.mu.Unlock()
	return dead
}

// die takes note of a message that has left the backlog for the dead letters.
func (q *queue) die(i *item, reason string) {
	if !q.deadLetters {
		q.gone(i)
		return
	}
	q.dead = append(q.dead, dying{item: i, reason: reason})
	q.deadCount++
	q.deadBytes += int64(i.size())
	if q.atLeastOnce {
		q.vhost.broker.journal.dying(q, i, reason)
	}
}

// deadline is when a message expires: by its own or the queue's TTL, whichever is sooner.
func (q *queue) deadline(m *message) int64 {
	ttl := q.ttl
	if own, there := m.expiration(); there && (ttl < 0 || own < ttl) {
		ttl = own
	}
	if ttl < 0 {
		return 0
	}
	return time.Now().Add(ttl).UnixNano()
}

// refuses reports whether a message is one too many, where what is too many is refused; q.mu is held, as in all that follows without a word on it.
// A classic queue takes none that would be over its limit. A quorum queue goes over its limit once, and then refuses until a fifth of it is free.
func (q *queue) refuses(m *message) bool {
	if q.quorum {
		return q.refusing
	}
	count, bytes := int64(q.backlog.len()), q.backlog.bytes+int64(m.size())
	return q.maxLength >= 0 && count >= q.maxLength || q.maxBytes >= 0 && bytes > q.maxBytes
}

// watchLimit notes when a quorum queue begins and ends to refuse.
func (q *queue) watchLimit() {
	if !q.quorum || !q.reject {
		return
	}
	if count, bytes := q.load(); q.over() {
		q.refusing = true
	} else if (q.maxLength < 0 || count <= q.maxLength*4/5) && (q.maxBytes < 0 || bytes <= q.maxBytes*4/5) {
		q.refusing = false
	}
}

// load is what counts for the limits.
func (q *queue) load() (count, bytes int64) {
	count, bytes = int64(q.backlog.len()), q.backlog.bytes
	if q.atLeastOnce { // what waits for its dead-letter queue is still here
		count, bytes = count+q.deadCount, bytes+q.deadBytes
	}
	return count, bytes
}

func (q *queue) over() bool {
	count, bytes := q.load()
	return q.maxLength >= 0 && count > q.maxLength || q.maxBytes >= 0 && bytes > q.maxBytes
}

// deliver hands messages to consumers for as long as there are both. What has expired at the head dies.
func (q *queue) deliver() {
	for {
		q.expireHead()
		i := q.backlog.first()
		if i == nil {
			return
		}
		c := q.pick()
		if c == nil {
			return
		}
		if !c.channel.deliver(c, i) {
			q.consumers = slices.DeleteFunc(q.consumers, func(other *consumer) bool { return other == c }) // its channel is closing
			continue
		}
		q.backlog.pop()
		if c.noAck {
			q.gone(i)
			continue
		}
		c.unacked++
		q.unacked++
	}
}

// pick finds the consumer whose turn it is: of those that have room the first of the highest priority, which then goes behind
// the others of its priority.
func (q *queue) pick() *consumer {
	for at, c := range q.consumers {
		if q.single && at > 0 {
			return nil
		}
		if c.leaving || !c.hasRoom() {
			continue
		}
		if q.single {
			return c
		}
		last := at
		for last+1 < len(q.consumers) && q.consumers[last+1].priority == c.priority {
			last++
		}
		copy(q.consumers[at:last], q.consumers[at+1:last+1])
		q.consumers[last] = c
		return c
	}
	return nil
}

func (c *consumer) hasRoom() bool {
	return (c.noAck || c.prefetch == 0 || c.unacked < c.prefetch) && c.channel.hasRoom(c.noAck)
}

// expireHead takes expired messages from the head. One behind another that lives longer waits for it, as on RabbitMQ.
func (q *queue) expireHead() {
	for i := q.backlog.first(); i != nil && i.expires != 0 && i.expired(time.Now()); i = q.backlog.first() {
		q.die(q.backlog.pop(), diedExpired)
	}
}

// armHead sets the timer for the message at the head.
func (q *queue) armHead() {
	i := q.backlog.first()
	if i == nil || i.expires == 0 || q.deleted {
		if q.head != nil {
			q.head.Stop()
		}
		return
	}
	wait := time.Until(time.Unix(0, i.expires))
	if q.head == nil {
		q.head = q.vhost.broker.afterFunc(wait, q.kick)
		return
	}
	q.head.Reset(wait)
}

// kick looks again at what can be delivered and what has expired.
func (q *queue) kick() {
	q.mu.Lock()
	if q.deleted {
		q.mu.Unlock()
		return
	}
	q.deliver()
	q.unlock()
}

// get takes the message at the head for basic.get; nil where there is none. hand is called with it while the queue is locked.
func (q *queue) get(noAck bool, hand func(i *item, left int)) *item {
	q.mu.Lock()
	q.expireHead()
	i := q.backlog.pop()
	if i != nil {
		hand(i, q.backlog.len())
		if noAck {
			q.gone(i)
		} else {
			q.unacked++
		}
	}
	q.touch()
	q.unlock()
	return i
}

// outcome is what a client says of a delivery.
type outcome int

const (
	acked outcome = iota
	requeued
	rejected
)

// settle takes deliveries back from their consumers.
func (q *queue) settle(deliveries []delivery, how outcome) {
	q.mu.Lock()
	for _, d := range deliveries {
		if q.unacked--; d.consumer != nil {
			d.consumer.unacked--
			if d.consumer.parting && d.consumer.unacked == 0 {
				d.consumer.parting = false
				q.parting--
			}
		}
	}
	if q.deleted {
		for _, d := range deliveries {
			q.gone(d.item)
		}
		q.mu.Unlock()
		return
	}
	switch how {
	case acked:
		for _, d := range deliveries {
			q.gone(d.item)
		}
	case rejected:
		for _, d := range deliveries {
			q.die(d.item, diedRejected)
		}
	case requeued:
		q.putBack(deliveries)
		if !q.quorum { // quorum queues deliver first
			q.trim()
		}
	}
	q.deliver()
	q.trim()
	q.unlock()
}

// putBack returns messages to their places, but for those that have come back too often.
func (q *queue) putBack(deliveries []delivery) {
	items := make([]*item, 0, len(deliveries))
	for _, d := range deliveries {
		d.item.returned++
		if q.tooOften(d.item) {
			q.die(d.item, diedLimit)
			continue
		}
		if !q.quorum { // of what a quorum queue delivers, it is kept that it was delivered
			q.vhost.broker.journal.returned(q, d.item)
		}
		items = append(items, d.item)
	}
	q.backlog.putBack(items, q.quorum)
}

// tooOften reports whether a message has come back more often than the queue lets it.
func (q *queue) tooOften(i *item) bool {
	return q.quorum && q.deliveryLimit >= 0 && int64(i.returned) > q.deliveryLimit
}

// purge drops all that is with no consumer.
func (q *queue) purge() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.clear()
	q.watchLimit()
	q.armHead()
	return n
}

// clear empties the backlog.
func (q *queue) clear() int {
	n := q.backlog.len()
	for i := q.backlog.pop(); i != nil; i = q.backlog.pop() {
		q.gone(i)
	}
	q.backlog = backlog{}
	return n
}

// counts are the messages that are ready and the consumers. A quorum queue counts one that is cancelled until what it had is settled, as on RabbitMQ. Asking is using, for x-expires.
func (q *queue) counts() (messages, consumers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.touch()
	return q.backlog.len(), len(q.consumers) + q.parting
}
