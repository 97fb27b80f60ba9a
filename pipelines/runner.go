package pipelines

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// Runner works on the events of one pipeline.
type Runner struct {
	Plan     *plan.Plan
	Pipeline *plan.Pipeline // of the plan
	Broker   router.Broker
	Handler  Handler
	Hooks    router.Hooks
	Drain    time.Duration // for finishing what is in hand at the end, default 30s
	// First are queues whose events come before those of the pipeline's own queue, since that was moved into another shape: each is worked off, in this
	// order, before the next is begun. They get no more events. See [plan.Move].
	First []string
	// WorkedOff is called when the First are worked off, if there are any; may be nil.
	WorkedOff func()

	now       atomic.Pointer[plan.Plan] // in force, where it is not Plan any more
	workedOff atomic.Bool               // the First are
	seen      *window                   // of its dedup, where that outlives the runner; nil: Run makes one
	pool      atomic.Pointer[pool]      // while Run works
}

// follow tells the runner of a plan in which nothing is different for its pipeline.
func (r *Runner) follow(p *plan.Plan) { r.now.Store(p) }

// inForce is the plan by which events come.
func (r *Runner) inForce() *plan.Plan {
	if p := r.now.Load(); p != nil {
		return p
	}
	return r.Plan
}

// inOrder reports whether the pipeline promises an order, so that what it gives back has to be in it.
func (r *Runner) inOrder() bool {
	p := r.Pipeline
	return p.Workers == 1 || len(p.OrderBy) > 0 || p.Queue.SingleActive || p.Retry.KeyWaits
}

// idle reports whether the runner has nothing in hand: what its key waits with for another attempt is in no queue, nor is what has its dead letter on the way.
func (r *Runner) idle() bool {
	p := r.pool.Load()
	return p != nil && p.inHand.Load() == 0
}

// taken is how many events the runner has got so far.
func (r *Runner) taken() int64 {
	if p := r.pool.Load(); p != nil {
		return p.added.Load()
	}
	return 0
}

const (
	defaultDrain = 30 * time.Second
	// leastPrefetch keeps quick workers busy while acknowledgements are on their way.
	leastPrefetch = 32
	// maxHeld bounds how long an event waits in hand: RabbitMQ closes the channel of a consumer that holds one for 30 minutes.
	maxHeld = 15 * time.Minute
	// settleTime is kept of the drain for telling the broker what became of the last events.
	settleTime = 2 * time.Second
	// lateAfter is when a handler that goes on after its context's end is reported.
	lateAfter = 5 * time.Second
)

var errLate = errors.New("a handler goes on though its context is over: it has to heed ctx")

// Run consumes until ctx is over, and then finishes the events in hand: after Drain their handlers' contexts end too, and the events go
// back to the queue. It returns when no goroutine of it is left; a handler that ignores the end of its context is waited for, and
// reported as a problem. The error is one that a reconnect cannot mend, such as access refused. It is called once.
func (r *Runner) Run(ctx context.Context) error {
	drain := r.Drain
	if drain <= 0 {
		drain = defaultDrain
	}
	working, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stop(nil)
	watch := context.AfterFunc(ctx, func() {
		timer := time.AfterFunc(max(drain-settleTime, drain/2), func() { stop(errDrained) })
		context.AfterFunc(working, func() { timer.Stop() })
	})
	defer watch()

	w := &work{
		Runner:   r,
		ctx:      working,
		handover: router.Handover{Broker: r.Broker, Hooks: r.Hooks},
		delays:   router.Handover{Broker: r.Broker, Hooks: r.Hooks, Leave: true},
	}
	if r.seen == nil && r.Pipeline.Dedup.Window > 0 {
		r.seen = newWindow(r.Pipeline.Dedup)
	}
	ending, end := context.WithCancel(ctx)
	defer end()
	pool := newPool(ending, r.Pipeline.Workers, w.handle, w.drop)
	r.pool.Store(pool)
	inOrder := r.inOrder()
	consume := func(open context.Context, queue string) error {
		s := router.Subscription{
			Queue: queue, Prefetch: prefetch(r.Pipeline), Drain: drain, Sources: r.Plan.Sources(), InOrder: inOrder, SingleActive: r.Pipeline.Queue.SingleActive,
		}
		if r.Pipeline.Queue.Declare {
			s.Held = r.Plan.HeldName(queue)
			s.InOrder = inOrder || s.Held == "" // nobody could be told what is in hand: it stays the queue's consumer until that is settled
		}
		return r.Broker.Consume(open, s, func(d *router.Delivery) {
			j := w.job(d)
			if ctx.Err() != nil || inOrder && open.Err() != nil {
				w.drop(j) // one before it may have gone back, or go back now
				return
			}
			pool.add(ctx, j)
		})
	}
	err := r.workOff(ctx, consume)
	if err == nil && ctx.Err() == nil {
		err = consume(ctx, r.Pipeline.QueueName)
	}
	end()
	stop(errDrained)
	late := time.AfterFunc(lateAfter, func() { w.problem("drain", errLate) })
	pool.close()
	late.Stop()
	w.handover.Wait()
	w.delays.Wait()
	if err != nil {
		return fmt.Errorf("pipeline %q: %w", r.Pipeline.Name, err)
	}
	return nil
}

// workOff consumes the First, one after another, each until it is empty and what was taken from it is settled. What waits in hand for another attempt is
// waited for: given back, it would begin with its attempts anew.
func (r *Runner) workOff(ctx context.Context, consume func(context.Context, string) error) error {
	for _, queue := range r.First {
		for ctx.Err() == nil && !r.isGone(ctx, queue) {
			untilEmpty, done := context.WithCancel(ctx)
			var watch sync.WaitGroup
			watch.Go(func() {
				router.UntilEmpty(untilEmpty, r.Broker, r.idle, queue)
				done()
			})
			err := consume(untilEmpty, queue)
			done()
			watch.Wait()
			if err != nil {
				return err
			}
			if n, err := r.Broker.Depth(ctx, queue); err == nil && n == 0 {
				break // else something went back to it
			}
		}
	}
	if ctx.Err() != nil {
		return nil
	}
	r.workedOff.Store(true)
	if len(r.First) > 0 && r.WorkedOff != nil {
		r.WorkedOff()
	}
	return nil
}

func (r *Runner) isGone(ctx context.Context, queue string) bool {
	_, err := r.Broker.Depth(ctx, queue)
	return errors.Is(err, router.ErrNoQueue)
}

// prefetch follows the workers where the file does not give it.
func prefetch(p *plan.Pipeline) int {
	if p.Prefetch > 0 {
		return p.Prefetch
	}
	most := p.Workers * int(1+maxHeld/p.Timeout)
	return min(max(leastPrefetch, 2*p.Workers), most, 65535)
}
