package embedded

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// message is a message as it was published. It is shared by all queues that it is in, and never changed. Since there may be millions, it is kept
// as it came: its properties are read again where they are needed.
type message struct {
	*address
	content    []byte // the list of properties, as on the wire, and the body
	more       *more  // nil for most
	holders    atomic.Int32
	body       uint32 // where the body begins in content
	persistent bool
	expiring   bool   // it has a time to live of its own
	unkept     bool   // it was published without a confirm while the disk was full, and is in memory only
	id         uint64 // in the data folder, where it is in more than one queue
}

// address is where a message was published to. Messages of one publisher share it.
type address struct{ exchange, key string }

// more is what few messages have.
type more struct {
	copies   []string // the keys of the CC header, then those of BCC
	hidden   int      // of copies, the last: BCC's, which no header shows
	deaths   []death  // newest first
	lastFrom string   // the exchange that it was published to before its last death
	failed   uint32   // times that it was rejected in quorum queues: the next of them begins its count with them
}

// newMessage makes a message of its properties and its body.
func newMessage(to *address, props *wire.Properties, body []byte) *message {
	list := props.AppendList(nil)
	m := &message{address: to, content: append(list, body...), body: uint32(len(list))}
	m.note(props)
	return m
}

// note takes down what is asked of a message often.
func (m *message) note(props *wire.Properties) {
	m.persistent, m.expiring = props.DeliveryMode == persistentMode, props.HasExpiration()
}

// persistentMode is the delivery mode of messages that are to outlive the broker.
const persistentMode = 2

func (m *message) list() []byte { return m.content[:m.body] }

func (m *message) payload() []byte { return m.content[m.body:] }

// properties reads the message's properties. They were read before, so that nothing can be wrong with them.
func (m *message) properties() wire.Properties {
	p, _ := wire.ReadList(m.list())
	return p
}

// keyCount and keyAt are the keys that the message is routed by: its own, those of CC, those of BCC.
func (m *message) keyCount() int {
	if m.more == nil {
		return 1
	}
	return 1 + len(m.more.copies)
}

func (m *message) keyAt(at int) string {
	if at == 0 {
		return m.key
	}
	return m.more.copies[at-1]
}

// shownKeys are the keys without those of BCC.
func (m *message) shownKeys() []string {
	keys := []string{m.key}
	if m.more != nil {
		keys = append(keys, m.more.copies[:len(m.more.copies)-m.more.hidden]...)
	}
	return keys
}

func (m *message) deaths() []death {
	if m.more == nil {
		return nil
	}
	return m.more.deaths
}

// expiration is the message's own time to live; false where there is none.
func (m *message) expiration() (time.Duration, bool) {
	if !m.expiring {
		return 0, false
	}
	p := m.properties()
	ms, err := strconv.ParseInt(p.Expiration, 10, 64)
	return time.Duration(ms) * time.Millisecond, err == nil
}

// messageOverhead is about what a message takes in memory besides its content: itself and its address.
const messageOverhead = 128

func (m *message) weight() int64 { return int64(cap(m.content)) + messageOverhead }

// death is an entry of x-death: how often a message was dead-lettered from a queue for a reason.
type death struct {
	queue, reason string
	count         int64
	exchange      string // of the first time, as the rest
	keys          []string
	first         time.Time
	expiration    string // that the publisher had given, and that is not in force any more
}

// item is a message in one queue.
type item struct {
	msg      *message
	seq      uint64 // its place in the queue
	expires  int64  // nanoseconds of Unix time; 0: never
	returned uint32 // times that it came back (quorum queues count them)
	kept     uint32 // what the journal knows of it, which guards it
}

// itemOverhead is about what an item takes in memory, with its place in the backlog.
const itemOverhead = 48

func (i *item) size() int { return i.msg.size() }

func (m *message) size() int { return len(m.content) - int(m.body) }

// stored is about how many bytes the item takes in a data folder.
func (i *item) stored() int64 { return int64(len(i.msg.content)) + recordOverhead }

func (i *item) redelivered(quorum bool) bool { return i.returned > 0 || quorum && i.deliveries() > 0 }

// deliveries is what quorum queues tell as x-delivery-count: how often the message has come back here, or as long as it has not, how often it was
// rejected in the quorum queues that it was in before.
func (i *item) deliveries() uint32 {
	if i.returned == 0 && i.msg.more != nil {
		return i.msg.more.failed
	}
	return i.returned
}

func (i *item) expired(now time.Time) bool { return i.expires != 0 && i.expires <= now.UnixNano() }

// header is the content header that the item is delivered with.
func (i *item) header(b []byte, quorum bool) []byte {
	if m := i.msg; len(m.deaths()) == 0 && (!quorum || i.deliveries() == 0) {
		return wire.AppendHeader(b, i.size(), m.list())
	}
	p := i.properties(quorum)
	return p.AppendHeader(b, i.size())
}

// properties are those that the item is delivered with.
func (i *item) properties(quorum bool) wire.Properties {
	m := i.msg
	deaths := m.deaths()
	props := m.properties()
	if len(deaths) == 0 && (!quorum || i.deliveries() == 0) {
		return props
	}
	if props.Headers == nil {
		props.Headers = wire.Table{}
	}
	if count := i.deliveries(); quorum && count > 0 {
		props.Headers["x-delivery-count"] = int64(count)
	}
	if len(deaths) > 0 {
		writeDeaths(props.Headers, m.more)
	}
	return props
}

// writeDeaths writes x-death and the headers beside it, as RabbitMQ 4 does.
func writeDeaths(h wire.Table, m *more) {
	deaths := m.deaths
	list := make([]any, len(deaths))
	for i, d := range deaths {
		keys := make([]any, len(d.keys))
		for j, key := range d.keys {
			keys[j] = key
		}
		entry := wire.Table{
			"count": d.count, "reason": d.reason, "queue": d.queue, "exchange": d.exchange, "routing-keys": keys, "time": d.first,
		}
		if d.expiration != "" {
			entry["original-expiration"] = d.expiration
		}
		list[i] = entry
	}
	h["x-death"] = list
	first, last := deaths[0], deaths[0]
	for _, d := range deaths {
		if !d.first.After(first.first) {
			first = d // of those at the same moment, the one further down is older
		}
	}
	h["x-first-death-queue"], h["x-first-death-reason"], h["x-first-death-exchange"] = first.queue, first.reason, first.exchange
	h["x-last-death-queue"], h["x-last-death-reason"], h["x-last-death-exchange"] = last.queue, last.reason, m.lastFrom
}
