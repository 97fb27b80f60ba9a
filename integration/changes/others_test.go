package changes_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// TestTwoRoutersAtOnce starts two services with different rules at the same time: the rules of one are in force in the end, wholly, and the other says so.
func TestTwoRoutersAtOnce(t *testing.T) {
	t.Parallel()
	pair := changes.Pairs[1]
	url := amqptest.Broker(t).URL()
	plans := []*plan.Plan{changes.Compile(t, "two", pair.Old), changes.Compile(t, "two", pair.New)}
	said := make(chan int, 10)
	var running, ready sync.WaitGroup
	ready.Add(2)
	ctx, stop := context.WithCancel(t.Context())
	defer running.Wait()
	defer stop()
	for i, p := range plans {
		hooks := router.Hooks{Problem: func(_ string, err error) {
			if errors.Is(err, router.ErrSuperseded) {
				said <- i
			}
		}}
		b, _ := changes.Connect(t, url, amqp.Options{Hooks: hooks})
		s := &pipelines.Service{Plan: p, Broker: b, Hooks: hooks, Ready: ready.Done}
		running.Go(func() {
			if err := s.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	ready.Wait()
	var loser int
	select {
	case loser = <-said:
	case <-time.After(30 * time.Second):
		t.Fatal("nobody says that other rules are in force")
	}
	b, _ := changes.Connect(t, url, amqp.Options{})
	rec, err := router.Applied(t.Context(), b, plans[0])
	if err != nil {
		t.Fatal(err)
	}
	winner := plans[1-loser].Running(rec)
	if rec.Next != nil || rec.Applied.Digest != winner.State().Digest {
		t.Errorf("recorded is %s, not what %d wants", rec.Applied.Digest, 1-loser)
	}
	changes.Probe(t, b, winner)
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
