package pipelines_test

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

	"go.uber.org/goleak"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const mixed = `
pipelines: {all: {workers: 4}, large: {workers: 4}, both: {}}
rules:
  - {name: all, type: "order.#", pipelines: [all]}
  - {name: large, type: "order.*", match: {data: {total: [{numeric: [">=", 1000]}]}}, pipelines: [large, both]}
  - {name: german, type: "order.#", match: {data: {country: [DE]}}, pipelines: [both]}
`

func TestEachPipelineGetsItsEventsOnce(t *testing.T) {
	t.Parallel()
	var all, large, both counter
	w := newWorld(t, mixed, handlers{
		"all":   func(_ context.Context, e event.Event) error { all.add(e.ID); return nil },
		"large": func(_ context.Context, e event.Event) error { large.add(e.ID); return nil },
		"both":  func(_ context.Context, e event.Event) error { both.add(e.ID); return nil },
	}, nil)
	const n = 400
	w.publish(n, func(i int) event.Event {
		country := []string{"DE", "FR"}[i%2]
		return event.Event{Type: "order.created", Data: fmt.Appendf(nil, `{"total": %d, "country": %q}`, i%4*500, country)}
	})
	// i%4: 0 DE 0, 1 FR 500, 2 DE 1000, 3 FR 1500: large are 2 and 3; both are 0, 2 (by two rules) and 3.
	w.wait(func() bool { return all.total() >= n && large.total() >= n/2 && both.total() >= n*3/4 },
		func() string { return fmt.Sprint(all.total(), large.total(), both.total()) })
	w.depth(w.plan.Match, 0)
	w.stop()
	if all.total() != n || large.total() != n/2 || both.total() != n*3/4 || both.distinct() != n*3/4 {
		t.Errorf("all %d, large %d, both %d (%d different); want %d, %d, %d", all.total(), large.total(), both.total(), both.distinct(), n, n/2, n*3/4)
	}
}

func TestWhatNoRuleWantsIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, mixed, nil, nil)
	w.publish(1, typed("nothing.like.it")) // the broker keeps it
	small := func(int) event.Event {
		return event.Event{ID: "small", Type: "order.created", Data: []byte(`{"total": 1}`), Headers: map[string]any{"h": "v"}}
	}
	w.publish(1, small) // `all` has it from the broker: not unrouted
	w.depth("test.all", 1)
	w.depth(w.plan.Unrouted, 1)

	w2 := newWorld(t, `
pipelines: {large: {}}
rules: [{name: large, type: "order.*", match: {data: {total: [{numeric: [">=", 1000]}]}}, pipelines: [large]}]
`, nil, nil)
	w2.publish(1, small)
	w2.depth(w2.plan.Unrouted, 1)
	w2.wait(func() bool { return slices.Equal(w2.list(&w2.unrouted), []string{"small"}) }, func() string { return fmt.Sprintf("told of %v", w2.list(&w2.unrouted)) })
	err := w2.broker.Browse(t.Context(), w2.plan.Unrouted, w2.plan.Sources(), func(d *router.Delivery) bool {
		if d.Event.Type != "order.created" || d.Exchange != "test.events" || string(d.Event.Data) != `{"total": 1}` || d.Event.Headers["h"] != "v" || d.Trail.Error == "" {
			t.Errorf("kept as %+v, %+v, from %q", d.Event, d.Trail, d.Exchange)
		}
		return true
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

const one = `
pipelines: {p: {workers: 4, timeout: 200ms, retry: {attempts: 3, delays: [10ms, 30ms]}}}
rules: [{name: r, pipelines: [p]}]
`

func TestFailuresAreTriedAgainAndEndAsDeadLetters(t *testing.T) {
	t.Parallel()
	var calls counter
	attempts := make(chan pipelines.Attempt, 100)
	w := newWorld(t, one, handlers{"p": func(ctx context.Context, e event.Event) error {
		n := calls.add(e.ID)
		if e.ID == "0" {
			attempts <- pipelines.AttemptOf(ctx)
		}
		switch {
		case e.ID == "1" && n == 2:
			return nil
		case e.ID == "2":
			return pipelines.Permanent(errors.New("never"))
		case e.ID == "3":
			panic("oh no")
		}
		return fmt.Errorf("attempt %d failed", n)
	}}, nil)
	w.publish(4, func(i int) event.Event {
		return event.Event{Type: "a.b", Subject: "s", Data: []byte("x"), ContentType: "text/plain", Headers: map[string]any{"h": int64(7)}, Properties: event.Properties{CorrelationID: "c"}}
	})
	w.depth("test.p.dead", 3)
	for _, want := range []pipelines.Attempt{{Pipeline: "p", Number: 1}, {Pipeline: "p", Number: 2}, {Pipeline: "p", Number: 3, Last: true}} {
		if got := <-attempts; got != want {
			t.Errorf("attempt %+v, want %+v", got, want)
		}
	}
	if got := []int{calls.n["0"], calls.n["1"], calls.n["2"], calls.n["3"]}; !slices.Equal(got, []int{3, 2, 1, 3}) {
		t.Errorf("attempts %v, want [3 2 1 3]", got)
	}
	letters := map[string]*router.Delivery{}
	if err := w.broker.Browse(t.Context(), "test.p.dead", w.plan.Sources(), func(d *router.Delivery) bool {
		letters[d.Event.ID] = d
		return true
	}, nil); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]struct {
		attempts int
		text     string
	}{"0": {3, "attempt 3 failed"}, "2": {1, "never"}, "3": {3, "panic: oh no"}} {
		d := letters[id]
		tr := d.Trail
		if tr.Attempts != want.attempts || !strings.Contains(tr.Error, want.text) || tr.Pipeline != "p" || !slices.Equal(tr.Rules, []string{"r"}) ||
			tr.FirstFailure.IsZero() || tr.LastFailure.Before(tr.FirstFailure) || d.Exchange != "test.events" {
			t.Errorf("dead letter %s says %+v, from %q", id, tr, d.Exchange)
		}
		if e := d.Event; e.Type != "a.b" || e.Subject != "s" || string(e.Data) != "x" || e.ContentType != "text/plain" || e.Headers["h"] != int64(7) || e.Properties.CorrelationID != "c" || len(e.Headers) != 1 {
			t.Errorf("dead letter %s is %+v", id, e)
		}
	}
	if !strings.Contains(letters["3"].Trail.Error, "service_test.go") {
		t.Error("the panic's stack is not there")
	}
}

func TestDelaysAreKept(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	at := map[string][]time.Time{}
	w := newWorld(t, `
pipelines: {p: {workers: 4, retry: {attempts: 4, delays: [20ms, 60ms]}}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(_ context.Context, e event.Event) error {
		mu.Lock()
		at[e.ID] = append(at[e.ID], time.Now())
		n := len(at[e.ID])
		mu.Unlock()
		if e.ID == "asks" && n == 1 {
			return pipelines.RetryAfter(errors.New("later"), 150*time.Millisecond) // more than any delay gives
		}
		if e.ID == "asks" {
			return nil
		}
		return errors.New("no")
	}}, nil)
	w.publish(1, func(int) event.Event { return event.Event{ID: "plain", Type: "t"} })
	w.publish(1, func(int) event.Event { return event.Event{ID: "asks", Type: "t"} })
	w.depth("test.p.dead", 1)
	w.wait(func() bool { mu.Lock(); defer mu.Unlock(); return len(at["asks"]) == 2 }, func() string { return "the one that asked did not come again" })
	mu.Lock()
	defer mu.Unlock()
	for i, least := range []time.Duration{20 * time.Millisecond, 60 * time.Millisecond, 60 * time.Millisecond} {
		if got := at["plain"][i+1].Sub(at["plain"][i]); got < least {
			t.Errorf("attempt %d came after %s, not before %s", i+2, got, least)
		}
	}
	if got := at["asks"][1].Sub(at["asks"][0]); got < 149*time.Millisecond {
		t.Errorf("asked for 150ms, came after %s", got)
	}
}

func TestTimeoutIsAnErrorThatSaysSo(t *testing.T) {
	t.Parallel()
	w := newWorld(t, strings.Replace(one, "attempts: 3", "attempts: 1", 1), handlers{"p": func(ctx context.Context, e event.Event) error {
		<-ctx.Done()
		return ctx.Err()
	}}, nil)
	w.publish(1, typed("t"))
	w.depth("test.p.dead", 1)
	err := w.broker.Browse(t.Context(), "test.p.dead", w.plan.Sources(), func(d *router.Delivery) bool {
		if !strings.Contains(d.Trail.Error, "no result within the timeout of 200ms") {
			t.Errorf("says %q", d.Trail.Error)
		}
		return true
	}, nil)
	if err != nil {
		t.Error(err)
	}
}

func TestOneWorkerKeepsTheOrder(t *testing.T) {
	t.Parallel()
	var calls counter
	w := newWorld(t, "pipelines: {p: {}}\nrules: [{name: r, pipelines: [p]}]\n", handlers{"p": func(_ context.Context, e event.Event) error {
		calls.add(e.ID)
		return nil
	}}, nil)
	w.publish(300, typed("t"))
	w.wait(func() bool { return calls.total() == 300 }, func() string { return fmt.Sprint(calls.total()) })
	for i, id := range calls.order() {
		if id != fmt.Sprint(i) {
			t.Fatalf("event %d was %s", i, id)
		}
	}
}

func TestOrderByKeepsTheOrderOfEachKeyAndLetsOthersPass(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	byKey := map[string][]int{}
	inHand := map[string]bool{}
	var most, now atomic.Int64
	release := make(chan struct{})
	w := newWorld(t, `
pipelines: {p: {workers: 4, prefetch: 100, order_by: data.customer.id}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(_ context.Context, e event.Event) error {
		key := e.Subject
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		mu.Lock()
		if inHand[key] {
			t.Errorf("two events of key %s at once", key)
		}
		inHand[key] = true
		mu.Unlock()
		if key == "slow" {
			<-release
		}
		mu.Lock()
		var i int
		fmt.Sscan(e.ID, &i)
		byKey[key] = append(byKey[key], i)
		inHand[key] = false
		mu.Unlock()
		now.Add(-1)
		return nil
	}}, nil)
	keys := []string{"slow", "a", "b", "c", "d"}
	const n = 250
	w.publish(n, func(i int) event.Event {
		key := keys[i%len(keys)]
		return event.Event{Type: "t", Subject: key, Data: fmt.Appendf(nil, `{"customer": {"id": %q}}`, key)}
	})
	count := func(key string) int { mu.Lock(); defer mu.Unlock(); return len(byKey[key]) }
	w.wait(func() bool { return count("a") > 10 && count("d") > 10 }, func() string { return "the slow key holds up the others" })
	close(release)
	w.wait(func() bool { return count("slow") == n/5 && count("a") == n/5 && count("d") == n/5 }, func() string { return "not all came" })
	mu.Lock()
	defer mu.Unlock()
	for key, list := range byKey {
		if !slices.IsSorted(list) {
			t.Errorf("key %s came in the order %v", key, list)
		}
	}
	if most.Load() < 2 {
		t.Error("keys were never handled side by side")
	}
}

func TestASlowPipelineHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	var quick counter
	w := newWorld(t, `
pipelines: {slow: {}, quick: {}}
rules: [{name: r, match: {data: {n: [{exists: true}]}}, pipelines: [slow, quick]}]
`, handlers{
		"slow":  func(ctx context.Context, _ event.Event) error { <-release; return nil },
		"quick": func(_ context.Context, e event.Event) error { quick.add(e.ID); return nil },
	}, nil)
	w.publish(500, func(i int) event.Event { return event.Event{Type: "t", Data: []byte(`{"n": 1}`)} })
	w.wait(func() bool { return quick.total() == 500 }, func() string { return fmt.Sprint(quick.total()) })
	close(release)
}

