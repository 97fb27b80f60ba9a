package embedded

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// channel is a channel of a connection. Its commands come from the connection's one reader; deliveries come from everywhere.
type channel struct {
	conn   *connection
	number uint16

	// Only the reader touches these.
	closing  bool // a channel.close is sent: nothing is obeyed until it is answered
	incoming *incoming
	confirms bool
	tx       *transaction // nil where the channel is not in tx mode
	prefetch int          // of consumers to come
	last     string       // the queue declared last, which an empty name means
	address  *address
	list     []byte // the properties of the message that is being received

	owed    confirms
	awaited uint64 // the ticket that the journal knows of; it guards it

	mu        sync.Mutex
	ended     bool
	tag       uint64
	unacked   []delivery // by tag; what is settled in the middle has no item
	first     uint64     // the tag of unacked[0]
	out       int        // of unacked, those of consumers that are not settled
	limit     int        // of out; 0: none
	consumers map[string]*consumer
}

// delivery is a message that is with the client.
type delivery struct {
	item     *item
	queue    *queue
	consumer *consumer // nil after basic.get
	due      int64     // when it has to be settled, in nanoseconds since 1970; 0: when the client likes
	putOff   bool      // it is settled with the transaction's commit
}

func newChannel(c *connection, number uint16) *channel {
	return &channel{conn: c, number: number, first: 1, consumers: map[string]*consumer{}}
}

func (ch *channel) send(m wire.Method, arguments func([]byte) []byte) {
	ch.conn.sendOn(ch.number, m, arguments)
}

// reply answers a command that may have asked for no answer.
func (ch *channel) reply(noWait bool, m wire.Method, arguments func([]byte) []byte) {
	if !noWait {
		ch.send(m, arguments)
	}
}

// replyKept is reply to what changes the topology, which is on disk before the client knows.
func (ch *channel) replyKept(noWait bool, m wire.Method, arguments func([]byte) []byte) {
	if !noWait {
		ch.conn.sendAfter(ch.conn.broker.journal.ticket(), ch.number, m, arguments)
	}
}

// fail closes the channel and tells the client why.
func (ch *channel) fail(fault *wire.Error, on wire.Method) {
	ch.conn.broker.logf("%s: channel %d: %v", ch.conn.net.RemoteAddr(), ch.number, fault)
	ch.flushConfirms()
	ch.closing = true
	ch.incoming = nil
	ch.end()
	ch.send(wire.ChannelClose, func(b []byte) []byte { return appendClose(b, fault, on) })
}

// end gives back all that the channel held.
func (ch *channel) end() {
	ch.endConfirms()
	ch.mu.Lock()
	leaving := slices.Collect(maps.Values(ch.consumers))
	ch.mu.Unlock()
	for _, c := range leaving {
		c.queue.leave(c)
	}
	ch.mu.Lock()
	if ch.ended {
		ch.mu.Unlock()
		return
	}
	ch.ended = true
	consumers, unacked := ch.consumers, ch.unacked
	ch.consumers, ch.unacked = nil, nil
	ch.mu.Unlock()
	for i := range unacked {
		if d := &unacked[i]; d.item != nil && !d.queue.quorum {
			d.consumer = nil // a classic queue takes back all at once, whoever had it
		}
	}
	settleAll(unacked, requeued) // before the next single active consumer gets anything
	for _, c := range consumers {
		c.queue.unsubscribe(c)
	}
}

// settleAll settles deliveries, which it reorders: those that a consumer has of a queue are settled together.
func settleAll(list []delivery, how outcome) {
	list = slices.DeleteFunc(list, func(d delivery) bool { return d.item == nil })
	for len(list) > 0 {
		q, c := list[0].queue, list[0].consumer
		other := func(d delivery) bool { return d.queue != q || d.consumer != c }
		if !slices.ContainsFunc(list, other) {
			q.settle(list, how)
			return
		}
		var together, rest []delivery
		for _, d := range list {
			if other(d) {
				rest = append(rest, d)
			} else {
				together = append(together, d)
			}
		}
		q.settle(together, how)
		list = rest
	}
}

