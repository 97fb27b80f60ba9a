package conformance

import (
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// ConsumerTimeout checks what becomes of a consumer that does not settle in time (x-consumer-timeout). It is no part of Run, since RabbitMQ looks once
// a minute, where it is not told to look more often.
func ConsumerTimeout(t *testing.T, url string) {
	for _, kind := range []string{"classic", "quorum"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := probe.New(t, url)
			q := s.Queue(amqp091.Table{"x-consumer-timeout": int32(50), "x-queue-type": kind})
			s.Send(q, "1", "2")
			ch := s.Channel()
			closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
			deliveries := s.Consume(ch, q, nil)
			if err := probe.Next(t, deliveries).Ack(false); err != nil { // which is in time
				t.Fatal(err)
			}
			select {
			case e := <-closed:
				probe.Equal(t, "told", []any{e.Code, e.Reason}, []any{406, "PRECONDITION_FAILED - delivery acknowledgement on channel 2 timed out. Timeout value used: 50 ms. " +
					"This timeout value can be configured, see consumers doc guide to learn more"})
			case <-time.After(probe.Patience):
				t.Fatal("nothing was said")
			}
			d := s.Take(q)
			probe.Equal(t, "back", []any{string(d.Body), d.Redelivered}, []any{"2", true})
		})
	}
}
