package changes

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// Shape makes the rules of a pipeline fed by the broker and one fed by the router, with queues of that shape.
func Shape(queue string) string {
	return fmt.Sprintf(`
pipelines: {work: {workers: 1, queue: %[1]s}, large: {workers: 1, queue: %[1]s}}
rules:
  - {name: all, pipelines: [work]}
  - {name: large, match: {data: {n: [{numeric: [">=", 5]}]}}, pipelines: [large]}
`, queue)
}

// The shapes of queues that are moved.
const (
	Quorum  = "{type: quorum}"
	Classic = "{type: classic, max_length: 10000000}"
)

// Producers publish events, each its own in order, and the book says which were confirmed.
type Producers struct {
	Book   *ledger.Book
	Settle time.Duration // of services

	broker   router.Publisher
	exchange string
	next     []int       // by producer, the number of its next event
	mu       sync.Mutex  // one publishes at a time for a producer
	slowly   atomic.Bool // each event takes a handler slowTime
	n        int64
	load     sync.WaitGroup
	stop     context.CancelFunc
}

// slowTime is what an event takes while there shall be many in the queues.
const slowTime = 5 * time.Millisecond

// producers is how many there are.
const producers = 3

// NewProducers makes producers that publish to an exchange.
func NewProducers(b router.Publisher, exchange string) *Producers {
	return &Producers{Settle: -1, Book: ledger.New(), broker: b, exchange: exchange, next: make([]int, producers)}
}

// publish publishes the producer's next event.
func (p *Producers) publish(t testing.TB, producer int, pending *sync.WaitGroup) {
	p.mu.Lock()
	defer p.mu.Unlock()
	number := p.next[producer]
	p.next[producer]++
	e := &event.Event{
		ID: fmt.Sprintf("%d-%d", producer, number), Type: "order.created", ContentType: "application/json", Data: fmt.Appendf(nil, `{"n": %d}`, number%11),
	}
	pending.Add(1)
	p.broker.Publish(context.Background(), router.Message{Event: e, Exchange: p.exchange, Key: e.Type, Mandatory: true}, func(err error) {
		defer pending.Done()
		if err != nil {
			t.Errorf("event %s: %v", e.ID, err)
			return
		}
		p.Book.Confirmed(e.ID)
		atomic.AddInt64(&p.n, 1)
	})
}

// Publish publishes so many events, and returns when they are confirmed.
func (p *Producers) Publish(t testing.TB, events int) {
	t.Helper()
	var pending sync.WaitGroup
	for i := range events {
		p.publish(t, i%producers, &pending)
	}
	pending.Wait()
}

// Go begins to publish, perSecond events each second for each producer, until Stop.
func (p *Producers) Go(t testing.TB, perSecond int) {
	ctx, stop := context.WithCancel(t.Context())
	p.stop = stop
	for producer := range producers {
		pace := &pace{perSecond: perSecond, began: time.Now()}
		p.load.Go(func() {
			for i := 0; pace.wait(ctx, i); i++ {
				p.publish(t, producer, &p.load)
			}
		})
	}
	t.Cleanup(p.Stop)
}

// Stop ends the load, and returns when all events are confirmed.
func (p *Producers) Stop() {
	if p.stop != nil {
		p.stop()
		p.load.Wait()
	}
}

// More waits until n more events are confirmed.
func (p *Producers) More(t testing.TB, n int64) {
	t.Helper()
	want := atomic.LoadInt64(&p.n) + n
	Until(t, func() bool { return atomic.LoadInt64(&p.n) >= want }, "no events are confirmed")
}

