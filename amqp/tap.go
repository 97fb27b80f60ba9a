package amqp

import (
	"context"
	"errors"
	"fmt"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// tapBytes bounds the bodies in a tap's queue; over it the oldest are dropped.
const tapBytes = 64 << 20

// Tap copies events into a queue of that name, which is gone with the connection, and calls handle for each until handle returns false, ctx is over
// or the connection is lost, which is an error. The queue is bound by the exchanges and keys of bindings. Mind that an event which only the tap's
// bindings match counts as routed: no alternate exchange gets it then. Where handle is slower than the events come, the oldest are dropped.
func (b *Broker) Tap(ctx context.Context, queue string, bindings []plan.Binding, ready func(), handle func(*event.Event) (more bool)) error {
	s, err := b.consume.session(ctx)
	if err != nil {
		return err
	}
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	q, err := ch.QueueDeclare(queue, false, true, true, false, amqp091.Table{"x-max-length-bytes": int64(tapBytes)})
	if err != nil {
		return fmt.Errorf("declaring queue %q: %w", queue, err)
	}
	var sources []string
	for _, binding := range bindings {
		sources = append(sources, binding.Exchange)
		if err := ch.QueueBind(q.Name, binding.Key, binding.Exchange, false, nil); err != nil {
			return fmt.Errorf("listening to exchange %q: %w", binding.Exchange, err)
		}
	}
	if err := ch.Qos(defaultPrefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(q.Name, consumerTag, false, true, false, false, nil)
	if err != nil {
		return err
	}
	ready()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, open := <-deliveries:
			if !open {
				return errors.New("the connection was lost")
			}
			if !handle(decode(&d, sources).Event) {
				return nil
			}
			if err := ch.Ack(d.DeliveryTag, false); err != nil {
				return err
			}
		}
	}
}
