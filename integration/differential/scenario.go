// Package differential plays the same random scenario on the embedded broker and on RabbitMQ, and compares all that a client sees: confirms and returns,
// what it fetches and is delivered, how many messages each queue holds after each step, and in the end every message with its headers.
package differential

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// Scenario is a topology and what is done on it. Names in it are without the prefix that each run has of its own.
type Scenario struct {
	Seed      uint64
	Exchanges []Exchange
	Queues    []Queue
	Bindings  []Binding
	Steps     []Step
}

// Exchange is an exchange of a scenario.
type Exchange struct {
	Name, Kind, Alternate string
}

// Queue is a queue of a scenario. Its dead-letter exchange and key are in the arguments without prefix.
type Queue struct {
	Name string
	Args amqp091.Table
}

// Binding binds a queue, or an exchange where ToExchange is set.
type Binding struct {
	From, To   string
	ToExchange bool
	Key        string
	Args       amqp091.Table
}

// Step is one thing that a client does. Which fields count is for what it does.
type Step struct {
	Do       string // publish, get, settle, consume, cancel, close, purge, bind, unbind, commit
	Exchange string
	Key      string
	Queue    string
	Message  amqp091.Publishing
	Many     int // messages published at once
	NoAck    bool
	Which    int // of the deliveries that are held, from the oldest, modulo their number
	How      string
	Multiple bool
	Prefetch int
	Binding  Binding
}

// Times to live in milliseconds. A short one is long enough for a message to be where it goes before it expires, and short enough to wait for; longTTL
// never passes. Messages have shortTTL and each queue one of its own: what expires at the same moment in two queues dies in any order.
const (
	shortTTL    = 30
	shortestTTL = 60 // of queues
	apartTTL    = 30
	longestTTL  = shortestTTL + (mostQueues-1)*apartTTL
	longTTL     = 3_600_000
)

const mostQueues = 4

// maker makes a scenario of random numbers. Where queues refuse messages there are no dead letters: whether a queue is full when a message comes
// would be a matter of how quickly these come. One queue at most makes dead letters of a short time to live: two that send theirs to each other do so
// in two ways that take equally long, of which now this and now that is the first.
type maker struct {
	*rand.Rand
	*Scenario
	refusing bool
	ticking  bool // a queue makes dead letters of a short time to live
}

func (m *maker) one(of ...string) string { return of[m.IntN(len(of))] }

func (m *maker) chance(percent int) bool { return m.IntN(100) < percent }

// New makes the scenario of a seed.
func New(seed uint64) *Scenario {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 1)), Scenario: &Scenario{Seed: seed}}
	m.refusing = m.chance(30)
	m.exchanges()
	m.queues()
	m.bindings()
	for range 15 + m.IntN(25) {
		m.Steps = append(m.Steps, m.step())
	}
	return m.Scenario
}

func (m *maker) exchanges() {
	for i := range 2 + m.IntN(3) {
		x := Exchange{Name: fmt.Sprint("x", i), Kind: m.one("direct", "topic", "fanout", "headers", "topic")}
		if i > 0 && m.chance(40) {
			x.Alternate = fmt.Sprint("x", m.IntN(i))
		}
		m.Exchanges = append(m.Exchanges, x)
	}
}

func (m *maker) exchange() string { return m.Exchanges[m.IntN(len(m.Exchanges))].Name }

func (m *maker) queue() string { return m.Queues[m.IntN(len(m.Queues))].Name }

func (m *maker) queues() {
	n := 2 + m.IntN(mostQueues-1)
	for i := range n {
		m.Queues = append(m.Queues, Queue{Name: fmt.Sprint("q", i), Args: amqp091.Table{}})
	}
	for i := range m.Queues {
		m.arguments(m.Queues[i].Args, int32(shortestTTL+i*apartTTL))
	}
}

func (m *maker) arguments(a amqp091.Table, ttl int32) {
	quorum := m.chance(40)
	if quorum {
		a["x-queue-type"] = "quorum"
		if m.chance(40) {
			a["x-delivery-limit"] = int32(m.IntN(3))
		}
	}
	if !m.refusing && m.chance(60) {
		a["x-dead-letter-exchange"] = m.one("", m.exchange())
		if m.chance(60) || a["x-dead-letter-exchange"] == "" {
			a["x-dead-letter-routing-key"] = m.one(m.queue(), m.key())
		}
	}
	switch {
	case m.chance(20):
		if dead := a["x-dead-letter-exchange"] != nil; !dead || !m.ticking {
			a["x-message-ttl"], m.ticking = ttl, m.ticking || dead
		}
	case m.chance(10):
		a["x-message-ttl"] = int32(longTTL)
	}
	if m.chance(30) {
		a[m.one("x-max-length", "x-max-length-bytes")] = int32(1 + m.IntN(4))
		if m.refusing && m.chance(70) {
			a["x-overflow"] = "reject-publish"
		}
	}
	if !quorum && m.chance(15) { // quorum queues with one have no basic.get
		a["x-single-active-consumer"] = true
	}
}

func (m *maker) key() string { return m.one("a", "b", "a.b", "b.c.a", "") }

func (m *maker) bindings() {
	for range 3 + m.IntN(6) {
		m.Bindings = append(m.Bindings, m.binding())
	}
	if m.chance(50) {
		m.Bindings = append(m.Bindings, Binding{From: m.exchange(), To: m.exchange(), ToExchange: true, Key: m.pattern(), Args: m.match()})
	}
}

