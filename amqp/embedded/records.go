package embedded

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// The kinds of records in the data folder, which are the first byte of their keys. Then comes the number of the exchange, queue or binding;
// in those of messages that of the queue, and the message's place in it.
const (
	recordExchange = 'x'
	recordQueue    = 'q'
	recordBinding  = 'b'
	recordItem     = 'i'
	recordMark     = 'm' // what changed of an item since it was written
)

// recordOverhead is about what the record of a message takes besides its content.
const recordOverhead = 64

func appendKey(b []byte, kind byte, numbers ...uint64) []byte {
	b = append(b, kind)
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	return b
}

// What the journal knows of an item: whether it is written, and what is or will be written of it.
const (
	keptState       = 3 // one of the four that follow
	keptPending     = 1
	keptStored      = 2
	keptGone        = 3
	keptDelivered   = 1 << 2 // a consumer may have it
	keptMarked      = 1 << 3 // there is a mark for it
	keptReasons     = 4      // where its reason to be a dead letter begins, in three bits; 0: none
	keptReturns     = 7      // where the number of times begins that it has come back
	keptMostReturns = 1<<25 - 1
)

var reasons = []string{"", diedRejected, diedExpired, diedMaxLen, diedLimit}

func keptReason(reason string) uint32 { return uint32(slices.Index(reasons, reason)) << keptReasons }

// errRecord: a record that cannot be read though its checksum is right.
var errRecord = errors.New("it cannot be read")

func appendMark(b []byte, state uint32) []byte {
	return binary.BigEndian.AppendUint32(b, state&^keptState)
}

// appendItem writes a message in a queue.
func appendItem(b []byte, c *change) []byte {
	m := c.item.msg
	b = appendMark(b, c.state)
	b = binary.BigEndian.AppendUint64(b, uint64(c.expires))
	b = binary.BigEndian.AppendUint64(b, m.id)
	b = wire.AppendShortString(b, m.exchange)
	b = wire.AppendShortString(b, m.key)
	b = appendMore(b, m.more)
	b = binary.BigEndian.AppendUint32(b, m.body)
	return append(b, m.content...)
}

func readItem(value []byte) (i *item, state uint32, err error) {
	d := wire.NewDecoder(value)
	state = d.Long()
	i = &item{expires: int64(d.LongLong())}
	m := &message{id: d.LongLong(), address: &address{d.ShortString(), d.ShortString()}, more: readMore(d), body: d.Long()}
	i.msg = m
	m.content = slices.Clone(d.Rest())
	if d.Err != nil || int64(m.body) > int64(len(m.content)) {
		return nil, 0, errRecord
	}
	props, err := wire.ReadList(m.list())
	if err != nil {
		return nil, 0, errRecord
	}
	m.note(&props)
	return i, state, nil
}

// How what few messages have begins.
const (
	moreNone  = iota
	morePlain // without deaths, or as before moreDead was
	moreDead  // with deaths; how often it was rejected and where it was published to last come first
)

func appendMore(b []byte, m *more) []byte {
	switch {
	case m == nil:
		return append(b, moreNone)
	case len(m.deaths) > 0:
		b = binary.BigEndian.AppendUint32(append(b, moreDead), m.failed)
		b = wire.AppendShortString(b, m.lastFrom)
	default:
		b = append(b, morePlain)
	}
	b = appendTexts(b, m.copies)
	b = binary.BigEndian.AppendUint32(b, uint32(m.hidden))
	b = binary.BigEndian.AppendUint32(b, uint32(len(m.deaths)))
	for _, d := range m.deaths {
		b = wire.AppendShortString(b, d.queue)
		b = wire.AppendShortString(b, d.reason)
		b = binary.BigEndian.AppendUint64(b, uint64(d.count))
		b = wire.AppendShortString(b, d.exchange)
		b = appendTexts(b, d.keys)
		b = binary.BigEndian.AppendUint64(b, uint64(d.first.UnixNano()))
		b = wire.AppendShortString(b, d.expiration)
	}
	return b
}

func readMore(d *wire.Decoder) *more {
	m := &more{}
	switch d.Octet() {
	case moreNone:
		return nil
	case moreDead:
		m.failed, m.lastFrom = d.Long(), d.ShortString()
	}
	m.copies, m.hidden = readTexts(d), int(d.Long())
	for range d.Long() {
		if d.Err != nil {
			return nil
		}
		m.deaths = append(m.deaths, death{
			queue: d.ShortString(), reason: d.ShortString(), count: int64(d.LongLong()), exchange: d.ShortString(), keys: readTexts(d),
			first: time.Unix(0, int64(d.LongLong())), expiration: d.ShortString(),
		})
	}
	if m.lastFrom == "" && len(m.deaths) > 0 {
		m.lastFrom = m.deaths[0].exchange
	}
	if m.hidden > len(m.copies) {
		d.Err = errRecord
	}
	return m
}

func appendTexts(b []byte, texts []string) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(texts)))
	for _, t := range texts {
		b = wire.AppendLongString(b, t)
	}
	return b
}

func readTexts(d *wire.Decoder) []string {
	var out []string
	for range d.Long() {
		if d.Err != nil {
			return nil
		}
		out = append(out, d.LongString())
	}
	return out
}

// The flags of exchanges and queues.
const (
	flagAutoDelete = 1 << iota
	flagInternal
)

func appendExchange(vhost string, x *exchange) []byte {
	b := wire.AppendShortString(nil, vhost)
	b = wire.AppendShortString(b, x.name)
	b = wire.AppendShortString(b, x.kind)
	var flags byte
	if x.autoDelete {
		flags |= flagAutoDelete
	}
	if x.internal {
		flags |= flagInternal
	}
	return wire.AppendTable(append(b, flags), x.arguments)
}

func appendQueue(q *queue) []byte {
	b := wire.AppendShortString(nil, q.vhost.name)
	b = wire.AppendShortString(b, q.name)
	var flags byte
	if q.autoDelete {
		flags |= flagAutoDelete
	}
	return wire.AppendTable(append(b, flags), q.arguments)
}

func appendBinding(vhost string, b *binding) []byte {
	out := wire.AppendShortString(nil, vhost)
	out = wire.AppendShortString(out, b.source.name)
	if b.queue != nil {
		out = wire.AppendShortString(append(out, 0), b.queue.name)
	} else {
		out = wire.AppendShortString(append(out, 1), b.exchange.name)
	}
	out = wire.AppendShortString(out, b.key)
	return wire.AppendTable(out, b.arguments)
}
