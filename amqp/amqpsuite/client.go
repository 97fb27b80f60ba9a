// Package amqpsuite holds package amqp to what it promises, on the embedded broker and on RabbitMQ alike. (That the two brokers are alike is
// for amqp/embedded/conformance.)
package amqpsuite

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// Client holds package amqp to what it promises, on the broker at url. Every queue that it makes begins with prefix.
func Client(t *testing.T, url string) {
	for _, tt := range []struct {
		name string
		test func(t *testing.T, c *client)
	}{
		{"everything of an event survives the way", everythingSurvives},
		{"what no queue takes is told, among much that is taken", unroutableIsTold},
		{"a full queue refuses, and nothing is dropped", fullQueueRefuses},
		{"a confirm says what became of its own message", confirmsAreTold},
		{"a message over the broker's size is told, and others go on", tooLargeIsTold},
		{"what cannot be on the wire is refused before it closes the connection", invalidIsRefused},
		{"headers as large as the broker takes them, and no larger", headersUpToALimit},
		{"an exchange that is not there is told", noExchangeIsTold},
		{"an exchange that somebody deleted comes back", deletedExchangeComesBack},
		{"one message for several queues, of which none sees the others", blindCopies},
		{"events come in order, and no more than the prefetch are out", prefetchBounds},
		{"what is not settled comes again, at its place", requeueKeepsPlace},
		{"acknowledgements in any order leave nothing behind", acknowledgeInAnyOrder},
		{"a drain settles what is in hand and leaves the rest", drainLeavesTheRest},
		{"the order of a queue outlives its consumer", orderOutlivesConsumer},
		{"what an ending consumer has in hand is seen", handsAreSeen},
		{"a queue looks free only when all is back in it", returnsBeforeFree},
		{"a queue that somebody deleted comes back, with its consumer", deletedQueueComesBack},
		{"objects of another shape are all named, with both values", mismatchIsNamed},
		{"somebody else's objects are only checked", passiveIsChecked},
		{"browsing leaves everything as it was", browsingLeavesAll},
		{"who looks at the record sees what was written last", newestRecord},
		{"a trail from outside is not believed", trailIsOurs},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, newClient(t, url)) })
	}
}

// client is a broker under test, with names of its own.
type client struct {
	*amqp.Broker
	t    *testing.T
	url  string
	name string
	ctx  context.Context
}

