package pipelines

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// live is a service at work.
type live struct {
	*Service
	ctx   context.Context
	stop  context.CancelFunc
	group *errgroup.Group
	tidy  chan struct{} // something that was kept may be deleted now
	due   *time.Timer   // for tidy, when something that was kept may have become free by itself
	idle  time.Duration // since the last look at it, where it is not known when
	heard chan struct{} // the record has changed, or may have

	starting sync.Mutex
	over     bool // no worker is started any more; starting is held

	mu        sync.Mutex // one change at a time
	plan      *plan.Plan // in force, as far as we know
	handlers  map[string]*used
	router    *worker
	leftovers map[string]*worker // by queue
	runners   map[string]*worker // by pipeline
	draining  map[string]*worker // of queues that pipelines have no more, by the queue
	seen      map[string]*window // what pipelines with dedup have handled, by pipeline
	others    bool               // other rules are in force

	paused   map[string]bool // pipelines that do not run while their queue is moved
	resuming atomic.Bool     // see resume
}

// worker is a part of the service that can be stopped by itself.
type worker struct {
	stop   context.CancelFunc
	done   chan struct{}
	runner *Runner        // of a pipeline
	router *router.Router // or of a match queue
	queue  string
}

// end stops the worker and waits until it has finished what is in hand.
func (w *worker) end() {
	if w != nil {
		w.stop()
		<-w.done
	}
}

// ended reports whether the worker is at its end.
func (w *worker) ended() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

func newLive(ctx context.Context, s *Service) *live {
	ctx, stop := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	l := &live{
		Service: s, ctx: ctx, stop: stop, group: group, tidy: make(chan struct{}, 1), heard: make(chan struct{}, 1), paused: map[string]bool{}, handlers: map[string]*used{},
		leftovers: map[string]*worker{}, runners: map[string]*worker{}, draining: map[string]*worker{}, seen: map[string]*window{},
	}
	l.due = time.AfterFunc(mostIdle, func() { signal(l.tidy) })
	group.Go(func() error { // so that the group does not end between two workers, nor before the last
		<-ctx.Done()
		l.starting.Lock()
		defer l.starting.Unlock()
		l.over = true
		return nil
	})
	return l
}

func (l *live) end() {
	l.stop()
	l.due.Stop()
	_ = l.group.Wait() // its error was told already
}

// wait returns when ctx is over and all is finished, or something failed for good.
func (l *live) wait() error {
	l.group.Go(func() error {
		return l.Broker.Watch(l.ctx, l.Plan.RecordName(), func([]byte) { signal(l.heard) })
	})
	l.group.Go(func() error { l.heed(); return nil })
	l.group.Go(func() error { l.tidyUp(); return nil })
	err := l.group.Wait()
	l.stop()
	l.due.Stop()
	return err
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// start runs f as a worker. At the end, when a change may still be under way, it does not.
func (l *live) start(f func(ctx context.Context) error) *worker {
	ctx, stop := context.WithCancel(l.ctx)
	w := &worker{stop: stop, done: make(chan struct{})}
	l.starting.Lock()
	defer l.starting.Unlock()
	if l.over {
		stop()
		close(w.done)
		return w
	}
	l.group.Go(func() error {
		defer close(w.done)
		defer stop()
		return f(ctx)
	})
	return w
}

// change brings a plan into force.
func (l *live) change(ctx context.Context, u Update) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	o := l.Apply
	o.Waiting = l.giveWay
	if u.Check != nil {
		o.Check = func(_ context.Context, _ router.Lock, c *plan.Change) error { return u.Check(c) }
	}
	a, err := router.Begin(ctx, l.Broker, u.Plan, o)
	if err != nil {
		return err
	}
	if l.ctx.Err() != nil {
		return errors.Join(context.Cause(l.ctx), a.Close())
	}
	for _, queue := range a.Moving() {
		l.pause(queue)
	}
	if err := a.Add(ctx); err != nil {
		signal(l.heard) // what was paused goes on, if its queue is there
		return errors.Join(err, a.Close())
	}
	l.turnTo(a.Change, u)
	kept, err := a.Remove(ctx)
	for _, left := range a.Leftovers() {
		if w := l.leftovers[left.Queue]; w == nil || w.ended() {
			l.leftovers[left.Queue] = l.workOff(left)
		}
	}
	if err := errors.Join(err, a.Close()); err != nil {
		l.problem("remove what is stale", err) // the new plan is in force: it is tried again
		signal(l.tidy)
		return nil
	}
	l.idle = leastIdle
	l.tidyLater(kept)
	if len(kept) > 0 && l.Kept != nil {
		l.Kept(kept)
	}
	return nil
}

// The time until what was kept is looked at again, where nobody tells when it is free. It doubles, as each look declares everything again.
const (
	leastIdle = time.Minute
	mostIdle  = time.Hour
)

