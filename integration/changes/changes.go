// Package changes tests changes of the rules while events flow, on any broker: the embedded one in its own tests, RabbitMQ in those of package integration.
package changes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// Pair is two rules files without their version and name, which is NAME in them.
type Pair struct {
	Name     string
	Old, New string
}

// Pairs are changes of every kind.
var Pairs = []Pair{
	{"rules come, go and change", `
pipelines: {all: {}, billing: {}, mail: {retry: {delays: [7m]}}}
rules:
  - {name: all, pipelines: [all]}
  - {name: large, type: order.*, match: {data: {n: [{numeric: [">=", 5]}]}}, pipelines: [billing]}
  - {name: mails, type: mail.*, pipelines: [mail]}
  - {name: gone, type: order.paid, pipelines: [mail]}
`, `
pipelines: {all: {}, billing: {}, mail: {}}
rules:
  - {name: all, pipelines: [all]}
  - {name: large, type: "#", match: {data: {n: [{numeric: [">=", 3]}]}}, pipelines: [billing]}
  - {name: mails, type: mail.sent, pipelines: [mail]}
  - {name: new, type: user.*, pipelines: [mail]}
`},
	{"a feed changes from the broker to the router, and another back", `
pipelines: {all: {}, billing: {}, mail: {}, both: {}}
rules:
  - {name: all, pipelines: [all]}
  - {name: large, type: order.*, match: {data: {n: [{numeric: [">=", 5]}]}}, pipelines: [billing, both]}
  - {name: mails, type: mail.*, pipelines: [mail]}
`, `
pipelines: {all: {}, billing: {}, mail: {}, both: {}}
rules:
  - {name: all, pipelines: [all]}
  - {name: orders, type: order.*, pipelines: [billing]}
  - {name: mails, type: "#", where: "type.startsWith('mail') || data.n == 7", pipelines: [mail, both]}
`},
	{"a pipeline and queues are renamed, and another pipeline comes", `
pipelines: {all: {}, charge: {}, mail: {}}
rules:
  - {name: all, pipelines: [all]}
  - {name: orders, type: order.*, pipelines: [charge]}
  - {name: mails, type: mail.*, match: {data: {n: [{exists: true}]}}, pipelines: [mail]}
`, `
exchanges: {events: {}, audit: {}}
match_queue: {max_length: 1000000}
pipelines: {all: {queue: {name: NAME.everything}}, billing: {}, mail: {queue: {name: NAME.post}}, more: {}}
rules:
  - {name: all, pipelines: [all]}
  - {name: orders, type: order.*, pipelines: [billing]}
  - {name: mails, type: mail.*, match: {data: {n: [{exists: true}]}}, pipelines: [mail]}
  - {name: more, type: user.#, where: data.n > 2, pipelines: [more]}
`},
}

// Compile makes the plan of rules.
func Compile(t testing.TB, name, text string) *plan.Plan {
	t.Helper()
	text = "version: 1\nname: " + name + "\n" + strings.ReplaceAll(text, "NAME", name)
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte(text)})
	if file == nil {
		t.Fatal(problems)
	}
	p, err := plan.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Connect opens a connection; the returned function ends it.
