package changes

import (
	"context"
	"errors"
	"math"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// Setting is a number from the environment, or the default: EVENTROUTER_TEST_RELOAD_SECONDS and EVENTROUTER_TEST_RELOAD_RATE make the test of
// reloads as long and as hard as wanted.
func Setting(t testing.TB, name string, without int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return without
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// Reload runs a service under a stream of events and reloads it every second, between two rules files, and audits.
func Reload(t testing.TB, url, name string, pair Pair, seconds, perSecond int) {
	t.Helper()
	plans := []*plan.Plan{Compile(t, name, pair.Old), Compile(t, name, pair.New)}
	var trouble problems
	b, _ := Connect(t, url, amqp.Options{Name: "service", Hooks: router.Hooks{Problem: trouble.note}})
	publisher, _ := Connect(t, url, amqp.Options{Name: "publisher"})
	Apply(t, publisher, plans[0])
	stream := NewStream(t, publisher, plans[0], perSecond)
	handlers := func(p *plan.Plan) map[string]pipelines.Handler {
		out := map[string]pipelines.Handler{}
		for i := range p.Pipelines {
			place := p.Pipelines[i].Name
			out[place] = func(_ context.Context, e event.Event) error {
				stream.Book.Seen(place, e.ID)
				return nil
			}
		}
		return out
	}
	ready := make(chan struct{})
	service := &pipelines.Service{
		Plan: plans[0], Broker: b, Handlers: handlers(plans[0]), Hooks: router.Hooks{Problem: trouble.note}, Ready: func() { close(ready) }, Apply: router.ApplyOptions{Settle: -1},
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	<-ready
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var longest time.Duration
	for i := range seconds {
		<-tick.C
		next := plans[(i+1)%2]
		began := time.Now()
		update := pipelines.Update{Plan: next, Handlers: map[string]pipelines.Handler{}}
		for place, h := range handlers(next) {
			if plans[i%2].Pipeline(place) == nil {
				update.Handlers[place] = h
			}
		}
		if err := service.Reload(ctx, update); err != nil {
			t.Errorf("reload %d: %v", i, err)
		}
		longest = max(longest, time.Since(began))
	}
	stream.Stop()
	settled(t, b, plans...)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	Collect(t, publisher, stream.Book, plans...)
	Forget(t, publisher, plans...)
	t.Logf("%d reloads, the longest took %s; %d events", seconds, longest.Round(time.Millisecond), stream.Book.Total())
	stream.Audit(t, plans[0], plans[1])
	for _, text := range trouble.list() {
		t.Error("problem: " + text)
	}
}

// settled waits until nothing is left in the queues that the service works on, those of plans' pipelines and what is recorded as matched by content.
func settled(t testing.TB, b router.Broker, plans ...*plan.Plan) {
	t.Helper()
	rec, err := router.Applied(t.Context(), b, plans[0])
	if err != nil || rec == nil {
		t.Fatalf("the record: %v, %v", rec, err)
	}
	queues := []string{rec.InForce().Match}
	for _, left := range rec.Leftovers {
		queues = append(queues, left.Queue)
	}
	for _, p := range plans {
		for i := range p.Pipelines {
			queues = append(queues, p.Pipelines[i].QueueName)
		}
	}
	seen := map[string]bool{"": true} // a plan without rules by content has no match queue
	for _, queue := range queues {
		if !seen[queue] {
			seen[queue] = true
			drained(t, b, queue)
		}
	}
}

// drained waits until a queue is empty, or is not there, for as long as it gets shorter.
func drained(t testing.TB, b router.Browser, queue string) {
	t.Helper()
	for left := math.MaxInt; left > 0; {
		before := left
		Until(t, func() bool {
			n, err := b.Depth(t.Context(), queue)
			if err != nil && !errors.Is(err, router.ErrNoQueue) {
				return false // it is asked again
			}
			left = n
			return left < before
		}, "queue "+queue+" gets no shorter")
	}
}

// problems gathers what goes wrong.
type problems struct {
	mu   sync.Mutex
	said []string
}

func (p *problems) note(where string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, where+": "+err.Error())
}

func (p *problems) list() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said
}
