package embedded

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// incoming is a message that is being received.
type incoming struct {
	exchange  string
	key       string
	mandatory bool
	begun     bool // the content header is there
	size      int
	props     wire.Properties
	content   []byte // the list of properties and what has come of the body
}

// unexpected is the fault of a frame that is not the one that has to come next; no message is being received where in is nil.
func (in *incoming) unexpected() *wire.Error {
	switch {
	case in == nil:
		return wire.Errorf(wire.UnexpectedFrame, "expected method frame, got non method frame instead")
	case !in.begun:
		return wire.Errorf(wire.UnexpectedFrame, "expected content header for class %d, got non content header frame instead", wire.ClassBasic)
	}
	return wire.Errorf(wire.UnexpectedFrame, "expected content body, got non content body frame instead")
}

func (ch *channel) publish(d *wire.Decoder) *wire.Error {
	d.Short()
	in := &incoming{exchange: d.ShortString(), key: d.ShortString(), mandatory: d.Bit()}
	if d.Bit() {
		return wire.Errorf(wire.NotImplemented, "immediate=true")
	}
	if d.Err != nil {
		return nil // told by the caller
	}
	if !ch.conn.waitForGate() {
		return nil
	}
	if in.exchange != "" {
		v := ch.conn.vhost
		v.mu.RLock()
		x := v.exchanges[in.exchange]
		v.mu.RUnlock()
		if x == nil {
			return noExchange(v.name, in.exchange)
		}
		if x.internal {
			return wire.Errorf(wire.AccessRefused, "cannot publish to internal exchange '%s' in vhost '%s'", in.exchange, v.name)
		}
	}
	ch.incoming = in
	return nil
}

// header takes the content header of the message that is being received.
func (ch *channel) header(payload []byte) *wire.Error {
	if ch.closing {
		return nil
	}
	in := ch.incoming
	if in == nil || in.begun {
		return in.unexpected()
	}
	size, props, err := wire.ReadHeader(payload)
	if err != nil {
		return wire.Errorf(wire.SyntaxError, "malformed content header")
	}
	if size > maxMessage {
		ch.incoming = nil
		return wire.Errorf(wire.PreconditionFailed, "message size %d is larger than configured max size %d", size, maxMessage)
	}
	in.begun, in.size, in.props = true, int(size), props
	ch.list = append(ch.list[:0], wire.List(payload)...)
	if in.size == 0 {
		return ch.received()
	}
	return nil
}

// bodyPart takes a part of the body. No more is allocated than has come.
func (ch *channel) bodyPart(payload []byte) *wire.Error {
	if ch.closing {
		return nil
	}
	in := ch.incoming
	if in == nil || !in.begun {
		return in.unexpected()
	}
	if in.content == nil {
		in.begin(ch.list, min(in.size, max(len(payload), 2*ch.conn.frameMax)))
	}
	if len(in.content)-len(ch.list)+len(payload) > in.size {
		return wire.Errorf(wire.UnexpectedFrame, "the body is longer than its header says")
	}
	in.content = append(in.content, payload...)
	if len(in.content)-len(ch.list) == in.size {
		return ch.received()
	}
	return nil
}

// begin makes room for the properties and for so much of the body.
func (in *incoming) begin(list []byte, room int) {
	in.content = append(make([]byte, 0, len(list)+room), list...)
}

// addressed is where the message is published to.
func (ch *channel) addressed(in *incoming) *address {
	if a := ch.address; a == nil || a.exchange != in.exchange || a.key != in.key {
		ch.address = &address{in.exchange, in.key}
	}
	return ch.address
}

// received publishes the message that is whole now.
func (ch *channel) received() *wire.Error {
	in := ch.incoming
	ch.incoming = nil
	if in.content == nil {
		in.begin(ch.list, 0)
	}
	m := &message{address: ch.addressed(in), content: in.content, body: uint32(len(ch.list))}
	m.note(&in.props)
	if fault := ch.checkProperties(m, &in.props); fault != nil {
		return fault
	}
	ch.conn.waitForDelay()
	if ch.confirms && ch.conn.broker.refusing.Load() {
		ch.confirm(false, 0)
		return nil
	}
	v := ch.conn.vhost
	targets, there := v.route(in.exchange, m)
	if !there {
		return noExchange(v.name, in.exchange)
	}
	p := publication{m, targets, in.mandatory}
	if ch.tx != nil {
		return ch.tx.add(p)
	}
	taken, ticket := ch.deliverTo(&p)
	if ch.confirms {
		ch.confirm(taken, ticket)
	}
	return nil
}

