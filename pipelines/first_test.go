package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router/event"
)

// What comes before the queue of a pipeline is worked off though an event of it is in hand for longer than it takes to find the queue empty, and to drain:
// the event has its attempts, and what comes after it its turn.
func TestWhatIsInHandIsDoneBeforeTheNextQueue(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, retry string
		refused     bool // its dead letter, for a while
		want        []string
	}{
		{"an event waits for another attempt", "attempts: 2, delays: [1500ms], key: wait", false, []string{"a-0", "a-0", "a-1", "a-2"}},
		{"a dead letter is not taken yet", "attempts: 1", true, []string{"a-0", "a-1", "a-2"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, `
pipelines: {p: {workers: 2, order_by: subject, retry: {`+c.retry+`}}, before: {}}
rules: [{name: before, type: t, pipelines: [before]}, {name: now, type: now, pipelines: [p]}]
`, nil, nil)
			w.publish(4, keyed("a", "b"))
			w.publish(1, func(int) event.Event { return event.Event{ID: "a-2", Type: "now", Subject: "a"} })
			var tried counter
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			runner := &pipelines.Runner{
				Plan: w.plan, Pipeline: w.plan.Pipeline("p"), Broker: w.broker, Drain: 100 * time.Millisecond, First: []string{"test.before"},
				Handler: func(_ context.Context, e event.Event) error {
					n := tried.add(e.ID)
					if e.ID != "a-0" {
						return nil
					}
					if c.refused && n == 1 {
						w.server.RefusePublishes(true)
						time.AfterFunc(2*time.Second, func() { w.server.RefusePublishes(false) })
					}
					return errors.New("not yet")
				},
			}
			ended := make(chan error, 1)
			go func() { ended <- runner.Run(ctx) }()
			w.wait(func() bool { return slices.Contains(tried.order(), "a-2") || tried.total() > 10 }, func() string { return fmt.Sprintf("tried %v", tried.order()) })
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			var of []string
			for _, id := range tried.order() {
				if id[0] == 'a' {
					of = append(of, id)
				}
			}
			if !slices.Equal(of, c.want) {
				t.Errorf("tried %v, want %v", of, c.want)
			}
			w.depth("test.p.dead", 1)
			w.depth("test.before", 0)
		})
	}
}
