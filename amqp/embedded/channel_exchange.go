package embedded

import (
	"strings"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

func (ch *channel) exchangeMethod(m wire.Method, d *wire.Decoder) *wire.Error {
	switch m {
	case wire.ExchangeDeclare:
		return ch.declareExchange(d)
	case wire.ExchangeDelete:
		return ch.deleteExchange(d)
	case wire.ExchangeBind, wire.ExchangeUnbind:
		d.Short()
		to, from, key, noWait := d.ShortString(), d.ShortString(), d.ShortString(), d.Bit()
		arguments := d.Table()
		if d.Err != nil {
			return nil // told by the caller
		}
		b := binder{ch, from, key, arguments, m == wire.ExchangeBind}
		if fault := b.exchanges(to); fault != nil {
			return fault
		}
		ok := wire.ExchangeBindOK
		if !b.add {
			ok = wire.ExchangeUnbindOK
		}
		ch.replyKept(noWait, ok, nil)
		return nil
	}
	return unimplemented()
}

func defaultExchange() *wire.Error {
	return wire.Errorf(wire.AccessRefused, "operation not permitted on the default exchange")
}

func (ch *channel) declareExchange(d *wire.Decoder) *wire.Error {
	d.Short()
	name, kind := d.ShortString(), d.ShortString()
	passive, durable, autoDelete, internal, noWait := d.Bit(), d.Bit(), d.Bit(), d.Bit(), d.Bit()
	arguments := d.Table()
	if d.Err != nil {
		return nil // told by the caller
	}
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.exchanges[name]
	switch {
	case name == "":
		return defaultExchange()
	case passive && x == nil:
		return noExchange(v.name, name)
	case passive:
	case x != nil:
		if fault := x.differs(v.name, kind, durable, autoDelete, internal, arguments); fault != nil {
			return fault
		}
	case strings.HasPrefix(name, "amq."):
		return wire.Errorf(wire.AccessRefused, "exchange name '%s' contains reserved prefix 'amq.*'", name)
	default:
		x = newExchange(name, kind)
		x.durable, x.autoDelete, x.internal, x.arguments = durable, autoDelete, internal, arguments
		switch kind {
		case "direct", "fanout", "topic", "headers":
		default:
			return wire.Errorf(wire.PreconditionFailed, "unknown exchange type '%s'", kind)
		}
		if alternate, there := arguments["alternate-exchange"]; there {
			text, ok := alternate.(string)
			if !ok {
				return wire.Errorf(wire.PreconditionFailed, "invalid arg 'alternate-exchange' for exchange '%s' in vhost '%s': expected longstr, got %s", name, v.name, typeName(alternate))
			}
			x.alternate = text
		}
		v.exchanges[name] = x
		v.keepExchange(x)
	}
	ch.replyKept(noWait, wire.ExchangeDeclareOK, nil)
	return nil
}

// differs compares a declaration with what is there.
func (x *exchange) differs(vhost, kind string, durable, autoDelete, internal bool, arguments wire.Table) *wire.Error {
	if kind != x.kind {
		return differ("type", "exchange", x.name, vhost, "'"+kind+"'", "'"+x.kind+"'")
	}
	for _, f := range []struct {
		name          string
		received, now bool
	}{{"durable", durable, x.durable}, {"auto_delete", autoDelete, x.autoDelete}, {"internal", internal, x.internal}} {
		if f.received != f.now {
			return differ(f.name, "exchange", x.name, vhost, quotedBool(f.received), quotedBool(f.now))
		}
	}
	return inequivalent("exchange", x.name, vhost, []string{"alternate-exchange"}, arguments, x.arguments)
}

func quotedBool(b bool) string {
	if b {
		return "'true'"
	}
	return "'false'"
}

func (ch *channel) deleteExchange(d *wire.Decoder) *wire.Error {
	d.Short()
	name, ifUnused, noWait := d.ShortString(), d.Bit(), d.Bit()
	v := ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.exchanges[name]
	switch {
	case name == "":
		return defaultExchange()
	case strings.HasPrefix(name, "amq."):
		return wire.Errorf(wire.AccessRefused, "deletion of system exchange '%s' in vhost '%s' not allowed", name, v.name)
	case x == nil:
	case ifUnused && x.count > 0:
		return wire.Errorf(wire.PreconditionFailed, "exchange '%s' in vhost '%s' in use", name, v.name)
	default:
		v.deleteExchange(x)
	}
	ch.replyKept(noWait, wire.ExchangeDeleteOK, nil)
	return nil
}

// binder makes or takes away one binding.
type binder struct {
	ch        *channel
	from      string
	key       string
	arguments wire.Table
	add       bool
}

func (b *binder) exchanges(to string) *wire.Error {
	v := b.ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if to == "" || b.from == "" {
		return defaultExchange()
	}
	x := v.exchanges[to]
	if x == nil {
		if b.add {
			return noExchange(v.name, to)
		}
		return nil
	}
	return b.bind(destination{exchange: x}, x.incoming)
}

// queueNamed is for a queue of that name; where both the name and the key are empty, the key is the queue's name too.
func (b *binder) queueNamed(name string) *wire.Error {
	meant, fault := b.ch.meant(name)
	if fault != nil {
		return fault
	}
	if name == "" && b.key == "" {
		b.key = meant
	}
	return b.queue(meant)
}

func (b *binder) queue(name string) *wire.Error {
	v := b.ch.conn.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if b.from == "" {
		return defaultExchange()
	}
	q := v.queues[name]
	if q == nil {
		if b.add {
			return noQueue(v.name, name)
		}
		return nil
	}
	if fault := q.accessible(b.ch.conn); fault != nil {
		return fault
	}
	return b.bind(destination{queue: q}, q.incoming)
}

// bind does it; the vhost's lock is held.
func (b *binder) bind(to destination, incoming map[*binding]struct{}) *wire.Error {
	v := b.ch.conn.vhost
	x := v.exchanges[b.from]
	if x == nil {
		if b.add {
			return noExchange(v.name, b.from)
		}
		return nil
	}
	if !b.add {
		if gone := x.remove(to, b.key, b.arguments); gone != nil {
			delete(incoming, gone)
			v.forgetBinding(gone)
			v.dropUnbound(x)
		}
		return nil
	}
	made, fault := x.bind(to, b.key, b.arguments)
	if made != nil {
		incoming[made] = struct{}{}
		v.keepBinding(made)
	}
	return fault
}