// tidyLater has what was kept looked at again when the first of it may be deleted.
func (l *live) tidyLater(kept []router.Kept) {
	if len(kept) == 0 {
		l.due.Stop()
		return
	}
	next := time.Now().Add(l.idle)
	l.idle = min(2*l.idle, mostIdle)
	for _, k := range kept {
		if !k.After.IsZero() && k.After.Before(next) {
			next = k.After
		}
	}
	l.due.Reset(time.Until(next))
}

// giveWay lets others of this process have the mutex for a moment. Who holds the broker's lock meanwhile may wait for us to let go of a queue that he moves.
func (l *live) giveWay() {
	l.mu.Unlock()
	l.mu.Lock()
}

func (l *live) problem(where string, err error) {
	if hook := l.Hooks.Problem; hook != nil {
		hook(where, err)
	}
}

// turnTo has the workers do as the new plan says.
func (l *live) turnTo(c *plan.Change, u Update) {
	old := l.plan
	l.plan, l.others = c.Plan, false
	for name, h := range u.Handlers {
		l.handlers[name].replaced(name, u.Unused)
		l.handlers[name] = use(h)
	}
	l.reroute(old, c)
	for _, name := range slices.Sorted(maps.Keys(l.handlers)) {
		p := c.Plan.Pipeline(name)
		switch {
		case p == nil:
			l.handlers[name].replaced(name, u.Unused)
			l.retire(name)
		case l.handlers[name] == nil:
			l.runners[name].end()
			delete(l.runners, name)
			delete(l.handlers, name)
		case l.runners[name] == nil, l.paused[name], u.Handlers[name] != nil, differs(old, c.Plan, name):
			l.restart(name, p, c.First(p.QueueName))
		default:
			l.runners[name].runner.follow(c.Plan)
		}
	}
}

// reroute has the routers go on by the new plan. None lets go of its queue, as long as events come from the same exchanges: that would have the broker
// deliver again what it has not seen acknowledged yet.
// Events that were taken by the old rules are handed over first, for no longer than the drain: by then only a queue that is full is in their way.
func (l *live) reroute(old *plan.Plan, c *plan.Change) {
	drain := l.Drain
	if drain <= 0 {
		drain = defaultDrain
	}
	ctx, cancel := context.WithTimeout(l.ctx, drain)
	defer cancel()
	left := map[string]*plan.Leftover{}
	for i := range c.Leftovers {
		left[c.Leftovers[i].Queue] = &c.Leftovers[i]
	}
	restart := old == nil || !slices.Equal(old.Sources(), c.Plan.Sources())
	for queue, w := range l.leftovers {
		if left[queue] == nil || restart {
			w.end()
			delete(l.leftovers, queue)
		} else {
			w.router.Follow(ctx, c.Plan, left[queue])
		}
	}
	w := l.router
	switch {
	case w == nil || w.ended():
		l.route()
	case restart || w.queue != c.Plan.Match && left[w.queue] == nil:
		w.end()
		l.route()
	case w.queue == c.Plan.Match:
		w.router.Follow(ctx, c.Plan, nil)
	default:
		w.router.Follow(ctx, c.Plan, left[w.queue])
		l.leftovers[w.queue] = w
		l.route()
	}
}

// route starts the router.
func (l *live) route() {
	r := &router.Router{Plan: l.plan, Broker: l.Broker, Hooks: l.Hooks, Drain: l.Drain}
	l.router = l.start(func(ctx context.Context) error {
		if r.Plan.Match != "" {
			defer signal(l.tidy) // it may have become one of a leftover
		}
		return r.Run(ctx)
	})
	l.router.router, l.router.queue = r, l.plan.Match
}

// workOff routes what is left in an earlier match queue.
func (l *live) workOff(left plan.Leftover) *worker {
	r := &router.Router{Plan: l.plan, Broker: l.Broker, Hooks: l.Hooks, Drain: l.Drain, Leftover: &left}
	w := l.start(func(ctx context.Context) error {
		defer signal(l.tidy)
		return r.Run(ctx)
	})
	w.router, w.queue = r, left.Queue
	return w
}

// takeUp works off once more what has come to earlier match queues since that was done: somebody had events of them in hand and ended, or we did while other
// rules were in force. One that is our match queue yet is so until we have heard of the change.
func (l *live) takeUp(leftovers []plan.Leftover) {
	for _, left := range leftovers {
		if w := l.leftovers[left.Queue]; (w == nil || w.ended()) && left.Queue != l.router.queue && !router.AreEmpty(l.ctx, l.Broker, left.Queue) {
			l.leftovers[left.Queue] = l.workOff(left)
		}
	}
}

// restart runs a pipeline as it is now, on its queue and those before it.
func (l *live) restart(name string, p *plan.Pipeline, first []string) {
	delete(l.paused, name)
	l.draining[p.QueueName].end() // it was gone, and is back
	delete(l.draining, p.QueueName)
	if w := l.runners[name]; w != nil && w.runner.Pipeline.QueueName != p.QueueName {
		l.drain(w)
	} else {
		w.end()
	}
	h := l.handlers[name]
	h.users.Add(1)
	r := &Runner{
		Plan: l.plan, Pipeline: p, Broker: l.Broker, Handler: h.handler, Hooks: l.Hooks, Drain: l.Drain,
		First: first, WorkedOff: func() { signal(l.tidy) }, seen: l.window(p),
	}
	w := l.start(func(ctx context.Context) error {
		defer h.leave()
		return r.Run(ctx)
	})
	w.runner = r
	l.runners[name] = w
}

