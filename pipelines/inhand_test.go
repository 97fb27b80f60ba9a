package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// bare is a broker that has one event, and no exchange.
type bare struct {
	router.Broker
	settled settled
}

func (b *bare) Consume(ctx context.Context, s router.Subscription, handle func(*router.Delivery)) error {
	handle(&router.Delivery{Event: &event.Event{ID: "1", Type: "order.created"}, Queue: s.Queue, Settler: &b.settled})
	<-ctx.Done()
	return nil
}

func (b *bare) Publish(_ context.Context, m router.Message, done func(error)) {
	done(fmt.Errorf("%w: %q", router.ErrExchange, m.Exchange))
}

func (b *bare) Redeclare(context.Context) error { return nil }

// settled notes how a delivery ended.
type settled struct {
	mu  sync.Mutex
	how []string
}

func (s *settled) note(how string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.how = append(s.how, how)
	return nil
}

func (s *settled) Ack() error     { return s.note("ack") }
func (s *settled) Requeue() error { return s.note("requeue") }
func (s *settled) Reject() error  { return s.note("reject") }
func (s *settled) Lost() bool     { return false }

// RabbitMQ closes the channel of who holds an event for thirty minutes: an event whose delay is gone is tried again sooner than its handler asks for.
func TestWhatWaitsInHandWaitsFifteenMinutesAtMost(t *testing.T) {
	for _, c := range []struct{ asked, waits time.Duration }{
		{asked: 2 * time.Hour, waits: 15 * time.Minute},
		{asked: 5 * time.Minute, waits: 5 * time.Minute},
	} {
		synctest.Test(t, func(t *testing.T) {
			file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte("version: 1\nname: test\npipelines: {work: {retry: {delays: [1m]}}}\nrules: [{name: all, pipelines: [work]}]\n")})
			if file == nil {
				t.Fatal(problems)
			}
			p, err := plan.Compile(file)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			b := &bare{}
			var told []time.Duration
			var failedAt, triedAt time.Time
			var problem error
			runner := &pipelines.Runner{
				Plan: p, Pipeline: p.Pipeline("work"), Broker: b,
				Hooks: router.Hooks{
					Retried: func(_ string, _ *router.Event, _ int, wait time.Duration, _ error) {
						told, failedAt = append(told, wait), time.Now()
					},
					Problem: func(_ string, err error) { problem = err },
				},
				Handler: func(ctx context.Context, _ router.Event) error {
					if pipelines.AttemptOf(ctx).Number == 1 {
						return pipelines.RetryAfter(errors.New("not now"), c.asked)
					}
					triedAt = time.Now()
					stop()
					return nil
				},
			}
			if err := runner.Run(ctx); err != nil {
				t.Fatal(err)
			}
			if waited := triedAt.Sub(failedAt); waited != c.waits || len(told) != 1 || told[0] != c.waits {
				t.Errorf("asked for %s: waited %s, and told %v; want %s", c.asked, waited, told, c.waits)
			}
			if len(b.settled.how) != 1 || b.settled.how[0] != "ack" || !errors.Is(problem, router.ErrExchange) {
				t.Errorf("settled by %v; problem: %v", b.settled.how, problem)
			}
		})
	}
}
