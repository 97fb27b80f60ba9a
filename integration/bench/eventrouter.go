package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// compile makes the plan of as many pipelines as the setting has, of which one rule names all.
func compile(s setting, condition string) (*plan.Plan, error) {
	var b strings.Builder
	b.WriteString("version: 1\nname: bench\nexchanges: {events: {name: bench}}\npipelines:\n")
	names := make([]string, s.pipelines)
	for i := range names {
		names[i] = fmt.Sprintf("p%d", i)
		fmt.Fprintf(&b, "  %s: {prefetch: %d}\n", names[i], prefetch)
	}
	fmt.Fprintf(&b, "rules:\n  - {name: all, type: order.*, %spipelines: [%s]}\n", condition, strings.Join(names, ", "))
	for i := range s.others {
		fmt.Fprintf(&b, "  - {name: other %d, match: {data: {total: [{numeric: [\">=\", 1000]}], customer: {id: [other-%d]}}}, pipelines: [p0]}\n", i, i)
	}
	file, problems := rules.Parse(rules.Source{Name: "bench", Text: []byte(b.String())})
	if file == nil {
		return nil, problems
	}
	return plan.Compile(file)
}

// condition is what the rule of the routing loop looks at; it holds for every event.
const condition = `match: {data: {total: [{numeric: [">=", 1000]}], country: [DE, AT]}}, `

// declare makes the topology of a plan anew: it is the same for all contenders but watermill.
func declare(ctx context.Context, s setting, condition string) (*plan.Plan, error) {
	p, err := compile(s, condition)
	if err != nil {
		return nil, err
	}
	if err := forget(s); err != nil {
		return nil, err
	}
	return p, connected(ctx, s, func(ctx context.Context, b *amqp.Broker) error { return b.Declare(ctx, p.Topology) })
}

// forget deletes what an earlier run has made and left messages in, or in another shape.
func forget(s setting) error {
	conn, ch, err := direct(s.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	var errs []error
	queues := []string{match, "bench.unrouted"}
	for i := range 10 {
		queues = append(queues, queueName(i))
	}
	for _, q := range queues {
		_, err := ch.QueueDelete(q, false, false, false)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, ch.ExchangeDelete(exchange, false, false), ch.ExchangeDelete(matched, false, false))...)
}

// connected runs work on a connection of its own.
func connected(ctx context.Context, s setting, work func(ctx context.Context, b *amqp.Broker) error) error {
	b, err := amqp.New(s.url, amqp.Options{})
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- b.Run(running) }()
	err = b.Connect(ctx)
	if err == nil {
		err = work(ctx, b)
	}
	stop()
	return errors.Join(err, <-ended)
}

// publishByRouter is contender b.
func publishByRouter(ctx context.Context, s setting) (took time.Duration, err error) {
	p, err := declare(ctx, s, "")
	if err != nil {
		return 0, err
	}
	err = connected(ctx, s, func(ctx context.Context, b *amqp.Broker) error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		left := atomic.Int64{}
		left.Store(int64(s.events * s.pipelines))
		handled := make(chan struct{})
		handlers := map[string]pipelines.Handler{}
		for i := range p.Pipelines {
			handlers[p.Pipelines[i].Name] = func(context.Context, event.Event) error {
				if left.Add(-1) == 0 {
					close(handled)
				}
				return nil
			}
		}
		served := make(chan error, 1)
		ready := make(chan struct{})
		service := &pipelines.Service{Plan: p, Broker: b, Handlers: handlers, Ready: func() { close(ready) }}
		go func() { served <- service.Run(ctx) }()
		<-ready // it has looked at the topology, which the others have not
		began := time.Now()
		if err := publishAll(ctx, b, s.events, exchange, "order.created"); err != nil {
			return err
		}
		<-handled
		took = time.Since(began)
		stop()
		var queues []string
		for i := range p.Pipelines {
			queues = append(queues, p.Pipelines[i].QueueName)
		}
		return errors.Join(<-served, empty(ctx, b, queues...))
	})
	return took, err
}

// empty checks that nothing has come back to queues: every event was acknowledged.
func empty(ctx context.Context, b router.Browser, queues ...string) error {
	for _, q := range queues {
		if n, err := b.Depth(context.WithoutCancel(ctx), q); err != nil || n > 0 {
			return errors.Join(err, fmt.Errorf("%d events are still in queue %q", n, q))
		}
	}
	return nil
}

func publishAll(ctx context.Context, b router.Publisher, n int, exchange, key string) error {
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range n {
		wg.Add(1)
		e := &event.Event{ID: fmt.Sprint(i), Type: "order.created", ContentType: "application/json", Data: body}
		b.Publish(ctx, router.Message{Event: e, Exchange: exchange, Key: key, Mandatory: true}, func(err error) {
			if err != nil {
				failed.Store(&err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

// loopByRouter is contender d: the rule looks at content, and holds for every event.
func loopByRouter(ctx context.Context, s setting) (took time.Duration, err error) {
	p, err := declare(ctx, s, condition)
	if err != nil {
		return 0, err
	}
	err = connected(ctx, s, func(ctx context.Context, b *amqp.Broker) error {
		if err := publishAll(ctx, b, s.events, exchange, "order.created"); err != nil {
			return err
		}
		routing, stop := context.WithCancel(ctx)
		defer stop()
		left := atomic.Int64{}
		left.Store(int64(s.events))
		routed := make(chan struct{})
		r := &router.Router{Plan: p, Broker: b, Hooks: router.Hooks{Routed: func(*router.Event, []string, []string, time.Duration) {
			if left.Add(-1) == 0 {
				close(routed)
			}
		}}}
		began := time.Now()
		served := make(chan error, 1)
		go func() { served <- r.Run(routing) }()
		<-routed
		took = time.Since(began)
		stop()
		return errors.Join(<-served, empty(ctx, b, match), copied(context.WithoutCancel(ctx), s))
	})
	return took, err
}
