package embedded_test

import (
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// At least once: what its dead-letter queue does not take waits, and no other queue gets it twice meanwhile.
// (RabbitMQ tries again after three minutes only, which is too long for a test.)
func TestDeadLetterAtLeastOnce(t *testing.T) {
	t.Parallel()
	s := probe.New(t, amqptest.Broker(t).URL())
	dlx, dead := s.Exchange("fanout", nil), s.Queue(nil)
	s.Bind(dead, "", dlx, nil)
	full := s.Queue(amqp091.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
	s.Send(full, "in the way")
	s.Bind(full, "", dlx, nil)
	q := s.Queue(amqp091.Table{
		"x-queue-type": "quorum", "x-message-ttl": int32(10), "x-overflow": "reject-publish", "x-max-length": int32(0),
		"x-dead-letter-exchange": dlx, "x-dead-letter-strategy": "at-least-once",
	})
	s.Send(q, "x") // one over the limit, as quorum queues do
	probe.Equal(t, "the open queue's", string(s.Take(dead).Body), "x")
	probe.Equal(t, "taken while a dead letter waits", s.Publish("", q, amqp091.Publishing{}), false)
	probe.Equal(t, "the full queue's", s.Texts(full), []string{"in the way"})
	probe.Equal(t, "the full queue's in the end", string(s.Take(full).Body), "x")
	probe.Equal(t, "again in the open queue", s.Depth(dead), 0)
}
