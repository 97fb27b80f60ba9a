package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/pipelines/dead"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// twice counts what a pipeline with dedup drops.
func twice(n *atomic.Int64) func(*pipelines.Service) {
	return func(s *pipelines.Service) {
		s.Hooks = router.Join(s.Hooks, router.Hooks{Duplicate: func(string, *router.Event) { n.Add(1) }})
	}
}

// Every event is sent several times. Some fail at first, some fail for good, some are in hand when the connection is lost: each is handled with success once, and no more.
func TestDedupHandlesEachEventOnce(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"", "order_by: subject, "} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			const events, copies = 200, 4
			var tried, done counter
			var mended atomic.Bool
			var dropped atomic.Int64
			w := newWorld(t, `
pipelines: {p: {workers: 4, `+order+`dedup: {window: 10m}, retry: {attempts: 4, delays: [10ms, 30ms]}}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(_ context.Context, e event.Event) error {
				n := tried.add(e.ID)
				number, err := strconv.Atoi(e.ID)
				switch {
				case err != nil:
					return err
				case number%20 == 7 && !mended.Load():
					return pipelines.Permanent(errors.New("never"))
				case number%5 == 0 && n < 3:
					return errors.New("not yet")
				}
				done.add(e.ID)
				return nil
			}}, twice(&dropped))
			var senders sync.WaitGroup
			for range copies {
				senders.Go(func() {
					for i := range events {
						e := event.Event{ID: fmt.Sprint(i), Source: "/test", Subject: fmt.Sprint(i % 7), Type: "t"}
						for sent := make(chan error, 1); ; {
							w.broker.Publish(t.Context(), router.Message{Event: &e, Exchange: w.exchange, Key: e.Type, Mandatory: true}, func(err error) { sent <- err })
							if <-sent == nil {
								break
							}
						}
					}
				})
			}
			for _, at := range []int{50, 100, 150} {
				w.wait(func() bool { return done.distinct() >= at }, func() string { return fmt.Sprintf("%d events are done", done.distinct()) })
				w.server.DropConnections()
			}
			senders.Wait()
			const dying = events / 20
			w.wait(func() bool { return done.distinct() == events-dying }, func() string { return fmt.Sprintf("%d events are done", done.distinct()) })
			box := dead.Letters(w.broker, w.plan, w.plan.Pipeline("p"))
			letters := func() int { n, _ := box.Depth(t.Context()); return n }
			w.wait(func() bool { return letters() >= dying*copies }, func() string { return fmt.Sprintf("%d dead letters", letters()) })
			mended.Store(true)
			// A dead letter counts as not handled: its replay is handled, and the replays of its copies are dropped. One that a lost connection has doubled may come
			// to the dead letters while the others are replayed.
			w.wait(func() bool {
				if _, err := box.Replay(t.Context(), dead.Replay{}); err != nil {
					t.Fatal(err)
				}
				return letters() == 0 && done.distinct() == events
			}, func() string { return fmt.Sprintf("%d dead letters are left", letters()) })
			w.wait(func() bool { return done.distinct() == events && dropped.Load() >= events*(copies-1) },
				func() string {
					return fmt.Sprintf("%d events of %d are done, %d were dropped", done.distinct(), events, dropped.Load())
				})
			w.depth("test.p", 0)
			w.depth("test.p.dead", 0)
			w.stop()
			if done.total() != events {
				t.Errorf("%d events were done %d times", events, done.total())
			}
		})
	}
}

// The connection is lost with an event in hand, so that it comes again at once. The second waits for what becomes of the first.
func TestARedeliveryIsADuplicateOnlyOfWhatIsDone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		first error
		calls int
		drops int64
	}{
		{"done", nil, 1, 1},
		{"failed", errors.New("no"), 2, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var calls counter
			var dropped atomic.Int64
			began, outcome := make(chan struct{}, 10), make(chan error)
			w := newWorld(t, `
pipelines: {p: {workers: 3, dedup: {window: 10m}, retry: {delays: [1h]}}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(_ context.Context, e event.Event) error {
				calls.add(e.ID)
				if e.ID == "other" {
					return nil
				}
				began <- struct{}{}
				return <-outcome
			}}, twice(&dropped))
			w.publish(1, typed("t"))
			<-began
			w.server.DropConnections()
			// One that is sent later is handled, while the one that comes again waits.
			e := event.Event{ID: "other", Type: "t"}
			w.wait(func() bool {
				sent := make(chan error, 1)
				w.broker.Publish(t.Context(), router.Message{Event: &e, Exchange: w.exchange, Key: e.Type, Mandatory: true}, func(err error) { sent <- err })
				return <-sent == nil
			}, func() string { return "nothing can be sent" })
			w.wait(func() bool { return calls.total() >= 2 }, func() string { return "the other is not handled" })
			select {
			case <-began:
				t.Fatal("it is in hand twice")
			case outcome <- c.first:
			}
			if c.first != nil {
				<-began
				outcome <- nil
			}
			w.wait(func() bool { return dropped.Load() >= c.drops }, func() string { return "nothing was dropped" })
			w.depth("test.p", 0)
			w.stop()
			if n := calls.n["0"]; n != c.calls {
				t.Errorf("handled %d times, want %d", n, c.calls)
			}
		})
	}
}