// window is what a pipeline with dedup has handled so far; nil for one without.
func (l *live) window(p *plan.Pipeline) *window {
	seen := l.seen[p.Name]
	switch {
	case p.Dedup.Window <= 0:
		delete(l.seen, p.Name)
		return nil
	case seen == nil:
		seen = newWindow(p.Dedup)
		l.seen[p.Name] = seen
	default:
		seen.set(p.Dedup)
	}
	return seen
}

// retire ends a pipeline that is gone from the rules.
func (l *live) retire(name string) {
	w := l.runners[name]
	delete(l.runners, name)
	delete(l.handlers, name)
	delete(l.paused, name)
	delete(l.seen, name)
	if w != nil {
		l.drain(w)
	}
}

// differs reports whether a pipeline has to be restarted: anything about it is different but its place in the file, or events come from other exchanges.
func differs(old, now *plan.Plan, name string) bool {
	before, after := old.Pipeline(name), now.Pipeline(name)
	if before == nil || !slices.Equal(old.Sources(), now.Sources()) {
		return true
	}
	return before.QueueName != after.QueueName || !slices.Equal(before.Delays, after.Delays) || !plan.Alike(before.Pipeline, after.Pipeline)
}

// heed looks at the record when it has changed: others may have applied other rules.
func (l *live) heed() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.heard:
		}
		if err := l.look(); err != nil && l.ctx.Err() == nil {
			l.problem("read the applied plan", err)
		}
	}
}

// look lets go of queues that are moved, and stops routing where other rules are in force, and begins again where ours are.
func (l *live) look() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	rec, err := router.Applied(l.ctx, l.Broker, l.plan)
	if rec == nil || err != nil && !errors.Is(err, plan.ErrNewer) {
		return err
	}
	l.followMoves(rec)
	now := l.plan.Running(rec)
	switch {
	case !l.ours(rec) && !l.others:
		l.others = true
		l.problem("rules", fmt.Errorf("%w by %s at %s: this process routes no more events until its own are in force again", router.ErrSuperseded, rec.By, rec.At.Format(time.RFC3339)))
		l.router.end()
		for _, w := range l.leftovers {
			w.end()
		}
	case l.inForce(rec) && (l.others || now.Match != l.plan.Match): // others may have come and gone unheard
		l.router.end()
		l.others = false
		l.plan = now
		l.route()
		signal(l.tidy) // what was to be removed meanwhile was not
	}
	return nil
}

// ours reports whether our plan is in force, or is being applied.
func (l *live) ours(rec *plan.Record) bool {
	digest := l.plan.State().Digest
	return rec.InForce().Digest == digest || rec.Next != nil && rec.Next.Digest == digest
}

// inForce reports whether our plan is, or will be when what is new of it was added. One that turns over from other rules is not before it has turned: until then
// the match queue is theirs.
func (l *live) inForce(rec *plan.Record) bool {
	digest := l.plan.State().Digest
	return rec.InForce().Digest == digest || rec.Stage == plan.Adding && rec.Next != nil && rec.Next.Digest == digest
}

// tidyWait is the time between attempts at removing what is stale.
const tidyWait = 5 * time.Second

// tidyUp applies the plan in force once more when something that was kept may be deleted.
func (l *live) tidyUp() {
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-l.tidy:
		}
		if err := l.again(); err != nil && l.ctx.Err() == nil {
			l.problem("remove what is stale", err)
			time.AfterFunc(tidyWait, func() { signal(l.tidy) })
		}
	}
}

func (l *live) again() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.others {
		return nil
	}
	o, tidied := l.Service.Apply, l.plan
	o.Waiting = l.giveWay
	o.Check = func(ctx context.Context, lock router.Lock, c *plan.Change) error {
		if l.others || l.plan != tidied || c.Before != nil && !l.ours(c.Before) {
			return router.ErrSuperseded // as we waited for the lock, perhaps, and not heard of yet: theirs are not taken back
		}
		if check := l.Service.Apply.Check; check != nil {
			return check(ctx, lock, c)
		}
		return nil
	}
	a, err := router.Begin(l.ctx, l.Broker, tidied, o)
	if errors.Is(err, router.ErrSuperseded) {
		signal(l.heard)
		return nil
	}
	if err != nil {
		return err
	}
	for _, queue := range a.Moving() {
		l.pause(queue)
		signal(l.heard) // it goes on when the record says so
	}
	var kept []router.Kept
	if err = a.Add(l.ctx); err == nil {
		kept, err = a.Remove(l.ctx)
	}
	if err := errors.Join(err, a.Close()); err != nil {
		return err
	}
	l.takeUp(a.Leftovers())
	l.tidyLater(kept)
	l.lookBack(a.Change)
	return nil
}