// method obeys a method.
func (ch *channel) method(m wire.Method, d *wire.Decoder) *wire.Error {
	if ch.closing {
		switch m {
		case wire.ChannelCloseOK:
			ch.conn.closeChannel(ch.number)
		case wire.ChannelClose:
			ch.send(wire.ChannelCloseOK, nil)
		}
		return nil
	}
	if ch.incoming != nil {
		return ch.incoming.unexpected()
	}
	switch m {
	case wire.BasicPublish:
		return ch.publish(d)
	case wire.BasicAck:
		return ch.settle(d.LongLong(), d.Bit(), acked)
	case wire.BasicNack:
		tag, multiple, requeue := d.LongLong(), d.Bit(), d.Bit()
		return ch.settle(tag, multiple, back(requeue))
	case wire.BasicReject:
		tag, requeue := d.LongLong(), d.Bit()
		return ch.settle(tag, false, back(requeue))
	case wire.ChannelClose:
		ch.flushConfirms()
		ch.conn.closeChannel(ch.number)
		ch.send(wire.ChannelCloseOK, nil)
		return nil
	case wire.ChannelFlow:
		if !d.Bit() {
			return wire.Errorf(wire.NotImplemented, "active=false")
		}
		ch.send(wire.ChannelFlowOK, func(b []byte) []byte { return append(b, 1) })
		return nil
	case wire.ChannelOpen:
		return wire.Errorf(wire.ChannelError, "second 'channel.open' seen")
	case wire.ConfirmSelect:
		noWait := d.Bit()
		if ch.tx != nil {
			return wire.Errorf(wire.PreconditionFailed, "cannot switch from tx to confirm mode")
		}
		ch.confirms = true
		ch.reply(noWait, wire.ConfirmSelectOK, nil)
		return nil
	case wire.ChannelCloseOK, wire.ChannelFlowOK:
		return nil
	}
	switch m.Class() {
	case 40:
		return ch.exchangeMethod(m, d)
	case 50:
		return ch.queueMethod(m, d)
	case wire.ClassBasic:
		return ch.basicMethod(m, d)
	case wire.TxSelect.Class():
		return ch.txMethod(m)
	}
	return unimplemented()
}

// unimplemented is for what no client may send.
func unimplemented() *wire.Error { return wire.Errorf(wire.CommandInvalid, "unimplemented method") }

func back(requeue bool) outcome {
	if requeue {
		return requeued
	}
	return rejected
}

// settle takes what a client says of a delivery, or of all up to it.
func (ch *channel) settle(tag uint64, multiple bool, how outcome) *wire.Error {
	if ch.tx != nil {
		return ch.settleLater(tag, multiple, how)
	}
	return ch.settleNow(tag, multiple, how)
}

func (ch *channel) settleNow(tag uint64, multiple bool, how outcome) *wire.Error {
	ch.mu.Lock()
	last := ch.first + uint64(len(ch.unacked)) - 1
	all := multiple && tag == 0
	if all {
		tag = last
	}
	at := int(tag - ch.first)
	if !all && (tag < ch.first || tag > last || ch.unacked[at].item == nil) {
		ch.mu.Unlock()
		return wire.Errorf(wire.PreconditionFailed, "unknown delivery tag %d", tag)
	}
	var list []delivery
	switch {
	case multiple:
		list = append(list, ch.unacked[:at+1]...)
		ch.forget(at + 1)
	case at == 0:
		list = append(list, ch.unacked[0])
		ch.forget(1)
	default:
		list = append(list, ch.unacked[at])
		ch.count(ch.unacked[at], -1)
		ch.unacked[at] = delivery{}
	}
	var waiting []*queue
	if ch.limit > 0 {
		waiting = ch.queues()
	}
	ch.mu.Unlock()
	settleAll(list, how)
	for _, q := range waiting {
		q.kick() // there is room again under the channel's limit
	}
	return nil
}

