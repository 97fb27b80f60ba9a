package pipelines_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// The queue of a pipeline is full when others apply rules that feed it by type, and then ours are applied again: what waits in the match queue of before
// gets to the pipeline, and so does what comes from then on.
func TestALeftoverIsWorkedOffWhenOurRulesAreInForceAgain(t *testing.T) {
	t.Parallel()
	rules := func(rule string) string {
		return "pipelines: {p: {queue: {max_length: 2}}}\nrules: [{name: r, type: order.created, " + rule + "pipelines: [p]}]\n"
	}
	const ours = "where: 'data.n > 0', "
	w := newWorld(t, rules(ours), nil, func(s *pipelines.Service) { s.Drain = 200 * time.Millisecond })
	numbered := func(from int) func(int) event.Event {
		return func(i int) event.Event {
			return event.Event{ID: fmt.Sprint(from + i), Type: "order.created", ContentType: "application/json", Data: []byte(`{"n": 1}`)}
		}
	}
	w.publish(10, numbered(0))
	ready := func(queue string) int { q, _ := w.server.Queue("/", queue); return q.Ready }
	w.wait(func() bool { return ready("test.p") >= 2 }, func() string { return "the queue does not get full" })
	apply := func(text string) {
		t.Helper()
		if _, _, err := router.Apply(t.Context(), w.broker, w.replan(text), router.ApplyOptions{Settle: -1}, nil); err != nil {
			t.Fatal(err)
		}
	}
	apply(rules(""))
	w.wait(func() bool {
		return strings.Contains(strings.Join(w.list(&w.problems), "\n"), router.ErrSuperseded.Error()) && ready("test.match") > 0 && ready("test.match")+ready("test.p") == 10
	}, func() string {
		return fmt.Sprintf("%d events went back to the match queue, problems: %v", ready("test.match"), w.list(&w.problems))
	})
	apply(rules(ours))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	var got counter
	go func() {
		ended <- w.broker.Consume(ctx, router.Subscription{Queue: "test.p", Sources: w.plan.Sources()}, func(d *router.Delivery) {
			got.add(d.Event.ID)
			_ = d.Ack()
		})
	}()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	w.publish(5, numbered(10))
	w.wait(func() bool { return got.distinct() == 15 }, func() string { return fmt.Sprintf("the pipeline has got %v", got.order()) })
	w.wait(func() bool { return w.isGone("test.match") }, func() string { return "the match queue of before is still there" })
}
