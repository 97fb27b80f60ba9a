package amqp_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// A queue with a single active consumer does to the others what a broker does that has forgotten a consumer: it has events, and sends none.
func TestAConsumerThatIsSentNothingIsMadeAnew(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	consumer := func(anew *atomic.Int64) *amqp.Broker {
		return connect(t, server.URL(), amqp.Options{StuckTimeout: 200 * time.Millisecond, Hooks: router.Hooks{Problem: func(where string, err error) {
			if where == "consume single" && strings.Contains(err.Error(), "2 events are ready") {
				anew.Add(1)
			}
		}}})
	}
	var active, waiting, stuck atomic.Int64
	first, second, third := consumer(&active), consumer(&waiting), consumer(&stuck)
	if err := first.Declare(t.Context(), plan.Topology{Queues: []plan.Queue{{Name: "single", Arguments: map[string]any{"x-queue-type": "quorum", "x-single-active-consumer": true}}}}); err != nil {
		t.Fatal(err)
	}
	consume := func(b *amqp.Broker, single bool, handle func(*router.Delivery)) (end func()) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- b.Consume(ctx, router.Subscription{Queue: "single", Prefetch: 1, SingleActive: single, Drain: time.Millisecond}, handle)
		}()
		return func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	}
	held := make(chan struct{}, 1)
	endFirst := consume(first, false, func(*router.Delivery) { held <- struct{}{} }) // it is busy, and not stuck
	for _, id := range []string{"1", "2", "3"} {
		m := message(id)
		m.Exchange, m.Key = "", "single"
		if err := send(t.Context(), first, m); err != nil {
			t.Fatal(err)
		}
	}
	<-held
	endSecond := consume(second, true, func(*router.Delivery) {})
	var got atomic.Int64
	endThird := consume(third, false, func(d *router.Delivery) {
		if err := d.Ack(); err != nil {
			t.Error(err)
		}
		got.Add(1)
	})
	waitFor(t, "the consumer stays stuck", func() bool { return stuck.Load() >= 3 })
	if active.Load() > 0 || waiting.Load() > 0 {
		t.Errorf("made anew were also: the active one %d times, one that has to wait %d times", active.Load(), waiting.Load())
	}
	endSecond()
	endFirst()
	waitFor(t, "it gets nothing when its turn has come", func() bool { return got.Load() == 3 })
	endThird()
}
