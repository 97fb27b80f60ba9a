package embedded_test

import (
	"slices"
	"sync"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// Clients that come and go, in order and cut off, with consumers and what they hold, take nothing from one that publishes.
func TestClientsComeAndGoWhileOthersPublish(t *testing.T) {
	t.Parallel()
	b := amqptest.Broker(t)
	s := probe.New(t, b.URL())
	q := s.Queue(nil)
	var visitors sync.WaitGroup
	for n := range 4 {
		visitors.Go(func() {
			for range 25 {
				conn, err := amqp091.Dial(b.URL())
				if err != nil {
					t.Error(err)
					return
				}
				if ch, err := conn.Channel(); err != nil {
					t.Error(err)
				} else if deliveries, err := ch.Consume(q, "", false, false, false, false, nil); err != nil {
					t.Error(err)
				} else if n%2 == 0 {
					<-deliveries // is held until the connection is closed
				}
				conn.Close()
			}
		})
	}
	const count = 500
	s.Send(q, slices.Repeat([]string{"x"}, count)...)
	visitors.Wait()
	probe.Within(t, "all to be back", func() bool { return s.Depth(q) == count })
}
