package changes_test

import (
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
