package integration

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
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
			if pipeline == "fragile" {
				switch rand.IntN(6) {
				case 0:
					book.Note(e.ID, "failed at fragile")
					return fmt.Errorf("by chance")
				case 1:
					book.Note(e.ID, "panicked at fragile")
					panic("by chance")
				}
			}
			book.Seen(pipeline, e.ID)
			return nil
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ready := make(chan struct{})
	served := make(chan error, 1)
	noted := router.Hooks{
		Retried: func(pipeline string, e *router.Event, attempt int, _ time.Duration, _ error) {
			book.Note(e.ID, fmt.Sprintf("is to be tried again at %s after attempt %d", pipeline, attempt))
		},
		Dead: func(pipeline string, e *router.Event, _ int, _ error) { book.Seen(pipeline+givenUp, e.ID) },
		Routed: func(e *router.Event, _, pipelines []string, _ time.Duration) {
			book.Note(e.ID, fmt.Sprintf("routed to %v", pipelines))
		},
	}
	service := &pipelines.Service{Plan: p, Broker: b, Hooks: noted, Ready: func() { close(ready) }, Handlers: map[string]pipelines.Handler{
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
		waitFor(t, func() bool { return book.Total() > before+300 && time.Since(declared) > settling }, func() string { return fmt.Sprintf("round %d: nothing is confirmed any more", round) })
		book.Mark("the broker is to be killed")
		if err := s.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		book.Mark("the broker is dead")
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		book.Mark("the broker is back")
	}
	before := book.Total()
	waitFor(t, func() bool { return book.Total() > before+300 }, func() string { return "nothing is confirmed after the last start" })
	endLoad()
	load.Wait()

	places := func(id string) [][]string {
		mu.Lock()
		defer mu.Unlock()
		return belongs(p, exchange, events[id])
	}
	arrived(t, book, places, func(string) string { return "" })
	settled(t, b, p)
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	audit(t, b, p, book)
	book.BalanceExactly(t, places)
}

// givenUp is added to a pipeline's name for where its events are seen that it says it has sent to its dead letters.
const givenUp = " (given up)"

// lateness is how much later than their delay retries may come after the broker was killed: RabbitMQ's worker begins before the exchanges are there, and tries again
// after dead_letter_worker_publisher_confirm_timeout, which is three minutes where nobody has set it (the image has).
const lateness = patience

// arrived waits until each confirmed event was handled, or given up, wherever it belongs, or until none may be late any more. It tells of the last one, if it was
// late, with what is said of it besides.
func arrived(t *testing.T, book *ledger.Book, places func(id string) [][]string, said func(id string) string) {
	t.Helper()
	type due struct {
		id     string
		places []string
	}
	var missing []due
	for _, id := range book.IDs() {
		for _, at := range places(id) {
			missing = append(missing, due{id, append(at, at[0]+givenUp)})
		}
	}
	began, last := time.Now(), ""
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for ; len(missing) > 0 && time.Since(began) < lateness; <-tick.C {
		last = missing[0].id
		missing = slices.DeleteFunc(missing, func(d due) bool { return book.Has(d.id, d.places) })
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Logf("the last event arrived %s after the load; its history:\n%s%s", took.Round(time.Second/10), book.History(last), said(last))
	}
}

// settled waits until all queues but those for what is kept are empty, for a while, as an event that waits for its retry or is in hand is in none of them. It
// is patient for as long as they get shorter.
func settled(t *testing.T, b router.Browser, p *plan.Plan) {
	t.Helper()
	kept := map[string]bool{p.Unrouted: true}
	for _, pipeline := range p.Pipelines {
		kept[pipeline.DeadName] = true
	}
	depth := func() (total int) {
		for _, q := range p.Topology.Queues {
			if kept[q.Name] {
				continue
			}
			n, err := b.Depth(t.Context(), q.Name)
			if err != nil {
				return math.MaxInt
			}
			total += n
		}
		return total
	}
	for quiet := 0; quiet <= 30; {
		left := depth()
		if left == 0 {
			quiet++
			<-time.After(10 * time.Millisecond)
			continue
		}
		quiet = 0
		waitFor(t, func() bool { return depth() < left }, func() string { return fmt.Sprintf("%d events are left in the queues, and they get no fewer", left) })
	}
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
