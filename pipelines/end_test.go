package pipelines_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// observed is a broker that counts its consumers, and tells nobody of records.
type observed struct {
	*amqp.Broker
	consumers atomic.Int64
}

func (b *observed) Consume(ctx context.Context, s router.Subscription, handle func(*router.Delivery)) error {
	b.consumers.Add(1)
	return b.Broker.Consume(ctx, s, handle)
}

// Watch has nothing to do with any lock, which would hide from the race detector what is read before it.
func (b *observed) Watch(ctx context.Context, _ string, _ func([]byte)) error {
	<-ctx.Done()
	return nil
}

// observe runs a broker that lives longer than the services on it.
func observe(t *testing.T) *observed {
	t.Helper()
	b, err := amqp.New(amqptest.Broker(t).URL(), amqp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	closed := make(chan error, 1)
	go func() { closed <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
	return &observed{Broker: b}
}

const (
	byType    = "pipelines: {p: {}}\nrules: [{name: r, type: a, pipelines: [p]}]\n"
	byContent = "pipelines: {p: {}}\nrules: [{name: r, type: a, where: 'data.n > 0', pipelines: [p]}]\n"
)

// A service is reloaded as soon as it is ready. The race detector sees to the rest.
func TestAReloadMayComeAtOnce(t *testing.T) {
	t.Parallel()
	plans := &world{t: t}
	s := &pipelines.Service{Plan: plans.replan(byType), Broker: observe(t), Apply: router.ApplyOptions{Settle: -1}}
	ctx, stop := context.WithCancel(t.Context())
	var reloading sync.WaitGroup
	s.Ready = func() {
		reloading.Go(func() {
			defer stop()
			if err := s.Reload(t.Context(), pipelines.Update{Plan: plans.replan(byContent)}); err != nil {
				t.Error(err)
			}
		})
	}
	if err := s.Run(ctx); err != nil {
		t.Error(err)
	}
	reloading.Wait()
}

// A service ends while it is being reloaded: nothing is begun after its end.
func TestAReloadThatComesTooLateBeginsNothing(t *testing.T) {
	t.Parallel()
	plans := &world{t: t}
	b := observe(t)
	changing, ended := make(chan struct{}), make(chan struct{})
	s := &pipelines.Service{Plan: plans.replan(byType), Broker: b}
	var reloading atomic.Bool
	s.Apply = router.ApplyOptions{Settle: -1, Progress: func(int, int, string) {
		if reloading.CompareAndSwap(true, false) {
			close(changing)
			<-ended
		}
	}}
	ready := make(chan struct{})
	s.Ready = func() { close(ready) }
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	run := make(chan error, 1)
	go func() { run <- s.Run(ctx) }()
	<-ready
	reloaded := make(chan error, 1)
	reloading.Store(true)
	go func() { reloaded <- s.Reload(t.Context(), pipelines.Update{Plan: plans.replan(byContent)}) }()
	<-changing
	stop()
	select {
	case err := <-run:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("the end waits for the reload")
	}
	before := b.consumers.Load()
	close(ended)
	if err := <-reloaded; err != nil {
		t.Error(err)
	}
	if n := b.consumers.Load() - before; n != 0 {
		t.Errorf("%d consumers came after the end", n)
	}
}