// Copies of an event wait for each other while one is handled, and not while one waits for another attempt: the one worker there is would wait for ever.
func TestCopiesWithOtherKeysDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	var tried counter
	var dropped atomic.Int64
	w := newWorld(t, `
pipelines: {p: {order_by: subject, dedup: {window: 10m}, retry: {delays: [20ms], key: wait}}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(_ context.Context, e event.Event) error {
		if tried.add(e.Subject) == 1 {
			return errors.New("not yet")
		}
		return nil
	}}, twice(&dropped))
	w.publish(2, func(i int) event.Event {
		return event.Event{ID: "same", Type: "t", Subject: []string{"a", "b"}[i]}
	})
	w.wait(func() bool { return dropped.Load() == 1 }, func() string { return fmt.Sprintf("tried %v", tried.order()) })
	w.depth("test.p", 0)
	if got := tried.total(); got != 3 {
		t.Errorf("tried %v; both fail once, and one is done", tried.order())
	}
}

func TestAReloadKeepsTheWindow(t *testing.T) {
	t.Parallel()
	var service *pipelines.Service
	var calls counter
	var dropped atomic.Int64
	rules := func(options string) string {
		return "pipelines: {p: {" + options + "}}\nrules: [{name: r, type: t, pipelines: [p]}]\n"
	}
	w := newWorld(t, rules("dedup: {window: 10m}"), handlers{"p": func(_ context.Context, e event.Event) error { calls.add(e.ID); return nil }},
		func(s *pipelines.Service) { service = s; twice(&dropped)(s) })
	w.publish(10, typed("t"))
	w.wait(func() bool { return calls.total() == 10 }, func() string { return fmt.Sprint(calls.total()) })
	for _, options := range []string{"workers: 3, dedup: {window: 20m}", "queue: {name: elsewhere}, dedup: {window: 10m, entries: 100}"} {
		if err := service.Reload(t.Context(), pipelines.Update{Plan: w.replan(rules(options))}); err != nil {
			t.Fatal(err)
		}
		before := dropped.Load()
		w.publish(10, typed("t"))
		w.wait(func() bool { return dropped.Load() == before+10 }, func() string { return fmt.Sprintf("%s: %d were dropped", options, dropped.Load()-before) })
	}
	if err := service.Reload(t.Context(), pipelines.Update{Plan: w.replan(rules("queue: {name: elsewhere}"))}); err != nil {
		t.Fatal(err)
	}
	w.publish(10, typed("t"))
	w.wait(func() bool { return calls.total() == 20 }, func() string { return "without dedup they are not handled again" })
	if n := dropped.Load(); n != 20 {
		t.Errorf("%d were dropped, want 20", n)
	}
}

func TestAWindowThatIsFullIsTold(t *testing.T) {
	t.Parallel()
	var calls counter
	w := newWorld(t, "pipelines: {p: {dedup: {window: 10m, entries: 5}}}\nrules: [{name: r, pipelines: [p]}]\n",
		handlers{"p": func(_ context.Context, e event.Event) error { calls.add(e.ID); return nil }}, nil)
	w.publish(20, typed("t"))
	w.publish(20, typed("t")) // in the same order: each was forgotten when it comes
	w.wait(func() bool { return calls.total() == 40 }, func() string { return fmt.Sprint(calls.total()) })
	if got := w.list(&w.problems); len(got) != 1 {
		t.Errorf("problems: %q", got)
	}
}
