package pipelines

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

const (
	quietPoll = 250 * time.Millisecond
	quietFor  = time.Second // a queue counts as empty: events that are on their way to it may take a moment
	slowLook  = 5 * time.Second
)

// drain lets a runner handle what its queue still holds, and what may come back there, and then ends it.
func (l *live) drain(w *worker) {
	l.draining[w.runner.Pipeline.QueueName] = w
	l.start(func(ctx context.Context) error {
		defer signal(l.tidy)
		defer w.end()
		l.untilQuiet(ctx, w)
		return nil
	})
}

// untilQuiet returns when nothing comes back any more to the queues of a runner that get no new events, or when it or ctx is over.
//
// Whatever comes back was put into a delay before the runner was idle. From there it comes when the delay is over, or, where RabbitMQ could not hand it on
// then, within the time to settle, in which it is seen nowhere (see [router.DefaultSettle]). So the end is when the longest delay and that time have passed
// since the runner last had an event. It is sooner where the delays are seen to be empty, and only the time to settle is left; on a busy system they never
// are, as the events of other pipelines wait there too.
func (l *live) untilQuiet(ctx context.Context, w *worker) {
	p := w.runner.Pipeline
	queues := append(slices.Clone(w.runner.First), p.QueueName)
	var delays []string
	var longest, settle time.Duration
	for _, d := range p.Delays {
		delays, longest = append(delays, d.Exchange), max(longest, d.After)
		settle = max(0, cmp.Or(l.Apply.Settle, router.DefaultSettle))
	}
	tick := time.NewTicker(quietPoll)
	defer tick.Stop()
	var end, empty time.Time // empty: since when the delays are; both are zero while that is not known
	for last := int64(-1); ; {
		select {
		case <-tick.C:
		case <-w.done:
			return
		case <-ctx.Done():
			return
		}
		now, taken := time.Now(), w.runner.taken() // before idle is asked: what it has got by then it is done with
		switch {
		case taken != last, !w.runner.idle(), !l.areEmpty(ctx, queues):
			last, end, empty = taken, time.Time{}, time.Time{}
		case end.IsZero():
			end = now.Add(quietFor + longest + settle)
		case now.After(end):
			return
		case !l.areEmpty(ctx, delays):
			empty = time.Time{}
		case empty.IsZero():
			empty = now
		case now.Sub(empty) >= quietFor && now.Add(settle).Before(end):
			end = now.Add(settle)
		}
	}
}

// areEmpty is [router.AreEmpty], but for a look that took so long that the broker may have been away meanwhile: what was due then comes only now.
func (l *live) areEmpty(ctx context.Context, queues []string) bool {
	began := time.Now()
	return router.AreEmpty(ctx, l.Broker, queues...) && time.Since(began) < slowLook
}
