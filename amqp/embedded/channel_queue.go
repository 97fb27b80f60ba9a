package embedded

import (
	"encoding/binary"
	"strings"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

func (ch *channel) queueMethod(m wire.Method, d *wire.Decoder) *wire.Error {
	switch m {
	case wire.QueueDeclare:
		return ch.declareQueue(d)
	case wire.QueueBind:
		d.Short()
		name, from, key, noWait := d.ShortString(), d.ShortString(), d.ShortString(), d.Bit()
		arguments := d.Table()
		if d.Err != nil {
			return nil // told by the caller
		}
		b := binder{ch, from, key, arguments, true}
		if fault := b.queueNamed(name); fault != nil {
			return fault
		}
		ch.replyKept(noWait, wire.QueueBindOK, nil)
		return nil
	case wire.QueueUnbind:
		d.Short()
		name, from, key := d.ShortString(), d.ShortString(), d.ShortString()
		arguments := d.Table()
		if d.Err != nil {
			return nil // told by the caller
		}
		b := binder{ch, from, key, arguments, false}
		if fault := b.queueNamed(name); fault != nil {
			return fault
		}
		ch.replyKept(false, wire.QueueUnbindOK, nil)
		return nil
	case wire.QueuePurge:
		d.Short()
		name, noWait := d.ShortString(), d.Bit()
		q, fault := ch.queue(name)
		if fault != nil {
			return fault
		}
		n := q.purge()
		ch.replyKept(noWait, wire.QueuePurgeOK, func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) })
		return nil
	case wire.QueueDelete:
		return ch.deleteQueue(d)
	}
	return unimplemented()
}

// meant is the queue that a name stands for: the empty one is that which the channel declared last.
func (ch *channel) meant(name string) (string, *wire.Error) {
	if name != "" {
		return name, nil
	}
	if ch.last == "" {
		return "", wire.Errorf(wire.NotFound, "no previously declared queue")
	}
	return ch.last, nil
}

// queue finds a queue that the channel may use.
func (ch *channel) queue(name string) (*queue, *wire.Error) {
	name, fault := ch.meant(name)
	if fault != nil {
		return nil, fault
	}
	return ch.conn.vhost.queue(name, ch.conn)
}

// queueDeclaration is what queue.declare says.
type queueDeclaration struct {
	name                           string
	durable, exclusive, autoDelete bool
	arguments                      wire.Table
}

func (ch *channel) declareQueue(d *wire.Decoder) *wire.Error {
	d.Short()
	q := queueDeclaration{name: d.ShortString()}
	passive := d.Bit()
	q.durable, q.exclusive, q.autoDelete = d.Bit(), d.Bit(), d.Bit()
	noWait := d.Bit()
	q.arguments = d.Table()
	if d.Err != nil {
		return nil // told by the caller
	}
	var there *queue
	var fault *wire.Error
	if passive {
		there, fault = ch.queue(q.name)
	} else {
		there, fault = ch.makeQueue(&q)
	}
	if fault != nil {
		return fault
	}
	ch.last = there.name
	messages, consumers := there.counts()
	ch.replyKept(noWait, wire.QueueDeclareOK, func(b []byte) []byte {
		b = wire.AppendShortString(b, there.name)
		b = binary.BigEndian.AppendUint32(b, uint32(messages))
		return binary.BigEndian.AppendUint32(b, uint32(consumers))
	})
	return nil
}

// makeQueue makes the queue, or finds the one that is there alike.
func (ch *channel) makeQueue(want *queueDeclaration) (*queue, *wire.Error) {
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if want.name == "" {
		want.name = ch.conn.broker.newName("amq.gen")
	} else if v.queues[want.name] == nil && strings.HasPrefix(want.name, "amq.") {
		return nil, wire.Errorf(wire.AccessRefused, "queue name '%s' contains reserved prefix 'amq.*'", want.name)
	}
	if q := v.queues[want.name]; q != nil {
		q.mu.Lock()
		q.touch()
		q.mu.Unlock()
		return q, q.differs(ch.conn, want)
	}
	shape, fault := readShape(v.name, want.name, want.arguments)
	if fault != nil {
		return nil, fault
	}
	if shape.quorum {
		if fault := quorumFault(v.name, want); fault != nil {
			return nil, fault
		}
	}
	q := &queue{
		vhost: v, name: want.name, durable: want.durable, autoDelete: want.autoDelete, arguments: want.arguments, shape: shape,
		incoming: map[*binding]struct{}{},
	}
	if want.exclusive {
		q.owner = ch.conn
	}
	q.mu.Lock()
	q.touch()
	q.mu.Unlock()
	v.queues[q.name] = q
	v.keepQueue(q)
	return q, nil
}

// quorumFault refuses properties that quorum queues do not have.
func quorumFault(vhost string, want *queueDeclaration) *wire.Error {
	property := ""
	switch {
	case !want.durable:
		property = "non-durable"
	case want.autoDelete:
		property = "auto-delete"
	case want.exclusive:
		property = "exclusive-owner"
	default:
		return nil
	}
	return wire.Errorf(wire.PreconditionFailed, "invalid property '%s' for queue '%s' in vhost '%s'", property, want.name, vhost)
}

// differs compares a declaration with the queue that is there.
func (q *queue) differs(c *connection, want *queueDeclaration) *wire.Error {
	vhost := q.vhost.name
	if q.owner != nil && q.owner != c || want.exclusive != (q.owner != nil) {
		return locked(q)
	}
	if want.durable != q.durable {
		return differ("durable", "queue", q.name, vhost, quotedBool(want.durable), quotedBool(q.durable))
	}
	if want.autoDelete != q.autoDelete {
		return differ("auto_delete", "queue", q.name, vhost, quotedBool(want.autoDelete), quotedBool(q.autoDelete))
	}
	compared := comparedClassic
	if q.quorum {
		compared = comparedQuorum
	}
	return inequivalent("queue", q.name, vhost, compared, withType(want.arguments), withType(q.arguments))
}

func (ch *channel) deleteQueue(d *wire.Decoder) *wire.Error {
	d.Short()
	name, ifUnused, ifEmpty, noWait := d.ShortString(), d.Bit(), d.Bit(), d.Bit()
	name, fault := ch.meant(name)
	if fault != nil {
		return fault
	}
	v := ch.conn.vhost
	v.mu.RLock()
	q := v.queues[name]
	v.mu.RUnlock()
	n := 0
	if q != nil {
		if fault := q.accessible(ch.conn); fault != nil {
			return fault
		}
		messages, consumers := q.counts()
		if ifUnused && consumers > 0 {
			return wire.Errorf(wire.PreconditionFailed, "queue '%s' in vhost '%s' in use", name, v.name)
		}
		if ifEmpty && messages > 0 {
			return wire.Errorf(wire.PreconditionFailed, "queue '%s' in vhost '%s' not empty", name, v.name)
		}
		n = v.deleteQueue(q)
	}
	ch.replyKept(noWait, wire.QueueDeleteOK, func(b []byte) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) })
	return nil
}
