package pipelines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// Service is everything that a rules file says, at work: its topology, the routing of rules that look at content, and the pipelines.
type Service struct {
	Plan     *plan.Plan
	Broker   router.Broker
	Handlers map[string]Handler // by pipeline; one without a handler is another program's to consume
	Hooks    router.Hooks
	Drain    time.Duration       // for finishing what is in hand at the end, default 30s
	Ready    func()              // called when the plan is applied; may be nil
	Apply    router.ApplyOptions // how plans are applied
	Kept     func([]router.Kept) // called with what a change could not delete yet; may be nil

	mu   sync.Mutex
	live *live // while Run works
}

// Run applies the plan (see [router.Apply]), routes and handles events until ctx is over, and finishes what is in hand, for no longer than Drain.
// Where others apply other rules meanwhile, it says so as a problem that wraps [router.ErrSuperseded], and routes no more until its own are
// in force again; the pipelines go on. The broker's connections have to live a little longer than ctx; see [Run], which sees to that.
// It is called once.
func (s *Service) Run(ctx context.Context) error {
	if err := known(s.Plan, s.Handlers); err != nil {
		return err
	}
	l := newLive(ctx, s)
	err := l.change(ctx, Update{Plan: s.Plan, Handlers: s.Handlers})
	if err != nil {
		l.end()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	s.mu.Lock()
	s.live = l
	s.mu.Unlock()
	if s.Ready != nil {
		s.Ready()
	}
	err = l.wait()
	s.mu.Lock()
	s.live = nil
	s.mu.Unlock()
	return err
}

// Update is what a running service is to do from now on.
type Update struct {
	Plan *plan.Plan
	// Handlers are those of new pipelines, and of pipelines whose handler is another one now; nil leaves a pipeline to other programs. A pipeline that
	// is not named here keeps the handler that it has.
	Handlers map[string]Handler
	// Unused is called once for each pipeline whose earlier handler this update replaces or takes away, when nothing calls that handler any more, so that
	// what it holds can be let go: events that are still in a queue which the pipeline had before are handled by it first. That is before Reload returns, or
	// later, from any goroutine, and at the latest before the service's Run returns; never where Reload returns an error. It must not call Reload; it may be nil.
	Unused func(pipeline string)
	// Check may refuse the change before anything is done; may be nil.
	Check func(*plan.Change) error
}

// Reload applies another plan while events flow. Pipelines that changed are restarted, those that are gone handle what their queues still hold and
// end, and all others are not touched. After an error the service goes on by the plan it had; what was
// changed on the broker by then is finished or taken back by the next change. It returns when the new plan is in force; changes are made one
// at a time. The name of the plan stays the same.
func (s *Service) Reload(ctx context.Context, u Update) error {
	s.mu.Lock()
	l := s.live
	s.mu.Unlock()
	if l == nil {
		return errors.New("the service is not running")
	}
	if u.Plan.Name != s.Plan.Name {
		return fmt.Errorf("the rules are called %q, and those of this service %q: that takes a restart", u.Plan.Name, s.Plan.Name)
	}
	if err := known(u.Plan, u.Handlers); err != nil {
		return err
	}
	return l.change(ctx, u)
}

// known reports handlers of pipelines that are not in the rules.
func known(p *plan.Plan, handlers map[string]Handler) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(handlers)) {
		if p.Pipeline(name) == nil {
			errs = append(errs, fmt.Errorf("there is a handler for pipeline %q, which is not in the rules", name))
		}
	}
	return errors.Join(errs...)
}

// Connection is a broker whose connections live while its Run does, such as that of package amqp.
type Connection interface {
	router.Broker
	Run(ctx context.Context) error
}

// Run runs the service on a connection of its own: it opens the connection, runs the service until ctx is over, drains it, and closes
// the connection. When it returns no goroutine of either is left.
func Run(ctx context.Context, c Connection, s *Service) error {
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	closed := make(chan error, 1)
	go func() { closed <- c.Run(connected) }()
	s.Broker = c
	err := s.Run(ctx)
	disconnect()
	return errors.Join(err, <-closed)
}
