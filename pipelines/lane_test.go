package pipelines_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// An event has failed for good, and the connection is lost before its dead letter is confirmed: it comes again, and its key goes on with it.
func TestAKeyGoesOnWhenItsDeadLetterMeetsALostConnection(t *testing.T) {
	t.Parallel()
	var tried, done counter
	refusing, release := make(chan struct{}), make(chan struct{})
	w := newWorld(t, `
pipelines: {p: {workers: 2, prefetch: 10, order_by: subject, retry: {key: wait}}}
rules: [{name: r, pipelines: [p]}]
`, handlers{"p": func(_ context.Context, e event.Event) error {
		n := tried.add(e.ID)
		switch {
		case e.ID == "a-0":
			<-refusing
			return pipelines.Permanent(errors.New("never"))
		case e.ID == "b-0" && n == 1:
			<-release
		}
		done.add(e.ID)
		return nil
	}}, nil)
	inHand := func() int { q, _ := w.server.Queue("/", "test.p"); return q.Unacked }
	w.publish(1, keyed("b"))
	w.publish(3, keyed("a"))
	w.wait(func() bool { return inHand() == 4 && tried.total() == 2 }, func() string { return fmt.Sprintf("%d are in hand, and begun are %v", inHand(), tried.order()) })
	w.server.RefusePublishes(true)
	close(refusing)
	refused := func() bool { return strings.Contains(strings.Join(w.list(&w.problems), "\n"), "test.p.dead") }
	w.wait(refused, func() string { return fmt.Sprintf("the dead letter is not on its way: %v", w.list(&w.problems)) })
	w.server.DropConnections()
	close(release)
	w.wait(func() bool { return slices.Contains(tried.order()[2:], "b-0") }, func() string { return "nothing comes again" })
	w.server.RefusePublishes(false)
	w.wait(func() bool { return len(firsts(done.order(), "a")) == 2 }, func() string { return fmt.Sprintf("done: %v", done.order()) })
	w.publish(1, func(int) event.Event { return event.Event{ID: "a-3", Type: "t", Subject: "a"} })
	w.wait(func() bool { return inHand() == 0 && len(firsts(done.order(), "a")) == 3 }, func() string { return fmt.Sprintf("done: %v, in hand: %d", done.order(), inHand()) })
	if got := firsts(tried.order(), "a"); !slices.Equal(got, numbers(4)) {
		t.Errorf("the key was tried in the order %v", got)
	}
	letters := len(w.server.Messages("/", "test.p.dead"))
	if letters < 1 || letters > 2 { // one at most for each time that it came
		t.Errorf("there are %d dead letters", letters)
	}
}

// holder is a broker that hands out some deliveries, and answers all publishes alike.
type holder struct {
	router.Broker
	deliveries []*router.Delivery
	answer     error
}

func (b *holder) Consume(ctx context.Context, _ router.Subscription, handle func(*router.Delivery)) error {
	for _, d := range b.deliveries {
		handle(d)
	}
	<-ctx.Done()
	return nil
}

func (b *holder) Publish(_ context.Context, _ router.Message, done func(error)) { done(b.answer) }

// late is the way to settle a delivery whose channel is lost just before its acknowledgement.
type late struct{ *settled }

func (l late) Ack() error { return errors.Join(l.settled.Ack(), errors.New("the channel is closed")) }

// An event has failed for good. Its dead letter can never be published as it is, or is there when the event can be acknowledged no more: its key goes on without it.
func TestAKeyGoesOnAfterADeadLetterThatWentWrong(t *testing.T) {
	p := (&world{t: t}).replan("pipelines: {p: {order_by: subject, retry: {key: wait}}}\nrules: [{name: r, pipelines: [p]}]\n")
	for _, c := range []struct {
		name   string
		answer error // to the letter
		late   bool
		want   string
	}{
		{"too large", router.ErrTooLarge, false, "reject"},
		{"invalid", router.ErrInvalid, false, "reject"},
		{"acknowledged too late", nil, true, "ack"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &holder{answer: c.answer}
				fates := make([]settled, 3)
				for i := range fates {
					e := keyed("a")(i)
					b.deliveries = append(b.deliveries, &router.Delivery{Event: &e, Settler: &fates[i]})
				}
				if c.late {
					b.deliveries[0].Settler = late{&fates[0]}
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				runner := &pipelines.Runner{Plan: p, Pipeline: p.Pipeline("p"), Broker: b, Handler: func(_ context.Context, e event.Event) error {
					if e.ID == "a-0" {
						return pipelines.Permanent(errors.New("never"))
					}
					return nil
				}}
				ended := make(chan error, 1)
				go func() { ended <- runner.Run(ctx) }()
				synctest.Wait()
				for i, want := range []string{c.want, "ack", "ack"} {
					if how := fates[i].how; !slices.Equal(how, []string{want}) {
						t.Errorf("event %d was settled by %v, want %s", i, how, want)
					}
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
