package pipelines

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// resumeWait is the time between attempts at carrying on a move whose maker may be gone.
const resumeWait = 5 * time.Second

// pause has the pipeline of a queue finish what it has in hand, and let go of the queue, which is moved.
func (l *live) pause(queue string) {
	for name, w := range l.runners {
		if w.runner.Pipeline.QueueName == queue && !l.paused[name] {
			l.paused[name] = true
			w.end()
		}
	}
}

// followMoves does as the record says of queues that move into another shape: who consumes such a queue lets go of it, and goes on when it is there
// again, with the queues that come before it now. A move that nobody makes any more is carried on.
func (l *live) followMoves(rec *plan.Record) {
	if rec.Move != nil {
		l.pause(rec.Move.Queue.Name)
		if !l.resuming.Swap(true) {
			l.start(l.resume)
		}
	}
	for name, w := range l.runners {
		queue := w.runner.Pipeline.QueueName
		first := rec.First(queue)
		if !rec.Moves(queue) && (l.paused[name] || hasMore(first, w.runner.First)) {
			l.restart(name, w.runner.Pipeline, first)
		}
	}
}

// hasMore reports whether a list has what another has not.
func hasMore(list, than []string) bool {
	return slices.ContainsFunc(list, func(name string) bool { return !slices.Contains(than, name) })
}

// resume carries on the move that is recorded, if nobody holds the lock, and has the record looked at again after a while.
func (l *live) resume(ctx context.Context) error {
	timer := time.NewTimer(resumeWait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil
	}
	l.resuming.Store(false)
	_, err := router.Resume(ctx, l.Broker, l.Plan, l.Service.Apply)
	if err != nil && !errors.Is(err, router.ErrLocked) && ctx.Err() == nil {
		l.problem("move a queue", err)
	}
	signal(l.heard)
	return nil
}

// lookBack sees to queues that come before that of a pipeline and are still there: events may have gone back to one after the pipeline had
// worked it off, from another process that has ended.
func (l *live) lookBack(c *plan.Change) {
	rec, err := router.Applied(l.ctx, l.Broker, c.Plan)
	if err != nil || rec == nil {
		return // there will be another occasion
	}
	for name, w := range l.runners {
		first := rec.First(w.runner.Pipeline.QueueName)
		if len(first) == 0 {
			continue
		}
		if !w.runner.workedOff.Load() {
			continue // it tells when it has
		}
		time.AfterFunc(tidyWait, func() { signal(l.tidy) })
		for _, queue := range first {
			if n, err := l.Broker.Depth(l.ctx, queue); err == nil && n > 0 {
				l.restart(name, w.runner.Pipeline, first)
				break
			}
		}
	}
}
