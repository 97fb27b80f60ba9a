package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// second starts another instance of a world's service. What is returned stops it.
func (w *world) second(h handlers) (stop func()) {
	w.t.Helper()
	b, err := amqp.New(w.server.URL(), amqp.Options{MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- pipelines.Run(ctx, b, &pipelines.Service{Plan: w.plan, Handlers: h, Ready: func() { close(ready) }})
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(stop)
	<-ready
	return stop
}

// keyed makes events of several keys in turn, with ids KEY-NUMBER.
func keyed(keys ...string) func(int) event.Event {
	return func(i int) event.Event {
		key := keys[i%len(keys)]
		return event.Event{ID: fmt.Sprintf("%s-%d", key, i/len(keys)), Type: "t", Subject: key}
	}
}

// firsts are the events of a key in the order in which they came first.
func firsts(ids []string, key string) (numbers []int) {
	seen := map[string]bool{}
	for _, id := range ids {
		var n int
		if _, err := fmt.Sscanf(id, key+"-%d", &n); err == nil && !seen[id] {
			seen[id] = true
			numbers = append(numbers, n)
		}
	}
	return numbers
}

func numbers(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestAKeyWaitsForItsEventThatIsRetried(t *testing.T) {
	t.Parallel()
	var tried, done counter
	var waits sync.Map
	w := newWorld(t, `
pipelines: {p: {workers: 2, prefetch: 100, order_by: subject, retry: {attempts: 3, delays: [10ms, 30ms], key: wait}}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(ctx context.Context, e event.Event) error {
		n := tried.add(e.ID)
		if a := pipelines.AttemptOf(ctx); a.Number != n || a.Last != (n == 3) {
			t.Errorf("attempt %d of %s is told as %+v", n, e.ID, a)
		}
		if last, ok := waits.Swap(e.ID, time.Now()); ok && time.Since(last.(time.Time)) < 10*time.Millisecond {
			t.Errorf("%s came again too soon", e.ID)
		}
		switch e.ID {
		case "a-0", "a-3", "b-1":
			if n < 3 {
				return errors.New("not yet")
			}
		case "a-5":
			return errors.New("never")
		case "b-4":
			return pipelines.Permanent(errors.New("never"))
		}
		done.add(e.ID)
		return nil
	}}, nil)
	const each = 10
	w.publish(3*each, keyed("a", "b", "c"))
	w.wait(func() bool { return done.total() == 3*each-2 }, func() string { return fmt.Sprintf("%d are done: %v", done.total(), tried.order()) })
	w.depth("test.p.dead", 2)
	w.stop()
	got := tried.order()
	for _, key := range []string{"a", "b", "c"} {
		var of []string
		for _, id := range got {
			if id[:1] == key {
				of = append(of, id)
			}
		}
		var want []string
		for i := range each {
			id := fmt.Sprintf("%s-%d", key, i)
			for range map[string]int{"a-0": 3, "a-3": 3, "b-1": 3, "a-5": 3}[id] {
				want = append(want, id)
			}
			if !slices.Contains(want, id) {
				want = append(want, id)
			}
		}
		if !slices.Equal(of, want) {
			t.Errorf("key %s came as\n%v, want\n%v", key, of, want)
		}
	}
	if n := len(w.list(&w.dead)); n != 2 {
		t.Errorf("%d dead letters were told of", n)
	}
}

// While a key waits no worker is held, and when the service ends nothing waits on: the key's events are in the queue again, in their order.
func TestAKeyThatWaitsHoldsNoWorkerAndNoDrain(t *testing.T) {
	t.Parallel()
	var tried counter
	w := newWorld(t, `
pipelines: {p: {prefetch: 100, order_by: subject, timeout: 1s, retry: {attempts: 2, delays: [10m], key: wait}}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(_ context.Context, e event.Event) error {
		tried.add(e.ID)
		if e.Subject == "a" && e.ID != "a-0" {
			return errors.New("not now")
		}
		return nil
	}}, func(s *pipelines.Service) { s.Drain = time.Hour })
	w.publish(20, keyed("a", "b"))
	// The key a waits at its second event, with the others behind it.
	w.wait(func() bool { return len(firsts(tried.order(), "b")) == 10 }, func() string { return fmt.Sprintf("tried %v", tried.order()) })
	w.stop()
	if got := firsts(tried.order(), "a"); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("of the key that waits, %v were tried", got)
	}
	var left []string
	for _, m := range w.server.Messages("/", "test.p") {
		left = append(left, m.MessageID)
	}
	if got := firsts(left, "a"); len(left) != 9 || !slices.Equal(got, numbers(10)[1:]) {
		t.Errorf("the queue holds %v", left)
	}
}

// Two instances share a queue with a single active consumer, and are stopped and started in turn under load: each event is handled once, and those of a key in order,
// also through the takeovers.
func TestOrderHoldsThroughATakeover(t *testing.T) {
	t.Parallel()
	for _, retry := range []string{"key: skip", "delays: [10ms, 20ms], key: wait"} {
		t.Run(retry, func(t *testing.T) {
			t.Parallel()
			var tried, done counter
			var mu sync.Mutex
			by := map[string]int{}
			wait := retry != "key: skip"
			handler := func(instance string) handlers {
				return handlers{"p": func(_ context.Context, e event.Event) error {
					n := tried.add(e.ID)
					if wait && strings.HasSuffix(e.ID, "3") && n == 1 {
						return errors.New("not yet")
					}
					done.add(e.ID)
					mu.Lock()
					defer mu.Unlock()
					by[instance]++
					return nil
				}}
			}
			w := newWorld(t, `
pipelines: {p: {workers: 4, prefetch: 20, order_by: subject, queue: {single_active_consumer: true}, retry: {`+retry+`}}}
rules: [{name: r, pipelines: [p]}]
`, handler("first"), nil)
			stop, next := w.stop, w.second(handler("other"))
			w.reconnect()
			keys := []string{"a", "b", "c", "d", "e"}
			const each, part = 400, 400
			make := keyed(keys...)
			var errs []chan error
			for at := 0; at < each*len(keys); at += part {
				// Whoever is at it is stopped in the midst of a part. The next part is published when it has ended, so that even the quickest leaves something to the others.
				errs = append(errs, goPublish(w, part, func(i int) event.Event { return make(at + i) }))
				w.wait(func() bool { return done.total() >= at+part/4 }, func() string { return fmt.Sprintf("%d are done", done.total()) })
				stop()
				stop, next = next, w.second(handler(fmt.Sprint(at)))
			}
			for _, confirmed := range errs {
				for range part {
					if err := <-confirmed; err != nil {
						t.Fatal(err)
					}
				}
			}
			w.wait(func() bool { return done.distinct() == each*len(keys) }, func() string { return fmt.Sprintf("%d are done", done.distinct()) })
			if done.total() != done.distinct() {
				t.Errorf("%d events were done %d times, though none was cut short", done.distinct(), done.total())
			}
			for _, key := range keys {
				for what, list := range map[string][]string{"tried": tried.order(), "done": done.order()} {
					if got := firsts(list, key); !slices.Equal(got, numbers(each)) {
						t.Errorf("key %s was %s in the order %v", key, what, got)
					}
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if len(by) < each*len(keys)/part {
				t.Errorf("takeovers were missed: %v", by)
			}
			t.Logf("done by %v", by)
		})
	}
}

// Connections are lost again and again. Whoever takes over begins where the other was, and who lost its connection begins nothing more of what it held.
func TestOrderHoldsThroughLostConnections(t *testing.T) {
	t.Parallel()
	for _, retry := range []string{"skip", "wait"} {
		t.Run(retry, func(t *testing.T) {
			t.Parallel()
			var tried, done counter
			handler := handlers{"p": func(_ context.Context, e event.Event) error {
				n := tried.add(e.ID)
				if retry == "wait" && strings.HasSuffix(e.ID, "3") && n == 1 {
					return errors.New("not yet")
				}
				done.add(e.ID)
				return nil
			}}
			w := newWorld(t, `
pipelines: {p: {workers: 4, prefetch: 20, order_by: subject, queue: {single_active_consumer: true, delivery_limit: 1000}, retry: {delays: [5ms], key: `+retry+`}}}
rules: [{name: r, pipelines: [p]}]
`, handler, nil)
			w.second(handler)
			keys := []string{"a", "b", "c", "d", "e"}
			const each = 300
			w.publish(each*len(keys), keyed(keys...))
			for at := 200; at < each*len(keys); at += 200 {
				w.wait(func() bool { return done.distinct() >= at }, func() string { return fmt.Sprintf("%d are done", done.distinct()) })
				w.server.DropConnections()
			}
			w.wait(func() bool { return done.distinct() == each*len(keys) }, func() string { return fmt.Sprintf("%d are done", done.distinct()) })
			for _, key := range keys {
				for what, list := range map[string][]string{"tried": tried.order(), "done": done.order()} {
					if got := firsts(list, key); !slices.Equal(got, numbers(each)) {
						t.Errorf("key %s was %s in the order %v", key, what, got)
					}
				}
			}
			t.Logf("%d events, done %d times", done.distinct(), done.total())
		})
	}
}

// A handler asks for more time than there is before RabbitMQ takes back what is held; and an event without the key waits at the broker, as ever.
func TestWhatCannotWaitInPlaceDoesNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, `
pipelines: {p: {order_by: subject, retry: {attempts: 3, delays: [1h], key: skip}}, q: {order_by: subject, retry: {attempts: 2, delays: [1m], key: wait}}}
rules: [{name: r, pipelines: [p, q]}]
`, handlers{
		"p": func(context.Context, event.Event) error { return nil },
		"q": func(context.Context, event.Event) error {
			return pipelines.RetryAfter(errors.New("tomorrow"), 24*time.Hour)
		},
	}, nil)
	w.publish(1, func(int) event.Event { return event.Event{Type: "t", Subject: "key"} })
	w.publish(1, func(int) event.Event { return event.Event{ID: "without", Type: "t"} })
	w.depth("test.delay.1m", 1)
	w.wait(func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.retried) == 2 }, func() string { return "not both are retried" })
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := slices.Min(w.retried); got > 15*time.Minute || got < 14*time.Minute {
		t.Errorf("held for %s", got)
	}
}

