package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// replan makes the plan of other rules for a world.
func (w *world) replan(text string) *plan.Plan {
	w.t.Helper()
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte("version: 1\nname: test\n" + text)})
	if file == nil {
		w.t.Fatal(problems)
	}
	p, err := plan.Compile(file)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func TestAReloadTouchesOnlyWhatChanged(t *testing.T) {
	t.Parallel()
	var service *pipelines.Service
	entered, release := make(chan struct{}, 10), make(chan struct{})
	var same, changed, gone atomic.Int64
	h := handlers{
		"same": func(ctx context.Context, _ router.Event) error {
			entered <- struct{}{}
			<-release
			if ctx.Err() != nil {
				t.Error("a handler of a pipeline that is as it was is cut short")
			}
			same.Add(1)
			return nil
		},
		"changed": func(context.Context, router.Event) error { changed.Add(1); return nil },
		"gone":    func(context.Context, router.Event) error { gone.Add(1); return nil },
	}
	w := newWorld(t, `
pipelines: {same: {}, changed: {}, gone: {}}
rules:
  - {name: same, type: same, pipelines: [same]}
  - {name: changed, type: changed, pipelines: [changed]}
  - {name: gone, type: gone, pipelines: [gone]}
`, h, func(s *pipelines.Service) { service = s })
	w.publish(1, typed("same"))
	<-entered // it is in hand from here on
	w.publish(500, typed("gone"))

	next := w.replan(`
# the rules begin at another line now
pipelines: {same: {}, changed: {workers: 3}, fresh: {}}
rules:
  - {name: changed, type: changed, pipelines: [changed]}
  - {name: same, type: same, pipelines: [same]}
  - {name: fresh, type: fresh, where: has(data.n), pipelines: [fresh]}
`)
	var fresh atomic.Int64
	update := pipelines.Update{Plan: next, Handlers: handlers{"fresh": func(context.Context, router.Event) error { fresh.Add(1); return nil }}}
	if err := service.Reload(t.Context(), update); err != nil {
		t.Fatal(err)
	}
	w.publish(10, typed("changed"))
	w.publish(10, func(int) router.Event { return router.Event{Type: "fresh", Data: []byte(`{"n": 1}`)} })
	said := func() string {
		return fmt.Sprintf("handled: changed %d, fresh %d, gone %d, same %d", changed.Load(), fresh.Load(), gone.Load(), same.Load())
	}
	w.wait(func() bool { return changed.Load() == 10 && fresh.Load() == 10 && gone.Load() == 500 }, said)
	close(release)
	w.wait(func() bool { return same.Load() == 1 }, said)
	// The queue of the pipeline that is gone is deleted when it is empty.
	w.wait(func() bool {
		_, err := w.broker.Depth(t.Context(), "test.gone")
		return errors.Is(err, router.ErrNoQueue)
	}, func() string { return "the queue is still there" })
}

func TestAReloadThatIsRefusedChangesNothing(t *testing.T) {
	t.Parallel()
	var service *pipelines.Service
	var handled atomic.Int64
	w := newWorld(t, "pipelines: {p: {}}\nrules: [{name: r, type: a, pipelines: [p]}]\n",
		handlers{"p": func(context.Context, router.Event) error { handled.Add(1); return nil }}, func(s *pipelines.Service) { service = s })
	no := errors.New("no")
	other := w.replan("pipelines: {q: {}}\nrules: [{name: r, type: b, pipelines: [q]}]\n")
	shape := w.replan("pipelines: {p: {queue: {type: classic}}}\nrules: [{name: r, type: b, pipelines: [p]}]\n")
	for _, c := range []struct {
		update pipelines.Update
		want   string
	}{
		{pipelines.Update{Plan: other, Check: func(*plan.Change) error { return no }}, "no"},
		{pipelines.Update{Plan: other, Handlers: handlers{"p": nil}}, `"p"`},
		{pipelines.Update{Plan: shape}, `queue "test.p"`},
	} {
		if err := service.Reload(t.Context(), c.update); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("want an error with %s, got %v", c.want, err)
		}
	}
	w.publish(5, typed("a"))
	w.wait(func() bool { return handled.Load() == 5 }, func() string { return "the old rules are not in force" })
	if err := (&pipelines.Service{}).Reload(t.Context(), pipelines.Update{Plan: other}); err == nil {
		t.Error("a service that does not run is reloaded")
	}
}