func (m *maker) binding() Binding {
	return Binding{From: m.exchange(), To: m.queue(), Key: m.pattern(), Args: m.match()}
}

func (m *maker) pattern() string { return m.one("a", "b", "#", "a.*", "*.b", "#.a", "*", "a.#", "") }

func (m *maker) match() amqp091.Table {
	if m.chance(60) {
		return nil
	}
	return amqp091.Table{"x-match": m.one("all", "any", "all-with-x", "any-with-x"), "h": int32(m.IntN(2)), m.one("g", "x-g"): m.one("1", "2")}
}

func (m *maker) step() Step {
	switch n := m.IntN(100); {
	case n < 45:
		return m.publish()
	case n < 62:
		return Step{Do: "get", Queue: m.queue(), NoAck: m.chance(30)}
	case n < 82:
		return Step{Do: "settle", Which: m.IntN(10), How: m.one("ack", "reject", "requeue", "nack", "requeue"), Multiple: m.chance(20) && !m.oneByOne()}
	case n < 89:
		return Step{Do: "consume", Queue: m.queue(), Prefetch: 1 + m.IntN(3)}
	case n < 92:
		return Step{Do: "cancel", Which: m.IntN(10)}
	case n < 95 && !m.oneByOne():
		return Step{Do: "close", Which: m.IntN(10)}
	case n < 96:
		return Step{Do: "purge", Queue: m.queue()}
	case n < 98:
		return Step{Do: "bind", Binding: m.binding()}
	}
	return Step{Do: "unbind", Binding: m.Bindings[m.IntN(len(m.Bindings))]}
}

// oneByOne reports whether messages have to come one by one, for the outcome to be certain: a quorum queue refuses messages only some time after
// it is full, when a publisher may have sent more; what it dead-letters at once may come in any order; and of what is published at once, some may come
// before what the first push out of their queues, and some after it.
func (m *maker) oneByOne() bool {
	return slices.ContainsFunc(m.Queues, func(q Queue) bool {
		dead, limited := q.Args["x-dead-letter-exchange"] != nil, q.Args["x-max-length"] != nil || q.Args["x-max-length-bytes"] != nil
		return q.quorum() && (q.Args["x-overflow"] != nil || dead) || dead && limited
	})
}

func (q Queue) quorum() bool { return q.Args["x-queue-type"] == "quorum" }

func (m *maker) publish() Step {
	s := Step{Do: "publish", Exchange: m.exchange(), Key: m.key(), Many: 1}
	if m.chance(35) {
		s.Exchange, s.Key = "", m.queue()
	}
	if m.chance(25) && !m.oneByOne() {
		s.Many = 2 + m.IntN(4)
	}
	p := &s.Message
	p.DeliveryMode = uint8(1 + m.IntN(2))
	p.Headers = amqp091.Table{}
	if m.chance(50) {
		p.Headers["h"] = int32(m.IntN(2))
		p.Headers[m.one("g", "x-g")] = m.one("1", "2")
	}
	if m.chance(10) {
		p.Headers[m.one("CC", "BCC")] = []any{m.one(m.queue(), m.key()), m.key()}
	}
	switch {
	case m.chance(15):
		p.Expiration, s.Many = fmt.Sprint(shortTTL), 1
	case m.chance(10):
		p.Expiration = fmt.Sprint(longTTL)
	}
	return s
}

// String tells the scenario, for who looks for a difference.
func (s *Scenario) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\n", s.Seed)
	for _, x := range s.Exchanges {
		fmt.Fprintf(&b, "exchange %s %s alternate=%q\n", x.Name, x.Kind, x.Alternate)
	}
	for _, q := range s.Queues {
		fmt.Fprintf(&b, "queue %s %s\n", q.Name, show(q.Args))
	}
	for _, x := range s.Bindings {
		fmt.Fprintf(&b, "bind %s -> %s %q %s\n", x.From, x.To, x.Key, show(x.Args))
	}
	return b.String()
}

func (s Step) String() string {
	switch s.Do {
	case "publish":
		return fmt.Sprintf("publish %d to %q %q %s expiration=%q mode=%d", s.Many, s.Exchange, s.Key, show(s.Message.Headers), s.Message.Expiration, s.Message.DeliveryMode)
	case "get":
		return fmt.Sprintf("get %s noack=%v", s.Queue, s.NoAck)
	case "settle":
		return fmt.Sprintf("settle %d %s multiple=%v", s.Which, s.How, s.Multiple)
	case "consume":
		return fmt.Sprintf("consume %s prefetch=%d", s.Queue, s.Prefetch)
	case "cancel", "close":
		return fmt.Sprintf("%s %d", s.Do, s.Which)
	case "purge":
		return "purge " + s.Queue
	}
	return fmt.Sprintf("%s %s -> %s %q %s", s.Do, s.Binding.From, s.Binding.To, s.Binding.Key, show(s.Binding.Args))
}

// show prints a table in the order of its names, so that equal tables are printed alike.
func show(v any) string {
	switch v := v.(type) {
	case amqp091.Table:
		var parts []string
		for name, inner := range v {
			parts = append(parts, name+":"+show(inner))
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, " ") + "}"
	case []any:
		var parts []string
		for _, inner := range v {
			parts = append(parts, show(inner))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprintf("%v(%T)", v, v)
}
