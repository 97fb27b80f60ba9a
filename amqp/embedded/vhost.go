package embedded

import (
	"slices"
	"sync"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// vhost is a virtual host: a namespace of exchanges and queues. Its lock guards all bindings.
type vhost struct {
	broker *Broker
	name   string

	mu        sync.RWMutex
	exchanges map[string]*exchange
	queues    map[string]*queue
}

func newVHost(b *Broker, name string) *vhost {
	v := &vhost{broker: b, name: name, exchanges: map[string]*exchange{}, queues: map[string]*queue{}}
	for name, kind := range map[string]string{
		"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic", "amq.headers": "headers", "amq.match": "headers",
	} {
		x := newExchange(name, kind)
		x.durable = true
		v.exchanges[name] = x
	}
	return v
}

func noQueue(vhost, name string) *wire.Error {
	return wire.Errorf(wire.NotFound, "no queue '%s' in vhost '%s'", name, vhost)
}

func noExchange(vhost, name string) *wire.Error {
	return wire.Errorf(wire.NotFound, "no exchange '%s' in vhost '%s'", name, vhost)
}

// queue finds a queue that the connection may use.
func (v *vhost) queue(name string, c *connection) (*queue, *wire.Error) {
	v.mu.RLock()
	q := v.queues[name]
	v.mu.RUnlock()
	if q == nil {
		return nil, noQueue(v.name, name)
	}
	return q, q.accessible(c)
}

func (q *queue) accessible(c *connection) *wire.Error {
	if q.owner != nil && q.owner != c {
		return locked(q)
	}
	return nil
}

func locked(q *queue) *wire.Error {
	return wire.Errorf(wire.ResourceLocked, "cannot obtain exclusive access to locked queue '%s' in vhost '%s'. "+
		"It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.", q.name, q.vhost.name)
}

// route finds the queues that a message published to the exchange goes to, each once; false where the exchange is not there.
func (v *vhost) route(exchange string, m *message) ([]*queue, bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if exchange == "" {
		return v.named(m), true
	}
	x := v.exchanges[exchange]
	if x == nil {
		return nil, false
	}
	r := routing{vhost: v, message: m}
	r.visit(x)
	return r.queues, true
}

// named are the queues whose names are the keys of a message, which is what the default exchange routes by.
func (v *vhost) named(m *message) []*queue {
	var out []*queue
	for i := range m.keyCount() {
		if q := v.queues[m.keyAt(i)]; q != nil && !slices.Contains(out, q) {
			out = append(out, q)
		}
	}
	return out
}

// routing is a message on its way through exchanges.
type routing struct {
	*vhost
	message *message
	queues  []*queue
	seen    []*exchange
}

// many is the number of queues from which on a map finds doubles quicker than looking through them.
const many = 16

func (r *routing) visit(x *exchange) {
	for _, before := range r.seen {
		if before == x {
			return
		}
	}
	r.seen = append(r.seen, x)
	routed := false
	var there map[*queue]bool
	x.match(r.message, func(to destination) {
		routed = true
		switch {
		case to.exchange != nil:
			r.visit(to.exchange)
			there = nil
		case len(r.queues) < many:
			for _, before := range r.queues {
				if before == to.queue {
					return
				}
			}
			r.queues = append(r.queues, to.queue)
		default:
			if there == nil {
				there = make(map[*queue]bool, 2*many)
				for _, before := range r.queues {
					there[before] = true
				}
			}
			if !there[to.queue] {
				there[to.queue] = true
				r.queues = append(r.queues, to.queue)
			}
		}
	})
	if !routed && x.alternate != "" {
		if alternate := r.exchanges[x.alternate]; alternate != nil {
			r.visit(alternate)
		}
	}
}

// deleteQueue takes a queue away, with its bindings and messages. It returns how many messages were ready in it.
func (v *vhost) deleteQueue(q *queue) int {
	v.mu.Lock()
	if v.queues[q.name] == q {
		delete(v.queues, q.name)
		v.unbindAll(q.incoming)
		q.incoming = map[*binding]struct{}{}
	}
	v.mu.Unlock()
	return q.end()
}

// unbindAll takes away all bindings that lead to something that is deleted; v.mu is held.
func (v *vhost) unbindAll(incoming map[*binding]struct{}) {
	for b := range incoming {
		b.source.remove(b.destination, b.key, b.arguments)
		v.forgetBinding(b)
		v.dropUnbound(b.source)
	}
}

// dropUnbound deletes an auto-delete exchange that nothing is bound to any more; v.mu is held.
func (v *vhost) dropUnbound(x *exchange) {
	if x.autoDelete && x.bound && x.count == 0 && v.exchanges[x.name] == x {
		v.deleteExchange(x)
	}
}

// deleteExchange takes an exchange away with all its bindings; v.mu is held.
func (v *vhost) deleteExchange(x *exchange) {
	delete(v.exchanges, x.name)
	v.broker.journal.unset(recordExchange, x.id)
	for _, list := range x.bindings {
		for _, b := range list {
			v.forgetBinding(b)
			if b.queue != nil {
				delete(b.queue.incoming, b)
			} else {
				delete(b.exchange.incoming, b)
			}
		}
	}
	v.unbindAll(x.incoming)
}

// close stops all queues.
func (v *vhost) close() {
	v.mu.Lock()
	queues := v.queues
	v.queues = map[string]*queue{}
	v.mu.Unlock()
	for _, q := range queues {
		q.stop()
	}
}

// closeConnection deletes the exclusive queues of a connection.
func (v *vhost) closeConnection(c *connection) {
	var owned []*queue
	v.mu.RLock()
	for _, q := range v.queues {
		if q.owner == c {
			owned = append(owned, q)
		}
	}
	v.mu.RUnlock()
	for _, q := range owned {
		v.deleteQueue(q)
	}
}
