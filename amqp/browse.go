package amqp

import (
	"context"
	"errors"
	"fmt"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
)

// Depth implements [router.Browser].
func (b *Broker) Depth(ctx context.Context, queue string) (int, error) {
	ch, closeChannel, err := b.channelFor(ctx)
	if err != nil {
		return 0, err
	}
	defer closeChannel()
	return depth(ch, queue)
}

func depth(ch *amqp091.Channel, queue string) (int, error) {
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		if e, ok := errors.AsType[*amqp091.Error](err); ok && e.Code == amqp091.NotFound {
			return 0, fmt.Errorf("queue %q: %w", queue, router.ErrNoQueue)
		}
		return 0, fmt.Errorf("queue %q: %w", queue, err)
	}
	return q.Messages, nil
}

// Browse implements [router.Browser]. It takes no more events than there were when it began, so that it ends. What was not settled is given
// back one by one, in order: left to the end of the channel, a quorum queue takes it back in the order of its tags as texts (1, 10, 2).
func (b *Broker) Browse(ctx context.Context, queue string, sources []string, visit func(*router.Delivery) bool, end func()) error {
	ch, closeChannel, err := b.channelFor(ctx)
	if err != nil {
		return err
	}
	defer closeChannel()
	left, err := depth(ch, queue)
	if err != nil {
		return err
	}
	a := newAcker(context.Background(), ch, 1)
	defer a.close()
	defer a.giveBack()
	if end != nil {
		defer end()
	}
	for ; left > 0 && ctx.Err() == nil; left-- {
		d, ok, err := ch.Get(queue, false)
		if err != nil {
			return fmt.Errorf("queue %q: %w", queue, err)
		}
		if !ok {
			return nil
		}
		out := decode(&d, sources)
		out.Queue = queue
		out.Settler = a.hand(d.DeliveryTag)
		if !visit(out) {
			left--
			break
		}
	}
	takeRest(ch, queue, left, a)
	return context.Cause(ctx)
}

// inOrder is how many events that nobody looks at are taken for the sake of their order.
const inOrder = 1000

// takeRest takes what is left behind the place at which a look ended, so that all is given back in its order. A quorum queue puts what comes back
// behind what came back before, and both before all others: after a look at everything, one at the first few would
// put those last. A long queue is not taken whole for that.
func takeRest(ch *amqp091.Channel, queue string, left int, a *acker) {
	for ; left > 0 && left <= inOrder; left-- {
		d, ok, err := ch.Get(queue, false)
		if err != nil || !ok {
			return // only the order is at stake
		}
		a.hand(d.DeliveryTag)
	}
}

// channelFor opens a channel for calls that ctx bounds; closeChannel ends it.
func (b *Broker) channelFor(ctx context.Context) (ch *amqp091.Channel, closeChannel func(), err error) {
	s, err := b.consume.session(ctx)
	if err != nil {
		return nil, nil, err
	}
	ch, err = s.conn.Channel()
	if err != nil {
		return nil, nil, err
	}
	return ch, func() { _ = ch.Close() }, nil
}
