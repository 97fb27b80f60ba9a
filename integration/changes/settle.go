package changes

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// Settle is longer than it may take a RabbitMQ of our images to try again what it could not hand on: it looks every five seconds, for what it has not tried
// for five seconds, so up to ten; see [router.DefaultSettle].
const Settle = 12 * time.Second

// Send publishes one event and returns the broker's answer.
func Send(t testing.TB, b router.Publisher, exchange, key, id string) error {
	t.Helper()
	done := make(chan error, 1)
	b.Publish(t.Context(), router.Message{Event: &event.Event{ID: id, Type: "order.created"}, Exchange: exchange, Key: key, Mandatory: true}, func(err error) { done <- err })
	return <-done
}

// BackFromAFullQueue has events wait for another attempt while their queue is full, so that they cannot come back to it when their delay is over, and applies rules
// without that delay. The broker does not count them as in the delay's queue; it is deleted nevertheless only when they have come back. settle has to be
// longer than it may take the broker to try again to bring them there.
func BackFromAFullQueue(t testing.TB, url, name string, settle time.Duration) {
	t.Helper()
	const limit, late = 5, 3
	compile := func(delay string) *plan.Plan {
		return Compile(t, name, fmt.Sprintf("\npipelines: {work: {queue: {max_length: %d}, retry: {delays: [%s]}}}\nrules: [{name: all, pipelines: [work]}]\n", limit, delay))
	}
	old, now := compile("500ms"), compile("2s")
	b, _ := Connect(t, url, amqp.Options{Name: "apply"})
	Apply(t, b, old)
	work := old.Pipeline("work")
	delay := work.Delays[0].Exchange
	exchange, _ := old.Source("")
	for i := range limit {
		if err := Send(t, b, exchange, "order.created", fmt.Sprint("early-", i)); err != nil {
			t.Fatal(err)
		}
	}
	depth := func(queue string) int {
		n, err := b.Depth(t.Context(), queue)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for i := range late { // one after another, as the broker tries later what it has only just tried when it looks
		if err := Send(t, b, delay, work.QueueName, fmt.Sprint("late-", i)); err != nil {
			t.Fatal(err)
		}
		Until(t, func() bool { return depth(delay) == 0 }, "the delay is not over")
	}
	apply := func() (kept []router.Kept, of *router.Kept) {
		t.Helper()
		_, kept, err := router.Apply(t.Context(), b, now, router.ApplyOptions{Settle: settle}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range kept {
			if kept[i].Name == delay {
				of = &kept[i]
			}
		}
		return kept, of
	}
	if kept, of := apply(); of == nil || !of.After.IsZero() || !strings.Contains(of.Why, work.QueueName+" is full") {
		t.Fatalf("while the queue is full: kept %+v", kept)
	}

	seen := make(chan string, limit+late)
	consume(t, b, work.QueueName, seen)
	for range limit {
		<-seen
	}
	began := time.Now()
	kept, of := apply()
	if of == nil || of.After.Before(began.Add(settle)) {
		t.Fatalf("when there is room: kept %+v, %s after %s", kept, settle, began)
	}
	if _, again := apply(); again == nil || !again.After.Equal(of.After) {
		t.Errorf("a second look: %+v, after %+v", again, of)
	}
	Until(t, func() bool { kept, _ = apply(); return len(kept) == 0 }, "the delay stays")
	if took := time.Since(began); took < settle {
		t.Errorf("the delay was deleted after %s", took)
	}
	if _, err := b.Depth(t.Context(), delay); !errors.Is(err, router.ErrNoQueue) {
		t.Errorf("the queue of the delay: %v", err)
	}
	for i := range late {
		select {
		case <-seen:
		case <-time.After(2 * settle):
			t.Fatalf("%d of %d events have come back from the delay", i, late)
		}
	}
}

// consume acknowledges all that is in a queue, and tells it.
func consume(t testing.TB, b *amqp.Broker, queue string, seen chan<- string) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, router.Subscription{Queue: queue, Prefetch: 10}, func(d *router.Delivery) {
			if err := d.Ack(); err == nil {
				seen <- d.Event.ID
			}
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
