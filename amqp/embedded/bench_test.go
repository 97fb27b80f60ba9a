package embedded_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// BenchmarkThroughput publishes persistent messages with confirms and consumes with acks, on two connections at once, in memory and with a
// data folder.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{100, 1024, 10_000} {
		b.Run(fmt.Sprintf("bytes=%d/memory", size), func(b *testing.B) { benchThroughput(b, size, "") })
		b.Run(fmt.Sprintf("bytes=%d/data", size), func(b *testing.B) { benchThroughput(b, size, b.TempDir()) })
	}
}

func benchThroughput(b *testing.B, size int, data string) {
	url := amqptest.Start(b, embedded.Options{Data: data}).URL()
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
			if err := in.Publish("", "q", false, false, amqp091.Publishing{DeliveryMode: 2, MessageId: "id", Headers: headers, Body: body}); err != nil {
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
}

func benchChannel(b *testing.B, url string) *amqp091.Channel {
	b.Helper()
	ch, err := probe.Dial(b, url).Channel()
	if err != nil {
		b.Fatal(err)
	}
	return ch
}

// BenchmarkConfirm is the way of one transient message to its confirm, from a client that says each frame itself.
func BenchmarkConfirm(b *testing.B) {
	r := probe.Connect(b, amqptest.Broker(b).URL(), 0, probe.Limits(2047, 131072, 0))
	if err := r.Conn.SetReadDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
	declare := wire.AppendShortString([]byte{0, 0}, "q")
	r.Method(1, wire.QueueDeclare, wire.AppendTable(append(declare, 0), nil))
	r.Expect(wire.QueueDeclareOK)
	r.Method(1, wire.ConfirmSelect, []byte{0})
	r.Expect(wire.ConfirmSelectOK)
	message := probe.Method(1, wire.BasicPublish, probe.PublishTo("q"))
	message = wire.AppendFrame(message, wire.FrameHeader, 1, probe.ContentHeader(100))
	message = wire.AppendFrame(message, wire.FrameBody, 1, make([]byte, 100))
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		began := time.Now()
		r.Write(message)
		r.Expect(wire.BasicAck)
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "ns/median")
}

// BenchmarkStart is a broker's beginning and end.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		broker, err := embedded.Start(embedded.Options{})
		if err != nil {
			b.Fatal(err)
		}
		broker.Close()
	}
}
