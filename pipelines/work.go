package pipelines

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// work is a Runner at work.
type work struct {
	*Runner
	ctx      context.Context // of the handlers; outlives that of Run by the drain
	handover router.Handover
	delays   router.Handover // to the delays on the broker

	mu   sync.Mutex
	gone map[string]time.Time // until when a delay that was not there is not tried again, by exchange
}

// errDrained: the drain has lasted too long.
var errDrained = errors.New("the service is ending")

// errTimeout is why an attempt's context is over.
func errTimeout(d time.Duration) error { return fmt.Errorf("no result within the timeout of %s", d) }

// job makes a job of a delivery. Its key is what the pipeline orders events by; where there is none, events that dedup would take for one wait for
// each other.
func (w *work) job(d *router.Delivery) *job {
	j := &job{Delivery: d, trail: d.Trail}
	if len(w.Pipeline.OrderBy) > 0 {
		j.key = keyOf(d.Event, w.Pipeline.OrderBy)
	}
	j.keeps = j.key != "" && w.Pipeline.Retry.KeyWaits
	if w.seen != nil {
		j.id = w.seen.identify(d.Event)
		if j.key == "" {
			j.key = "\x00" + string(j.id[:]) // no key of OrderBy is like it, as those are JSON
		}
	}
	return j
}

// drop gives a job back unhandled.
func (w *work) drop(j *job) { _ = j.Requeue() } // an error means that it is back in its queue already

// handle makes one attempt at an event and settles its delivery, unless its key waits for another attempt.
func (w *work) handle(j *job) next {
	switch {
	case w.ctx.Err() != nil:
		w.drop(j)
		return onward // which goes back too
	case j.Lost():
		return onward // it comes again
	}
	if wait := time.Until(j.trail.NotBefore); wait > 0 && len(w.Pipeline.Delays) > 0 {
		w.delay(j, j.trail, wait, nil)
		return onward
	}
	if w.seen != nil {
		switch w.seen.claim(w.ctx, j.id) {
		case duplicate:
			if hook := w.Hooks.Duplicate; hook != nil {
				hook(w.Pipeline.Name, j.Event)
			}
			w.done(j)
			return onward
		case unknown:
			w.drop(j)
			return onward
		}
	}
	attempt := j.trail.Attempts + 1
	if j.since.IsZero() {
		j.since = time.Now()
	}
	last := attempt >= w.Pipeline.Retry.Attempts
	err := w.attempt(j.Event, attempt, last)
	if w.seen != nil && w.seen.release(j.id, err == nil) {
		w.problem("dedup", fmt.Errorf("more than %d events within %s: the oldest are forgotten early, and would be handled again", w.Pipeline.Dedup.Entries, w.Pipeline.Dedup.Window))
	}
	if err == nil {
		w.done(j)
		return onward
	}
	return w.failed(j, err, attempt, last)
}

// done acknowledges an event that needs no more work.
func (w *work) done(j *job) {
	if err := j.Ack(); err != nil {
		w.problem("acknowledge", err) // it comes again
	}
}

// failed decides what becomes of an event after an attempt.
func (w *work) failed(j *job, err error, attempt int, last bool) next {
	if w.ctx.Err() != nil && !IsPermanent(err) {
		w.drop(j) // it was cut short, which is no failure of its own
		return onward
	}
	if j.Lost() {
		return onward // it comes again: a retry or a dead letter besides would double it
	}
	t := failed(j.trail, attempt, err)
	switch {
	case last || IsPermanent(err):
		return w.dead(j, t, err)
	case j.keeps:
		return w.hold(j, t, err)
	default:
		w.retry(j, t, err)
		return onward
	}
}

// hold keeps the event here for its next attempt, and its key with it. What a handler asks for beyond the pipeline's delay is given as far as there
// is time before RabbitMQ would take the event back.
func (w *work) hold(j *job, t router.Trail, err error) next {
	j.trail = t
	j.wait = w.Pipeline.Delays[min(t.Attempts, len(w.Pipeline.Delays))-1].After
	if asked := retryAfter(err); asked > j.wait {
		j.wait = max(j.wait, min(asked, maxHeld-time.Since(j.since)))
	}
	if hook := w.Hooks.Retried; hook != nil {
		hook(w.Pipeline.Name, j.Event, t.Attempts, j.wait, err)
	}
	return again
}

// attempt calls the handler once.
func (w *work) attempt(e *router.Event, number int, last bool) (err error) {
	ctx, cancel := context.WithTimeoutCause(w.ctx, w.Pipeline.Timeout, errTimeout(w.Pipeline.Timeout))
	defer cancel()
	ctx = context.WithValue(ctx, attemptKey{}, Attempt{Pipeline: w.Pipeline.Name, Number: number, Last: last})
	if hook := w.Hooks.Started; hook != nil {
		hook(w.Pipeline.Name, e, number)
	}
	began := time.Now()
	err = w.call(ctx, e)
	if err != nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	if hook := w.Hooks.Handled; hook != nil {
		hook(w.Pipeline.Name, e, number, time.Since(began), err)
	}
	return err
}

func (w *work) call(ctx context.Context, e *router.Event) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return w.Handler(ctx, *e)
}

