package amqp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
)

const (
	defaultPrefetch = 64
	defaultDrain    = 30 * time.Second
)

// subscription is one call of Consume.
type subscription struct {
	router.Subscription
	broker   *Broker
	handle   func(*router.Delivery)
	answered bool // the broker has begun to send, on the last connection
	consumed bool // the broker has let it; what is refused later may be given back
	doubts   int  // how often in a row the broker has closed the connection with an internal error, instead of an answer
}

// Consume implements [router.Consumer].
func (b *Broker) Consume(ctx context.Context, s router.Subscription, handle func(*router.Delivery)) error {
	if s.Prefetch <= 0 {
		s.Prefetch = defaultPrefetch
	}
	if s.Drain <= 0 {
		s.Drain = defaultDrain
	}
	sub := &subscription{Subscription: s, broker: b, handle: handle}
	backoff := backoff{least: b.options.MinBackoff, most: b.options.MaxBackoff}
	for ctx.Err() == nil {
		session, err := b.consume.session(ctx)
		if err != nil {
			return nil // ctx is over
		}
		began := time.Now()
		err = sub.run(ctx, session)
		if err == nil || refused(err) && !sub.consumed {
			return err
		}
		if hook := b.options.Hooks.Problem; hook != nil && ctx.Err() == nil && b.consume.state() == nil {
			hook("consume "+s.Queue, err)
		}
		if isNotFound(err) {
			b.mend(ctx)
		}
		if sub.stayAway(ctx, err) {
			continue
		}
		if time.Since(began) > b.options.MaxBackoff {
			backoff.reset()
		}
		backoff.wait(ctx)
	}
	return nil
}

// How long a queue is left alone for which the broker has closed the connection: doubled each time, with jitter.
const (
	leastAway = time.Second
	mostAway  = 30 * time.Second
)

