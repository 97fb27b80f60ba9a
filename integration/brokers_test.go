package integration

import (
	"bytes"
	"fmt"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/rabbit"
)

// BenchmarkBrokers moves persistent messages of 1 KiB through a durable queue of the embedded broker, in memory and with a data folder, and
// of RabbitMQ: with at most 1,000 unconfirmed, a prefetch of 500, and one acknowledgement for 100 messages. What counts are the ratios.
func BenchmarkBrokers(b *testing.B) {
	for _, kind := range []string{"classic", "quorum"} {
		for _, broker := range []struct {
			name string
			url  func() string
		}{
			{"memory", func() string { return amqptest.Broker(b).URL() }},
			{"data", func() string { return amqptest.Start(b, embedded.Options{Data: b.TempDir()}).URL() }},
			{"rabbitmq", func() string { return server(b, rabbit.V4).URL }},
		} {
			url := broker.url()
			b.Run(fmt.Sprintf("queue=%s/broker=%s", kind, broker.name), func(b *testing.B) { throughput(b, url, kind) })
		}
	}
}

func throughput(b *testing.B, url, kind string) {
	in, out := benchChannel(b, url), benchChannel(b, url)
	queue := "bench-" + kind
	if _, err := in.QueueDeclare(queue, true, false, false, false, amqp091.Table{"x-queue-type": kind}); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if _, err := in.QueueDelete(queue, false, false, false); err != nil {
			b.Error(err)
		}
	}()
	if err := in.Confirm(false); err != nil {
		b.Fatal(err)
	}
	if err := out.Qos(500, 0, false); err != nil {
		b.Fatal(err)
	}
	deliveries, err := out.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(1024)
	b.ResetTimer()
	published := make(chan error, 1)
	go func() { published <- publishConfirmed(in, queue, b.N) }()
	for i := range b.N {
		d := <-deliveries
		if i%100 == 99 || i == b.N-1 {
			if err := d.Ack(true); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := <-published; err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msgs/s")
}

// publishConfirmed publishes and returns when all is confirmed.
func publishConfirmed(ch *amqp091.Channel, queue string, count int) error {
	const window = 1000
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, window))
	confirmed := func() error {
		if c := <-confirms; !c.Ack {
			return fmt.Errorf("message %d is refused", c.DeliveryTag)
		}
		return nil
	}
	body := bytes.Repeat([]byte("x"), 1024)
	for i := range count {
		if i >= window {
			if err := confirmed(); err != nil {
				return err
			}
		}
		if err := ch.Publish("", queue, false, false, amqp091.Publishing{DeliveryMode: amqp091.Persistent, Body: body}); err != nil {
			return err
		}
	}
	for range min(count, window) {
		if err := confirmed(); err != nil {
			return err
		}
	}
	return nil
}

func benchChannel(b *testing.B, url string) *amqp091.Channel {
	b.Helper()
	conn, err := amqp091.Dial(url)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() }) // it may be closed already
	ch, err := conn.Channel()
	if err != nil {
		b.Fatal(err)
	}
	return ch
}
