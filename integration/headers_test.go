package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router/event"
)

const crowded = `
pipelines: {failing: {retry: {attempts: 2, delays: [100ms]}}, picked: {}}
rules:
  - {name: all, type: "order.*", pipelines: [failing]}
  - {name: some, type: "mail.*", match: {data: {n: [1]}}, pipelines: [picked]}
`

// TestHeadersThatLeaveNoRoomForOurs: another AMQP client may send headers that fill a frame. Such an event goes all the ways of others, and keeps its headers.
func TestHeadersThatLeaveNoRoomForOurs(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			fullHeaders(t, server(t, v))
		})
	}
}

func fullHeaders(t *testing.T, s *rabbit.Server) {
	_, p := compile(t, newName(), crowded)
	exchange, _ := p.Source("")
	b := connect(t, s.URL, p, amqp.Options{})
	defer cleanUp(t, s.URL, p)
	book := ledger.New()
	filler := strings.Repeat("x", 131072-100) // a frame is 131072 bytes
	whole := func(e *event.Event) {
		if e.Headers["filler"] != filler || e.Headers["n"] != int64(7) || string(e.Data) != `{"n": 1}` || e.ContentType != "application/json" || e.Properties.AppID != "another" {
			t.Errorf("%s is %s, with %d headers", e.ID, e.Data, len(e.Headers))
		}
	}
	handlers := map[string]pipelines.Handler{
		"failing": func(_ context.Context, e event.Event) error {
			whole(&e)
			book.Seen("failing", e.ID)
			return errors.New("no")
		},
		"picked": func(_ context.Context, e event.Event) error {
			if e.ID != "next" {
				whole(&e)
			}
			book.Seen("picked", e.ID)
			return nil
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served, ready := make(chan error, 1), make(chan struct{})
	service := &pipelines.Service{Plan: p, Broker: b, Ready: func() { close(ready) }, Handlers: handlers}
	go func() { served <- service.Run(ctx) }()
	<-ready
	direct(t, s.URL, func(ch *amqp091.Channel) error {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		for id, kind := range map[string]string{"failing": "order.created", "picked": "mail.sent"} {
			confirm, err := ch.PublishWithDeferredConfirm(exchange, kind, true, false, amqp091.Publishing{
				MessageId: id, AppId: "another", Headers: amqp091.Table{"filler": filler, "n": int64(7)}, Body: []byte(`{"n": 1}`), ContentType: "application/json", DeliveryMode: amqp091.Persistent,
			})
			if err != nil {
				return err
			}
			if !confirm.Wait() {
				return fmt.Errorf("%s was not confirmed", id)
			}
			book.Confirmed(id)
		}
		return nil
	})
	dead := p.Pipeline("failing").DeadName
	holds := func(queue string) func() bool {
		return func() bool { n, err := b.Depth(t.Context(), queue); return err == nil && n == 1 }
	}
	waitFor(t, holds(dead), func() string { return "there is no dead letter" })
	if err := send(t.Context(), b, exchange, &event.Event{ID: "next", Type: "mail.sent", Data: []byte(`{"n": 1}`)}); err != nil {
		t.Fatal(err)
	}
	book.Confirmed("next")
	waitFor(t, func() bool { return book.Has("next", []string{"picked"}) }, func() string { return "others are held up" })
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	audit(t, b, p, book)
	book.BalanceExactly(t, func(id string) [][]string {
		return map[string][][]string{"failing": {{dead}, {"failing"}}, "picked": {{"picked"}}, "next": {{"picked"}}}[id]
	})
	if n := book.Times("failing", "failing"); n != 2 {
		t.Errorf("it was tried %d times", n)
	}
}