func newClient(t *testing.T, url string) *client {
	t.Helper()
	b, err := amqp.New(url, amqp.Options{MinBackoff: 5 * time.Millisecond, MaxBackoff: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	ended := make(chan error, 1)
	running, stop := context.WithCancel(context.Background())
	go func() { ended <- b.Run(running) }()
	c := &client{Broker: b, t: t, url: url, name: "suite-" + event.NewID(), ctx: ctx}
	t.Cleanup(func() {
		cancel()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		c.cleanUp()
	})
	if err := b.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	return c
}

// cleanUp deletes what the test has left on the broker.
func (c *client) cleanUp() {
	c.direct(func(ch *amqp091.Channel) error {
		for _, suffix := range []string{"", ".a", ".b", ".c"} {
			if _, err := ch.QueueDelete(c.name+suffix, false, false, false); err != nil {
				return err
			}
		}
		return ch.ExchangeDelete(c.name, false, false)
	})
}

// direct does something as another client would.
func (c *client) direct(f func(*amqp091.Channel) error) {
	c.t.Helper()
	conn := dial(c.t, c.url)
	defer conn.Close()
	ch, err := conn.Channel()
	if err == nil {
		err = f(ch)
	}
	if err != nil {
		c.t.Error(err)
	}
}

func dial(t testing.TB, url string) *amqp091.Connection {
	t.Helper()
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// version3 reports whether the broker is a RabbitMQ before 4.0.
func (c *client) version3() bool {
	conn := dial(c.t, c.url)
	defer conn.Close()
	version, _ := conn.Properties["version"].(string)
	return strings.HasPrefix(version, "3.")
}

// quorum are the arguments of a queue that keeps what it has.
func quorum(more ...any) map[string]any {
	t := map[string]any{"x-queue-type": "quorum", "x-delivery-limit": int64(1_000_000_000)}
	for i := 0; i < len(more); i += 2 {
		t[more[i].(string)] = more[i+1]
	}
	return t
}

// declare makes a queue of the test's name, bound to an exchange of the same name with #.
func (c *client) declare(arguments map[string]any) {
	c.t.Helper()
	err := c.Declare(c.ctx, plan.Topology{
		Exchanges: []plan.Exchange{{Name: c.name, Kind: "topic"}},
		Queues:    []plan.Queue{{Name: c.name, Arguments: arguments}},
		Bindings:  []plan.Binding{{Exchange: c.name, Queue: c.name, Key: "#"}},
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) message(id string) router.Message {
	return router.Message{Event: &event.Event{ID: id, Type: "t." + id, Data: []byte(id)}, Exchange: c.name, Key: "t." + id, Mandatory: true}
}

// send publishes a message and waits for what the broker says.
func (c *client) send(m router.Message) error {
	done := make(chan error, 1)
	c.Publish(c.ctx, m, func(err error) { done <- err })
	return <-done
}

// fill publishes n events with the ids 0, 1, 2 …, and waits for the confirms.
func (c *client) fill(n int) {
	c.t.Helper()
	errs := make(chan error, n)
	for i := range n {
		c.Publish(c.ctx, c.message(fmt.Sprint(i)), func(err error) { errs <- err })
	}
	for range n {
		if err := <-errs; err != nil {
			c.t.Fatal(err)
		}
	}
}

// depth waits until the queue has n messages ready.
func (c *client) depth(n int) {
	c.t.Helper()
	var last int
	waitUntil(c.t, func() bool {
		var err error
		last, err = c.Depth(c.ctx, c.name)
		return err == nil && last == n
	}, func() string { return fmt.Sprintf("queue has %d messages, want %d", last, n) })
}

// waitUntil looks again and again, for 20 seconds.
func waitUntil(t testing.TB, ok func() bool, otherwise func() string) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal(otherwise())
		}
	}
}

// consume hands the queue's events to handle until the returned function is called, which waits for the end.
func (c *client) consume(s router.Subscription, handle func(*router.Delivery)) (stop func()) {
	ctx, cancel := context.WithCancel(c.ctx)
	ended := make(chan error, 1)
	if s.Queue == "" {
		s.Queue = c.name
	}
	go func() { ended <- c.Consume(ctx, s, handle) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
	})
}

func everythingSurvives(t *testing.T, c *client) {
	c.declare(quorum())
	at := time.Date(2026, 11, 24, 10, 0, 0, 123456789, time.UTC)
	sent := event.Event{
		ID: "id-1", Type: "order.erstellt.ü", Source: "/shop", Subject: "order 7", Time: at, ContentType: "application/json", Data: []byte(`{"total": 1500}`),
		Attributes: map[string]any{"tenant": "acme", "level": int32(3), "ok": true},
		Headers:    map[string]any{"x-trace": "abc", "n": int64(1) << 40, "list": []any{"a", int32(1)}, "map": map[string]any{"k": "v"}, "nothing": nil},
		Properties: event.Properties{ContentEncoding: "utf-8", CorrelationID: "c", ReplyTo: "r", AppID: "app", MessageType: "mt", Priority: 3, Timestamp: at.Truncate(time.Second)},
	}
	trail := router.Trail{
		Type: "order.erstellt.ü", Exchange: "shop.events", Pipeline: "billing", Attempts: 3, Error: "no", Rules: []string{"a", "b"},
		FirstFailure: at.Truncate(time.Millisecond), LastFailure: at.Truncate(time.Millisecond), NotBefore: at.Truncate(time.Millisecond),
	}
	if err := c.send(router.Message{Event: &sent, Key: c.name, Mandatory: true, Trail: trail}); err != nil {
		t.Fatal(err)
	}
	got := make(chan *router.Delivery, 1)
	stop := c.consume(router.Subscription{}, func(d *router.Delivery) { _ = d.Ack(); got <- d })
	defer stop()
	d := <-got
	d.Event.Time, d.Event.Properties.Timestamp = d.Event.Time.UTC(), d.Event.Properties.Timestamp.UTC()
	d.Trail.FirstFailure, d.Trail.LastFailure, d.Trail.NotBefore = d.Trail.FirstFailure.UTC(), d.Trail.LastFailure.UTC(), d.Trail.NotBefore.UTC()
	if g, w := fmt.Sprintf("%+v", *d.Event), fmt.Sprintf("%+v", sent); g != w {
		t.Errorf("event\n got %s\nwant %s", g, w)
	}
	if g, w := fmt.Sprintf("%+v", d.Trail), fmt.Sprintf("%+v", trail); g != w {
		t.Errorf("trail\n got %s\nwant %s", g, w)
	}
	if d.Exchange != "shop.events" {
		t.Errorf("first published to %q", d.Exchange)
	}
}

func unroutableIsTold(t *testing.T, c *client) {
	c.declare(quorum())
	type result struct {
		n   int
		err error
	}
	const n = 300
	results := make(chan result, n)
	for i := range n {
		m := c.message("same") // only order tells one from another
		if i%3 == 0 {
			m.Exchange, m.Key = "", c.name+".nobody"
		}
		c.Publish(c.ctx, m, func(err error) { results <- result{i, err} })
	}
	for range n {
		r := <-results
		if want := r.n%3 == 0; errors.Is(r.err, router.ErrUnroutable) != want || !want && r.err != nil {
			t.Errorf("message %d: %v, want unroutable: %v", r.n, r.err, want)
		}
	}
	c.depth(n - n/3)
}

func fullQueueRefuses(t *testing.T, c *client) {
	c.declare(map[string]any{"x-queue-type": "classic", "x-max-length": int64(3), "x-overflow": "reject-publish"})
	taken := 0
	for i := range 6 {
		switch err := c.send(c.message(fmt.Sprint(i))); {
		case err == nil:
			taken++
		case !errors.Is(err, router.ErrRefused):
			t.Errorf("message %d: %v", i, err)
		}
	}
	if taken != 3 {
		t.Errorf("%d messages were taken, want 3", taken)
	}
	c.depth(taken)
}

func tooLargeIsTold(t *testing.T, c *client) {
	c.declare(quorum())
	big := c.message("big")
	big.Event.Data = make([]byte, 17<<20)
	errs := make(chan error, 2)
	c.Publish(c.ctx, big, func(err error) { errs <- err })
	want := 1
	if err := <-errs; c.version3() {
		want = 2 // its limit is 128 MiB
		if err != nil {
			t.Errorf("17 MiB: %v", err)
		}
	} else if !errors.Is(err, router.ErrTooLarge) {
		t.Errorf("17 MiB: %v", err)
	}
	if err := c.send(c.message("small")); err != nil {
		t.Errorf("after it: %v", err)
	}
	c.depth(want)
}

func invalidIsRefused(t *testing.T, c *client) {
	c.declare(quorum())
	for name, change := range map[string]func(*router.Message){
		"routing key": func(m *router.Message) { m.Key = strings.Repeat("ü", 128) },
		"exchange":    func(m *router.Message) { m.Exchange = strings.Repeat("x", 256) },
		"id":          func(m *router.Message) { m.Event.ID = strings.Repeat("x", 256) },
		"blind copy":  func(m *router.Message) { m.BCC = []string{strings.Repeat("x", 256)} },
		"header name": func(m *router.Message) { m.Event.Headers = map[string]any{strings.Repeat("x", 256): 1} },
		"header type": func(m *router.Message) { m.Event.Headers = map[string]any{"x": struct{}{}} },
		"depth":       func(m *router.Message) { m.Event.Headers = map[string]any{"x": nested(33)} },
		"list":        func(m *router.Message) { m.Event.Headers = map[string]any{"x": make([]any, 8193)} },
		"headers": func(m *router.Message) {
			m.Event.Headers = map[string]any{}
			for i := range 8192 {
				m.Event.Headers[fmt.Sprint(i)] = nil
			}
		},
		"inner name": func(m *router.Message) {
			m.Event.Headers = map[string]any{"x": []any{map[string]any{strings.Repeat("x", 256): 1}}}
		},
	} {
		m := c.message("x")
		change(&m)
		if err := c.send(m); !errors.Is(err, router.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The most that is let through comes back.
	m := c.message("x")
	m.Event.Headers = map[string]any{"depth": nested(32), "list": make([]any, 8192)}
	if err := c.send(m); err != nil {
		t.Error(err)
	}
	got := make(chan *router.Delivery, 1)
	stop := c.consume(router.Subscription{}, func(d *router.Delivery) { _ = d.Ack(); got <- d })
	defer stop()
	if d := <-got; len(d.Event.Headers) != 2 {
		t.Errorf("got %d headers", len(d.Event.Headers))
	}
	if err := c.Connected(); err != nil {
		t.Errorf("the connection is gone: %v", err)
	}
}

// nested are so many lists within each other.
func nested(depth int) any {
	var v any
	for range depth {
		v = []any{v}
	}
	return v
}

// What comes from a publisher may have headers of half a frame. What is on its way between queues of ours may have any.
func headersUpToALimit(t *testing.T, c *client) {
	c.declare(quorum())
	message := func(size int) router.Message {
		m := c.message("x")
		m.Event.Attributes = map[string]any{"tenant": strings.Repeat("x", size/2)}
		m.Event.Headers = map[string]any{"n": int64(1), "list": []any{"a", 1.5, true, map[string]any{"filler": strings.Repeat("x", size-size/2)}}}
		return m
	}
	least, most := 1000, 200_000 // what is taken, and what is not
	for most-least > 1 {
		size := (least + most) / 2
		switch err := c.send(message(size)); {
		case err == nil:
			least = size
		case errors.Is(err, router.ErrInvalid):
			most = size
		default:
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	if limit := 131072 / 2; least < limit-500 || least > limit {
		t.Errorf("%d bytes are taken; about %d should be", least, limit)
	}
	got := make(chan *router.Delivery, 100)
	stop := c.consume(router.Subscription{}, func(d *router.Delivery) { _ = d.Ack(); got <- d })
	defer stop()
	for _, size := range []int{100_000, 120_000, 125_000, 130_900, 131_100, 200_000} {
		m := message(size)
		m.Event.ID, m.Event.Data, m.Event.ContentType = fmt.Sprint(size), []byte(`{"as":  "it was"}`), "application/json"
		m.Exchange, m.Key, m.Trail = "", c.name, router.Trail{Type: m.Event.Type, Error: "status 404", Rules: []string{"a", "b"}}
		if err := c.send(m); err != nil {
			t.Errorf("%d bytes: %v", size, err)
			continue
		}
		d := <-got
		for d.Event.ID == "x" { // from before
			d = <-got
		}
		if !reflect.DeepEqual(d.Event, m.Event) || !reflect.DeepEqual(d.Trail, m.Trail) {
			t.Errorf("%d bytes: came as %.200v", size, d.Event)
		}
	}
	if err := c.Connected(); err != nil {
		t.Errorf("the connection is gone: %v", err)
	}
}

func noExchangeIsTold(t *testing.T, c *client) {
	c.declare(quorum())
	m := c.message("x")
	m.Exchange = c.name + ".none"
	if err := c.send(m); !errors.Is(err, router.ErrExchange) || !strings.Contains(err.Error(), m.Exchange) {
		t.Errorf("got %v", err)
	}
	if err := c.send(c.message("y")); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func deletedExchangeComesBack(t *testing.T, c *client) {
	c.declare(quorum())
	c.direct(func(ch *amqp091.Channel) error { return ch.ExchangeDelete(c.name, false, false) })
	err := c.send(c.message("x"))
	if err == nil || errors.Is(err, router.ErrExchange) {
		t.Fatalf("the first publish after it: %v, want an error that says to try again", err)
	}
	waitUntil(t, func() bool { err = c.send(c.message("y")); return err == nil }, func() string { return fmt.Sprint(err) })
	c.depth(1)
}

func blindCopies(t *testing.T, c *client) {
	var topology plan.Topology
	topology.Exchanges = []plan.Exchange{{Name: c.name, Kind: "direct"}}
	for _, key := range []string{"a", "b", "c"} {
		topology.Queues = append(topology.Queues, plan.Queue{Name: c.name + "." + key, Arguments: quorum()})
		topology.Bindings = append(topology.Bindings, plan.Binding{Exchange: c.name, Queue: c.name + "." + key, Key: key})
	}
	if err := c.Declare(c.ctx, topology); err != nil {
		t.Fatal(err)
	}
	m := c.message("1")
	m.Key, m.BCC = "a", []string{"b", "b", "none"}
	if err := c.send(m); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]int{"a": 1, "b": 1, "c": 0} {
		n := 0
		err := c.Browse(c.ctx, c.name+"."+key, nil, func(d *router.Delivery) bool {
			n++
			for name := range d.Event.Headers {
				t.Errorf("queue %s: header %q", key, name)
			}
			return true
		}, nil)
		if err != nil || n != want {
			t.Errorf("queue %s has %d messages, want %d (%v)", key, n, want, err)
		}
	}
}