// forget drops the first n deliveries, and those after them that are settled; ch.mu is held.
func (ch *channel) forget(n int) {
	for _, d := range ch.unacked[:n] {
		ch.count(d, -1)
	}
	for n < len(ch.unacked) && ch.unacked[n].item == nil {
		n++
	}
	ch.first += uint64(n)
	if n == len(ch.unacked) {
		clear(ch.unacked)
		ch.unacked = ch.unacked[:0]
		return
	}
	ch.unacked = ch.unacked[n:]
}

// count keeps count of what the channel's limit is about, which what basic.get fetched is not; ch.mu is held.
func (ch *channel) count(d delivery, n int) {
	if d.consumer != nil {
		ch.out += n
	}
}

// queues are those that the channel consumes from; ch.mu is held.
func (ch *channel) queues() []*queue {
	var out []*queue
	for _, c := range ch.consumers {
		out = append(out, c.queue)
	}
	return out
}

// consumed are the queues that the channel consumes from.
func (ch *channel) consumed() []*queue {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.queues()
}

// hasRoom reports whether the channel may be handed a delivery.
func (ch *channel) hasRoom(noAck bool) bool {
	ch.mu.Lock()
	room := noAck || ch.limit == 0 || ch.out < ch.limit
	ch.mu.Unlock()
	return room && !ch.conn.out.congested()
}

// note takes a delivery on and gives it a tag; ch.mu is held.
func (ch *channel) note(d delivery, noAck bool) uint64 {
	ch.tag++
	switch {
	case !noAck:
		if limit := d.queue.ackTimeout; limit > 0 {
			d.due = time.Now().Add(limit).UnixNano()
		}
		ch.unacked = append(ch.unacked, d)
		ch.count(d, 1)
	case len(ch.unacked) > 0:
		ch.unacked = append(ch.unacked, delivery{}) // the tags have no gaps
	default:
		ch.first = ch.tag + 1
	}
	return ch.tag
}

// deliver sends a message to a consumer; false: the channel has ended. The queue's lock is held.
func (ch *channel) deliver(c *consumer, i *item) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.ended || ch.consumers[c.tag] != c {
		return false
	}
	tag := ch.note(delivery{item: i, queue: c.queue, consumer: c}, c.noAck)
	ch.conn.out.addAfter(c.queue.delivering(i, c.noAck), func(b []byte) []byte {
		b, mark := wire.BeginMethod(b, ch.number, wire.BasicDeliver)
		b = wire.AppendShortString(b, c.tag)
		b = binary.BigEndian.AppendUint64(b, tag)
		b = appendBool(b, i.redelivered(c.queue.quorum))
		b = wire.AppendShortString(b, i.msg.exchange)
		b = wire.AppendShortString(b, i.msg.key)
		b = wire.EndMethod(b, mark)
		return ch.appendContent(b, i, c.queue.quorum)
	})
	return true
}

// appendContent appends the header and the body of a message, in frames of the agreed size.
func (ch *channel) appendContent(b []byte, i *item, quorum bool) []byte {
	b = wire.AppendFrameFunc(b, wire.FrameHeader, ch.number, func(b []byte) []byte { return i.header(b, quorum) })
	body := i.msg.payload()
	for most := ch.conn.frameMax - wire.FrameOverhead; len(body) > 0; {
		n := min(most, len(body))
		b = wire.AppendFrame(b, wire.FrameBody, ch.number, body[:n])
		body = body[n:]
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// cancelled tells the client that a consumer has ended because its queue has.
func (ch *channel) cancelled(c *consumer) {
	ch.mu.Lock()
	ours := ch.consumers[c.tag] == c
	if ours {
		delete(ch.consumers, c.tag)
	}
	ch.mu.Unlock()
	if ours && ch.conn.cancelNotify {
		ch.send(wire.BasicCancel, func(b []byte) []byte { return append(wire.AppendShortString(b, c.tag), 1) })
	}
}
