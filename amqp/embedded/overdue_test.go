package embedded_test

import (
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// A client that keeps the connection busy is looked at too.
func TestConsumerTimeoutOfABusyClient(t *testing.T) {
	t.Parallel()
	s := probe.New(t, amqptest.Broker(t).URL())
	q := s.Queue(amqp091.Table{"x-consumer-timeout": int32(50)})
	s.Send(q, "1")
	ch := s.Channel()
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	if _, _, err := ch.Get(q, false); err != nil {
		t.Fatal(err)
	}
	probe.Within(t, "the channel to be closed", func() bool {
		s.Depth(q)
		return len(closed) > 0
	})
}
