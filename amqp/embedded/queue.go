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
	dead      []dying     // on their way to the dead-letter exchange, oldest first
	burying   bool        // somebody hands dead over
	deadCount int64       // of those that no queue has yet, and their bytes
	deadBytes int64
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
	prefetch  int // 0: no limit
	unacked   int // guarded by the queue's lock
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

// enqueue takes a message in; it reports false where the queue is full and refuses what it cannot hold.
func (q *queue) enqueue(m *message) bool {
	q.mu.Lock()
	if q.deleted {
		q.mu.Unlock()
		return true
	}
	if q.reject && q.full(m) {
		q.mu.Unlock()
		return false
	}
	q.seq++
	i := &item{msg: m, seq: q.seq}
	q.backlog.push(i)
	q.deliver() // before it can expire: a TTL of 0 is for consumers that wait
	i.expires = q.deadline(m)
	for !q.reject && q.over() {
		q.die(q.backlog.pop(), diedMaxLen)
	}
	q.expireHead()
	q.unlock()
	return true
}

// unlock lets the queue go after a change: it sees to the next expiry, and hands over what has died.
func (q *queue) unlock() {
	q.armHead()
	begin := len(q.dead) > 0 && !q.burying && !q.deleted
	q.burying = q.burying || begin
	q.mu.Unlock()
	if begin {
		q.bury()
	}
}

// die takes note of a message that has left the backlog for the dead letters.
func (q *queue) die(i *item, reason string) {
	if q.deadLetters {
		q.dead = append(q.dead, dying{item: i, reason: reason})
		q.deadCount++
		q.deadBytes += int64(i.size())
	}
}

// deadline is when a message expires: by its own or the queue's TTL, whichever is sooner.
func (q *queue) deadline(m *message) time.Time {
	ttl := q.ttl
	if own, there := m.expiration(); there && (ttl < 0 || own < ttl) {
		ttl = own
	}
	if ttl < 0 {
		return time.Time{}
	}
	return time.Now().Add(ttl)
}

// full reports whether one more message would be over a limit; q.mu is held, as in all that follows without a word on it.
func (q *queue) full(m *message) bool {
	count, bytes := int64(q.backlog.len()), q.backlog.bytes+int64(len(m.body))
	if q.atLeastOnce { // what waits for its dead-letter queue is still here
		count, bytes = count+q.deadCount, bytes+q.deadBytes
	}
	return q.maxLength >= 0 && count >= q.maxLength || q.maxBytes >= 0 && bytes > q.maxBytes
}

func (q *queue) over() bool {
	return q.maxLength >= 0 && int64(q.backlog.len()) > q.maxLength || q.maxBytes >= 0 && q.backlog.bytes > q.maxBytes
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
		if !c.noAck {
			c.unacked++
			q.unacked++
		}
	}
}

// pick finds the consumer whose turn it is: of those that have room the first of the highest priority, which then goes behind
// the others of its priority.
func (q *queue) pick() *consumer {
	for at, c := range q.consumers {
		if q.single && at > 0 {
			return nil
		}
		if !c.hasRoom() {
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
	for i := q.backlog.first(); i != nil && !i.expires.IsZero() && !time.Now().Before(i.expires); i = q.backlog.first() {
		q.die(q.backlog.pop(), diedExpired)
	}
}

// armHead sets the timer for the message at the head.
func (q *queue) armHead() {
	i := q.backlog.first()
	if i == nil || i.expires.IsZero() || q.deleted {
		if q.head != nil {
			q.head.Stop()
		}
		return
	}
	wait := time.Until(i.expires)
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
		if !noAck {
			q.unacked++
		}
		hand(i, q.backlog.len())
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
		}
	}
	if q.deleted {
		q.mu.Unlock()
		return
	}
	switch how {
	case rejected:
		for _, d := range deliveries {
			q.die(d.item, diedRejected)
		}
	case requeued:
		q.putBack(deliveries)
	}
	q.deliver()
	q.unlock()
}

// putBack returns messages to their places, but for those that have come back too often.
func (q *queue) putBack(deliveries []delivery) {
	items := make([]*item, 0, len(deliveries))
	for _, d := range deliveries {
		again := *d.item
		again.redelivered = true
		again.returned++
		if q.quorum && q.deliveryLimit >= 0 && int64(again.returned) > q.deliveryLimit {
			q.die(&again, diedLimit)
			continue
		}
		items = append(items, &again)
	}
	q.backlog.putBack(items)
}

// purge drops all that is with no consumer.
func (q *queue) purge() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := q.backlog.len()
	q.backlog = backlog{}
	q.armHead()
	return n
}

// counts are the messages that are ready and the consumers. Asking is using, for x-expires.
func (q *queue) counts() (messages, consumers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.touch()
	return q.backlog.len(), len(q.consumers)
}
