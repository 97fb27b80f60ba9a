package router

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
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
	// Leftover is a match queue of an earlier plan that is worked off in the place of the plan's own: its events go to the pipelines that they are owed to, as
	// far as the rules in force say so, and to no others, which have them already. Run returns when the queue is empty and all that
	// was in it is handed over.
	Leftover *plan.Leftover

	inHand  atomic.Int64 // events taken and not handed over yet
	mu      sync.Mutex
	task    *task
	leaving chan struct{} // closed when what is left is worked off
}

// task is by what events are routed, from one change of the rules to the next.
type task struct {
	router   *Router
	plan     *plan.Plan
	leftover *plan.Leftover
	had      func(exchange, kind string) bool // of a leftover: the broker has taken such an event to a pipeline
	pending  sync.WaitGroup                   // events taken and not handed over yet
}

func (r *Router) newTask(p *plan.Plan, leftover *plan.Leftover) *task {
	t := &task{router: r, plan: p, leftover: leftover}
	if leftover != nil {
		t.had = leftover.Delivered()
	}
	return t
}

// Follow has a running router go on by another plan, without letting go of its queue: as that of the plan, or as a leftover if one is given. It returns
// when all events that were taken before are handed over, or when ctx is over.
func (r *Router) Follow(ctx context.Context, p *plan.Plan, leftover *plan.Leftover) {
	r.begin()
	next := r.newTask(p, leftover)
	r.mu.Lock()
	old := r.task
	r.task = next
	if leftover != nil && old.leftover == nil {
		close(r.leaving)
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		old.pending.Wait() // it ends with Run at the latest
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// begin sets out by the fields.
func (r *Router) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.task != nil {
		return
	}
	r.task, r.leaving = r.newTask(r.Plan, r.Leftover), make(chan struct{})
	if r.Leftover != nil {
		close(r.leaving)
	}
}

// take notes that an event is routed by the task of this moment.
func (r *Router) take() *task {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.task.pending.Add(1)
	r.inHand.Add(1)
	return r.task
}

// done notes that an event of the task is handed over, or given back.
func (t *task) done() {
	t.pending.Done()
	t.router.inHand.Add(-1)
}

func (r *Router) idle() bool { return r.inHand.Load() == 0 }

const (
	routerPrefetch = 512
	defaultDrain   = 30 * time.Second
)

// Run routes until ctx is over and what is in hand is done, for no longer than Drain; the rest goes back to the queue. It returns an error early
// only where the broker refuses access. A plan in which no rule looks at content needs no router: Run returns at once.
// It is called once.
func (r *Router) Run(ctx context.Context) error {
	queue := r.Plan.Match
	if r.Leftover != nil {
		queue = r.Leftover.Queue
	}
	if queue == "" {
		return nil
	}
	if r.Prefetch <= 0 {
		r.Prefetch = routerPrefetch
	}
	if r.Drain <= 0 {
		r.Drain = defaultDrain
	}
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	l := &loop{Router: r, ctx: working, handover: Handover{Broker: r.Broker, Hooks: r.Hooks}}
	r.begin()
	ctx, done := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer done()
	watch.Go(func() {
		select {
		case <-r.leaving:
			UntilEmpty(ctx, r.Broker, r.idle, queue)
			done()
		case <-ctx.Done():
		}
	})
	err := r.Broker.Consume(ctx, Subscription{
		Queue: queue, Prefetch: r.Prefetch, Drain: r.Drain, Sources: r.Plan.Sources(),
		InOrder: true, // a pipeline may promise order, and gets events in that of this queue
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
	messages []Message // of the event at hand
}

func (l *loop) route(d *Delivery) {
	var began time.Time
	if l.Hooks.Routed != nil {
		began = time.Now()
	}
	e, t := d.Event, l.take()
	p := t.plan
	p.Route(e, d.Exchange, &l.routed)
	if hook := l.Hooks.NotEvaluated; hook != nil {
		for _, f := range l.routed.NotEvaluated {
			hook(e, p.Rules[f.Rule].Name, f.Err)
		}
	}
	if len(l.routed.Pipelines) == 0 {
		l.unrouted(d, t, noRule)
		return
	}
	m, most := Message{Event: e, Exchange: p.Matched, Mandatory: true, Trail: Trail{Type: e.Type, Exchange: d.Exchange}}, maxKeys
	if t.leftover != nil {
		// The pipelines may be bound to Matched no longer. One that is being moved may miss its queue for a moment: each gets a message of its own, that comes back then.
		m.Exchange, most = "", 0
	}
	fed, size := 0, 0
	messages := l.messages[:0]
	for _, at := range l.routed.Pipelines {
		pipeline := &p.Pipelines[at]
		if !t.owes(pipeline) {
			continue // it has the event from the broker
		}
		fed++
		if size += len(pipeline.QueueName); m.Key == "" {
			m.Key = pipeline.QueueName
		} else {
			m.BCC = append(m.BCC, pipeline.QueueName)
		}
		if size > most {
			messages = append(messages, m)
			m.Key, m.BCC, size = "", nil, 0
		}
	}
	if m.Key != "" {
		messages = append(messages, m)
	}
	l.messages = messages
	if fed == 0 && t.leftover != nil && !t.had(d.Exchange, e.Type) {
		l.unrouted(d, t, noRuleThen)
		return
	}
	then := func(error) { t.done() }
	if hook := l.Hooks.Routed; hook != nil {
		rules, pipelines := p.RuleNames(&l.routed), p.PipelineNames(&l.routed)
		then = func(err error) {
			t.done()
			if err == nil {
				hook(e, rules, pipelines, time.Since(began))
			}
		}
	}
	l.handover.Do(l.ctx, d, then, messages...)
}

// maxKeys is how many bytes of queues' names one message has: they travel in its headers, for which a broker has a limit.
const maxKeys = 32 << 10

// owes reports whether a pipeline is to get events from here.
func (t *task) owes(p *plan.Pipeline) bool {
	if t.leftover != nil {
		return slices.Contains(t.leftover.Pipelines, p.Name)
	}
	return p.Feed == plan.ByRouter
}

// A queue counts as empty when it was found so for a while: events that are on their way to it may take a moment.
const (
	emptyPoll = 100 * time.Millisecond
	emptyFor  = 10 // polls
)

// UntilEmpty returns when the queues hold no more events for a second, or are not there any more, and idle said so all the while; or when ctx is over. What somebody
// has taken and not settled is in no queue: idle reports whether who calls has nothing in hand; nil: it never has.
func UntilEmpty(ctx context.Context, b Browser, idle func() bool, queues ...string) {
	tick := time.NewTicker(emptyPoll)
	defer tick.Stop()
	for empty := 0; empty < emptyFor; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if empty++; !AreEmpty(ctx, b, queues...) || idle != nil && !idle() {
			empty = 0
		}
	}
}

// AreEmpty reports whether the queues have no events ready, or are not there. One that could not be asked is not taken for empty.
func AreEmpty(ctx context.Context, b Browser, queues ...string) bool {
	return !slices.ContainsFunc(queues, func(queue string) bool {
		n, err := b.Depth(ctx, queue)
		return n > 0 || err != nil && !errors.Is(err, ErrNoQueue)
	})
}

// The reasons on events that the router keeps aside.
const (
	noRule     = "no rule holds for it"
	noRuleThen = "it was published before the rules changed: no rule of now holds for it but by its type, and none of then by its type alone"
)

func (l *loop) unrouted(d *Delivery, t *task, why string) {
	e := d.Event
	l.handover.Do(l.ctx, d, func(err error) {
		t.done()
		if hook := l.Hooks.Unrouted; hook != nil && err == nil {
			hook(e, why)
		}
	}, Message{
		Event: e, Key: t.plan.Unrouted, Mandatory: true,
		Trail: Trail{Type: e.Type, Exchange: d.Exchange, Error: why, LastFailure: time.Now()},
	})
}