// failed adds a failed attempt to what an event's trail says.
func failed(t router.Trail, attempt int, err error) router.Trail {
	now := time.Now()
	t.Attempts = attempt
	t.Error = err.Error()
	if t.FirstFailure.IsZero() {
		t.FirstFailure = now
	}
	t.LastFailure = now
	t.NotBefore = time.Time{}
	return t
}

// retry sends the event to the broker's delay for its next attempt. Only a handler that asks for more time than any delay gives
// has the event looked at by the clock when it comes back: clocks differ between machines.
func (w *work) retry(j *job, t router.Trail, err error) {
	delays := w.Pipeline.Delays
	delay := delays[min(t.Attempts, len(delays))-1].After
	if asked := retryAfter(err); asked > delay {
		delay = asked
		if asked > through(delays, asked).After {
			t.NotBefore = time.Now().Add(asked)
		}
	}
	w.delay(j, t, delay, func(wait time.Duration) {
		if hook := w.Hooks.Retried; hook != nil {
			hook(w.Pipeline.Name, j.Event, t.Attempts, wait, err)
		}
	})
}

// delay lets the event wait on the broker for the given time, or for the longest delay there is, if that is less. then, if it is not nil, is told how long when it does.
// Where the delay is not on the broker any more, since other rules are in force that do without it, the event waits here, for maxHeld at most.
func (w *work) delay(j *job, t router.Trail, wait time.Duration, then func(time.Duration)) {
	d, exchange, pool := j.Delivery, through(w.Pipeline.Delays, wait).Exchange, w.pool.Load()
	here := func() {
		t.NotBefore = time.Time{} // it need not come back sooner
		j.trail, j.wait = t, min(wait, maxHeld)
		if then != nil {
			then(j.wait)
		}
		pool.revive(j)
	}
	if w.isMissing(exchange) {
		here()
		return
	}
	pool.inHand.Add(1)
	w.delays.Do(w.ctx, d, func(failed error) {
		switch {
		case errors.Is(failed, router.ErrAbsent):
			w.missing(exchange, failed)
			here()
		case failed == nil && then != nil:
			then(wait)
		}
		pool.inHand.Add(-1)
	}, router.Message{Event: d.Event, Exchange: exchange, Key: w.Pipeline.QueueName, Mandatory: true, Trail: w.own(d, t)})
}

// goneFor is how long a delay that was not there is not looked for: each time the broker may have to close a channel.
const goneFor = 30 * time.Second

func (w *work) isMissing(exchange string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Before(w.gone[exchange])
}

func (w *work) missing(exchange string, err error) {
	w.mu.Lock()
	known := time.Now().Before(w.gone[exchange])
	if w.gone == nil {
		w.gone = map[string]time.Time{}
	}
	w.gone[exchange] = time.Now().Add(goneFor)
	w.mu.Unlock()
	if !known {
		w.problem("retry", fmt.Errorf("%w: events wait for their next attempt in this process, and not on the broker", err))
	}
}

// through is the shortest delay that is long enough, or the longest.
func through(delays []plan.Delay, wait time.Duration) plan.Delay {
	best := delays[0]
	for _, d := range delays[1:] {
		if best.After < wait && d.After > best.After || d.After >= wait && d.After < best.After {
			best = d
		}
	}
	return best
}

// dead sends the event to the pipeline's dead letters. A key that waits for its event waits until it is there. The key is given up only
// at the end: an event whose channel is lost comes again, as do those of its key behind it, and one whose letter can never be was rejected.
func (w *work) dead(j *job, t router.Trail, err error) next {
	d := j.Delivery
	var routed plan.Routed
	p := w.inForce()
	p.Route(d.Event, d.Exchange, &routed)
	for _, at := range routed.Rules {
		if rule := &p.Rules[at]; slices.Contains(rule.Pipelines, w.Pipeline.Name) {
			t.Rules = append(t.Rules, rule.Name)
		}
	}
	there, pool := make(chan error, 1), w.pool.Load()
	pool.inHand.Add(1)
	w.handover.Do(w.ctx, d, func(failed error) {
		defer pool.inHand.Add(-1)
		if hook := w.Hooks.Dead; hook != nil && failed == nil {
			hook(w.Pipeline.Name, d.Event, t.Attempts, err)
		}
		there <- failed
	}, router.Message{Event: d.Event, Key: w.Pipeline.DeadName, Mandatory: true, Trail: w.own(d, t)})
	if j.keeps && <-there != nil && w.ctx.Err() != nil {
		return giveUp
	}
	return onward
}

// own fills in what the routing key cannot say any more.
func (w *work) own(d *router.Delivery, t router.Trail) router.Trail {
	t.Pipeline, t.Type, t.Exchange = w.Pipeline.Name, d.Event.Type, d.Exchange
	return t
}

func (w *work) problem(where string, err error) {
	if hook := w.Hooks.Problem; hook != nil {
		hook("pipeline "+w.Pipeline.Name+": "+where, err)
	}
}

// keyOf finds the scalar at a path of the event's document, and writes it so that values of different types differ.
func keyOf(e *router.Event, path []string) string {
	var at any = e.Document()
	for _, name := range path {
		object, ok := at.(map[string]any)
		if !ok {
			return ""
		}
		if at, ok = object[name]; !ok {
			return ""
		}
	}
	switch at.(type) {
	case nil, map[string]any, []any:
		return ""
	}
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(at); err != nil {
		return ""
	}
	return b.String()
}
