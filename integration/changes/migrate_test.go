package changes_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

func TestQueuesAreMovedIntoAnotherShapeWhileProducersGoOn(t *testing.T) {
	t.Parallel()
	events := changes.Setting(t, "EVENTROUTER_TEST_MOVE_EVENTS", 2000)
	for _, way := range [][2]string{{changes.Classic, changes.Quorum}, {changes.Quorum, changes.Classic}} {
		t.Run(way[0]+" to "+way[1]+" and back", func(t *testing.T) {
			t.Parallel()
			changes.Migrate(t, amqptest.Broker(t).URL(), "", "move", way[0], way[1], events)
		})
	}
}

// TestAMoveThatIsKilledAtAnyStepIsCarriedOn kills less often than other changes are, as each time takes several seconds; EVENTROUTER_TEST_KILL_STEP=1 kills after each operation.
func TestAMoveThatIsKilledAtAnyStepIsCarriedOn(t *testing.T) {
	t.Parallel()
	step := changes.Setting(t, "EVENTROUTER_TEST_KILL_STEP", 4*killStep)
	for i, service := range []bool{false, true} {
		t.Run(fmt.Sprintf("service %v", service), func(t *testing.T) {
			t.Parallel()
			url := amqptest.Broker(t).URL()
			steps := i * step / 2
			for !changes.InterruptMove(t, url, "", fmt.Sprintf("s%d", steps), steps, 600, service) && !t.Failed() {
				steps += step
			}
			t.Logf("killed up to operation %d", steps)
		})
	}
}

// A consumer that knows nothing of moves is waited for, and then the queue is moved beside it: nothing is lost.
func TestAQueueIsMovedBesideAConsumerThatStays(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	text := func(shape string) string {
		return "\npipelines: {work: {queue: {type: " + shape + "}}}\nrules: [{name: all, pipelines: [work]}]\n"
	}
	old, now := changes.Compile(t, "stay", text("quorum")), changes.Compile(t, "stay", text("classic"))
	b, _ := changes.Connect(t, url, amqp.Options{})
	changes.Apply(t, b, old)
	exchange, _ := old.Source("")
	p := changes.NewProducers(b, exchange)
	p.Publish(t, 1000)

	theirs, _ := changes.Connect(t, url, amqp.Options{Name: "theirs"})
	ctx, stop := context.WithCancel(t.Context())
	var consuming sync.WaitGroup
	defer consuming.Wait()
	defer stop()
	consume := func(queue string) {
		consuming.Go(func() {
			err := theirs.Consume(ctx, router.Subscription{Queue: queue, Prefetch: 10}, func(d *router.Delivery) {
				p.Book.Seen("work", d.Event.ID)
				if err := d.Ack(); err != nil {
					t.Logf("acknowledge: %v", err)
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	consume("stay.work")
	changes.Until(t, func() bool { return p.Book.At("work") > 0 }, "nothing is consumed")
	p.Go(t, 100)
	a, err := router.Begin(t.Context(), b, now, router.ApplyOptions{Settle: -1, Migrate: true, LetGo: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Add(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Remove(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if moved := a.Moved(); len(moved) != 1 || !moved[0].Consumed {
		t.Errorf("moved are %+v", moved)
	}
	for _, queue := range []string{"stay.work.moved", "stay.work.migrating"} {
		if n, err := b.Depth(t.Context(), queue); err == nil && n > 0 {
			consume(queue)
		}
	}
	p.More(t, 20)
	p.Stop()
	changes.Until(t, func() bool { return p.Book.At("work") == p.Book.Total() }, "not all is consumed")
	p.Book.Balance(t, func(string) [][]string { return [][]string{{"work"}} })
}

func TestQueuesAreMovedWhileEventsComeBackForAnotherAttempt(t *testing.T) {
	t.Parallel()
	changes.MigrateWhileRetrying(t, amqptest.Broker(t).URL(), "retrying", 3)
}

func TestAQueueThatIsMovedIsLedAround(t *testing.T) {
	t.Parallel()
	changes.LeadAway(t, amqptest.Broker(t).URL(), "led")
}

func TestRetriesWaitForTheirWayBack(t *testing.T) {
	t.Parallel()
	changes.RetriesWaitForTheirWayBack(t, amqptest.Broker(t).URL(), "back")
}

func TestAMoveWaitsForWhoEndsWithEventsInHand(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	for _, inOrder := range []bool{false, true} {
		changes.MoveAfterHands(t, url, fmt.Sprintf("ending-%t", inOrder), inOrder)
	}
}

func TestAMoveLeavesOthersTimeForWhatTheyHaveInHand(t *testing.T) {
	t.Parallel()
	changes.MoveBesideHands(t, amqptest.Broker(t).URL(), "beside")
}

func TestAQueueIsNotDeletedWhileEventsAreInHand(t *testing.T) {
	t.Parallel()
	changes.KeepWhatIsInHand(t, amqptest.Broker(t).URL(), "kept")
}

// asking tells of each time that the lock is asked for.
type asking struct {
	*amqp.Broker
	asked chan struct{}
}

func (a *asking) Lock(ctx context.Context, queue string) (router.Lock, error) {
	select {
	case a.asked <- struct{}{}:
	default:
	}
	return a.Broker.Lock(ctx, queue)
}

// Who moves a queue has the lock that a service waits for, which is to let go of that queue.
func TestAMoveDoesNotWaitForAServiceThatWaitsForTheMover(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	text := func(shape, more string) string {
		return "\npipelines: {work: {queue: {type: " + shape + "}}}\nrules: [{name: all, pipelines: [work]}" + more + "]\n"
	}
	old, now := changes.Compile(t, "turn", text("quorum", "")), changes.Compile(t, "turn", text("classic", ""))
	other := changes.Compile(t, "turn", text("quorum", ", {name: more, type: order.paid, pipelines: [work]}"))
	b, _ := changes.Connect(t, url, amqp.Options{})
	own, _ := changes.Connect(t, url, amqp.Options{Name: "service"})
	waits := &asking{own, make(chan struct{})}
	ready := make(chan struct{})
	service := &pipelines.Service{
		Plan: old, Broker: waits, Ready: func() { close(ready) }, Apply: router.ApplyOptions{Settle: -1},
		Handlers: map[string]pipelines.Handler{"work": func(context.Context, router.Event) error { return nil }},
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	<-ready
	a, err := router.Begin(t.Context(), b, now, router.ApplyOptions{Settle: -1, Migrate: true, LetGo: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	reloaded := make(chan error, 1)
	go func() { reloaded <- service.Reload(t.Context(), pipelines.Update{Plan: other}) }()
	for range 2 { // so that it has been refused once
		<-waits.asked
	}
	if err := a.Add(t.Context()); err != nil {
		t.Fatal(err)
	}
	if moved := a.Moved(); len(moved) != 1 || moved[0].Consumed {
		t.Errorf("moved %+v", moved)
	}
	_, err = a.Remove(t.Context())
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	if err := <-reloaded; err == nil {
		t.Error("the service has put the old shape back")
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
