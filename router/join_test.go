package router_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// late is a broker that is lost while it is asked for a queue's depth, and answers late.
type late struct {
	router.Broker
	asked, answer chan struct{}
}

func (b *late) Depth(context.Context, string) (int, error) {
	close(b.asked)
	<-b.answer
	return 0, context.Canceled
}

func (b *late) Consume(context.Context, router.Subscription, func(*router.Delivery)) error {
	<-b.asked
	return errLost
}

func TestRunLeavesNoGoroutine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &late{asked: make(chan struct{}), answer: make(chan struct{})}
		r := &router.Router{Plan: &plan.Plan{}, Broker: b, Leftover: &plan.Leftover{Queue: "q"}}
		ended := make(chan error, 1)
		go func() { ended <- r.Run(t.Context()) }()
		<-b.asked
		synctest.Wait()
		if len(ended) > 0 {
			t.Error("Run has returned while it still asks the broker")
		}
		close(b.answer)
		if err := <-ended; !errors.Is(err, errLost) {
			t.Errorf("Run returned %v", err)
		}
	})
}
