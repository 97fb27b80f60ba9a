package amqp_test

import (
	"context"
	"strings"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// An event of another client, whose headers fill a frame, is moved with the others.
func TestHeadersThatFillAFrameAreMoved(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	b := connect(t, server.URL(), amqp.Options{})
	ch := channel(t, server.URL())
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	filler := strings.Repeat("x", 131072-42) // and 42 bytes besides
	confirm, err := ch.PublishWithDeferredConfirm(queue, "t", true, false, amqp091.Publishing{MessageId: "1", Headers: amqp091.Table{"filler": filler}, Body: []byte("data")})
	if err != nil || !confirm.Wait() {
		t.Fatalf("not published: %v", err)
	}
	if err := send(t.Context(), b, message("2")); err != nil {
		t.Fatal(err)
	}
	l, err := b.Lock(t.Context(), "lock")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Declare(t.Context(), plan.Topology{
		Exchanges: []plan.Exchange{{Name: "move", Kind: "fanout"}}, Queues: []plan.Queue{{Name: "moved"}}, Bindings: []plan.Binding{{Exchange: "move", Queue: "moved"}},
	}); err != nil {
		t.Fatal(err)
	}
	if err := l.Haul(t.Context(), plan.Haul{From: queue, To: "move", Sources: []string{queue}}, nil); err != nil {
		t.Fatal(err)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	got, ended := make(chan *router.Delivery, 2), make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, router.Subscription{Queue: "moved", Sources: []string{queue}}, func(d *router.Delivery) {
			_ = d.Ack()
			got <- d
		})
	}()
	first, second := <-got, <-got
	if e := first.Event; e.ID != "1" || e.Type != "t" || e.Headers["filler"] != filler || string(e.Data) != "data" || first.Exchange != queue || second.Event.ID != "2" {
		t.Errorf("came as %s, type %q with %d headers and %q, and then %s", e.ID, e.Type, len(e.Headers), e.Data, second.Event.ID)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
