package embedded_test

import (
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// A queue-level TTL is kept to within milliseconds, whoever looks.
func TestTTLIsOnTime(t *testing.T) {
	t.Parallel()
	s := probe.New(t, amqptest.Broker(t).URL())
	dead := s.Queue(nil)
	deliveries := s.Consume(s.Channel(), dead, nil)
	q := s.Queue(amqp091.Table{"x-message-ttl": int32(100), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
	began := time.Now()
	s.Send(q, "x")
	probe.Next(t, deliveries)
	if took := time.Since(began); took < 100*time.Millisecond || took > 400*time.Millisecond { // generous to a machine under load
		t.Errorf("dead-lettered after %v, want 100ms", took)
	}
}
