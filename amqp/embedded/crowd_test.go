package embedded_test

import (
	"encoding/binary"
	"fmt"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// BenchmarkCrowd moves messages of 100 bytes, with confirms and acknowledgements, where there are few of something and where there are many: each message
// goes to the next queue, by the next binding, or over the next connection. Ten connections publish, with a window of 100 unconfirmed messages; where it is
// connections that are many or few, each waits for its confirm. What counts is how few and many compare.
func BenchmarkCrowd(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("queues=%d", n), func(b *testing.B) { benchCrowd(b, n, n, 10, 100) })
	}
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("bindings=%d", n), func(b *testing.B) { benchCrowd(b, 1, n, 10, 100) })
	}
	for _, n := range []int{10, 1000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) { benchCrowd(b, 1, 1, n, 1) })
	}
}

func benchCrowd(b *testing.B, queues, bindings, connections, window int) {
	url := amqptest.Broker(b).URL()
	ch := benchChannel(b, url)
	if err := ch.ExchangeDeclare("x", "topic", true, false, false, false, nil); err != nil {
		b.Fatal(err)
	}
	out := probe.Connect(b, url, 0, probe.Limits(2047, 131072, 0))
	if err := out.Conn.SetReadDeadline(time.Time{}); err != nil {
		b.Fatal(err)
	}
	out.Method(1, wire.BasicQos, []byte{0, 0, 0, 0, 0x03, 0xe8, 1}) // 1,000 for the channel
	out.Expect(wire.BasicQosOK)
	for q := range queues {
		name := fmt.Sprint("q", q)
		if _, err := ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
			b.Fatal(err)
		}
		consume := wire.AppendShortString(wire.AppendShortString([]byte{0, 0}, name), "")
		out.Method(1, wire.BasicConsume, wire.AppendTable(append(consume, 0), nil))
		out.Expect(wire.BasicConsumeOK)
	}
	for i := range bindings {
		if err := ch.QueueBind(fmt.Sprint("q", i%queues), fmt.Sprintf("shop.%d.*", i), "x", true, nil); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := ch.QueueDeclarePassive("q0", true, false, false, false, nil); err != nil { // all bindings are there by then
		b.Fatal(err)
	}
	publishers := make([]publisher, connections)
	for i := range publishers {
		publishers[i] = newPublisher(b, url, window)
	}
	b.ResetTimer()
	var publishing sync.WaitGroup
	for i, p := range publishers {
		publishing.Go(func() {
			for n := i; n < b.N; n += connections {
				p.publish(b, fmt.Sprintf("shop.%d.paid", n%bindings))
			}
			p.wait()
		})
	}
	take(b, out, b.N)
	publishing.Wait()
}

// take reads that many deliveries, and acknowledges each hundred.
func take(b *testing.B, r *probe.Raw, count int) {
	var f wire.Frame
	for n := 0; n < count; {
		if err := r.In.Read(&f); err != nil {
			b.Fatal(err)
		}
		if f.Type != wire.FrameMethod || wire.Method(binary.BigEndian.Uint32(f.Payload)) != wire.BasicDeliver {
			continue
		}
		if n++; n%100 == 0 || n == count { // tags count up from 1
			r.Method(1, wire.BasicAck, append(binary.BigEndian.AppendUint64(nil, uint64(n)), 1))
		}
	}
}

// publisher publishes on a connection of its own, with a window of what is not confirmed.
type publisher struct {
	ch     *amqp091.Channel
	window chan struct{}
}

func newPublisher(b *testing.B, url string, window int) publisher {
	b.Helper()
	ch := benchChannel(b, url)
	if err := ch.Confirm(false); err != nil {
		b.Fatal(err)
	}
	p := publisher{ch, make(chan struct{}, window)}
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, window))
	go func() {
		for range confirms {
			<-p.window
		}
	}()
	return p
}

func (p *publisher) publish(b *testing.B, key string) {
	p.window <- struct{}{}
	if err := p.ch.Publish("x", key, false, false, amqp091.Publishing{Body: make([]byte, 100)}); err != nil {
		b.Error(err)
	}
}

// wait returns when all is confirmed.
func (p *publisher) wait() {
	for range cap(p.window) {
		p.window <- struct{}{}
	}
}
