package changes

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// reshaping are two sets of rules, whose pipeline "work" has a classic queue and a quorum queue.
func reshaping(t testing.TB, name string) (old, now *plan.Plan) {
	t.Helper()
	const text = "\npipelines: {work: {queue: TYPE, retry: {delays: [100ms]}}}\nrules: [{name: all, pipelines: [work]}]\n"
	return Compile(t, name, strings.ReplaceAll(text, "TYPE", "{type: classic}")), Compile(t, name, strings.ReplaceAll(text, "TYPE", Quorum))
}

// hauling calls before each haul.
type hauling struct {
	router.Lock
	before func()
}

func (h *hauling) Haul(ctx context.Context, w plan.Haul, moved func(done, left int)) error {
	h.before()
	return h.Lock.Haul(ctx, w, moved)
}

// LeadAway sees that nothing comes to a queue any more when what it holds is about to be moved and it is about to be deleted: what a delay hands back, and what is replayed to the
// pipeline, waits with what is published meanwhile. What came to the queue itself at the instant of its deletion would be confirmed and lost.
func LeadAway(t testing.TB, url, name string) {
	t.Helper()
	old, now := reshaping(t, name)
	b, _ := Connect(t, url, amqp.Options{Name: "apply"})
	Apply(t, b, old)
	work := old.Pipeline("work")
	meanwhile := work.QueueName + ".migrating"
	_, _, err := router.Apply(t.Context(), b, now, router.ApplyOptions{Settle: -1, Migrate: true, Wrap: func(l router.Lock) router.Lock {
		return &hauling{l, func() {
			for _, exchange := range []string{work.Delays[0].Exchange, old.Retry} {
				if err := Send(t, b, exchange, work.QueueName, "by "+exchange); err != nil {
					t.Error(err)
				}
			}
			holds(t, b, 2, meanwhile)
			holds(t, b, 0, work.QueueName)
		}}
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	holds(t, b, 2, meanwhile)
	holds(t, b, 0, work.QueueName, work.QueueName+".moved")
	Forget(t, b, old, now)
}

// RetriesWaitForTheirWayBack takes the way away by which events come back from a delay, as an operator may. They stay with the broker until it is there again.
func RetriesWaitForTheirWayBack(t testing.TB, url, name string) {
	t.Helper()
	p, _ := reshaping(t, name)
	b, _ := Connect(t, url, amqp.Options{Name: "apply"})
	Apply(t, b, p)
	work := p.Pipeline("work")
	l, err := b.Lock(t.Context(), p.LockName())
	if err != nil {
		t.Fatal(err)
	}
	for events, takeAway := range []func() error{
		func() error {
			return l.Unbind(t.Context(), []plan.Binding{{Exchange: p.Retry, Queue: work.QueueName, Key: work.QueueName}})
		},
		func() error {
			_, err := l.DeleteExchange(t.Context(), p.Retry, false)
			return err
		},
	} {
		if err := takeAway(); err != nil {
			t.Fatal(err)
		}
		if err := Send(t, b, work.Delays[0].Exchange, work.QueueName, "event"); err != nil {
			t.Fatal(err)
		}
		holds(t, b, 0, work.Delays[0].Exchange)
		holds(t, b, events, work.QueueName)
		if err := l.Declare(t.Context(), p.Topology); err != nil {
			t.Fatal(err)
		}
		holds(t, b, events+1, work.QueueName)
	}
	if err := l.Unlock(); err != nil {
		t.Error(err)
	}
	Forget(t, b, p)
}

// holds waits until so many events are ready in queues together. One that is not there holds none.
func holds(t testing.TB, b router.Browser, events int, queues ...string) {
	t.Helper()
	Until(t, func() bool {
		sum := 0
		for _, queue := range queues {
			n, err := b.Depth(t.Context(), queue)
			if err != nil && !errors.Is(err, router.ErrNoQueue) {
				t.Error(err)
			}
			sum += n
		}
		return sum == events
	}, strings.Join(queues, ", ")+" do not hold what they should")
}

// hand is somebody who has taken events of a queue.
type hand struct {
	events []*router.Delivery
	back   chan struct{} // closed when backAfter has given them back
	stop   func()        // ends the consumer, and returns when all is settled
}

// take consumes a queue until so many events are in hand.
func take(t testing.TB, url string, s router.Subscription, events int) *hand {
	t.Helper()
	b, _ := Connect(t, url, amqp.Options{Name: "theirs"})
	ctx, cancel := context.WithCancel(t.Context())
	taken, ended := make(chan *router.Delivery, events), make(chan error, 1)
	s.Prefetch = events
	go func() { ended <- b.Consume(ctx, s, func(d *router.Delivery) { taken <- d }) }()
	h := &hand{back: make(chan struct{}), stop: sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})}
	for range events {
		h.events = append(h.events, <-taken)
	}
	return h
}

// backAfter is a hook for the progress of a change that gives the events back, so long after so many events of the queue were moved.
func (h *hand) backAfter(t testing.TB, wait time.Duration, moved func(done int) bool) func(done, all int, what string) {
	var once sync.Once
	return func(done, _ int, what string) {
		if strings.HasPrefix(what, "move the events of ") && moved(done) {
			once.Do(func() {
				time.AfterFunc(wait, func() {
					defer close(h.back)
					h.giveBack(t)
				})
			})
		}
	}
}

func (h *hand) giveBack(t testing.TB) {
	t.Helper()
	for _, d := range h.events {
		if err := d.Requeue(); err != nil {
			t.Error(err)
		}
	}
}

// MoveAfterHands moves a queue of which somebody who ends his consumer has events in hand yet, as a process does that was sent SIGTERM: he is waited for until he has given them back, for longer than
// somebody who does not end.
func MoveAfterHands(t testing.TB, url, name string, inOrder bool) {
	t.Helper()
	moveWithHands(t, url, name, inOrder, func(theirs *hand, o *router.ApplyOptions) {
		go theirs.stop()
		o.LetGo = time.Second
		o.Progress = theirs.backAfter(t, 3*time.Second, func(int) bool { return true })
	})
}

// MoveBesideHands moves a queue that somebody consumes who knows nothing of moves. What he has in hand he gives back when all else is moved: he has as long for that as he was waited for before.
func MoveBesideHands(t testing.TB, url, name string) {
	t.Helper()
	moveWithHands(t, url, name, false, func(theirs *hand, o *router.ApplyOptions) {
		o.LetGo = 4 * time.Second
		o.Progress = theirs.backAfter(t, 1500*time.Millisecond, func(done int) bool { return done == all-inHand })
	})
}

const all, inHand = 20, 5

func moveWithHands(t testing.TB, url, name string, inOrder bool, prepare func(theirs *hand, o *router.ApplyOptions)) {
	t.Helper()
	old, now := reshaping(t, name)
	b, _ := Connect(t, url, amqp.Options{Name: "apply"})
	Apply(t, b, old)
	queue := now.Pipeline("work").QueueName
	for range all {
		if err := Send(t, b, "", queue, "event"); err != nil {
			t.Fatal(err)
		}
	}
	theirs := take(t, url, router.Subscription{Queue: queue, Held: now.HeldName(queue), InOrder: inOrder}, inHand)
	o := router.ApplyOptions{Settle: -1, Migrate: true}
	prepare(theirs, &o)
	if _, _, err := router.Apply(t.Context(), b, now, o, nil); err != nil {
		t.Fatal(err)
	}
	<-theirs.back
	theirs.stop()
	holds(t, b, all, queue, queue+".moved", queue+".migrating")
	Forget(t, b, old, now)
}

// KeepWhatIsInHand has a pipeline go from the rules while somebody who has ended his consumer has events of its queue in hand: the queue is kept until he has given them back and others have taken them.
func KeepWhatIsInHand(t testing.TB, url, name string) {
	t.Helper()
	const text = "\npipelines: {work: {}, gone: {queue: {type: classic}, retry: {attempts: 1}}}\nrules: [{name: all, pipelines: [work]}]\n"
	old, now := Compile(t, name, text), Compile(t, name, strings.Replace(text, ", gone: {queue: {type: classic}, retry: {attempts: 1}}", "", 1))
	b, _ := Connect(t, url, amqp.Options{Name: "apply"})
	Apply(t, b, old)
	queue := old.Pipeline("gone").QueueName
	for range inHand {
		if err := Send(t, b, "", queue, "event"); err != nil {
			t.Fatal(err)
		}
	}
	theirs := take(t, url, router.Subscription{Queue: queue, Held: old.HeldName(queue), Drain: 2 * time.Minute}, inHand)
	ended := make(chan struct{})
	go func() { theirs.stop(); close(ended) }()
	why := func() string {
		_, kept, err := router.Apply(t.Context(), b, now, router.ApplyOptions{Settle: -1}, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range kept {
			if k.Name == queue {
				return k.Why
			}
		}
		return ""
	}
	Until(t, func() bool { return why() == "somebody who ends has events of it in hand" }, "it is not said why the queue is kept")
	theirs.giveBack(t)
	<-ended
	Until(t, func() bool { return why() == "it holds 5 events" }, "the queue is not kept for what is back")
	holds(t, b, inHand, queue)
	Forget(t, b, old, now)
}
