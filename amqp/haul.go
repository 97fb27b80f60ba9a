package amqp

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

const (
	// haulBatch is how many events are confirmed together: as many may be doubled by who is killed in between.
	haulBatch = 256
	// haulGather is how long a batch waits for more events.
	haulGather = 5 * time.Millisecond
	// haulIdle is how long nothing has come when a queue counts as empty.
	haulIdle = 300 * time.Millisecond
	// moverPriority is above that of other consumers: who consumes the queue beside the mover is sent nothing as long as the mover has room.
	moverPriority = 1 << 30
	// haulEnd bounds the wait for the broker's word that a deleted queue's consumer has ended.
	haulEnd = 10 * time.Second
)

// Haul implements [router.Lock], on a channel of the connection that holds the lock. What the queue holds is consumed, published to the exchange, and
// acknowledged when it is confirmed, one batch after another, which keeps order. The queue is deleted while it is still consumed: what
// came to it before that was delivered by then.
func (l *lock) Haul(ctx context.Context, h plan.Haul, moved func(done, left int)) error {
	stop := l.session.bound(ctx)
	defer stop()
	ch, err := l.session.conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close() // gives back what is not settled
	m := &mover{lock: l, haul: h, ch: ch, told: moved}
	err = m.run(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case hasCode(err, amqp091.NotFound) && !m.began:
		return nil
	case err != nil:
		return fmt.Errorf("moving the events of %q: %w", h.From, err)
	}
	return nil
}

// mover is a haul at work.
type mover struct {
	lock *lock
	haul plan.Haul
	ch   *amqp091.Channel
	told func(done, left int) // may be nil

	began      bool
	deliveries <-chan amqp091.Delivery
	returns    chan amqp091.Return
	closes     chan *amqp091.Error
	done, all  int
}

func (m *mover) run(ctx context.Context) error {
	var err error
	if m.all, err = depth(m.ch, m.haul.From); errors.Is(err, router.ErrNoQueue) {
		return nil
	} else if err != nil {
		return err
	}
	first := amqp091.Table{"x-priority": int32(moverPriority)}
	m.returns = m.ch.NotifyReturn(make(chan amqp091.Return, haulBatch+1))
	m.closes = m.ch.NotifyClose(make(chan *amqp091.Error, 1))
	if err := errors.Join(m.ch.Confirm(false), m.ch.Qos(2*haulBatch, 0, false)); err != nil {
		return err
	}
	if m.deliveries, err = m.ch.Consume(m.haul.From, consumerTag+"-move", false, false, false, false, first); err != nil {
		return err
	}
	m.began = true
	m.tell()
	since := time.Now() // that the queue is empty
	for {
		batch, open := m.collect(haulIdle)
		if err := m.hand(ctx, batch, true); err != nil {
			return err
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !open:
			return m.unless(errCancelled)
		case len(batch) > 0:
			since = time.Now()
			continue
		}
		left, err := depth(m.ch, m.haul.From)
		switch {
		case err != nil:
			return err
		case left > 0:
			since = time.Now()
		case time.Since(since) >= m.haul.Beside:
			return m.finish(ctx)
		}
	}
}

// finishFor is how long what a deleted queue had delivered last may take to be handed over.
const finishFor = 30 * time.Second

// finish deletes the queue, and hands over what it delivered before it was deleted: that is nowhere else then, so that it does not end with ctx.
func (m *mover) finish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishFor)
	defer cancel()
	if err := m.lock.DeleteQueue(ctx, m.haul.From); err != nil {
		return err
	}
	for {
		batch, open := m.collect(haulEnd)
		if err := m.hand(ctx, batch, false); err != nil {
			return err
		}
		if !open || len(batch) == 0 {
			return nil
		}
	}
}

// collect takes a batch of deliveries. An empty one says that nothing has come for the time of idle, or that nothing will: open is false then.
func (m *mover) collect(idle time.Duration) (batch []amqp091.Delivery, open bool) {
	timer := time.NewTimer(idle)
	defer timer.Stop()
	for len(batch) < haulBatch {
		select {
		case d, open := <-m.deliveries:
			if !open {
				return batch, false
			}
			if batch = append(batch, d); len(batch) == 1 {
				timer.Reset(haulGather)
			}
		case <-timer.C:
			return batch, true
		}
	}
	return batch, true
}

// hand publishes a batch, waits until all of it is confirmed, and acknowledges it: confirm first, acknowledge last. After an error nothing
// of the batch is acknowledged.
func (m *mover) hand(ctx context.Context, batch []amqp091.Delivery, ack bool) error {
	if len(batch) == 0 {
		return nil
	}
	confirms := make([]*amqp091.DeferredConfirmation, len(batch))
	for i := range batch {
		d := &batch[i]
		var err error
		confirms[i], err = m.ch.PublishWithDeferredConfirmWithContext(ctx, m.haul.To, d.RoutingKey, true, false, again(d, m.haul.Sources, m.lock.session.conn.Config.FrameSize))
		if err != nil {
			return err
		}
	}
	for _, c := range confirms {
		confirmed, err := c.WaitContext(ctx)
		if err != nil {
			return err
		}
		if !confirmed {
			return fmt.Errorf("publishing to exchange %q: %w", m.haul.To, m.unless(router.ErrRefused))
		}
	}
	select {
	case r := <-m.returns: // it comes before the confirm
		return fmt.Errorf("publishing to exchange %q: %w (%s)", m.haul.To, router.ErrUnroutable, strings.ToLower(r.ReplyText))
	default:
	}
	m.done += len(batch)
	m.tell()
	if !ack {
		return nil // its queue is deleted
	}
	return m.ch.Ack(batch[len(batch)-1].DeliveryTag, true)
}

// unless is an error that the broker has told, unless it is the channel's end that looks like it: the client library calls what is open then refused.
func (m *mover) unless(told error) error {
	select {
	case reason := <-m.closes:
		return fmt.Errorf("the channel was lost: %w", m.lock.session.explain(closeReason(reason)))
	default:
		return told
	}
}

func (m *mover) tell() {
	if m.told != nil {
		m.told(m.done, max(0, m.all-m.done))
	}
}

// again is a delivery as it is published again: as it came, with its type and first exchange among our own notes where the delivery would not say them any more.
// One whose headers leave the broker too little of a frame of limit bytes goes as a whole.
func again(d *amqp091.Delivery, sources []string, limit int) amqp091.Publishing {
	out := decode(d, sources)
	h := maps.Clone(d.Headers)
	if h == nil {
		h = amqp091.Table{}
	}
	foreign := slices.Contains(sources, d.Exchange)
	maps.DeleteFunc(h, func(name string, _ any) bool {
		return name == "x-death" || brokers(name) || foreign && strings.HasPrefix(name, trailPrefix)
	})
	if out.Event.Type != d.RoutingKey {
		h[trailType] = out.Event.Type
	}
	put(h, trailExchange, out.Exchange)
	p := amqp091.Publishing{
		Headers: h, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode, Priority: d.Priority,
		CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration, MessageId: out.Event.ID, Timestamp: d.Timestamp,
		Type: d.Type, AppId: d.AppId, Body: d.Body,
	}
	m := router.Message{Event: out.Event, Trail: out.Trail}
	m.Trail.Type, m.Trail.Exchange = out.Event.Type, out.Exchange
	if isCrowded(&m, headerFrame(&p), limit) {
		if whole, err := encodeWhole(&m); err == nil {
			whole.Expiration = p.Expiration
			return whole
		}
	}
	return p
}
