package dead_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/pipelines/dead"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// world is a broker with a plan's queues, and nothing that consumes from them.
type world struct {
	*amqp.Broker
	t    *testing.T
	plan *plan.Plan
}

func newWorld(t *testing.T) *world {
	t.Helper()
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte(`
version: 1
name: shop
pipelines: {billing: {queue: {max_length: 3}}, mail: {}}
rules:
  - {name: orders, type: order.*, pipelines: [billing, mail]}
`)})
	if file == nil {
		t.Fatal(problems)
	}
	p, err := plan.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	b, err := amqp.New(amqptest.Broker(t).URL(), amqp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if err := b.Declare(t.Context(), p.Topology); err != nil {
		t.Fatal(err)
	}
	return &world{b, t, p}
}

// keep puts events with ids 0, 1, 2 … into a queue.
func (w *world) keep(queue string, n int, trail func(i int) router.Trail) {
	w.t.Helper()
	for i := range n {
		tr := trail(i)
		done := make(chan error, 1)
		e := &router.Event{ID: fmt.Sprint(i), Type: tr.Type, ContentType: "application/json", Data: []byte(`{}`)}
		w.Publish(w.t.Context(), router.Message{Event: e, Key: queue, Mandatory: true, Trail: tr}, func(err error) { done <- err })
		if err := <-done; err != nil {
			w.t.Fatal(err)
		}
	}
}

// billing keeps n dead letters of the pipeline billing, the first the oldest.
func (w *world) billing(n int) *dead.Box {
	w.t.Helper()
	p := w.plan.Pipeline("billing")
	now := time.Now()
	w.keep(p.DeadName, n, func(i int) router.Trail {
		failed := now.Add(time.Duration(i-n) * time.Hour).Truncate(time.Millisecond)
		return router.Trail{
			Type: []string{"order.created", "order.paid"}[i%2], Exchange: "shop.events", Pipeline: "billing", Attempts: 5,
			FirstFailure: failed, LastFailure: failed, Error: fmt.Sprintf("Timeout number %d", i), Rules: []string{"orders", fmt.Sprintf("rule %d", i)},
		}
	})
	return dead.Letters(w, w.plan, p)
}

// ids are the events of a queue, from its head.
func (w *world) ids(queue string) string {
	w.t.Helper()
	var ids []string
	if err := w.Browse(w.t.Context(), queue, nil, func(d *router.Delivery) bool {
		ids = append(ids, d.Event.ID)
		return true
	}, nil); err != nil {
		w.t.Fatal(err)
	}
	return strings.Join(ids, " ")
}

func (w *world) holds(queue, want string) {
	w.t.Helper()
	if got := w.ids(queue); got != want {
		w.t.Errorf("queue %s holds %q, want %q", queue, got, want)
	}
}

func TestLookingChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := w.billing(12)
	for _, c := range []struct {
		name string
		f    dead.Filter
		want string
	}{
		{"all", dead.Filter{}, "0 1 2 3 4 5 6 7 8 9 10 11"},
		{"ids", dead.Filter{IDs: []string{"10", "3", "nobody"}}, "3 10"},
		{"type", dead.Filter{Type: "*.paid"}, "1 3 5 7 9 11"},
		{"error, in any case", dead.Filter{Error: "timeout number 1"}, "1 10 11"},
		{"rule", dead.Filter{Rule: "rule 7"}, "7"},
		{"older", dead.Filter{Older: 9*time.Hour + time.Minute}, "0 1 2"},
		{"newer", dead.Filter{Newer: 2*time.Hour + time.Minute}, "10 11"},
		{"together", dead.Filter{Type: "*.paid", Newer: 2*time.Hour + time.Minute}, "11"},
	} {
		var got []string
		if err := box.Each(t.Context(), c.f, func(l dead.Letter) bool {
			got = append(got, l.Event.ID)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
	seen := 0
	if err := box.Each(t.Context(), dead.Filter{}, func(dead.Letter) bool { seen++; return seen < 3 }); err != nil || seen != 3 {
		t.Errorf("stopped after %d: %v", seen, err)
	}
	w.holds(box.Queue, "0 1 2 3 4 5 6 7 8 9 10 11")
	if n, err := box.Depth(t.Context()); n != 12 || err != nil {
		t.Errorf("%d letters, %v", n, err)
	}
}

// A filter by age that takes an unknown age for a great one deletes what came a second ago.
func TestOnlyWhatHasATimeIsPickedByItsAge(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, e := range []*router.Event{{ID: "rejected", Type: "order.paid"}, {ID: "by the alternate exchange", Type: "stray"}} {
		done := make(chan error, 1)
		w.Publish(t.Context(), router.Message{Event: e, Exchange: "shop.events", Key: e.Type, Mandatory: true}, func(err error) { done <- err })
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := w.Consume(ctx, router.Subscription{Queue: "shop.billing", Sources: w.plan.Sources()}, func(d *router.Delivery) {
		if err := d.Reject(); err != nil {
			t.Error(err)
		}
		cancel()
	}); err != nil {
		t.Fatal(err)
	}
	letters, unrouted := dead.Letters(w, w.plan, w.plan.Pipeline("billing")), dead.Unrouted(w, w.plan)
	deadline := time.Now().Add(10 * time.Second)
	for n := 0; n == 0; n, _ = letters.Depth(t.Context()) {
		if time.Now().After(deadline) {
			t.Fatal("what was rejected is no dead letter")
		}
	}
	w.keep(unrouted.Queue, 1, func(int) router.Trail {
		return router.Trail{Type: "order.paid", Exchange: "shop.events", Error: "no rule holds for it", LastFailure: time.Now().Add(-2 * time.Hour)}
	})
	for _, c := range []struct {
		name string
		box  *dead.Box
		f    dead.Filter
		want string
	}{
		{"rejected long ago", letters, dead.Filter{Older: time.Hour}, ""},
		{"rejected just now", letters, dead.Filter{Newer: time.Hour}, "rejected"},
		{"unrouted", unrouted, dead.Filter{}, "by the alternate exchange 0"},
		{"unrouted long ago", unrouted, dead.Filter{Older: time.Hour}, "0"},
		{"unrouted just now", unrouted, dead.Filter{Newer: 3 * time.Hour}, "0"},
		{"unrouted longer ago than it was", unrouted, dead.Filter{Older: 3 * time.Hour}, ""},
	} {
		var got []string
		if err := c.box.Each(t.Context(), c.f, func(l dead.Letter) bool {
			got = append(got, l.Event.ID)
			return true
		}); err != nil {
			t.Fatal(err)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
	if n, err := unrouted.Drop(t.Context(), dead.Filter{Older: 720 * time.Hour}, nil); n != 0 || err != nil {
		t.Errorf("dropped %d: %v", n, err)
	}
	// A letter that goes to a file and comes back keeps its time.
	if err := letters.Each(t.Context(), dead.Filter{}, func(l dead.Letter) bool {
		if m := letters.Message(&l); time.Since(m.Trail.LastFailure) > time.Hour {
			t.Errorf("put back as of %s", m.Trail.LastFailure)
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
}

func TestDropTakesWhatIsPicked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := w.billing(5)
	var told []string
	n, err := box.Drop(t.Context(), dead.Filter{IDs: []string{"1", "3"}}, func(l dead.Letter) { told = append(told, l.Event.ID) })
	if n != 2 || err != nil || !slices.Equal(told, []string{"1", "3"}) {
		t.Errorf("dropped %d, %v: %v", n, told, err)
	}
	w.holds(box.Queue, "0 2 4")
}

func TestReplayGoesToTheFailedPipelineOnlyAndBeginsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := w.billing(3)
	n, err := box.Replay(t.Context(), dead.Replay{Filter: dead.Filter{IDs: []string{"0", "2"}}})
	if n != 2 || err != nil {
		t.Fatalf("replayed %d: %v", n, err)
	}
	w.holds(box.Queue, "1")
	w.holds("shop.mail", "")
	found := 0
	if err := w.Browse(t.Context(), "shop.billing", w.plan.Sources(), func(d *router.Delivery) bool {
		found++
		if d.Trail.Attempts != 0 || d.Trail.Error != "" || d.Event.Type != "order.created" || d.Exchange != "shop.events" {
			t.Errorf("came as %+v, trail %+v", d.Event, d.Trail)
		}
		return true
	}, nil); err != nil || found != 2 {
		t.Errorf("%d events: %v", found, err)
	}
}

func TestAFullQueueKeepsTheRestOfTheLetters(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := w.billing(6)
	var failed []string
	n, err := box.Replay(t.Context(), dead.Replay{Replayed: func(l dead.Letter, err error) {
		if err != nil {
			failed = append(failed, l.Event.ID)
		}
	}})
	// A quorum queue goes over its limit once before it refuses.
	if n != 4 || !errors.Is(err, router.ErrRefused) || len(failed) != 2 {
		t.Errorf("replayed %d, failed %v: %v", n, failed, err)
	}
	w.holds("shop.billing", "0 1 2 3")
	w.holds(box.Queue, "4 5")
}

func TestLimitAndRate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := w.billing(6)
	began := time.Now()
	n, err := box.Replay(t.Context(), dead.Replay{Limit: 3, Rate: 20})
	if n != 3 || err != nil {
		t.Errorf("replayed %d: %v", n, err)
	}
	if took := time.Since(began); took < 90*time.Millisecond { // the second and the third wait 50 ms each
		t.Errorf("3 at 20 a second took %s", took)
	}
	w.holds(box.Queue, "3 4 5")
}

func TestAnInterruptedReplayLeavesTheRest(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := w.billing(6)
	ctx, cancel := context.WithCancel(t.Context())
	n, err := box.Replay(ctx, dead.Replay{Rate: 0.5, Replayed: func(dead.Letter, error) { cancel() }})
	if n != 1 || err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("replayed %d: %v", n, err)
	}
	w.holds("shop.billing", "0")
	w.holds(box.Queue, "1 2 3 4 5")
}

// A broker closes the channel of a consumer that holds events for longer than its consumer_timeout, which a slow replay of many would do.
func TestASlowReplayHoldsLettersForATurnOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	slow := plan.Queue{Name: "slow", Arguments: map[string]any{"x-queue-type": "quorum", "x-consumer-timeout": int64(500)}}
	if err := w.Declare(t.Context(), plan.Topology{Queues: []plan.Queue{slow}}); err != nil {
		t.Fatal(err)
	}
	kinds := []string{"order.created", "order.paid", "order.lost"}
	w.keep("slow", 18, func(i int) router.Trail {
		return router.Trail{Type: kinds[i%3], Exchange: "shop.events", Error: "it said no"}
	})
	// Those that are lost fail: their queue is not there. While the replay goes on, a younger one comes.
	box := &dead.Box{Broker: w, Queue: "slow", Sources: w.plan.Sources(), Target: func(d *router.Delivery) (string, string, bool) {
		if d.Event.Type == "order.lost" {
			return "", "nowhere", true
		}
		return "", "shop.mail", true
	}}
	var done, failed []string
	younger := make(chan error, 1)
	n, err := box.Replay(t.Context(), dead.Replay{Filter: dead.Filter{Error: "said no"}, Rate: 15, Turn: 100 * time.Millisecond, Replayed: func(l dead.Letter, err error) {
		if err != nil {
			failed = append(failed, l.Event.ID)
			return
		}
		if done = append(done, l.Event.ID); len(done) == 2 {
			go w.Publish(t.Context(), router.Message{
				Event: &router.Event{ID: "younger", Type: "order.created"}, Key: "slow", Mandatory: true,
				Trail: router.Trail{Type: "order.created", Exchange: "shop.events", Error: "it said no again"},
			}, func(err error) { younger <- err })
		}
	}})
	if err := <-younger; err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(done, " "); n != 12 || got != "0 1 3 4 6 7 9 10 12 13 15 16" || !errors.Is(err, router.ErrUnroutable) {
		t.Errorf("replayed %d, %q: %v", n, got, err)
	}
	if got := strings.Join(failed, " "); got != "2 5 8 11 14 17" {
		t.Errorf("failed: %q", got)
	}
	w.holds("slow", "2 5 8 11 14 17 younger")
}

func TestUnroutedEventsGoThroughTheRulesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.keep("shop.unrouted", 3, func(i int) router.Trail {
		return router.Trail{Type: "order.paid", Exchange: []string{"shop.events", "elsewhere", "shop.events"}[i], Error: "no rule holds for it"}
	})
	box := dead.Unrouted(w, w.plan)
	n, err := box.Replay(t.Context(), dead.Replay{})
	if n != 2 || err == nil || !strings.Contains(err.Error(), `event "1": it was published to exchange "elsewhere"`) {
		t.Errorf("replayed %d: %v", n, err)
	}
	w.holds("shop.billing", "0 2")
	w.holds("shop.mail", "0 2")
	w.holds(box.Queue, "1")
}

func TestReasons(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		letter dead.Letter
		want   string
	}{
		{dead.Letter{Trail: router.Trail{Error: "it said no"}}, "it said no"},
		{dead.Letter{Trail: router.Trail{Error: "it said no"}, Deaths: "delivery_limit"}, "its consumer was lost too often while it worked on it (delivery limit)"},
		{dead.Letter{Deaths: "rejected"}, "rejected: it could not be handed on"},
		{dead.Letter{Deaths: "expired"}, "dead-lettered by the broker: expired"},
		{dead.Letter{}, "no rule has its type"},
	} {
		if got := c.letter.Reason(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.letter, got, c.want)
		}
	}
}

func TestAQueueThatIsNotThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	box := &dead.Box{Broker: w, Queue: "shop.nothing"}
	if _, err := box.Depth(t.Context()); !errors.Is(err, router.ErrNoQueue) {
		t.Errorf("depth: %v", err)
	}
	if err := box.Each(t.Context(), dead.Filter{}, func(dead.Letter) bool { return true }); !errors.Is(err, router.ErrNoQueue) {
		t.Errorf("browse: %v", err)
	}
}
