package embedded

import (
	"strconv"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// message is a message as it was published. It is shared by all queues that it is in, and never changed.
type message struct {
	exchange string
	keys     []string // the routing key, those of the CC header, those of BCC
	hidden   int      // of keys, the last: BCC's, which no header shows
	props    wire.Properties
	body     []byte
	deaths   []death // newest first
}

// death is an entry of x-death: how often a message was dead-lettered from a queue for a reason.
type death struct {
	queue, reason string
	count         int64
	exchange      string
	keys          []string
	first         time.Time
	expiration    string // that the publisher had given, and that is not in force any more
}

// item is a message in one queue.
type item struct {
	msg         *message
	seq         uint64    // its place in the queue
	expires     time.Time // zero: never
	redelivered bool
	returned    int // times that it came back (quorum queues count them)
}

func (i *item) size() int { return len(i.msg.body) }

// expiration reads the property; false where there is none.
func (m *message) expiration() (time.Duration, bool) {
	if !m.props.HasExpiration() {
		return 0, false
	}
	ms, err := strconv.ParseInt(m.props.Expiration, 10, 64)
	return time.Duration(ms) * time.Millisecond, err == nil
}

// header is the content header that the item is delivered with.
func (i *item) header(b []byte, quorum bool) []byte {
	m := i.msg
	if len(m.deaths) == 0 && (!quorum || i.returned == 0) {
		return m.props.AppendHeader(b, len(m.body))
	}
	props := m.props
	props.Headers = wire.Table{}
	for name, v := range m.props.Headers {
		props.Headers[name] = v
	}
	if quorum && i.returned > 0 {
		props.Headers["x-delivery-count"] = int64(i.returned)
	}
	if len(m.deaths) > 0 {
		writeDeaths(props.Headers, m.deaths)
	}
	return props.AppendHeader(b, len(m.body))
}

// writeDeaths writes x-death and the headers beside it, as RabbitMQ 4 does.
func writeDeaths(h wire.Table, deaths []death) {
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
	h["x-last-death-queue"], h["x-last-death-reason"], h["x-last-death-exchange"] = last.queue, last.reason, last.exchange
}