func TestDrainFinishesWhatIsInHand(t *testing.T) {
	t.Parallel()
	started, release := make(chan struct{}, 100), make(chan struct{})
	var done counter
	w := newWorld(t, "pipelines: {p: {workers: 3, prefetch: 10}}\nrules: [{name: r, pipelines: [p]}]\n", handlers{"p": func(_ context.Context, e event.Event) error {
		started <- struct{}{}
		<-release
		done.add(e.ID)
		return nil
	}}, nil)
	w.publish(20, typed("t"))
	for range 3 {
		<-started
	}
	ended := make(chan struct{})
	go func() { w.stop(); close(ended) }()
	select {
	case <-ended:
		t.Fatal("ended with events in hand")
	case release <- struct{}{}:
	}
	close(release)
	<-ended
	w.reconnect()
	left, err := w.broker.Depth(t.Context(), "test.p")
	if err != nil || left+done.distinct() != 20 || done.total() != done.distinct() {
		t.Errorf("%d are left and %d were done (%d different), of 20: %v", left, done.total(), done.distinct(), err)
	}
}

func TestADrainThatLastsTooLongGivesEventsBack(t *testing.T) {
	t.Parallel()
	started := make(chan struct{}, 10)
	w := newWorld(t, "pipelines: {p: {timeout: 1h}}\nrules: [{name: r, pipelines: [p]}]\n", handlers{"p": func(ctx context.Context, _ event.Event) error {
		started <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}}, func(s *pipelines.Service) { s.Drain = 50 * time.Millisecond })
	w.publish(1, typed("t"))
	<-started
	w.stop()
	w.reconnect()
	w.depth("test.p", 1)
	w.depth("test.p.dead", 0)
}

