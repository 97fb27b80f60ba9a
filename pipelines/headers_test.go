package pipelines_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// Another AMQP client may send headers that leave no room for our own notes. Such an event is kept, and the connection of all others with it.
func TestHeadersThatLeaveNoRoomForOurs(t *testing.T) {
	t.Parallel()
	var calls counter
	w := newWorld(t, `
pipelines: {failing: {retry: {attempts: 2, delays: [20ms]}}, picked: {}}
rules:
  - {name: all, type: a.*, pipelines: [failing]}
  - {name: some, type: m.*, match: {data: {n: [1]}}, pipelines: [picked]}
`, handlers{
		"failing": func(_ context.Context, e router.Event) error {
			calls.add(e.ID)
			return errors.New("no")
		},
		"picked": func(_ context.Context, e router.Event) error {
			calls.add(e.ID)
			return nil
		},
	}, nil)
	conn, err := amqp091.Dial(w.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	filler := amqp091.Table{"filler": strings.Repeat("x", 131072-100)} // a frame is 131072 bytes
	for id, kind := range map[string]string{"failing": "a.b", "picked": "m.b"} {
		if err := ch.Publish(w.exchange, kind, true, false, amqp091.Publishing{MessageId: id, Headers: filler, Body: []byte(`{"n": 1}`), ContentType: "application/json"}); err != nil {
			t.Fatal(err)
		}
	}
	w.depth("test.failing.dead", 1)
	w.depth("test.unrouted", 1)
	w.publish(1, func(int) event.Event { return event.Event{ID: "next", Type: "m.b", Data: []byte(`{"n": 1}`)} })
	w.wait(func() bool { return slices.Contains(calls.order(), "next") }, func() string { return "others are held up" })
	if err := w.broker.Connected(); err != nil || !slices.Equal(calls.order(), []string{"failing", "next"}) {
		t.Errorf("%v; handled: %v", err, calls.order())
	}
}
