package changes_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// counting calls counted after each look at how many events a queue holds.
type counting struct {
	router.Lock
	counted func(queue string, events int)
}

func (c *counting) Count(ctx context.Context, queue string) (events, consumers int, there bool, err error) {
	events, consumers, there, err = c.Lock.Count(ctx, queue)
	c.counted(queue, events)
	return events, consumers, there, err
}

// retrying are rules with one pipeline, whose events are tried again after that delay.
func retrying(t *testing.T, delay string) *plan.Plan {
	t.Helper()
	return changes.Compile(t, "retry", "\npipelines: {work: {retry: {delays: ["+delay+"]}}}\nrules: [{name: all, pipelines: [work]}]\n")
}

// again sends an event to wait for another attempt, as a pipeline with the rules does. An error means that whoever sent it still has it.
func again(t *testing.T, b *amqp.Broker, p *plan.Plan, id string) error {
	t.Helper()
	work := p.Pipeline("work")
	return changes.Send(t, b, work.Delays[0].Exchange, work.QueueName, id)
}

// A process that still has the older rules sends an event to a delay that the new ones do not have, after the delay was found empty and before it is gone.
func TestAnEventThatIsTriedAgainWhileItsDelayGoesIsNotLost(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	old, now := retrying(t, "1s"), retrying(t, "2s")
	b, _ := changes.Connect(t, url, amqp.Options{Name: "apply"})
	changes.Apply(t, b, old)
	older, _ := changes.Connect(t, url, amqp.Options{Name: "older"})
	looks := 0
	_, _, err := router.Apply(t.Context(), b, now, router.ApplyOptions{Settle: -1, Wrap: func(l router.Lock) router.Lock {
		return &counting{l, func(queue string, events int) {
			if queue != old.Pipeline("work").Delays[0].Exchange || events > 0 {
				return
			}
			looks++
			if err := again(t, older, old, "late"); !errors.Is(err, router.ErrUnroutable) {
				t.Errorf("an event was sent to a queue that is about to be deleted: %v", err)
			}
		}}
	}}, nil)
	if err != nil || looks == 0 {
		t.Errorf("looked %d times: %v", looks, err)
	}
}

// A delay that still holds events when the rules do without it stays until they are back at work, and may come into use again.
func TestADelayThatComesBackIntoUse(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	old, now := retrying(t, "1h"), retrying(t, "2s")
	b, _ := changes.Connect(t, url, amqp.Options{})
	changes.Apply(t, b, old)
	if err := again(t, b, old, "first"); err != nil {
		t.Fatal(err)
	}
	_, kept, err := router.Apply(t.Context(), b, now, router.ApplyOptions{Settle: -1}, nil)
	if err != nil || len(kept) == 0 || kept[0].Name != "retry.delay.1h" {
		t.Fatalf("kept %+v: %v", kept, err)
	}
	changes.Apply(t, b, old)
	if err := again(t, b, old, "second"); err != nil {
		t.Errorf("the delay is not in use again: %v", err)
	}
	if n, err := b.Depth(t.Context(), "retry.delay.1h"); n != 2 || err != nil {
		t.Errorf("the delay holds %d events, not 2: %v", n, err)
	}
}

// How long a delay has been empty is begun anew where an event came to it, and where rules have used it since.
func TestHowLongADelayIsEmpty(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	old, now := retrying(t, "1h"), retrying(t, "2s")
	b, _ := changes.Connect(t, url, amqp.Options{})
	delay := old.Pipeline("work").Delays[0].Exchange
	var last time.Time
	apply := func() []router.Kept {
		t.Helper()
		_, kept, err := router.Apply(t.Context(), b, now, router.ApplyOptions{Settle: time.Hour}, nil)
		if err != nil || len(kept) != 1 || kept[0].Name != delay {
			t.Fatalf("kept %+v: %v", kept, err)
		}
		return kept
	}
	anew := func(why string) {
		t.Helper()
		began := time.Now()
		kept := apply()
		if !kept[0].After.After(last) || kept[0].After.Before(began.Add(time.Hour)) {
			t.Errorf("%s: kept %+v, before that until %s", why, kept, last)
		}
		last = kept[0].After
	}
	changes.Apply(t, b, old)
	anew("at first")
	if kept := apply(); !kept[0].After.Equal(last) {
		t.Errorf("looked at again: kept %+v, before that until %s", kept, last)
	}
	if err := changes.Send(t, b, "", delay, "stray"); err != nil {
		t.Fatal(err)
	}
	if kept := apply(); kept[0].Why != "it holds 1 event" || !kept[0].After.IsZero() {
		t.Errorf("with an event: kept %+v", kept)
	}
	ctx, stop := context.WithCancel(t.Context())
	if err := b.Consume(ctx, router.Subscription{Queue: delay, Prefetch: 1}, func(d *router.Delivery) {
		if err := d.Ack(); err != nil {
			t.Error(err)
		}
		stop()
	}); err != nil {
		t.Fatal(err)
	}
	anew("when the event is gone")
	changes.Apply(t, b, old)
	anew("when it was in use meanwhile")
}

func TestADelayIsNotDeletedBeforeAllIsBackFromIt(t *testing.T) {
	t.Parallel()
	changes.BackFromAFullQueue(t, amqptest.Broker(t).URL(), "full", time.Second)
}

// Others have events in the delay that a pipeline that is gone shared with them: its queue is kept for as long as one of its own may be among them, and no longer.
func TestADelayThatIsNeverEmptyKeepsNoQueueForGood(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	const rules = "\npipelines: {work: {retry: {delays: [1h]}}%s}\nrules: [{name: all, pipelines: [work%s]}]\n"
	old, now := changes.Compile(t, "busy", fmt.Sprintf(rules, ", gone: {retry: {delays: [1h]}}", ", gone")), changes.Compile(t, "busy", fmt.Sprintf(rules, "", ""))
	b, _ := changes.Connect(t, url, amqp.Options{})
	changes.Apply(t, b, old)
	if err := again(t, b, old, "of another"); err != nil {
		t.Fatal(err)
	}
	apply := func() router.Kept {
		t.Helper()
		_, kept, err := router.Apply(t.Context(), b, now, router.ApplyOptions{Settle: time.Minute}, nil)
		if err != nil || len(kept) != 1 || kept[0].Name != "busy.gone" || !strings.Contains(kept[0].Why, "busy.delay.1h") {
			t.Fatalf("kept %+v: %v", kept, err)
		}
		return kept[0]
	}
	began := time.Now()
	kept := apply()
	if least := began.Add(time.Hour + time.Minute); kept.After.Before(least) || kept.After.After(least.Add(time.Minute)) {
		t.Errorf("kept %+v, which was decided at %s", kept, began)
	}
	if later := apply(); !later.After.Equal(kept.After) {
		t.Errorf("looked at again: kept %+v, before that %+v", later, kept)
	}

	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- b.Consume(ctx, router.Subscription{Queue: "busy.gone", Prefetch: 1}, func(*router.Delivery) {})
	}()
	changes.Until(t, func() bool { return apply().After.IsZero() }, "nobody is seen to consume it")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	changes.Until(t, func() bool { return apply().After.After(kept.After) }, "it is not begun anew after somebody consumed it")
}