// What waits in hand when the connection is lost comes again, and is not begun before that: nobody does it twice.
func TestWhatIsLostIsNotBegun(t *testing.T) {
	t.Parallel()
	var tried counter
	began, release := make(chan struct{}, 10), make(chan struct{})
	w := newWorld(t, `
pipelines: {p: {workers: 2, prefetch: 20, order_by: subject}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(_ context.Context, e event.Event) error {
		tried.add(e.ID)
		if e.ID == "a-0" {
			began <- struct{}{}
			<-release
		}
		return nil
	}}, nil)
	inHand := func() int { q, _ := w.server.Queue("/", "test.p"); return q.Unacked }
	w.publish(6, keyed("a"))
	<-began
	w.wait(func() bool { return inHand() == 6 }, func() string { return "not all are in hand" })
	w.server.DropConnections()
	e := event.Event{ID: "b-0", Type: "t", Subject: "b"}
	w.wait(func() bool {
		sent := make(chan error, 1)
		w.broker.Publish(t.Context(), router.Message{Event: &e, Exchange: w.exchange, Key: e.Type, Mandatory: true}, func(err error) { sent <- err })
		return <-sent == nil
	}, func() string { return "nothing can be sent" })
	w.wait(func() bool { return len(firsts(tried.order(), "b")) == 1 }, func() string { return "it does not go on" }) // behind what has come again
	close(release)
	w.wait(func() bool { return inHand() == 0 }, func() string { return "not all are done" })
	want := []string{"a-0", "b-0", "a-0", "a-1", "a-2", "a-3", "a-4", "a-5"}
	if got := tried.order(); !slices.Equal(got, want) {
		t.Errorf("tried %v, want %v", got, want)
	}
}
