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
	body      []byte
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
	if len(in.body)+len(payload) > in.size {
		return wire.Errorf(wire.UnexpectedFrame, "the body is longer than its header says")
	}
	if in.body == nil {
		in.body = make([]byte, 0, min(in.size, max(len(payload), 2*ch.conn.frameMax)))
	}
	in.body = append(in.body, payload...)
	if len(in.body) == in.size {
		return ch.received()
	}
	return nil
}

// received publishes the message that is whole now.
func (ch *channel) received() *wire.Error {
	in := ch.incoming
	ch.incoming = nil
	m := &message{exchange: in.exchange, keys: []string{in.key}, props: in.props, body: in.body}
	if fault := ch.checkProperties(m); fault != nil {
		return fault
	}
	v := ch.conn.vhost
	targets, there := v.route(in.exchange, m)
	if !there {
		return noExchange(v.name, in.exchange)
	}
	if len(targets) == 0 && in.mandatory {
		ch.giveBack(m)
	}
	taken := true
	for _, q := range targets {
		taken = q.enqueue(m) && taken
	}
	if ch.confirms {
		ch.confirm(taken)
	}
	return nil
}

// checkProperties refuses what RabbitMQ refuses, and reads the keys of CC and BCC.
func (ch *channel) checkProperties(m *message) *wire.Error {
	p := &m.props
	if p.HasExpiration() {
		if n, err := strconv.ParseInt(p.Expiration, 10, 64); err != nil || n < 0 || n > longest {
			return wire.Errorf(wire.PreconditionFailed, "invalid expiration '%s': %s", p.Expiration, expirationFault(p.Expiration))
		}
	}
	if p.UserID != "" && p.UserID != ch.conn.user {
		return wire.Errorf(wire.PreconditionFailed, "user_id property set to '%s' but authenticated user was '%s'", p.UserID, ch.conn.user)
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
		for _, item := range list {
			key, ok := item.(string)
			if !ok {
				continue // RabbitMQ passes over it too
			}
			m.keys = append(m.keys, key)
			if name == "BCC" {
				m.hidden++
			}
		}
	}
	if _, there := p.Headers["BCC"]; there {
		headers := make(wire.Table, len(p.Headers))
		for name, v := range p.Headers {
			if name != "BCC" {
				headers[name] = v
			}
		}
		p.Headers = headers
	}
	return nil
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
		b = wire.AppendShortString(b, m.keys[0])
		b = wire.EndMethod(b, mark)
		return ch.appendContent(b, i, false)
	})
}

// maxConfirms is how many confirms wait at most for others to go with.
const maxConfirms = 64

// confirm answers a message: a positive answer may wait for others.
func (ch *channel) confirm(taken bool) {
	ch.published++
	if !taken {
		ch.published--
		ch.flushConfirms()
		ch.published++
		ch.confirmed = ch.published
		ch.send(wire.BasicNack, func(b []byte) []byte {
			return append(binary.BigEndian.AppendUint64(b, ch.published), 0)
		})
		return
	}
	if ch.published-ch.confirmed == 1 {
		ch.conn.dirty = append(ch.conn.dirty, ch)
	}
	if ch.published-ch.confirmed >= maxConfirms {
		ch.flushConfirms()
	}
}

func (ch *channel) flushConfirms() {
	n := ch.published - ch.confirmed
	if n == 0 || ch.closing {
		return
	}
	ch.confirmed = ch.published
	ch.send(wire.BasicAck, func(b []byte) []byte {
		return appendBool(binary.BigEndian.AppendUint64(b, ch.published), n > 1)
	})
}
