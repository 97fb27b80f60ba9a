package router

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// Handover is the one place where what came in is acknowledged: after everything made of it is confirmed, and not before.
// The zero value with a Broker works. All methods are safe for concurrent use.
type Handover struct {
	Broker Broker
	Once   bool // what the broker does not take at once is not tried again, and stays as it is
	Leave  bool // a delivery whose message has no exchange or no queue to go to is left unsettled, with ErrAbsent
	Hooks  Hooks

	pending sync.WaitGroup
	mending sync.Mutex
	mended  time.Time // when the topology was declared again last; mending is held
}

// ErrAbsent is what is in the way of a delivery that a Handover leaves as it is: what its message is for is not there, nor after the topology was declared again.
var ErrAbsent = errors.New("it is not on the broker any more")

// errLost is what is in the way of a delivery that the broker hands out again.
var errLost = errors.New("the channel that it came by is closed: it comes again")

// The waits between attempts at publishing: doubled each time, with jitter.
const (
	leastWait = 20 * time.Millisecond
	mostWait  = 5 * time.Second
)

// Do publishes messages, which stand for the delivery, and acknowledges it when all of them are confirmed. What the broker does not
// take is tried again for as long as ctx lives; after that the delivery goes back to its queue. One whose channel is lost meanwhile comes again anyway, and is
// given up: else it would be held, and published, once more with each connection. A delivery that can never
// be handed over is rejected, which puts it into its queue's dead letters. In the end then is called, if it is not nil, with
// nil after the acknowledgement, or with what was in the way.
//
// Do returns when the messages are handed to the broker, which is back-pressure, and does not wait for the confirms.
func (h *Handover) Do(ctx context.Context, d *Delivery, then func(error), messages ...Message) {
	t := &transfer{Handover: h, delivery: d, then: then, left: len(messages)}
	if len(messages) == 0 {
		t.left = 1
		t.finish(nil)
		return
	}
	for i := range messages {
		h.pending.Add(1)
		t.publish(ctx, messages[i], leastWait)
	}
}

// Wait returns when nothing is under way any more. The contexts given to Do bound it.
func (h *Handover) Wait() { h.pending.Wait() }

// transfer is one delivery on its way.
type transfer struct {
	*Handover
	delivery *Delivery
	then     func(error)

	mu     sync.Mutex
	left   int   // messages not confirmed
	sought bool  // what was not there has been declared again
	failed error // the worst that happened to one of them
}

func (t *transfer) publish(ctx context.Context, m Message, wait time.Duration) {
	t.Broker.Publish(ctx, m, func(err error) {
		if err == nil || t.Once || ctx.Err() != nil || permanent(err) {
			defer t.pending.Done()
			t.finish(err)
			return
		}
		if !t.Leave || !absent(err) {
			t.Hooks.problem("hand over to "+target(&m), err)
		} else if t.wasSought() {
			defer t.pending.Done()
			t.finish(fmt.Errorf("%w: %w", ErrAbsent, err))
			return
		}
		go t.again(ctx, m, wait, err)
	})
}

// again publishes once more after a wait. A message for several queues goes to each by itself then: one of them that is full has
// the broker refuse the message, though the others have got it, and they would get it with every attempt.
func (t *transfer) again(ctx context.Context, m Message, wait time.Duration, err error) {
	if errors.Is(err, ErrExchange) && !t.Leave {
		wait = mostWait // the broker closes the channel at each attempt, with all that waits for its confirm
	}
	failed := time.Now()
	timer := time.NewTimer(wait/2 + rand.N(wait/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	if t.delivery.Lost() {
		defer t.pending.Done()
		t.finish(errLost)
		return
	}
	if errors.Is(err, ErrUnroutable) {
		t.mend(ctx, failed)
	}
	if absent(err) {
		t.mu.Lock()
		t.sought = true
		t.mu.Unlock()
	}
	wait = min(wait*2, mostWait)
	if errors.Is(err, ErrRefused) && len(m.BCC) > 0 {
		keys := append([]string{m.Key}, m.BCC...)
		t.mu.Lock()
		t.left += len(keys) - 1
		t.mu.Unlock()
		t.pending.Add(len(keys) - 1)
		for _, key := range keys {
			part := m
			part.Key, part.BCC = key, nil
			t.publish(ctx, part, wait)
		}
		return
	}
	t.publish(ctx, m, wait)
}

func (t *transfer) wasSought() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sought
}

// absent errors say that a message has nowhere to go.
func absent(err error) bool { return errors.Is(err, ErrUnroutable) || errors.Is(err, ErrExchange) }

// mend declares the topology again, unless that was done since: somebody has taken a queue or a binding away.
func (h *Handover) mend(ctx context.Context, since time.Time) {
	h.mending.Lock()
	defer h.mending.Unlock()
	if h.mended.After(since) {
		return
	}
	began := time.Now()
	if err := h.Broker.Redeclare(ctx); err != nil {
		h.Hooks.problem("declare again", err)
	}
	h.mended = began
}

// permanent errors are those of the message itself.
func permanent(err error) bool { return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrInvalid) }

// finish notes what became of one message, and settles the delivery after the last.
func (t *transfer) finish(err error) {
	t.mu.Lock()
	t.left--
	if err != nil && (t.failed == nil || permanent(err)) {
		t.failed = err
	}
	left, failed := t.left, t.failed
	t.mu.Unlock()
	if left > 0 {
		return
	}
	if err := t.settle(failed); err != nil {
		t.Hooks.problem("hand over from "+t.delivery.Queue, err)
		failed = err
	}
	if t.then != nil {
		t.then(failed)
	}
}

// settle tells the broker what became of the delivery. An error is news: where the connection is lost, the delivery comes again.
func (t *transfer) settle(failed error) error {
	switch {
	case failed == nil:
		return t.delivery.Ack()
	case t.Once, errors.Is(failed, ErrAbsent):
		return nil
	case permanent(failed):
		return errors.Join(fmt.Errorf("rejected into its dead letters: %w", failed), t.delivery.Reject())
	}
	_ = t.delivery.Requeue() // an error means that it is back in its queue already
	return nil
}

func target(m *Message) string {
	if m.Exchange == "" {
		return "queue " + m.Key
	}
	return "exchange " + m.Exchange
}
