package amqp_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/network"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// channel is one of another client, until the test is over.
func channel(t *testing.T, url string) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// What an operator has made anew in another shape is bound again and told of, and holds up nobody when the connections are made anew.
func TestAQueueInAnotherShapeHoldsUpNobody(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	between := network.NewProxy(t, server.URL())
	var told atomic.Int64
	b := connect(t, between.URL, amqp.Options{Hooks: router.Hooks{Problem: func(where string, err error) {
		if shape, ok := errors.AsType[*router.ShapeError](err); ok && where == "declare again" && shape.Name == queue {
			told.Add(1)
		}
	}}})
	ch := channel(t, server.URL())
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	between.Reset()
	waitFor(t, "nothing can be published again", func() bool { return send(t.Context(), b, message("1")) == nil })
	if n := len(server.Messages("/", queue)); n != 1 || told.Load() == 0 {
		t.Errorf("the queue has %d messages, and its shape was told of %d times", n, told.Load())
	}
}

// An exchange in another shape may lead events elsewhere: nothing is published until it is right again.
func TestAnExchangeInAnotherShapeStopsPublishing(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	between := network.NewProxy(t, server.URL())
	b := connect(t, between.URL, amqp.Options{})
	remake := func(kind string) {
		ch := channel(t, server.URL())
		if err := ch.ExchangeDelete(queue, false, false); err != nil {
			t.Fatal(err)
		}
		if err := ch.ExchangeDeclare(queue, kind, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	remake("headers")
	between.Reset()
	waitFor(t, "nobody says why", func() bool {
		err := b.Connected()
		return err != nil && strings.Contains(err.Error(), `exchange "faults" is on the broker with type`)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := send(ctx, b, message("1")); err == nil {
		t.Error("an event was published that no queue gets")
	}
	remake(topology.Exchanges[0].Kind)
	waitFor(t, "nothing is published any more", func() bool { return send(t.Context(), b, message("2")) == nil })
	if n := len(server.Messages("/", queue)); n != 1 {
		t.Errorf("the queue has %d messages", n)
	}
}

// Where others have applied their rules since, an exchange of ours that is not there stays away, and who publishes to it has to know.
func TestAnExchangeThatOthersTookAwayIsNotSaidToComeBack(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	b := connect(t, server.URL(), amqp.Options{})
	record := plan.Topology{
		Exchanges: []plan.Exchange{{Name: "record", Kind: "fanout"}},
		Queues:    []plan.Queue{{Name: "record"}},
		Bindings:  []plan.Binding{{Exchange: "record", Queue: "record"}},
	}
	write := func(who string) {
		l, err := b.Lock(t.Context(), "lock")
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(l.Declare(t.Context(), record), l.Write(t.Context(), "record", []byte(who))); err != nil {
			t.Fatal(err)
		}
		l.Keep(topology, record, []byte("ours"), func(records [][]byte) bool { return string(records[0]) == "ours" })
		if err := l.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
	remove := func() {
		if err := channel(t, server.URL()).ExchangeDelete(queue, false, false); err != nil {
			t.Fatal(err)
		}
	}
	write("ours")
	remove()
	if err := send(t.Context(), b, message("1")); err == nil || errors.Is(err, router.ErrExchange) {
		t.Errorf("while our rules are in force: %v", err)
	}
	waitFor(t, "it does not come back", func() bool { return send(t.Context(), b, message("2")) == nil })
	write("theirs")
	remove()
	if err := send(t.Context(), b, message("3")); !errors.Is(err, router.ErrExchange) {
		t.Errorf("when others' rules are in force: %v", err)
	}
}
