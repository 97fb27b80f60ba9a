package amqp

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// acker settles the deliveries of one channel. It gathers acknowledgements, so that one frame stands for many, which a quorum queue then settles with
// one entry in its log; none waits longer than ackDelay.
type acker struct {
	ch     *amqp091.Channel
	enough int  // acknowledgements that are sent at once
	whole  bool // what is requeued goes back when the channel is closed, all at once

	// open is the consumer's ctx: what is requeued when it is over waits until the consumer is cancelled. Before, the broker would send it again, behind what
	// it had sent already, and count that towards the queue's delivery limit.
	open context.Context

	mu      sync.Mutex
	closed  bool
	held    []uint64 // tags that wait to be requeued
	free    bool     // the consumer is cancelled
	back    bool     // something is given back, or will be with the channel
	first   uint64   // the tag that states[0] is of
	states  []state  // of the deliveries handed out, in their order
	lowest  int      // index in states of the first that is acknowledged and not sent
	waiting int      // acknowledged, not sent
	out     int      // handed out, not settled
	timer   *time.Timer
	empty   chan struct{} // closed when out is 0, if somebody waits for that
}

type state byte

const (
	stateOut  state = iota // with a handler
	stateAck               // acknowledged, not sent
	stateDone              // the broker was told
)

const (
	ackDelay = 5 * time.Millisecond
	maxAcks  = 128
)

func newAcker(open context.Context, ch *amqp091.Channel, prefetch int) *acker {
	a := &acker{open: open, ch: ch, enough: min(max(1, prefetch/4), maxAcks), first: 1}
	a.timer = time.AfterFunc(time.Hour, a.flush)
	a.timer.Stop()
	return a
}

// hand notes that the delivery of that tag is handed out. Tags run from 1 without gaps.
func (a *acker) hand(tag uint64) *settler {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.first+uint64(len(a.states)) <= tag {
		a.states = append(a.states, stateOut)
	}
	a.out++
	return &settler{acker: a, tag: tag}
}

// settler is the way to settle one delivery; the first call counts.
type settler struct {
	acker *acker
	tag   uint64
	done  atomic.Bool
}

func (s *settler) Ack() error { return s.settle(func(a *acker) error { return a.ack(s.tag) }) }
func (s *settler) Requeue() error {
	return s.settle(func(a *acker) error { return a.nack(s.tag, true) })
}
func (s *settler) Reject() error {
	return s.settle(func(a *acker) error { return a.nack(s.tag, false) })
}

// Lost implements [router.Settler].
func (s *settler) Lost() bool { return s.acker.ch.IsClosed() }

func (s *settler) settle(f func(*acker) error) error {
	if s.done.Swap(true) {
		return nil
	}
	a := s.acker
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return amqp091.ErrClosed
	}
	a.out--
	err := f(a)
	if a.out == 0 && a.empty != nil {
		close(a.empty)
		a.empty = nil
	}
	return err
}

// ack notes an acknowledgement; a.mu is held.
func (a *acker) ack(tag uint64) error {
	at := int(tag - a.first)
	a.states[at] = stateAck
	if a.waiting == 0 || at < a.lowest {
		a.lowest = at
	}
	a.waiting++
	if a.waiting >= a.enough {
		return a.send()
	}
	if a.waiting == 1 {
		a.timer.Reset(ackDelay)
	}
	return nil
}

// nack tells the broker at once; a.mu is held.
func (a *acker) nack(tag uint64, requeue bool) error {
	if requeue && a.whole {
		a.back = true
		return nil // it stays as one that is out, which no acknowledgement of others covers
	}
	if requeue && !a.free && a.open.Err() != nil {
		a.held = append(a.held, tag)
		return nil
	}
	a.states[tag-a.first] = stateDone
	a.back = a.back || requeue
	return a.ch.Nack(tag, false, requeue)
}

// cancelled requeues what has waited for the consumer to be cancelled, in order.
func (a *acker) cancelled() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = true
	slices.Sort(a.held)
	for _, tag := range a.held {
		if err := a.nack(tag, true); err != nil {
			return err
		}
	}
	a.held = nil
	return nil
}

// keep has all that is requeued from now on go back when the channel is closed.
func (a *acker) keep() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.whole = true
}

// returns reports whether something was given back, or will be with the channel.
func (a *acker) returns() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.back || a.out > 0
}

// flush sends what waits.
func (a *acker) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.closed {
		_ = a.send() // an error is that of a closed channel: the events come again
	}
}

// send acknowledges all that waits: the unbroken run at the beginning with one frame, what lies behind a delivery that is still
// out one by one. a.mu is held.
func (a *acker) send() error {
	if a.waiting == 0 {
		return nil
	}
	run, last := 0, uint64(0)
	for run < len(a.states) && a.states[run] != stateOut {
		if a.states[run] == stateAck {
			last = a.first + uint64(run)
			a.waiting--
		}
		run++
	}
	if last > 0 {
		if err := a.ch.Ack(last, true); err != nil {
			return err
		}
	}
	a.states = a.states[:copy(a.states, a.states[run:])]
	a.first += uint64(run)
	for i := max(0, a.lowest-run); a.waiting > 0; i++ { // what lies before may be much, where a delivery is out for long
		if a.states[i] == stateAck {
			a.states[i] = stateDone
			a.waiting--
			if err := a.ch.Ack(a.first+uint64(i), false); err != nil {
				return err
			}
		}
	}
	return nil
}

// unsettled is how many are handed out and not settled.
func (a *acker) unsettled() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out
}

// close makes all further settling fail: the channel is gone, and its deliveries come again.
func (a *acker) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	a.timer.Stop()
	if a.empty != nil {
		close(a.empty)
		a.empty = nil
	}
}

// used reports whether any delivery was handed out.
func (a *acker) used() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first+uint64(len(a.states)) > 1
}

// busy reports whether anything is handed out.
func (a *acker) busy() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.out > 0
}

// settled returns a channel that is closed when nothing is out any more.
func (a *acker) settled() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	done := make(chan struct{})
	if a.out == 0 || a.closed {
		close(done)
		return done
	}
	a.empty = done
	return done
}
