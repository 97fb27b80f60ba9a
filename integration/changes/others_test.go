package changes_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// TestTwoRoutersAtOnce is done several times, as chance says who is first, and by how much.
func TestTwoRoutersAtOnce(t *testing.T) {
	t.Parallel()
	rounds := changes.Setting(t, "EVENTROUTER_TEST_ROUNDS", 2)
	for _, pair := range changes.Pairs {
		t.Run(pair.Name, func(t *testing.T) {
			t.Parallel()
			url := amqptest.Broker(t).URL()
			for round := range rounds {
				changes.TwoAtOnce(t, url, "", fmt.Sprintf("two%d", round), pair)
			}
		})
	}
}

func TestTheLockIsFreeWhenItsHolderIsGone(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	p := changes.Compile(t, "lock", changes.Pairs[0].Old)
	one, die := changes.Connect(t, url, amqp.Options{})
	two, _ := changes.Connect(t, url, amqp.Options{})
	if _, err := router.Begin(t.Context(), one, p, router.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*amqp.Broker{one, two} {
		if _, err := router.Begin(t.Context(), b, p, router.ApplyOptions{Wait: 2 * time.Second}); !errors.Is(err, router.ErrLocked) {
			t.Errorf("beside another: %v", err)
		}
	}
	die()
	changes.Apply(t, two, p)
}

func TestWhatANewerVersionAppliedIsNotOverwritten(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	p := changes.Compile(t, "newer", changes.Pairs[0].Old)
	b, _ := changes.Connect(t, url, amqp.Options{})
	changes.Apply(t, b, p)
	lock, err := b.Lock(t.Context(), p.LockName())
	if err != nil {
		t.Fatal(err)
	}
	data, err := (&plan.Record{Format: plan.RecordFormat + 1, Serial: 99, By: "the future"}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(lock.Write(t.Context(), p.RecordName(), data), lock.Unlock()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := router.Apply(t.Context(), b, p, router.ApplyOptions{}, nil); !errors.Is(err, plan.ErrNewer) || !strings.Contains(err.Error(), "the future") {
		t.Errorf("not refused: %v", err)
	}
	if _, _, err := router.Apply(t.Context(), b, p, router.ApplyOptions{Force: true}, nil); err != nil {
		t.Error(err)
	}
	if rec, err := router.Applied(t.Context(), b, p); err != nil || rec.Serial <= 99 || rec.Format != rec.Form() {
		t.Errorf("after it was forced: %v, %+v", err, rec)
	}
}

// Somebody is killed when he has written a record, beside the one before it, and somebody else looks at that record while the next one applies, who so does not see it. It counts no
// more, when it is back.
func TestARecordThatNobodySawCountsNoMore(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	old, now := changes.Compile(t, "unseen", changes.Pairs[0].Old), changes.Compile(t, "unseen", changes.Pairs[0].New)
	b, _ := changes.Connect(t, url, amqp.Options{})
	changes.Apply(t, b, old)
	rec, err := router.Applied(t.Context(), b, old)
	if err != nil {
		t.Fatal(err)
	}
	rec.Serial, rec.By = rec.Serial+1, "who was killed"
	data, err := rec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	get := func() amqp091.Delivery {
		d, ok, err := ch.Get(old.RecordName(), false)
		if err != nil || !ok {
			t.Fatalf("no record: %v", err)
		}
		return d
	}
	before := get()
	if err := ch.Publish("", old.RecordName(), true, false, amqp091.Publishing{Body: data}); err != nil {
		t.Fatal(err)
	}
	changes.Until(t, func() bool { n, err := b.Depth(t.Context(), old.RecordName()); return err == nil && n == 1 }, "the record is not there")
	unseen := get()
	if err := before.Nack(false, true); err != nil {
		t.Fatal(err)
	}
	next, err := router.Begin(t.Context(), b, now, router.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(next.Add(t.Context()), unseen.Nack(false, true)); err != nil {
		t.Fatal(err)
	}
	changes.Until(t, func() bool { n, err := b.Depth(t.Context(), old.RecordName()); return err == nil && n == 2 }, "the record is not back")
	got, err := router.Applied(t.Context(), b, now)
	if err != nil || got.By == rec.By {
		t.Errorf("what counts was written by %q: %v", got.By, err)
	}
	if _, err := next.Remove(t.Context()); err != nil {
		t.Error(err)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
	if n, err := b.Depth(t.Context(), old.RecordName()); err != nil || n != 1 {
		t.Errorf("%d records are left: %v", n, err)
	}
}
