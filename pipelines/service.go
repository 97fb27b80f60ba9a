package pipelines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// Service is everything that a rules file says, at work: its topology, the routing of rules that look at content, and the pipelines.
type Service struct {
	Plan     *plan.Plan
	Broker   router.Broker
	Handlers map[string]Handler // by pipeline; one without a handler is another program's to consume
	Hooks    router.Hooks
	Drain    time.Duration // for finishing what is in hand at the end, default 30s
	Ready    func()        // called when the topology is declared; may be nil
}

// Run declares the topology, routes and handles events until ctx is over, and finishes what is in hand, for no longer than Drain.
// The broker's connections have to live a little longer than ctx; see [Run], which sees to that. It is called once.
func (s *Service) Run(ctx context.Context) error {
	runners, err := s.runners()
	if err != nil {
		return err
	}
	if err := s.Broker.Declare(ctx, s.Plan.Topology); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if s.Ready != nil {
		s.Ready()
	}
	g, ctx := errgroup.WithContext(ctx)
	r := &router.Router{Plan: s.Plan, Broker: s.Broker, Hooks: s.Hooks, Drain: s.Drain}
	g.Go(func() error { return r.Run(ctx) })
	for _, runner := range runners {
		g.Go(func() error { return runner.Run(ctx) })
	}
	return g.Wait()
}

func (s *Service) runners() ([]*Runner, error) {
	var out []*Runner
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(s.Handlers)) {
		p := s.Plan.Pipeline(name)
		if p == nil {
			errs = append(errs, fmt.Errorf("there is a handler for pipeline %q, which is not in the rules", name))
			continue
		}
		out = append(out, &Runner{Plan: s.Plan, Pipeline: p, Broker: s.Broker, Handler: s.Handlers[name], Hooks: s.Hooks, Drain: s.Drain})
	}
	return out, errors.Join(errs...)
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
