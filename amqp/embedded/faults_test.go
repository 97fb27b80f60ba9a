package embedded_test

import (
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// What the embedded broker does not have it refuses, where RabbitMQ does it.
func TestNotImplemented(t *testing.T) {
	t.Parallel()
	s := probe.New(t, amqptest.Broker(t).URL())
	declare := func(args amqp091.Table) func(ch *amqp091.Channel) error {
		return func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare("q", true, false, false, false, args)
			return err
		}
	}
	for _, c := range []struct {
		do   func(ch *amqp091.Channel) error
		want string
	}{
		{declare(amqp091.Table{"x-queue-type": "stream"}), "NOT_IMPLEMENTED - queue 'q': the embedded broker has no streams"},
		{declare(amqp091.Table{"x-max-priority": int32(3)}), "NOT_IMPLEMENTED - queue 'q': the embedded broker has no x-max-priority"},
		{declare(amqp091.Table{"x-overflow": "reject-publish-dlx"}), "NOT_IMPLEMENTED - queue 'q': the embedded broker has no x-overflow reject-publish-dlx"},
		{func(ch *amqp091.Channel) error {
			_, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
			return err
		}, "NOT_IMPLEMENTED - the embedded broker has no direct reply-to (amq.rabbitmq.reply-to)"},
	} {
		text, alive := s.Fault(c.do)
		probe.Equal(t, "text", text, c.want)
		probe.Equal(t, "alive", alive, false)
	}
}