// publication is a message with the queues that it goes to.
type publication struct {
	message   *message
	targets   []*queue
	mandatory bool
}

// deliverTo puts a message in its queues, or gives it back; taken is false where a queue, or a full disk, refused it. What is kept of it is on disk
// with the ticket.
func (ch *channel) deliverTo(p *publication) (taken bool, ticket uint64) {
	m, j := p.message, ch.conn.broker.journal
	if len(p.targets) == 0 && p.mandatory {
		ch.giveBack(m)
	}
	kept := 0
	for _, q := range p.targets {
		if q.keeps(m) {
			kept++
		}
	}
	if kept > 0 && j.refuses() {
		if ch.confirms || ch.tx != nil {
			return false, 0
		}
		m.unkept, kept = true, 0
	}
	if kept > 1 {
		m.id = j.newID()
	}
	taken = true
	var graves []*queue
	for _, q := range p.targets {
		ok, dead := q.enqueue(m)
		taken = taken && ok
		if dead {
			graves = append(graves, q)
		}
	}
	for _, q := range graves {
		q.bury()
	}
	if kept > 0 {
		j.waitForRoom()
		ticket = j.await(ch)
	}
	return taken, ticket
}

// checkProperties refuses what RabbitMQ refuses, and reads the keys of CC and BCC.
func (ch *channel) checkProperties(m *message, p *wire.Properties) *wire.Error {
	if p.HasExpiration() {
		if n, err := strconv.ParseInt(p.Expiration, 10, 64); err != nil || n < 0 || n > longest {
			return wire.Errorf(wire.PreconditionFailed, "invalid expiration '%s': %s", p.Expiration, expirationFault(p.Expiration))
		}
	}
	if p.UserID != "" && p.UserID != ch.conn.user.Name {
		return wire.Errorf(wire.PreconditionFailed, "user_id property set to '%s' but authenticated user was '%s'", p.UserID, ch.conn.user.Name)
	}
	for _, name := range []string{"CC", "BCC"} {
		v, there := p.Headers[name]
		if !there {
			continue
		}
		list, ok := v.([]any)
		if !ok {
			return wire.Errorf(wire.PreconditionFailed, "invalid message: {unacceptable_type_in_header,%q,%s}", name, typeName(v))
		}
		m.copyTo(list, name == "BCC")
	}
	if _, there := p.Headers["BCC"]; there {
		delete(p.Headers, "BCC")
		body := m.payload()
		list := p.AppendList(nil)
		m.content, m.body = append(list, body...), uint32(len(list))
	}
	return nil
}

// copyTo takes the keys of the CC or BCC header in.
func (m *message) copyTo(keys []any, hidden bool) {
	if m.more == nil {
		m.more = &more{}
	}
	for _, item := range keys {
		key, ok := item.(string)
		if !ok {
			continue // RabbitMQ passes over it too
		}
		m.more.copies = append(m.more.copies, key)
		if hidden {
			m.more.hidden++
		}
	}
}

// expirationFault writes what RabbitMQ says of a text that is no number of milliseconds.
func expirationFault(text string) string {
	digits := 0
	for digits < len(text) && (text[digits] >= '0' && text[digits] <= '9' || digits == 0 && text[0] == '-') {
		digits++
	}
	if digits == 0 || text == "-" {
		return "no_integer"
	}
	if digits == len(text) && text[0] != '-' {
		return fmt.Sprintf("{value_too_large,%s}", text)
	}
	if digits == len(text) {
		return fmt.Sprintf("{value_negative,%s}", text)
	}
	return fmt.Sprintf("{leftover_string,%q}", text[digits:])
}

// giveBack returns a mandatory message that no queue got.
func (ch *channel) giveBack(m *message) {
	i := &item{msg: m}
	ch.conn.out.add(func(b []byte) []byte {
		b, mark := wire.BeginMethod(b, ch.number, wire.BasicReturn)
		b = binary.BigEndian.AppendUint16(b, uint16(wire.NoRoute))
		b = wire.AppendShortString(b, "NO_ROUTE")
		b = wire.AppendShortString(b, m.exchange)
		b = wire.AppendShortString(b, m.key)
		b = wire.EndMethod(b, mark)
		return ch.appendContent(b, i, false)
	})
}
