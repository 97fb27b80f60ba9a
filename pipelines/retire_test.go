package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// isGone reports whether a queue is not on the broker.
func (w *world) isGone(queue string) bool {
	_, err := w.broker.Depth(w.t.Context(), queue)
	return errors.Is(err, router.ErrNoQueue)
}

// Rules do without a pipeline and its delay while its events fail: each has its next attempts, and nothing is left.
func TestAPipelineThatIsGoneTriesAgain(t *testing.T) {
	t.Parallel()
	var service *pipelines.Service
	var tried, done counter
	release := make(chan struct{})
	w := newWorld(t, "pipelines: {p: {}, gone: {retry: {delays: [50ms]}}}\nrules: [{name: r, pipelines: [p, gone]}]\n", handlers{
		"p": func(context.Context, router.Event) error { return nil },
		"gone": func(ctx context.Context, e router.Event) error {
			<-release
			at := tried.add(e.ID)
			if number := pipelines.AttemptOf(ctx).Number; number != at {
				t.Errorf("event %s: attempt %d is called number %d", e.ID, at, number)
			}
			if at < 3 {
				return errors.New("not yet")
			}
			done.add(e.ID)
			return nil
		},
	}, func(s *pipelines.Service) { service = s })
	w.publish(20, typed("order.created"))
	if err := service.Reload(t.Context(), pipelines.Update{Plan: w.replan("pipelines: {p: {}}\nrules: [{name: r, pipelines: [p]}]\n")}); err != nil {
		t.Fatal(err)
	}
	if !w.isGone("test.delay.50ms") {
		t.Error("the delay is still there: this test is about one that is not")
	}
	close(release)
	w.wait(func() bool { return w.isGone("test.gone") }, func() string { return fmt.Sprintf("the queue stays; done: %v", done.order()) })
	if done.total() != 20 || done.distinct() != 20 || len(w.list(&w.dead)) > 0 {
		t.Errorf("done: %v, dead: %v", done.order(), w.list(&w.dead))
	}
}

// What the broker could not hand on when its delay was over comes late, to a queue that was empty until then.
func TestAPipelineThatIsGoneWaitsForWhatComesLate(t *testing.T) {
	t.Parallel()
	var service *pipelines.Service
	var done counter
	const settle = time.Second
	w := newWorld(t, "pipelines: {p: {}, gone: {}}\nrules: [{name: r, pipelines: [p, gone]}]\n", handlers{
		"p":    func(context.Context, router.Event) error { return nil },
		"gone": func(_ context.Context, e router.Event) error { done.add(e.ID); return nil },
	}, func(s *pipelines.Service) { service, s.Apply.Settle = s, settle })
	began := time.Now()
	if err := service.Reload(t.Context(), pipelines.Update{Plan: w.replan("pipelines: {p: {}}\nrules: [{name: r, pipelines: [p]}]\n")}); err != nil {
		t.Fatal(err)
	}
	router.UntilEmpty(t.Context(), w.broker, nil, "test.gone") // as long as it takes the pipeline to find it so
	confirmed := make(chan error, 1)
	w.broker.Publish(t.Context(), router.Message{Event: &event.Event{ID: "late", Type: "order.created"}, Key: "test.gone", Mandatory: true}, func(err error) { confirmed <- err })
	if err := <-confirmed; err != nil {
		t.Fatal(err)
	}
	w.wait(func() bool { return w.isGone("test.gone") && w.isGone("test.gone.dead") }, func() string { return "the queues of the pipeline stay" })
	if took := time.Since(began); took < settle {
		t.Errorf("the queue was deleted after %s", took)
	}
	if done.total() != 1 {
		t.Errorf("done: %v", done.order())
	}
}

// The delay that a pipeline shares with others is never empty. A pipeline that is gone has its attempts all the same, and ends when nothing of it can be there any more.
func TestAPipelineThatIsGoneEndsWhileOthersRetry(t *testing.T) {
	t.Parallel()
	var service *pipelines.Service
	var tried counter
	const attempts, delay, settle = 10, 400 * time.Millisecond, 500 * time.Millisecond
	busy := fmt.Sprintf("p: {retry: {attempts: 1000, delays: [%s]}}", delay)
	w := newWorld(t, "pipelines: {"+busy+fmt.Sprintf(", gone: {retry: {attempts: 100, delays: [%s]}}}\nrules: [{name: r, pipelines: [p, gone]}]\n", delay), handlers{
		"p": func(context.Context, router.Event) error { return errors.New("not yet") },
		"gone": func(_ context.Context, e router.Event) error {
			if tried.add(e.ID) < attempts {
				return errors.New("not yet")
			}
			return nil
		},
	}, func(s *pipelines.Service) { service, s.Apply.Settle = s, settle })
	w.publish(20, typed("order.created"))
	began := time.Now()
	if err := service.Reload(t.Context(), pipelines.Update{Plan: w.replan("pipelines: {" + busy + "}\nrules: [{name: r, pipelines: [p]}]\n")}); err != nil {
		t.Fatal(err)
	}
	w.wait(func() bool { q, there := w.server.Queue("/", "test.gone"); return !there || q.Consumers == 0 }, func() string { return fmt.Sprintf("it does not end; it was tried %d times", tried.total()) })
	if took := time.Since(began); tried.total() != 20*attempts || took < (attempts-1)*delay+settle {
		t.Errorf("it ended after %s; it was tried %d times", took, tried.total())
	}
	w.wait(func() bool { return w.isGone("test.gone") && w.isGone("test.gone.dead") }, func() string { return "the queues of the pipeline stay" })
}

// A service deletes what it kept when the time has come, without being told.
func TestADelayThatIsNotNeededIsDeletedInTime(t *testing.T) {
	t.Parallel()
	var service *pipelines.Service
	const settle = 500 * time.Millisecond
	rules := func(delay string) string {
		return "pipelines: {p: {retry: {delays: [" + delay + "]}}}\nrules: [{name: r, pipelines: [p]}]\n"
	}
	told := make(chan []router.Kept, 10)
	w := newWorld(t, rules("50ms"), handlers{"p": func(context.Context, router.Event) error { return nil }}, func(s *pipelines.Service) {
		service, s.Apply.Settle = s, settle
		s.Kept = func(kept []router.Kept) { told <- kept }
	})
	began := time.Now()
	if err := service.Reload(t.Context(), pipelines.Update{Plan: w.replan(rules("70ms"))}); err != nil {
		t.Fatal(err)
	}
	if kept := <-told; len(kept) != 1 || kept[0].Name != "test.delay.50ms" || kept[0].After.Sub(began) < settle {
		t.Errorf("kept %+v", kept)
	}
	w.wait(func() bool { return w.isGone("test.delay.50ms") }, func() string { return "the delay stays" })
	if took := time.Since(began); took < settle {
		t.Errorf("it was deleted after %s", took)
	}
}
