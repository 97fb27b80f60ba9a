package embedded_test

import (
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

func TestLookInside(t *testing.T) {
	t.Parallel()
	b := amqptest.Broker(t)
	s := probe.New(t, b.URL())
	x, q := s.Exchange("topic", nil), s.Queue(amqp091.Table{"x-queue-type": "quorum"})
	s.Bind(q, "a.#", x, nil)
	s.Publish(x, "a.b", amqp091.Publishing{Body: []byte("1"), Headers: amqp091.Table{"in": amqp091.Table{"deep": "x"}}, Expiration: "60000"})
	s.Publish(x, "a", amqp091.Publishing{Body: []byte("2")})
	if _, _, err := s.Ch.Get(q, false); err != nil {
		t.Fatal(err)
	}
	info, there := b.Queue("/", q)
	probe.Equal(t, "queue", []any{there, info.Type, info.Ready, info.Unacked, info.Durable}, []any{true, "quorum", 1, 1, true})
	nack := s.Ch.Nack(1, false, true)
	probe.Within(t, "the message to be back", func() bool { info, _ := b.Queue("/", q); return info.Ready == 2 && nack == nil })
	m := b.Messages("/", q)
	probe.Equal(t, "head", []any{string(m[0].Body), m[0].RoutingKey, m[0].Redelivered, m[0].Headers["in"]}, []any{"1", "a.b", true, map[string]any{"deep": "x"}})
	if left := time.Until(m[0].Expires); left < 50*time.Second || left > time.Minute {
		t.Errorf("it expires in %v", left)
	}
	bindings := b.Bindings("/")
	probe.Equal(t, "binding", []any{len(bindings), bindings[0].Exchange, bindings[0].Queue, bindings[0].Key}, []any{1, x, q, "a.#"})
	probe.Equal(t, "of no vhost", len(b.Queues("none"))+len(b.Messages("/", "none")), 0)
}

func TestRefusePublishes(t *testing.T) {
	t.Parallel()
	b := amqptest.Broker(t)
	s := probe.New(t, b.URL())
	q := s.Queue(nil)
	b.RefusePublishes(true)
	probe.Equal(t, "taken", s.Publish("", q, amqp091.Publishing{}), false)
	b.RefusePublishes(false)
	probe.Equal(t, "taken afterwards", s.Publish("", q, amqp091.Publishing{}), true)
	probe.Equal(t, "kept", s.Depth(q), 1)
}

func TestDelayPublishes(t *testing.T) {
	t.Parallel()
	b := amqptest.Broker(t)
	s := probe.New(t, b.URL())
	q := s.Queue(nil)
	b.DelayPublishes(50 * time.Millisecond)
	began := time.Now()
	probe.Equal(t, "taken", s.Publish("", q, amqp091.Publishing{}), true)
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("confirmed after %v", took)
	}
	b.DelayPublishes(0)
}