// A pipeline gets another queue while its only worker is slow, and events wait in hand and for another attempt. They are all handled before the old queue's consumer ends.
func TestAPipelineThatMovesHandlesWhatItHas(t *testing.T) {
	t.Parallel()
	for _, key := range []string{"skip", "wait"} {
		t.Run(key, func(t *testing.T) {
			t.Parallel()
			var service *pipelines.Service
			var tried, done counter
			release := make(chan struct{})
			rules := func(queue string) string {
				return `
pipelines: {p: {order_by: subject, queue: {name: ` + queue + `}, retry: {delays: [2s], key: ` + key + `}}}
rules: [{name: r, type: t, pipelines: [p]}]
`
			}
			w := newWorld(t, rules("old"), handlers{"p": func(ctx context.Context, e router.Event) error {
				select {
				case <-release:
				case <-ctx.Done():
					return ctx.Err()
				}
				if tried.add(e.ID) == 1 && e.Subject == "a" {
					return errors.New("not yet")
				}
				done.add(e.ID)
				return nil
			}}, func(s *pipelines.Service) { service = s })
			w.publish(10, keyed("a", "b"))
			inHand := func() int { q, _ := w.server.Queue("/", "old"); return q.Unacked }
			w.wait(func() bool { return inHand() == 10 }, func() string { return fmt.Sprintf("%d are in hand", inHand()) })
			if err := service.Reload(t.Context(), pipelines.Update{Plan: w.replan(rules("new"))}); err != nil {
				t.Fatal(err)
			}
			close(release)
			w.wait(func() bool { return done.total() == 10 }, func() string { return fmt.Sprintf("done: %v", done.order()) })
			w.wait(func() bool {
				_, err := w.broker.Depth(t.Context(), "old")
				return errors.Is(err, router.ErrNoQueue)
			}, func() string { return "the old queue is still there" })
			if n := done.distinct(); n != 10 {
				t.Errorf("%d of 10 were done", n)
			}
		})
	}
}

// Others apply their rules just when a service wants to remove what its last change left over, and waits for them: it does not put its own rules back.
func TestTidyingUpTakesNoRulesBack(t *testing.T) {
	t.Parallel()
	var service *pipelines.Service
	nothing := func(context.Context, router.Event) error { return nil }
	w := newWorld(t, "pipelines: {p: {}, gone: {}}\nrules: [{name: r, pipelines: [p, gone]}]\n",
		handlers{"p": nothing, "gone": nothing}, func(s *pipelines.Service) { service = s })
	if err := service.Reload(t.Context(), pipelines.Update{Plan: w.replan("pipelines: {p: {}}\nrules: [{name: r, pipelines: [p]}]\n")}); err != nil {
		t.Fatal(err)
	}
	theirs := w.replan("pipelines: {p: {}}\nrules: [{name: r, type: theirs, pipelines: [p]}]\n")
	a, err := router.Begin(t.Context(), w.broker, theirs, router.ApplyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	consumers := func() int { q, _ := w.server.Queue("/", "test.gone"); return q.Consumers }
	w.wait(func() bool { return consumers() == 0 }, func() string { return "the pipeline that is gone does not end" })
	if err := a.Add(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = a.Remove(t.Context())
	if err := errors.Join(err, a.Close()); err != nil {
		t.Fatal(err)
	}
	w.wait(func() bool {
		return strings.Contains(strings.Join(w.list(&w.problems), "\n"), router.ErrSuperseded.Error())
	},
		func() string {
			return fmt.Sprintf("it does not say that other rules are in force: %v", w.list(&w.problems))
		})
	rec, err := router.Applied(t.Context(), w.broker, theirs)
	if err != nil || rec.InForce().Digest != theirs.State().Digest {
		t.Errorf("in force is %s: %v", rec.InForce().Digest, err)
	}
}
