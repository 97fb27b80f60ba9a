package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

const crashRules = `
pipelines:
  all: {workers: 4, prefetch: 100}
  large: {workers: 4, prefetch: 100}
  fragile: {workers: 4, prefetch: 100, retry: {attempts: 2, delays: [50ms]}}
rules:
  - {name: all, type: "order.#", pipelines: [all]}
  - {name: large, type: "order.*", match: {data: {total: [{numeric: [">=", 500]}]}}, pipelines: [large]}
  - {name: german, type: "order.*", match: {data: {country: [DE]}}, pipelines: [large, fragile]}
`

// order is event number i of a test: its total and country follow from the number.
func order(id string, i int) *event.Event {
	country := []string{"DE", "FR", "AT"}[i%3]
	return &event.Event{ID: id, Type: "order.created", Data: fmt.Appendf(nil, `{"total": %d, "country": %q, "n": %d}`, i%1000, country, i)}
}

// belongs gives the places where the rules want an event.
func belongs(p *plan.Plan, exchange string, e *event.Event) [][]string {
	var routed plan.Routed
	p.Route(e, exchange, &routed)
	var places [][]string
	for _, at := range routed.Pipelines {
		places = append(places, []string{p.Pipelines[at].Name, p.Pipelines[at].DeadName})
	}
	return places
}

// settling is how old a quorum queue has to be before its node may be killed. RabbitMQ 4.0.5 writes down which queues it has every half second or so: one
// that was declared right before a kill -9 is begun anew ("configured member was not found on this node"), without what was confirmed.
const settling = 5 * time.Second

// TestNothingIsLostWhenTheBrokerIsKilled kills RabbitMQ under load ten times, and keeps books.
func TestNothingIsLostWhenTheBrokerIsKilled(t *testing.T) {
	t.Parallel()
	s := rabbit.NewOwn(t, rabbit.V4)
	_, p := compile(t, newName(), crashRules)
	exchange, _ := p.Source("")
	book := ledger.New()
	b := connect(t, s.URL, nil, amqp.Options{MaxBackoff: 200 * time.Millisecond})
	handle := func(pipeline string) pipelines.Handler {
		return func(_ context.Context, e event.Event) error {
			if pipeline == "fragile" && rand.IntN(3) == 0 {
				return fmt.Errorf("by chance")
			}
			book.Seen(pipeline, e.ID)
			return nil
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready := make(chan struct{})
	served := make(chan error, 1)
	service := &pipelines.Service{Plan: p, Broker: b, Ready: func() { close(ready) }, Handlers: map[string]pipelines.Handler{
		"all": handle("all"), "large": handle("large"), "fragile": handle("fragile"),
	}}
	go func() { served <- service.Run(ctx) }()
	select {
	case <-ready:
	case err := <-served:
		t.Fatal(err)
	}

	declared := time.Now()
	loading, endLoad := context.WithCancel(t.Context())
	var mu sync.Mutex
	events := map[string]*event.Event{}
	var load sync.WaitGroup
	for publisher := range 8 {
		load.Go(func() {
			for i := 0; loading.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", publisher, i)
				e := order(id, publisher*1_000_000+i)
				mu.Lock()
				events[id] = e
				mu.Unlock()
				if send(loading, b, exchange, e) == nil {
					book.Confirmed(id)
				}
			}
		})
	}
	for round := range 10 {
		before := book.Total()
		waitFor(t, time.Minute, func() bool { return book.Total() > before+300 && time.Since(declared) > settling }, func() string { return fmt.Sprintf("round %d: nothing is confirmed any more", round) })
		if err := s.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	before := book.Total()
	waitFor(t, time.Minute, func() bool { return book.Total() > before+300 }, func() string { return "nothing is confirmed after the last start" })
	endLoad()
	load.Wait()

	settled(t, b, p)
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	audit(t, b, p, book)
	book.Balance(t, func(id string) [][]string {
		mu.Lock()
		defer mu.Unlock()
		return belongs(p, exchange, events[id])
	})
}

// settled waits until all queues but those for what is kept are empty, twice, as an event that waits for its retry or is in hand is in none of them.
func settled(t *testing.T, b router.Browser, p *plan.Plan) {
	t.Helper()
	kept := map[string]bool{p.Unrouted: true}
	for _, pipeline := range p.Pipelines {
		kept[pipeline.DeadName] = true
	}
	quiet := 0
	waitFor(t, 2*time.Minute, func() bool {
		for _, q := range p.Topology.Queues {
			if kept[q.Name] {
				continue
			}
			if n, err := b.Depth(t.Context(), q.Name); err != nil || n > 0 {
				quiet = 0
				return false
			}
		}
		quiet++
		return quiet > 30
	}, func() string { return "the queues do not become empty" })
}

// audit enters what is in the queues into the book.
func audit(t *testing.T, b router.Browser, p *plan.Plan, book *ledger.Book) {
	t.Helper()
	for _, q := range p.Topology.Queues {
		if err := b.Browse(t.Context(), q.Name, p.Sources(), func(d *router.Delivery) bool {
			book.Seen(q.Name, d.Event.ID)
			return true
		}, nil); err != nil {
			t.Errorf("reading %s: %v", q.Name, err)
		}
	}
}
