package changes

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// TwoAtOnce starts two services with different rules at the same time: one says that other rules are in force, and then those of the other one are, wholly. Through
// the management API at api, unless that is "", it compares the topology too.
func TwoAtOnce(t testing.TB, url, api, name string, pair Pair) {
	t.Helper()
	plans := []*plan.Plan{Compile(t, name, pair.Old), Compile(t, name, pair.New)}
	said := make(chan int, 10)
	var running, ready sync.WaitGroup
	ready.Add(len(plans))
	ctx, stop := context.WithCancel(t.Context())
	end := func() {
		stop()
		running.Wait()
	}
	defer end()
	for i, p := range plans {
		hooks := router.Hooks{Problem: func(where string, err error) {
			if errors.Is(err, router.ErrSuperseded) {
				said <- i
			} else {
				t.Errorf("problem: %s: %v", where, err)
			}
		}}
		b, _ := Connect(t, url, amqp.Options{Hooks: hooks})
		s := &pipelines.Service{Plan: p, Broker: b, Hooks: hooks, Ready: ready.Done, Apply: router.ApplyOptions{Settle: -1}}
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
	case <-time.After(time.Minute):
		t.Fatal("nobody says that other rules are in force")
	}
	b, closeBroker := Connect(t, url, amqp.Options{})
	defer closeBroker()
	var rec *plan.Record
	want := plans[1-loser].State().Digest
	Until(t, func() bool {
		var err error
		if rec, err = router.Applied(t.Context(), b, plans[0]); err != nil {
			t.Fatal(err)
		}
		return rec.Next == nil && rec.Applied.Digest == want && len(rec.Leftovers)+len(rec.Kept.Queues)+len(rec.Kept.Exchanges) == 0
	}, "the rules that were applied last are not wholly in force")
	winner := plans[1-loser].Running(rec)
	end()
	select {
	case i := <-said:
		t.Errorf("the rules of %d are in force, and %d says that others are", 1-loser, i)
	default:
	}
	if api != "" {
		Compare(t, api, winner)
	}
	Probe(t, b, winner)
	Forget(t, b, plans...)
}
