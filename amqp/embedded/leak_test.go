package embedded_test

import (
	"fmt"
	"sync"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/eventrouter/eventrouter/amqp/embedded"
)

// Clients come, publish, consume and go while the broker is closed under them: afterwards nothing of it is left, whether it keeps
// anything or not.
func TestCloseLeavesNothing(t *testing.T) { // not parallel: it counts goroutines
	for _, data := range []string{"", t.TempDir()} {
		t.Run(fmt.Sprintf("data %v", data != ""), func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			b, err := embedded.Start(embedded.Options{Data: data})
			if err != nil {
				t.Fatal(err)
			}
			var clients sync.WaitGroup
			working := make(chan struct{}, 100)
			for i := range 4 {
				clients.Go(func() {
					for worked(b.URL(), fmt.Sprintf("q%d", i%2)) {
						select {
						case working <- struct{}{}:
						default:
						}
					}
				})
			}
			for range 8 {
				<-working
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			clients.Wait()
			goleak.VerifyNone(t, before)
		})
	}
}

// worked is a short visit to the broker. It reports false where that is gone.
func worked(url, queue string) bool {
	conn, err := amqp091.Dial(url)
	if err != nil {
		return false
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil || ch.Confirm(false) != nil {
		return false
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, amqp091.Table{"x-queue-type": "quorum"}); err != nil {
		return false
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return false
	}
	for range 20 {
		if ch.Publish("", queue, false, false, amqp091.Publishing{DeliveryMode: 2, Body: []byte("text")}) != nil {
			return false
		}
	}
	for range 5 {
		d, ok := <-deliveries
		if !ok || d.Ack(false) != nil {
			return false
		}
	}
	return true
}
