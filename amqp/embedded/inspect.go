package embedded

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// QueueInfo is what a queue is like at a moment.
type QueueInfo struct {
	Name       string
	Type       string // classic or quorum
	Durable    bool
	Exclusive  bool
	AutoDelete bool
	Arguments  map[string]any // as they were declared
	Ready      int            // messages that no consumer has
	Unacked    int            // messages that are with consumers
	Bytes      int64          // of the bodies of those that are ready
	Dying      int            // dead letters on their way to their exchange
	Consumers  int
}

// ExchangeInfo is what an exchange is like.
type ExchangeInfo struct {
	Name       string
	Kind       string // direct, fanout, topic or headers
	Durable    bool
	AutoDelete bool
	Internal   bool
	Arguments  map[string]any
}

// BindingInfo is a binding of a queue or of an exchange. The default exchange's are not among them.
type BindingInfo struct {
	Exchange   string
	Queue      string // empty where it leads to an exchange
	ToExchange string // empty where it leads to a queue
	Key        string
	Arguments  map[string]any
}

// Message is a message in a queue. What it holds is the broker's: it is not to be changed.
type Message struct {
	Exchange    string
	RoutingKey  string
	Headers     map[string]any // as a consumer would get them, x-death among them
	ContentType string
	MessageID   string
	Body        []byte
	Redelivered bool
	Expires     time.Time // zero: never
}

// Queues are the queues of a virtual host, by name; nil where there is no such virtual host. Looking is no use of a queue (x-expires).
func (b *Broker) Queues(vhost string) []QueueInfo {
	v := b.vhosts[vhost]
	if v == nil {
		return nil
	}
	v.mu.RLock()
	queues := slices.Collect(maps.Values(v.queues))
	v.mu.RUnlock()
	out := make([]QueueInfo, 0, len(queues))
	for _, q := range queues {
		out = append(out, q.info())
	}
	slices.SortFunc(out, func(x, y QueueInfo) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// Queue is the queue of that name; false where there is none.
func (b *Broker) Queue(vhost, name string) (QueueInfo, bool) {
	if q := b.find(vhost, name); q != nil {
		return q.info(), true
	}
	return QueueInfo{}, false
}

func (b *Broker) find(vhost, name string) *queue {
	v := b.vhosts[vhost]
	if v == nil {
		return nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.queues[name]
}

func (q *queue) info() QueueInfo {
	q.mu.Lock()
	defer q.mu.Unlock()
	kind := "classic"
	if q.quorum {
		kind = "quorum"
	}
	return QueueInfo{
		Name: q.name, Type: kind, Durable: q.durable, Exclusive: q.owner != nil, AutoDelete: q.autoDelete, Arguments: plain(q.arguments),
		Ready: q.backlog.len(), Unacked: q.unacked, Bytes: q.backlog.bytes, Dying: int(q.deadCount), Consumers: len(q.consumers),
	}
}

// Messages are those in a queue that no consumer has, from its head, and they stay there; nil where there is no such queue.
func (b *Broker) Messages(vhost, queue string) []Message {
	q := b.find(vhost, queue)
	if q == nil {
		return nil
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	out := make([]Message, 0, q.backlog.len())
	for _, i := range q.backlog.all() {
		out = append(out, i.seen(q.quorum))
	}
	return out
}

// seen is the item as somebody sees it who does not consume it.
func (i *item) seen(quorum bool) Message {
	p := i.properties(quorum)
	m := Message{
		Exchange: i.msg.exchange, RoutingKey: i.msg.key, Headers: plain(p.Headers), ContentType: p.ContentType, MessageID: p.MessageID,
		Body: i.msg.payload(), Redelivered: i.redelivered(quorum),
	}
	if i.expires != 0 {
		m.Expires = time.Unix(0, i.expires)
	}
	return m
}

// Exchanges are the exchanges of a virtual host, by name, those that begin with amq. among them; nil where there is no such virtual host.
func (b *Broker) Exchanges(vhost string) []ExchangeInfo {
	v := b.vhosts[vhost]
	if v == nil {
		return nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	var out []ExchangeInfo
	for _, x := range v.exchanges {
		out = append(out, ExchangeInfo{x.name, x.kind, x.durable, x.autoDelete, x.internal, plain(x.arguments)})
	}
	slices.SortFunc(out, func(x, y ExchangeInfo) int { return cmp.Compare(x.Name, y.Name) })
	return out
}

// Bindings are the bindings of a virtual host, by exchange, key and what they lead to; nil where there is no such virtual host.
func (b *Broker) Bindings(vhost string) []BindingInfo {
	v := b.vhosts[vhost]
	if v == nil {
		return nil
	}
	v.mu.RLock()
	defer v.mu.RUnlock()
	var out []BindingInfo
	for _, x := range v.exchanges {
		for _, list := range x.bindings {
			for _, b := range list {
				info := BindingInfo{Exchange: x.name, Key: b.key, Arguments: plain(b.arguments)}
				if b.queue != nil {
					info.Queue = b.queue.name
				} else {
					info.ToExchange = b.exchange.name
				}
				out = append(out, info)
			}
		}
	}
	slices.SortFunc(out, func(x, y BindingInfo) int {
		return cmp.Or(cmp.Compare(x.Exchange, y.Exchange), cmp.Compare(x.Key, y.Key), cmp.Compare(x.Queue, y.Queue), cmp.Compare(x.ToExchange, y.ToExchange))
	})
	return out
}

// plain is a table in types that everybody has; nil where it is empty.
func plain(t wire.Table) map[string]any {
	if len(t) == 0 {
		return nil
	}
	return plainValue(t).(map[string]any)
}

func plainValue(v any) any {
	switch v := v.(type) {
	case wire.Table:
		out := make(map[string]any, len(v))
		for name, inner := range v {
			out[name] = plainValue(inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = plainValue(inner)
		}
		return out
	case wire.Decimal:
		return float64(v.Value) / math.Pow10(int(v.Scale))
	}
	return v
}
