package embedded_test

import (
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// A queue-level TTL is kept to within milliseconds, whoever looks: it is never early, and late only where the machine is busy.
func TestTTLIsOnTime(t *testing.T) {
	t.Parallel()
	s := probe.New(t, amqptest.Broker(t).URL())
	dead := s.Queue(nil)
	deliveries := s.Consume(s.Channel(), dead, nil)
	q := s.Queue(amqp091.Table{"x-message-ttl": int32(100), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
	took := time.Hour
	for tries := 0; took > 200*time.Millisecond; tries++ {
		if tries == 100 {
			t.Fatalf("late 100 times, the last time after %v, want 100ms", took)
		}
		began := time.Now()
		s.Send(q, "x")
		probe.Next(t, deliveries)
		if took = time.Since(began); took < 100*time.Millisecond {
			t.Fatalf("dead-lettered after %v, want 100ms", took)
		}
	}
}
