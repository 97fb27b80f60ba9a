package embedded_test

import (
	"fmt"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

// BenchmarkThroughput publishes with confirms and consumes with acks, on two connections at once.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			url := amqptest.Broker(b).URL()
			in, out := benchChannel(b, url), benchChannel(b, url)
			if _, err := in.QueueDeclare("q", true, false, false, false, nil); err != nil {
				b.Fatal(err)
			}
			if err := in.Confirm(false); err != nil {
				b.Fatal(err)
			}
			if err := out.Qos(500, 0, false); err != nil {
				b.Fatal(err)
			}
			deliveries, err := out.Consume("q", "", false, false, false, false, nil)
			if err != nil {
				b.Fatal(err)
			}
			confirms := in.NotifyPublish(make(chan amqp091.Confirmation, 1000))
			body := make([]byte, size)
			headers := amqp091.Table{"cloudEvents:type": "order.created", "n": int32(1)}
			b.SetBytes(int64(size))
			b.ResetTimer()
			failed := make(chan error, 1)
			go func() {
				defer close(failed)
				for i := range b.N {
					if i >= 1000 {
						<-confirms
					}
					if err := in.Publish("", "q", false, false, amqp091.Publishing{MessageId: "id", Headers: headers, Body: body}); err != nil {
						failed <- err
						return
					}
				}
				for range min(b.N, 1000) {
					<-confirms
				}
			}()
			for i := range b.N {
				d := <-deliveries
				if i%100 == 99 || i == b.N-1 {
					if err := d.Ack(true); err != nil {
						b.Fatal(err)
					}
				}
			}
			if err := <-failed; err != nil {
				b.Fatal(err)
			}
		})
	}
}

func benchChannel(b *testing.B, url string) *amqp091.Channel {
	b.Helper()
	ch, err := dial(b, url).Channel()
	if err != nil {
		b.Fatal(err)
	}
	return ch
}
