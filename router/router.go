package router

import (
	"context"
	"time"

	"github.com/eventrouter/eventrouter/router/plan"
)

// Router feeds the pipelines with rules that look at content: it takes events from the plan's queue Match, evaluates all rules for each, and
// publishes it once for all pipelines that want it.
type Router struct {
	Plan     *plan.Plan
	Broker   Broker
	Hooks    Hooks
	Prefetch int           // events in hand at most, default 512
	Drain    time.Duration // for finishing what is in hand at the end, default 30s
}

const (
	routerPrefetch = 512
	defaultDrain   = 30 * time.Second
)

// Run routes until ctx is over and what is in hand is done, for no longer than Drain; the rest goes back to the queue. It returns an error early
// only where the broker refuses access. A plan in which no rule looks at content needs no router: Run returns at once.
// It is called once.
func (r *Router) Run(ctx context.Context) error {
	if r.Plan.Match == "" {
		return nil
	}
	if r.Prefetch <= 0 {
		r.Prefetch = routerPrefetch
	}
	if r.Drain <= 0 {
		r.Drain = defaultDrain
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &loop{Router: r, ctx: working, handover: Handover{Broker: r.Broker, Topology: r.Plan.Topology, Hooks: r.Hooks}}
	err := r.Broker.Consume(ctx, Subscription{
		Queue: r.Plan.Match, Prefetch: r.Prefetch, Drain: r.Drain, Sources: r.Plan.Sources(),
	}, l.route)
	stop()
	l.handover.Wait()
	return err
}

// loop is a Router at work. route is called for one event at a time.
type loop struct {
	*Router
	ctx      context.Context // outlives that of Run by the drain
	handover Handover
	routed   plan.Routed
}

func (l *loop) route(d *Delivery) {
	var began time.Time
	if l.Hooks.Routed != nil {
		began = time.Now()
	}
	e := d.Event
	l.Plan.Route(e, d.Exchange, &l.routed)
	if len(l.routed.Pipelines) == 0 {
		l.unrouted(d)
		return
	}
	m := Message{Event: e, Exchange: l.Plan.Matched, Mandatory: true, Trail: Trail{Type: e.Type, Exchange: d.Exchange}}
	fed := 0
	for _, at := range l.routed.Pipelines {
		p := &l.Plan.Pipelines[at]
		if p.Feed != plan.ByRouter {
			continue // it has the event from the broker
		}
		if fed++; fed == 1 {
			m.Key = p.Name
		} else {
			m.BCC = append(m.BCC, p.Name)
		}
	}
	var then func(error)
	if hook := l.Hooks.Routed; hook != nil {
		rules, pipelines := l.Plan.RuleNames(&l.routed), l.Plan.PipelineNames(&l.routed)
		then = func(err error) {
			if err == nil {
				hook(e, rules, pipelines, time.Since(began))
			}
		}
	}
	if fed == 0 {
		l.handover.Do(l.ctx, d, then)
		return
	}
	l.handover.Do(l.ctx, d, then, m)
}

// noRule is the reason on events that the router keeps aside.
const noRule = "no rule holds for it"

func (l *loop) unrouted(d *Delivery) {
	e := d.Event
	l.handover.Do(l.ctx, d, func(err error) {
		if hook := l.Hooks.Unrouted; hook != nil && err == nil {
			hook(e, noRule)
		}
	}, Message{
		Event: e, Key: l.Plan.Unrouted, Mandatory: true,
		Trail: Trail{Type: e.Type, Exchange: d.Exchange, Error: noRule},
	})
}
