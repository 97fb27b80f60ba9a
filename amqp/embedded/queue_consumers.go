package embedded

import (
	"slices"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// subscribe adds a consumer; started is called before the first delivery.
func (q *queue) subscribe(c *consumer, started func()) *wire.Error {
	q.mu.Lock()
	if q.deleted {
		q.mu.Unlock()
		return noQueue(q.vhost.name, q.name)
	}
	for _, other := range q.consumers {
		if other.exclusive || c.exclusive {
			q.mu.Unlock()
			return wire.Errorf(wire.AccessRefused, "queue '%s' in vhost '%s' in exclusive use", q.name, q.vhost.name)
		}
	}
	at := slices.IndexFunc(q.consumers, func(other *consumer) bool { return other.priority < c.priority })
	if at < 0 {
		at = len(q.consumers)
	}
	if q.single && !q.quorum {
		at = max(at, min(1, len(q.consumers))) // classic queues keep their active consumer, quorum queues change to the higher priority
	}
	q.consumers = slices.Insert(q.consumers, at, c)
	q.touch()
	started()
	q.deliver()
	q.unlock()
	return nil
}

// leave has a consumer get no more: its channel is at its end. A single active one is not followed by another until it is unsubscribed.
func (q *queue) leave(c *consumer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	c.leaving = true
}

// unsubscribe takes a consumer away. A queue that is to go with its last consumer goes.
func (q *queue) unsubscribe(c *consumer) {
	q.mu.Lock()
	q.consumers = slices.DeleteFunc(q.consumers, func(other *consumer) bool { return other == c })
	if q.quorum && c.unacked > 0 && !c.parting {
		c.parting = true
		q.parting++
	}
	gone := q.autoDelete && len(q.consumers) == 0 && !q.deleted
	q.touch()
	q.deliver() // to who is next, where only one is active
	q.unlock()
	if gone {
		q.vhost.deleteQueue(q)
	}
}

// touch begins the time anew after which an unused queue expires.
func (q *queue) touch() {
	if q.expires == 0 || q.deleted {
		return
	}
	if q.unused == nil {
		q.unused = q.vhost.broker.afterFunc(q.expires, q.expire)
	}
	if len(q.consumers) > 0 {
		q.unused.Stop()
		return
	}
	q.unused.Reset(q.expires)
}

// expire deletes the queue if nobody consumes from it.
func (q *queue) expire() {
	q.mu.Lock()
	used := q.deleted || len(q.consumers) > 0
	q.mu.Unlock()
	if !used {
		q.vhost.deleteQueue(q)
	}
}

// end empties the queue for good and tells its consumers, after it was taken out of the vhost. It returns how many messages were ready.
func (q *queue) end() int {
	q.mu.Lock()
	if !q.deleted {
		q.vhost.broker.journal.dropQueue(q)
	}
	q.deleted = true
	n := q.clear()
	for _, d := range q.dead {
		q.gone(d.item)
	}
	consumers := q.consumers
	q.consumers, q.dead = nil, nil
	q.stopTimers()
	q.mu.Unlock()
	for _, c := range consumers {
		c.channel.cancelled(c)
	}
	return n
}

// stop ends what the queue does of itself, when the broker ends.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deleted = true
	q.stopTimers()
}

func (q *queue) stopTimers() {
	for _, t := range []*time.Timer{q.head, q.unused, q.retry} {
		if t != nil {
			t.Stop()
		}
	}
}
