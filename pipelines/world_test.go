package pipelines_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// world is a service at work on a broker of its own.
type world struct {
	t        *testing.T
	server   *embedded.Broker
	broker   *amqp.Broker
	plan     *plan.Plan
	exchange string
	stop     func() // drains, and waits for the end

	mu       sync.Mutex
	problems []string
	unrouted []string
	dead     []string
	retried  []time.Duration
}

type handlers = map[string]pipelines.Handler

// newWorld starts a service. The rules go without their version and name.
func newWorld(t *testing.T, text string, h handlers, change func(*pipelines.Service)) *world {
	t.Helper()
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte("version: 1\nname: test\n" + text)})
	if file == nil {
		t.Fatal(problems)
	}
	p, err := plan.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, server: amqptest.Broker(t), plan: p}
	w.exchange, _ = p.Source("")
	hooks := router.Hooks{
		Problem:  func(where string, err error) { w.note(&w.problems, where+": "+err.Error()) },
		Unrouted: func(e *router.Event, _ string) { w.note(&w.unrouted, e.ID) },
		Dead:     func(_ string, e *router.Event, _ int, _ error) { w.note(&w.dead, e.ID) },
		Retried: func(_ string, _ *router.Event, _ int, d time.Duration, _ error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.retried = append(w.retried, d)
		},
	}
	if w.broker, err = amqp.New(w.server.URL(), amqp.Options{Hooks: hooks, MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	s := &pipelines.Service{Plan: p, Handlers: h, Hooks: hooks, Ready: func() { close(ready) }, Drain: 2 * time.Minute, Apply: router.ApplyOptions{Settle: -1}}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- pipelines.Run(ctx, w.broker, s) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	select {
	case <-ready:
	case err := <-ended:
		ended <- err
		t.Fatal(err)
	}
	return w
}

// reconnect gives a world that is stopped, or will be, a broker for the test's own use.
func (w *world) reconnect() {
	w.t.Helper()
	b, err := amqp.New(w.server.URL(), amqp.Options{MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	closed := make(chan error, 1)
	go func() { closed <- b.Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-closed; err != nil {
			w.t.Error(err)
		}
	})
	w.broker = b
}

func (w *world) note(list *[]string, s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, s)
}

func (w *world) list(list *[]string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(*list)
}

// publish sends events with ids 0, 1, 2 … and waits for the confirms.
func (w *world) publish(n int, make func(i int) event.Event) {
	w.t.Helper()
	errs := goPublish(w, n, make)
	for range n {
		if err := <-errs; err != nil {
			w.t.Fatal(err)
		}
	}
}

func goPublish(w *world, n int, make_ func(i int) event.Event) chan error {
	errs := make(chan error, n)
	for i := range n {
		e := make_(i)
		if e.ID == "" {
			e.ID = fmt.Sprint(i)
		}
		w.broker.Publish(w.t.Context(), router.Message{Event: &e, Exchange: w.exchange, Key: e.Type, Mandatory: true}, func(err error) { errs <- err })
	}
	return errs
}

func typed(kind string) func(int) event.Event {
	return func(int) event.Event { return event.Event{Type: kind} }
}

// depth waits until a queue holds n events.
func (w *world) depth(queue string, n int) {
	w.t.Helper()
	var last int
	w.wait(func() bool {
		var err error
		last, err = w.broker.Depth(w.t.Context(), queue)
		return err == nil && last == n
	}, func() string { return fmt.Sprintf("%s holds %d events, want %d", queue, last, n) })
}

func (w *world) wait(ok func() bool, otherwise func() string) {
	w.t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			w.t.Fatal(otherwise())
		}
	}
}

// counter counts by name.
type counter struct {
	mu sync.Mutex
	n  map[string]int
	in []string
}

func (c *counter) add(name string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[name]++
	c.in = append(c.in, name)
	return c.n[name]
}

func (c *counter) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.in)
}

func (c *counter) distinct() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.n)
}

func (c *counter) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.in)
}
