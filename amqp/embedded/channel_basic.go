package embedded

import (
	"encoding/binary"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// basicMethod obeys the rarer methods of class basic.
func (ch *channel) basicMethod(m wire.Method, d *wire.Decoder) *wire.Error {
	switch m {
	case wire.BasicQos:
		return ch.qos(d)
	case wire.BasicConsume:
		return ch.consume(d)
	case wire.BasicCancel:
		return ch.cancel(d)
	case wire.BasicGet:
		return ch.get(d)
	case wire.BasicRecover, wire.BasicRecoverAsync:
		return ch.recover(m, d)
	}
	return unimplemented()
}

func (ch *channel) qos(d *wire.Decoder) *wire.Error {
	size, count, global := d.Long(), int(d.Short()), d.Bit()
	if size != 0 {
		return wire.Errorf(wire.NotImplemented, "prefetch_size!=0 (%d)", size)
	}
	if global {
		ch.mu.Lock()
		ch.limit = count
		queues := ch.queues()
		ch.mu.Unlock()
		for _, q := range queues {
			q.kick()
		}
	} else {
		ch.prefetch = count
	}
	ch.send(wire.BasicQosOK, nil)
	return nil
}

// replyTo is the queue that is none: RabbitMQ's way of answering without one.
const replyTo = "amq.rabbitmq.reply-to"

func (ch *channel) consume(d *wire.Decoder) *wire.Error {
	d.Short()
	name, tag := d.ShortString(), d.ShortString()
	noLocal, noAck, exclusive, noWait := d.Bit(), d.Bit(), d.Bit(), d.Bit()
	_ = noLocal // RabbitMQ does not heed it either
	arguments := d.Table()
	if d.Err != nil {
		return nil // told by the caller
	}
	if name == replyTo {
		return wire.Errorf(wire.NotImplemented, "the embedded broker has no direct reply-to (%s)", replyTo)
	}
	q, fault := ch.queue(name)
	if fault != nil {
		return fault
	}
	ch.mu.Lock()
	limited := ch.limit > 0
	ch.mu.Unlock()
	if limited && q.quorum {
		return wire.Errorf(wire.NotImplemented, "queue '%s' in vhost '%s' does not support global qos", q.name, q.vhost.name)
	}
	if tag == "" {
		tag = ch.conn.broker.newName("amq.ctag")
	}
	c := &consumer{tag: tag, channel: ch, queue: q, noAck: noAck, exclusive: exclusive, prefetch: ch.prefetch}
	if v, there := arguments["x-priority"]; there {
		n, ok := integer(v)
		if !ok {
			return wire.Errorf(wire.PreconditionFailed, "invalid arg 'x-priority' for queue '%s' in vhost '%s': \"expected integer, got %s\"", q.name, q.vhost.name, typeName(v))
		}
		c.priority = n
	}
	if _, there := arguments["x-stream-offset"]; there {
		kind := "rabbit_classic_queue"
		if q.quorum {
			kind = "rabbit_quorum_queue"
		}
		return wire.Errorf(wire.PreconditionFailed, "invalid arg 'x-stream-offset' for queue '%s' in vhost '%s' of queue type %s", q.name, q.vhost.name, kind)
	}
	ch.conn.watch(q.ackTimeout)
	ch.mu.Lock()
	if ch.consumers[tag] != nil {
		ch.mu.Unlock()
		return wire.Errorf(wire.NotAllowed, "attempt to reuse consumer tag '%s'", tag)
	}
	ch.consumers[tag] = c
	ch.mu.Unlock()
	fault = q.subscribe(c, func() {
		ch.reply(noWait, wire.BasicConsumeOK, func(b []byte) []byte { return wire.AppendShortString(b, tag) })
	})
	if fault != nil {
		ch.mu.Lock()
		delete(ch.consumers, tag)
		ch.mu.Unlock()
	}
	return fault
}

func (ch *channel) cancel(d *wire.Decoder) *wire.Error {
	tag, noWait := d.ShortString(), d.Bit()
	ch.mu.Lock()
	c := ch.consumers[tag]
	delete(ch.consumers, tag)
	ch.mu.Unlock()
	if c != nil {
		c.queue.unsubscribe(c)
	}
	ch.reply(noWait, wire.BasicCancelOK, func(b []byte) []byte { return wire.AppendShortString(b, tag) })
	return nil
}

func (ch *channel) get(d *wire.Decoder) *wire.Error {
	d.Short()
	name, noAck := d.ShortString(), d.Bit()
	q, fault := ch.queue(name)
	if fault != nil {
		return fault
	}
	if q.quorum && q.single {
		return wire.Errorf(wire.ResourceLocked, "cannot obtain access to locked queue '%s' in vhost '%s'. "+
			"basic.get operations are not supported by quorum queues with single active consumer", q.name, q.vhost.name)
	}
	ch.conn.watch(q.ackTimeout)
	i := q.get(noAck, func(i *item, left int) {
		ch.mu.Lock()
		defer ch.mu.Unlock()
		tag := ch.note(delivery{item: i, queue: q}, noAck)
		ch.conn.out.addAfter(q.delivering(i, noAck), func(b []byte) []byte {
			b, mark := wire.BeginMethod(b, ch.number, wire.BasicGetOK)
			b = binary.BigEndian.AppendUint64(b, tag)
			b = appendBool(b, i.redelivered(q.quorum))
			b = wire.AppendShortString(b, i.msg.exchange)
			b = wire.AppendShortString(b, i.msg.key)
			b = binary.BigEndian.AppendUint32(b, uint32(left))
			b = wire.EndMethod(b, mark)
			return ch.appendContent(b, i, q.quorum)
		})
	})
	if i == nil {
		ch.send(wire.BasicGetEmpty, func(b []byte) []byte { return wire.AppendShortString(b, "") })
	}
	return nil
}

// recover gives all that is with the client back to the queues.
func (ch *channel) recover(m wire.Method, d *wire.Decoder) *wire.Error {
	if !d.Bit() {
		return wire.Errorf(wire.NotImplemented, "requeue=false")
	}
	ch.mu.Lock()
	var list []delivery
	for i, d := range ch.unacked {
		if d.open() {
			list = append(list, d)
			ch.count(d, -1)
			ch.unacked[i] = delivery{}
		}
	}
	ch.forget(0)
	ch.mu.Unlock()
	settleAll(list, requeued)
	ch.reply(m == wire.BasicRecoverAsync, wire.BasicRecoverOK, nil)
	return nil
}
