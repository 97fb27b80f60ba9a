package changes

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// WorkOff routes what is in the match queues, until nothing is left.
func WorkOff(t testing.TB, b router.Broker, c *plan.Change) {
	t.Helper()
	workOff(t, b, c.Plan, c.Plan.Match, nil)
	for i := range c.Leftovers {
		workOff(t, b, c.Plan, c.Leftovers[i].Queue, &c.Leftovers[i])
	}
}

// lastPrefix begins the ids of events by which a router is seen to have come to the end of its queue: they are in nobody's books.
const lastPrefix = "last-"

// workOff routes what is in one match queue. How many events it holds says little, as a router has hundreds of them in hand; those go back a while after it has
// ended. So an event is put behind them: a router that has routed that has begun with all of them, and finishes what it has begun.
func workOff(t testing.TB, b router.Broker, p *plan.Plan, queue string, left *plan.Leftover) {
	t.Helper()
	if queue == "" {
		return
	}
	id := lastPrefix + uuid.NewString()
	if err := Send(t, b, "", queue, id); errors.Is(err, router.ErrUnroutable) {
		return // it is not there
	} else if err != nil {
		t.Fatal(err)
	}
	limit, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ctx, stop := context.WithCancel(limit)
	defer stop()
	seen := func(e *router.Event) {
		if e.ID == id {
			stop()
		}
	}
	hooks := router.Hooks{
		Routed:   func(e *router.Event, _, _ []string, _ time.Duration) { seen(e) },
		Unrouted: func(e *router.Event, _ string) { seen(e) },
	}
	for ctx.Err() == nil { // a router of a leftover ends by itself where its queue seems empty
		if err := (&router.Router{Plan: p, Broker: b, Leftover: left, Hooks: hooks}).Run(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if limit.Err() != nil {
		t.Fatalf("waited 2 minutes: %s is not worked off", queue)
	}
	if n, err := b.Depth(t.Context(), queue); err != nil || n > 0 {
		t.Errorf("%s holds %d events when it is worked off: %v", queue, n, err)
	}
}