// Handler is that of a pipeline with one worker: it enters events in the book, and fails the test where one comes before an earlier one of
// the same producer. Those that come again are not looked at.
func (p *Producers) Handler(t testing.TB, pipeline string) pipelines.Handler {
	last := make([]int, producers)
	for i := range last {
		last[i] = -1
	}
	var mu sync.Mutex
	wrong := 0
	return func(ctx context.Context, e router.Event) error {
		if p.slowly.Load() {
			timer := time.NewTimer(slowTime)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		mu.Lock()
		defer mu.Unlock()
		again := p.Book.Times(pipeline, e.ID) > 0
		p.Book.Seen(pipeline, e.ID)
		text, number, _ := strings.Cut(e.ID, "-")
		producer, _ := strconv.Atoi(text)
		at, err := strconv.Atoi(number)
		if err != nil {
			return pipelines.Permanent(err)
		}
		switch {
		case again:
		case at < last[producer]:
			if wrong++; wrong < 5 {
				t.Errorf("%s: event %s comes after %d-%d", pipeline, e.ID, producer, last[producer])
			}
		default:
			last[producer] = at
		}
		return nil
	}
}

// wants says of an event of a producer which pipelines it belongs to.
func wants(id string) [][]string {
	_, number, _ := strings.Cut(id, "-")
	if n, _ := strconv.Atoi(number); n%11 >= 5 {
		return [][]string{{"work"}, {"large"}}
	}
	return [][]string{{"work"}}
}

// Done waits until all that was confirmed is handled.
func (p *Producers) Done(t testing.TB) {
	t.Helper()
	all := map[string]int{}
	for _, id := range p.Book.IDs() {
		for _, places := range wants(id) {
			all[places[0]]++
		}
	}
	limit := time.After(5 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for p.Book.At("work") < all["work"] || p.Book.At("large") < all["large"] {
		select {
		case <-tick.C:
		case <-limit:
			t.Errorf("waited 5 minutes: %d of %d and %d of %d events are handled", p.Book.At("work"), all["work"], p.Book.At("large"), all["large"])
			return
		}
	}
}

// Balance closes the books; once: no event may have come twice.
func (p *Producers) Balance(t testing.TB, once bool) {
	t.Helper()
	p.Book.Balance(t, wants)
	if once {
		p.Book.Once(t, func(string, string) bool { return true })
	}
}

// Serve runs a service of the plan, with the producers' handlers, on a connection of its own; the returned function ends it.
func (p *Producers) Serve(t testing.TB, url string, s *plan.Plan, handlers map[string]pipelines.Handler) (*pipelines.Service, func()) {
	t.Helper()
	b, disconnect := Connect(t, url, amqp.Options{Name: "service"})
	ready := make(chan struct{})
	service := &pipelines.Service{
		Plan: s, Broker: b, Handlers: handlers, Ready: func() { close(ready) }, Apply: router.ApplyOptions{Settle: p.Settle},
		Hooks: router.Hooks{Problem: func(where string, err error) { t.Logf("service: %s: %v", where, err) }},
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	end := sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		disconnect()
	})
	t.Cleanup(end)
	select {
	case <-ready:
	case <-time.After(2 * time.Minute):
		t.Fatal("the service does not begin")
	}
	return service, end
}

// Handlers are those of both pipelines.
func (p *Producers) Handlers(t testing.TB) map[string]pipelines.Handler {
	return map[string]pipelines.Handler{"work": p.Handler(t, "work"), "large": p.Handler(t, "large")}
}

// Migrate fills the queues with events, moves them into another shape and back while producers go on, the first time with nobody at work, and the second time beside a
// service that works on them, and sees that every event was handled, once and in order. It tells how long each took.
func Migrate(t testing.TB, url, api, name, from, to string, events int) {
	t.Helper()
	old, now := Compile(t, name, Shape(from)), Compile(t, name, Shape(to))
	b, _ := Connect(t, url, amqp.Options{Name: "apply"})
	publisher, _ := Connect(t, url, amqp.Options{Name: "producers"})
	Apply(t, b, old)
	exchange, _ := old.Source("")
	p := NewProducers(publisher, exchange)
	handlers := p.Handlers(t)
	_, stop := p.Serve(t, url, old, map[string]pipelines.Handler{})
	p.Publish(t, events)
	router.UntilEmpty(t.Context(), b, nil, old.Match)
	p.Go(t, 100)
	migrate(t, b, now, events, -1)
	stop()

	service, end := p.Serve(t, url, now, handlers)
	p.Done(t)
	gone(t, b, now)
	p.slowly.Store(true)
	p.Publish(t, events)
	router.UntilEmpty(t.Context(), b, nil, now.Match) // a router that stops gives back what it has not begun: the match queue is none of those that are moved
	migrate(t, b, old, events/2, -1)
	p.slowly.Store(false)
	if err := service.Reload(t.Context(), pipelines.Update{Plan: old}); err != nil {
		t.Fatal(err)
	}
	p.More(t, 50)
	p.Stop()
	p.Done(t)
	gone(t, b, old)
	end()
	p.Balance(t, true)
	if api != "" {
		Compare(t, api, old)
	}
}

// migrate applies a plan, and moves the queues for it, of which each holds at least a third of so many events.
func migrate(t testing.TB, b router.Changer, p *plan.Plan, atLeast int, settle time.Duration) {
	t.Helper()
	began := time.Now()
	a, err := router.Begin(t.Context(), b, p, router.ApplyOptions{Settle: settle, Migrate: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	if err := a.Add(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, m := range a.Moved() {
		if m.Events < atLeast/3 {
			t.Errorf("queue %s held %d events only", m.Queue, m.Events)
		}
		if m.Consumed {
			t.Errorf("queue %s was consumed while it was moved", m.Queue)
		}
	}
	t.Logf("moved %+v in %s", a.Moved(), time.Since(began).Round(time.Millisecond))
	if len(a.Moved()) != 2 {
		t.Errorf("%d queues were moved, not 2", len(a.Moved()))
	}
}

// gone waits until what stands before the queues of a plan is worked off and deleted.
func gone(t testing.TB, b router.Changer, p *plan.Plan) {
	t.Helper()
	Until(t, func() bool {
		rec, err := router.Applied(t.Context(), b, p)
		return err == nil && rec.Next == nil && rec.Move == nil && len(rec.Predecessors) == 0 && len(rec.Kept.Queues) == 0
	}, "what stands before the queues stays")
}

// InterruptMove moves queues that hold events, killed after so many operations, and has it carried on: by a service that runs, or by the next to apply, where service is not
// set. It sees that every event was handled, in order, and that nothing is left. It reports whether the first came to its end before it was killed.
func InterruptMove(t testing.TB, url, api, name string, steps, events int, service bool) (ended bool) {
	t.Helper()
	old, now := Compile(t, name, Shape(Quorum)), Compile(t, name, Shape(Classic))
	b, closeBroker := Connect(t, url, amqp.Options{Name: "apply"})
	defer closeBroker()
	Apply(t, b, old)
	exchange, _ := old.Source("")
	p := NewProducers(b, exchange)
	handlers := p.Handlers(t)
	p.Publish(t, events)
	p.Go(t, 100)
	stop := func() {}
	if service {
		_, stop = p.Serve(t, url, old, handlers)
	}

	dying, die := Connect(t, url, amqp.Options{Name: "dying"})
	_, _, err := router.Apply(t.Context(), dying, now, router.ApplyOptions{Settle: -1, Migrate: true, Wrap: func(l router.Lock) router.Lock { return &killed{l, steps} }}, nil)
	die()
	if err != nil && !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	p.More(t, 10)
	if service {
		Until(t, func() bool {
			rec, err := router.Applied(t.Context(), b, now)
			return err == nil && rec.Move == nil
		}, "the service does not carry the move on")
	}
	if _, _, err := router.Apply(t.Context(), b, now, router.ApplyOptions{Settle: -1, Migrate: true}, nil); err != nil {
		t.Fatal(err)
	}
	p.More(t, 10)
	stop()
	_, stop = p.Serve(t, url, now, handlers)
	p.More(t, 10)
	p.Stop()
	p.Done(t)
	gone(t, b, now)
	stop()
	p.Balance(t, err == nil)
	if api != "" {
		Compare(t, api, now)
	}
	Forget(t, b, old, now)
	return err == nil
}