// stayAway leaves a queue alone for a while of which the broker may have lost the process, and reports whether it did. RabbitMQ 4.0.5 closes the whole
// connection with an internal error whenever such a queue is consumed ("noproc" in its log; seen after a quorum queue was deleted and declared several times
// within a second), and with it the consumers of all pipelines. Those that only shared that connection get their answer at the next attempt.
func (sub *subscription) stayAway(ctx context.Context, err error) bool {
	if sub.answered {
		sub.doubts = 0
		return false
	}
	if e, ok := errors.AsType[*amqp091.Error](err); !ok || e.Code != amqp091.InternalError {
		return false
	}
	if sub.doubts++; sub.doubts < 2 {
		return false
	}
	away := min(leastAway<<min(sub.doubts-2, 8), mostAway)
	if hook := sub.broker.options.Hooks.Problem; hook != nil && ctx.Err() == nil {
		hook("consume "+sub.Queue, fmt.Errorf("the broker has closed the connection %d times in a row when the queue was consumed, which is left alone for %s: see the broker's log: %w", sub.doubts, away, err))
	}
	timer := time.NewTimer(away/2 + rand.N(away/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return true
}

// mend declares the topology again, as a queue of it was not there.
func (b *Broker) mend(ctx context.Context) {
	if s, err := b.publish.session(ctx); err == nil {
		b.topology.mend(s)
	}
}

func refused(err error) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Code == amqp091.AccessRefused
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Code == amqp091.NotFound || errors.Is(err, errCancelled)
}

// errCancelled: the broker ended the consumer, which it does when the queue is deleted.
var errCancelled = errors.New("the broker ended the consumer: the queue was deleted, or moved")

// consumerTag is what the broker knows our consumers by: each has a channel of its own.
const consumerTag = "eventrouter"

// run consumes on one connection. It returns nil when ctx is over and what was in hand is settled.
func (sub *subscription) run(ctx context.Context, s *session) error {
	sub.answered = false
	answered := s.ask(sub.Queue, "consumed")
	defer answered()
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	closes := ch.NotifyClose(make(chan *amqp091.Error, 1))
	cancels := ch.NotifyCancel(make(chan string, 1))
	acker := newAcker(ctx, ch, sub.Prefetch)
	acker.whole = sub.InOrder
	w := &watchdog{session: s, acker: acker, queue: sub.Queue, every: sub.broker.options.StuckTimeout / 2, waits: sub.SingleActive, stuck: make(chan struct{})}
	watched, stop := context.WithCancel(ctx)
	held := &hold{session: s, queue: sub.Held}
	defer held.end(acker) // when the channel has given back what is not settled
	var watching sync.WaitGroup
	defer watching.Wait()
	defer acker.close()
	defer ch.Close() // gives back what is not settled
	defer stop()
	if err := ch.Qos(sub.Prefetch, 0, false); err != nil {
		return fmt.Errorf("queue %q: %w", sub.Queue, err)
	}
	deliveries, err := ch.Consume(sub.Queue, consumerTag, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("queue %q: %w", sub.Queue, err)
	}
	answered()
	sub.answered, sub.consumed = true, true
	watching.Go(func() { w.run(watched) })
	if sub.deliver(ctx, deliveries, w) {
		sub.drain(ch, held, closes, acker, deliveries)
		return nil
	}
	stop()
	if err := w.err(); err != nil {
		return fmt.Errorf("queue %q: %w", sub.Queue, err)
	}
	if _, cancelled := <-cancels; cancelled {
		// What is in hand can still be settled, on this channel only.
		sub.await(ctx, s, closes, acker)
		return fmt.Errorf("queue %q: %w", sub.Queue, errCancelled)
	}
	if reason := <-closes; reason != nil {
		return fmt.Errorf("queue %q: %w", sub.Queue, reason)
	}
	return fmt.Errorf("queue %q: the channel was closed", sub.Queue)
}

// deliver hands deliveries out until ctx is over, which it reports, or there will be no more.
func (sub *subscription) deliver(ctx context.Context, deliveries <-chan amqp091.Delivery, w *watchdog) (over bool) {
	for {
		select {
		case <-ctx.Done():
			return true
		case <-w.stuck:
			return false
		case d, ok := <-deliveries:
			if !ok {
				return false
			}
			w.taken.Add(1)
			sub.hand(&d, w.acker)
		}
	}
}

func (sub *subscription) hand(d *amqp091.Delivery, a *acker) {
	out := decode(d, sub.Sources)
	out.Queue = sub.Queue
	out.Settler = a.hand(d.DeliveryTag)
	sub.handle(out)
}

// drain asks for no more, gives back what the broker had sent and nobody has begun with, so that others can have it, and waits until what was handed out
// is settled.
//
// Where order is to be kept, the consumer is not cancelled, and all goes back with its channel. Tried on RabbitMQ 4.0: what is on its way to a consumer when
// that is cancelled goes back at once, before what is given back here; and the next single active consumer gets what is newer, while events before are
// still unsettled. When the channel is closed, the queue first takes back all that it had sent, in its order.
//
// Nor is it where nobody would hear that something is in hand still: a queue that nobody consumes may be deleted.
func (sub *subscription) drain(ch *amqp091.Channel, h *hold, closes <-chan *amqp091.Error, a *acker, deliveries <-chan amqp091.Delivery) {
	s, told := h.session, h.begin()
	if told && !sub.InOrder {
		if err := ch.Cancel(consumerTag, false); err != nil {
			return // the connection is gone, and with it all deliveries
		}
		if err := errors.Join(a.cancelled(), giveBack(ch, deliveries)); err != nil {
			return // as above
		}
	} else {
		a.keep()
	}
	sub.await(context.Background(), s, closes, a)
	if a.used() && !ch.IsClosed() {
		linger(s)
	}
}

// giveBack requeues what a consumer that is cancelled was sent; deliveries end by that.
func giveBack(ch *amqp091.Channel, deliveries <-chan amqp091.Delivery) error {
	tick := time.NewTicker(givePause)
	defer tick.Stop()
	n := 0
	for d := range deliveries {
		if n++; n%giveAtOnce == 0 {
			<-tick.C
		}
		if err := ch.Nack(d.DeliveryTag, false, true); err != nil {
			return err
		}
	}
	return nil
}

// RabbitMQ gathers what is given back to a quorum queue while more than 32 commands are under way, and forgets its order.
const (
	giveAtOnce = 16
	givePause  = 10 * time.Millisecond
)

// lingerFor is how long a channel is kept open after its last acknowledgements.
const lingerFor = 250 * time.Millisecond

// linger gives the broker time for the acknowledgements that it was sent. RabbitMQ holds them back in the channel while a quorum queue is busy (more
// than 32 commands under way), and forgets them when the channel is closed: the queue then delivers again what was done.
func linger(s *session) {
	timer := time.NewTimer(lingerFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.over:
	}
}

// await waits until all that was handed out is settled, but no longer than the time for draining, which begins anew when ctx is over. Where the channel is lost
// nothing is waited for: what was handed out comes again, and who has it may never settle it.
func (sub *subscription) await(ctx context.Context, s *session, closes <-chan *amqp091.Error, a *acker) {
	defer a.flush()
	timer := time.NewTimer(sub.Drain)
	defer timer.Stop()
	settled, ending := a.settled(), ctx.Done()
	for {
		select {
		case <-ending:
			ending = nil
			timer.Reset(sub.Drain)
			continue
		case <-settled:
		case <-timer.C:
		case <-closes:
		case <-s.over:
		}
		return
	}
}