func TestEventsSurviveLostConnections(t *testing.T) {
	t.Parallel()
	var all, both counter
	w := newWorld(t, mixed, handlers{
		"all":   func(_ context.Context, e event.Event) error { all.add(e.ID); return nil },
		"large": func(_ context.Context, e event.Event) error { return nil },
		"both":  func(_ context.Context, e event.Event) error { both.add(e.ID); return nil },
	}, nil)
	const n = 2000
	var confirmed atomic.Int64
	var wg sync.WaitGroup
	for p := range 4 {
		wg.Go(func() {
			for i := range n / 4 {
				e := event.Event{ID: fmt.Sprintf("%d-%d", p, i), Type: "order.created", Data: []byte(`{"total": 5000, "country": "DE"}`)}
				for done := make(chan error, 1); ; {
					w.broker.Publish(t.Context(), router.Message{Event: &e, Exchange: w.exchange, Key: e.Type, Mandatory: true}, func(err error) { done <- err })
					if <-done == nil {
						break
					}
				}
				confirmed.Add(1)
			}
		})
	}
	for at := int64(n / 8); at < n; at += n / 8 {
		w.wait(func() bool { return confirmed.Load() >= at }, func() string { return "nothing is confirmed any more" })
		w.server.DropConnections()
	}
	wg.Wait()
	w.wait(func() bool { return all.distinct() == n && both.distinct() == n },
		func() string {
			return fmt.Sprintf("of %d: all has %d, both has %d", n, all.distinct(), both.distinct())
		})
	t.Logf("handled twice: %d in all, %d in both", all.total()-all.distinct(), both.total()-both.distinct())
}

func TestAHandlerForNoPipelineIsAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t, one, nil, nil)
	s := &pipelines.Service{Plan: w.plan, Broker: w.broker, Handlers: handlers{"q": nil}}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), `"q"`) {
		t.Errorf("got %v", err)
	}
}
