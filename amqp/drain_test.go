package amqp_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// hold consumes a queue until stop is called, and returns its first event.
func hold(t *testing.T, b *amqp.Broker, s router.Subscription) (d *router.Delivery, stop func(), ended chan error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	got := make(chan *router.Delivery, 10)
	go func() { ended <- b.Consume(ctx, s, func(d *router.Delivery) { got <- d }) }()
	select {
	case d = <-got:
	case <-time.After(time.Minute):
		t.Fatal("no event comes")
	}
	return d, stop, ended
}

// The queue of a consumer is deleted, and then the consumer ends: what it has in hand has its time to be finished all the same.
func TestADrainWaitsForWhatIsInHandOfAQueueThatIsGone(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	b := connect(t, server.URL(), amqp.Options{})
	if err := send(t.Context(), b, message("1")); err != nil {
		t.Fatal(err)
	}
	d, stop, ended := hold(t, b, router.Subscription{Queue: queue})
	defer stop()
	ch := channel(t, server.URL())
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	for range 20 { // on the connection of the consumer, which has heard of it by then
		if _, err := b.Depth(t.Context(), queue); err == nil {
			t.Fatal("the queue is there")
		}
	}
	stop()
	select {
	case err := <-ended:
		t.Errorf("the consumer ended with an event in hand: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	if err := d.Ack(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second): // less than the drain
		t.Error("the consumer does not end when nothing is in hand any more")
	}
}

// The broker closes the channel of a consumer that ends, and nothing else: what it has in hand comes again, and may never be settled by who has it.
func TestADrainEndsWithItsChannel(t *testing.T) {
	t.Parallel()
	for _, inOrder := range []bool{false, true} {
		t.Run(fmt.Sprintf("in order: %t", inOrder), func(t *testing.T) {
			t.Parallel()
			b := connect(t, amqptest.Broker(t).URL(), amqp.Options{})
			const impatient = "impatient"
			if err := b.Declare(t.Context(), plan.Topology{Queues: []plan.Queue{{Name: impatient, Arguments: map[string]any{"x-queue-type": "quorum", "x-consumer-timeout": 300}}}}); err != nil {
				t.Fatal(err)
			}
			m := message("1")
			m.Exchange, m.Key = "", impatient
			if err := send(t.Context(), b, m); err != nil {
				t.Fatal(err)
			}
			d, stop, ended := hold(t, b, router.Subscription{Queue: impatient, InOrder: inOrder, Drain: time.Hour})
			stop()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(time.Minute):
				t.Fatal("the consumer waits for what is lost")
			}
			if !d.Lost() || d.Ack() == nil {
				t.Error("the event is not lost: this test is about one that is")
			}
			waitFor(t, "the event is not in its queue again", func() bool {
				n, err := b.Depth(t.Context(), impatient)
				return err == nil && n == 1
			})
		})
	}
}
