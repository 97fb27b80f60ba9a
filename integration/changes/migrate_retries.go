package changes

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// MigrateWhileRetrying moves queues, again and again, of pipelines whose handlers fail at each event once, so that events come back to the queues all the time: none is lost.
func MigrateWhileRetrying(t testing.TB, url, name string, times int) {
	t.Helper()
	shape := func(queue string) string {
		return strings.ReplaceAll(Shape(queue), "workers: 1,", "workers: 4, retry: {delays: [1s]},")
	}
	old, now := Compile(t, name, shape(Quorum)), Compile(t, name, shape(Classic))
	b, _ := Connect(t, url, amqp.Options{Name: "apply"})
	Apply(t, b, old)
	exchange, _ := old.Source("")
	p := NewProducers(b, exchange)
	p.Settle = Settle
	handle := func(pipeline string) pipelines.Handler {
		return func(ctx context.Context, e router.Event) error {
			if pipelines.AttemptOf(ctx).Number == 1 {
				return errors.New("not at first")
			}
			p.Book.Seen(pipeline, e.ID)
			return nil
		}
	}
	service, _ := p.Serve(t, url, old, map[string]pipelines.Handler{"work": handle("work"), "large": handle("large")})
	p.Go(t, 100)
	for range times {
		p.More(t, 300)
		migrate(t, b, now, 0, p.Settle)
		if err := service.Reload(t.Context(), pipelines.Update{Plan: now}); err != nil {
			t.Fatal(err)
		}
		old, now = now, old
	}
	p.Stop()
	p.Done(t)
	p.Balance(t, false)
}