func Connect(t testing.TB, url string, o amqp.Options) (*amqp.Broker, func()) {
	t.Helper()
	b, err := amqp.New(url, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	end := sync.OnceFunc(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(end)
	waiting, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.Connect(waiting); err != nil {
		t.Fatal(err)
	}
	return b, end
}

// Apply applies a plan to the end.
func Apply(t testing.TB, b router.Changer, p *plan.Plan) *plan.Change {
	t.Helper()
	c, _, err := router.Apply(t.Context(), b, p, router.ApplyOptions{Settle: -1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// types are those of the events of a stream, in turns.
var types = []string{"order.created", "order.paid", "mail.sent", "mail.lost", "user.new", "stray"}

// samples are the events of a plan's own tests; where it has none, one of each type with each of some data.
func samples(t testing.TB, p *plan.Plan) (out []*event.Event) {
	t.Helper()
	for i := range p.Tests {
		e, err := event.FromDocument(p.Tests[i].Event)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &e)
	}
	for i := 0; i < 66 && len(p.Tests) == 0; i++ {
		out = append(out, &event.Event{Type: types[i%len(types)], ContentType: "application/json", Data: fmt.Appendf(nil, `{"n": %d}`, i%11)})
	}
	return out
}

// Stream publishes events until it is stopped, and enters in the book those that are confirmed.
type Stream struct {
	Book *ledger.Book

	events sync.Map // by id
	count  atomic.Int64
	stop   context.CancelFunc
	done   sync.WaitGroup
}

// NewStream begins to publish events for a plan, perSecond each second, or as fast as one publisher can where it is 0.
func NewStream(t testing.TB, b router.Publisher, p *plan.Plan, perSecond int) *Stream {
	t.Helper()
	s, all := &Stream{Book: ledger.New()}, samples(t, p)
	exchange, _ := p.Source("")
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	pace := &pace{perSecond: perSecond, began: time.Now()}
	s.done.Go(func() {
		for i := 0; pace.wait(ctx, i); i++ {
			sample := *all[i%len(all)]
			e := &sample
			e.ID = fmt.Sprint(i)
			s.events.Store(e.ID, e)
			s.done.Add(1)
			b.Publish(context.Background(), router.Message{Event: e, Exchange: exchange, Key: e.Type, Mandatory: true}, func(err error) {
				defer s.done.Done()
				if err != nil {
					t.Errorf("event %s: %v", e.ID, err)
					return
				}
				s.Book.Confirmed(e.ID)
				s.count.Add(1)
			})
		}
	})
	t.Cleanup(s.Stop)
	return s
}

// pace spreads events over time.
type pace struct {
	perSecond int
	began     time.Time
}

func (p *pace) wait(ctx context.Context, i int) bool {
	if p.perSecond > 0 {
		if ahead := time.Until(p.began.Add(time.Duration(i) * time.Second / time.Duration(p.perSecond))); ahead > 0 {
			timer := time.NewTimer(ahead)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
	}
	return ctx.Err() == nil
}

// Stop ends the stream, and returns when all its events are confirmed.
func (s *Stream) Stop() {
	s.stop()
	s.done.Wait()
}

// More waits until n more events are confirmed.
func (s *Stream) More(t testing.TB, n int64) {
	t.Helper()
	want := s.count.Load() + n
	Until(t, func() bool { return s.count.Load() >= want }, "no events are confirmed")
}

// Until waits for something.
func Until(t testing.TB, ok func() bool, otherwise string) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(2 * time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatal("waited 2 minutes: " + otherwise)
		}
	}
}

// Audit closes the books: an event that both plans want in a pipeline has to be there once; what one of them wants may be there once; nothing
// else may be there. Where in doubt, what is in no pipeline has to be in unrouted.
func (s *Stream) Audit(t testing.TB, old, now *plan.Plan) {
	t.Helper()
	wanted := func(p *plan.Plan, id string) map[string]bool {
		e, _ := s.events.Load(id)
		exchange, _ := p.Source("")
		var routed plan.Routed
		p.Route(e.(*event.Event), exchange, &routed)
		out := map[string]bool{}
		for _, name := range p.PipelineNames(&routed) {
			out[name] = true
		}
		return out
	}
	s.Book.Balance(t, func(id string) (places [][]string) {
		before, after := wanted(old, id), wanted(now, id)
		for name := range before {
			if after[name] {
				places = append(places, []string{name})
			}
		}
		if len(places) == 0 {
			anywhere := []string{"unrouted"}
			for _, names := range []map[string]bool{before, after} {
				for name := range names {
					anywhere = append(anywhere, name)
				}
			}
			places = append(places, anywhere)
		}
		return places
	})
	s.Book.Once(t, func(place, id string) bool {
		return place == "unrouted" || wanted(old, id)[place] || wanted(now, id)[place]
	})
}

// Interrupt applies the old rules, then the new ones, killed after so many operations, and then the new ones again (or the old ones, where back is set), while
// events flow; and audits. Through the management API at api, unless that is "", it compares the topology. It reports whether the change came to
// its end before it was killed.
func Interrupt(t testing.TB, url, api, name string, pair Pair, steps int, back bool) (ended bool) {
	t.Helper()
	old, now := Compile(t, name, pair.Old), Compile(t, name, pair.New)
	publisher, closePublisher := Connect(t, url, amqp.Options{Name: "publisher"})
	defer closePublisher()
	Apply(t, publisher, old)
	stream := NewStream(t, publisher, old, 500)
	stream.More(t, 6)

	dying, die := Connect(t, url, amqp.Options{Name: "dying"})
	_, _, err := router.Apply(t.Context(), dying, now, router.ApplyOptions{Settle: -1, Wrap: func(l router.Lock) router.Lock { return &killed{l, steps} }}, nil)
	die()
	if err != nil && !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	stream.More(t, 6)
	last := now
	if back {
		last = old
	}
	applied := Apply(t, publisher, last)
	stream.More(t, 6)
	stream.Stop()
	WorkOff(t, publisher, applied)
	Collect(t, publisher, stream.Book, old, now)
	stream.Audit(t, old, now)
	again := Apply(t, publisher, last) // deletes what was not empty
	if rec, err := router.Applied(t.Context(), publisher, last); err != nil || rec.Next != nil || rec.InForce().Digest != again.Plan.State().Digest || len(rec.Leftovers) > 0 {
		t.Errorf("the record in the end: %v, %+v", err, rec)
	}
	if api != "" {
		Compare(t, api, again.Plan)
	}
	Probe(t, publisher, again.Plan)
	Forget(t, publisher, old, now)
	return err == nil
}

// Collect enters in the book what is in the queues of the plans' pipelines, and takes it away.
func Collect(t testing.TB, b router.Browser, book *ledger.Book, plans ...*plan.Plan) {
	t.Helper()
	seen := map[string]bool{}
	place := func(name, queue string) {
		if seen[queue] {
			return
		}
		seen[queue] = true
		err := b.Browse(t.Context(), queue, nil, func(d *router.Delivery) bool {
			if !strings.HasPrefix(d.Event.ID, lastPrefix) {
				book.Seen(name, d.Event.ID)
			}
			return d.Ack() == nil
		}, nil)
		if err != nil && !errors.Is(err, router.ErrNoQueue) {
			t.Error(err)
		}
	}
	for _, p := range plans {
		for i := range p.Pipelines {
			place(p.Pipelines[i].Name, p.Pipelines[i].QueueName)
		}
		place("unrouted", p.Unrouted)
	}
}

// Probe publishes each of the samples, and compares where they go with what the plan says, and which queues are there.
func Probe(t testing.TB, b router.Broker, p *plan.Plan) {
	t.Helper()
	want, got := map[string][]string{}, map[string][]string{}
	for _, x := range p.Sources() {
		for i, e := range samples(t, p) {
			e.ID = fmt.Sprintf("%s %s %d", x, e.Type, i)
			done := make(chan error, 1)
			b.Publish(t.Context(), router.Message{Event: e, Exchange: x, Key: e.Type, Mandatory: true}, func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Error(err)
			}
			var routed plan.Routed
			p.Route(e, x, &routed)
			for _, name := range p.PipelineNames(&routed) {
				want[name] = append(want[name], e.ID)
			}
			if len(routed.Pipelines) == 0 {
				want["unrouted"] = append(want["unrouted"], e.ID)
			}
		}
	}
	WorkOff(t, b, &plan.Change{Plan: p})
	book := ledger.New()
	Collect(t, b, book, p)
	for place, ids := range want {
		for _, id := range ids {
			if book.Times(place, id) != 1 {
				got[place] = append(got[place], id)
			}
		}
		if book.At(place) != len(ids) {
			t.Errorf("%s has %d events, and the plan says %d", place, book.At(place), len(ids))
		}
	}
	for place, ids := range got {
		t.Errorf("not once in %s: %s", place, strings.Join(ids, ", "))
	}
	for _, q := range p.Topology.Queues {
		if _, err := b.Depth(t.Context(), q.Name); err != nil {
			t.Error(err)
		}
	}
}

// Forget deletes all that plans of one name have put on a broker.
func Forget(t testing.TB, b router.Changer, plans ...*plan.Plan) {
	t.Helper()
	lock, err := b.Lock(t.Context(), plans[0].LockName())
	if err != nil {
		t.Error(err)
		return
	}
	var errs []error
	for _, p := range plans {
		record := p.RecordTopology()
		for _, q := range slices.Concat(p.Topology.Queues, record.Queues) {
			errs = append(errs, lock.DeleteQueue(t.Context(), q.Name))
		}
		for n := 2; n < 10 && p.Match != ""; n++ {
			errs = append(errs, lock.DeleteQueue(t.Context(), fmt.Sprintf("%s.%d", p.Match, n)))
		}
		for _, x := range slices.Concat(p.Topology.Exchanges, record.Exchanges) {
			_, err := lock.DeleteExchange(t.Context(), x.Name, false)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(append(errs, lock.Unlock())...); err != nil {
		t.Error(err)
	}
}
