// Package dead looks after events that were kept aside: the dead letters of pipelines, and the events that no rule wanted.
package dead

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules/topic"
)

// Box is a queue of events that were kept aside. Its methods are safe for concurrent use; what one of them has in hand, the others do not see.
type Box struct {
	Broker   router.Broker
	Queue    string
	Sources  []string                                              // the plan's
	Target   func(*router.Delivery) (exchange, key string, _ bool) // where an event is replayed to; false: nowhere
	pipeline string
}

// Letters are the dead letters of a pipeline. They are replayed into its own queue.
func Letters(b router.Broker, p *plan.Plan, pipeline *plan.Pipeline) *Box {
	return &Box{
		Broker: b, Queue: pipeline.DeadName, Sources: p.Sources(), pipeline: pipeline.Name,
		Target: func(*router.Delivery) (string, string, bool) { return p.Retry, pipeline.QueueName, true },
	}
}

// Unrouted are the events that no rule wanted. They are replayed to the exchange that they were published to, and so through the rules in force.
func Unrouted(b router.Broker, p *plan.Plan) *Box {
	sources := p.Sources()
	return &Box{
		Broker: b, Queue: p.Unrouted, Sources: sources,
		Target: func(d *router.Delivery) (string, string, bool) {
			return d.Exchange, d.Event.Type, slices.Contains(sources, d.Exchange)
		},
	}
}

// Letter is an event that was kept aside, and why.
type Letter struct {
	Event    *router.Event
	Pipeline string       // whose dead letter it is; empty where no rule wanted it
	Exchange string       // that it was first published to
	Trail    router.Trail // its LastFailure is also the time at which the broker put it here; zero where nobody knows when it came
	Deaths   string       // why the broker itself put it here, if it did
}

// Reason is why the event was kept aside, in words.
func (l *Letter) Reason() string {
	switch {
	case l.Deaths == "delivery_limit":
		return "its consumer was lost too often while it worked on it (delivery limit)"
	case l.Deaths == "rejected" && l.Trail.Error == "":
		return "rejected: it could not be handed on"
	case l.Deaths != "" && l.Trail.Error == "":
		return "dead-lettered by the broker: " + l.Deaths
	case l.Trail.Error == "":
		return "no rule has its type"
	}
	return l.Trail.Error
}

func (b *Box) letter(d *router.Delivery) Letter {
	l := Letter{Event: d.Event, Pipeline: b.pipeline, Exchange: d.Exchange, Trail: d.Trail, Deaths: d.Deaths}
	if d.Died.After(l.Trail.LastFailure) {
		l.Trail.LastFailure = d.Died
	}
	return l
}

// Message puts a letter into the box once more, as one that was taken out of it by [Box.Each] before.
func (b *Box) Message(l *Letter) router.Message {
	t := l.Trail
	t.Type, t.Exchange, t.Pipeline = l.Event.Type, l.Exchange, b.pipeline
	if t.Error == "" && l.Deaths != "" {
		t.Error = l.Reason() // the broker believes nobody about deaths but itself
	}
	return router.Message{Event: l.Event, Key: b.Queue, Mandatory: true, Trail: t}
}

// Pipeline is the name of the pipeline whose dead letters the box holds; empty where it holds what no rule wanted.
func (b *Box) Pipeline() string { return b.pipeline }

// Filter picks letters. The zero Filter picks all; what is set has to hold together.
type Filter struct {
	IDs   []string      // any of these event ids
	Type  string        // topic pattern of the event's type, as in rules; empty: any
	Error string        // a part of the reason, in any case
	Rule  string        // name of a rule that held
	Older time.Duration // last failure at least so long ago; a letter without a time is not picked
	Newer time.Duration // last failure at most so long ago; likewise
}

func (f *Filter) picks(l *Letter) bool {
	age := time.Since(l.Trail.LastFailure)
	switch {
	case len(f.IDs) > 0 && !slices.Contains(f.IDs, l.Event.ID):
	case f.Type != "" && !topic.Match(f.Type, l.Event.Type):
	case f.Error != "" && !strings.Contains(strings.ToLower(l.Reason()), strings.ToLower(f.Error)):
	case f.Rule != "" && !slices.Contains(l.Trail.Rules, f.Rule):
	case (f.Older > 0 || f.Newer > 0) && l.Trail.LastFailure.IsZero(): // it may have come a second ago
	case f.Older > 0 && age < f.Older:
	case f.Newer > 0 && age > f.Newer:
	default:
		return true
	}
	return false
}

// Depth is the number of events kept.
func (b *Box) Depth(ctx context.Context) (int, error) { return b.Broker.Depth(ctx, b.Queue) }

// Each calls visit for the letters that the filter picks, from the oldest, until visit returns false. They all stay.
func (b *Box) Each(ctx context.Context, f Filter, visit func(Letter) (more bool)) error {
	return b.Broker.Browse(ctx, b.Queue, b.Sources, func(d *router.Delivery) bool {
		l := b.letter(d)
		return !f.picks(&l) || visit(l)
	}, nil)
}

// Drop deletes the letters that the filter picks, and calls visit, if it is not nil, for each. It returns how many.
func (b *Box) Drop(ctx context.Context, f Filter, visit func(Letter)) (int, error) {
	dropped := 0
	var failed error
	err := b.Broker.Browse(ctx, b.Queue, b.Sources, func(d *router.Delivery) bool {
		l := b.letter(d)
		if !f.picks(&l) {
			return true
		}
		if failed = d.Ack(); failed != nil {
			return false
		}
		dropped++
		if visit != nil {
			visit(l)
		}
		return true
	}, nil)
	if failed != nil {
		return dropped, fmt.Errorf("queue %q: %w", b.Queue, failed)
	}
	return dropped, err
}

// Replay says how letters are replayed.
type Replay struct {
	Filter
	Rate     float64                   // events a second at most; 0 is no limit
	Limit    int                       // letters at most; 0 is no limit
	Turn     time.Duration             // of a replay with a Rate: after how long all letters are given back and taken anew; default 5m. Less than the broker's consumer_timeout
	Replayed func(l Letter, err error) // called for each as it is done, one at a time; may be nil
}

const (
	defaultTurn = 5 * time.Minute
	// confirmWait is how long after an interrupt the broker may confirm what it was handed before: most confirms are on their way, and a letter that is given up before its own comes
	// is in the box still, and delivered.
	confirmWait = 5 * time.Second
)

// Replay sends the picked letters back, with their attempts reset, and takes each out of the box when its publish is confirmed. When ctx
// is over it begins with no other, and waits 5 seconds at most for the confirms of those that it has begun with; what is not confirmed then stays. Letters that come while it works are left
// alone. It returns how many were replayed, and an error for the first that was not.
func (b *Box) Replay(ctx context.Context, r Replay) (int, error) {
	if r.Turn <= 0 {
		r.Turn = defaultTurn
	}
	begun, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	defer context.AfterFunc(ctx, func() {
		late := time.AfterFunc(confirmWait, func() { end(fmt.Errorf("%w, and no confirm within %s after that", context.Cause(ctx), confirmWait)) })
		context.AfterFunc(begun, func() { late.Stop() })
	})()
	p := &replaying{Box: b, Replay: &r, begun: begun, handover: router.Handover{Broker: b.Broker, Once: true}, limiter: rate.NewLimiter(rate.Inf, 1), failures: map[string]int{}}
	if r.Rate > 0 {
		p.limiter.SetLimit(rate.Limit(r.Rate))
	}
	kept, err := math.MaxInt, error(nil) // one turn looks at no more than there are when it begins
	if r.Rate > 0 {
		kept, err = b.Depth(ctx)
	}
	for p.again = true; p.again && err == nil; {
		err = p.turn(ctx, kept-p.done)
	}
	if err == nil {
		err = p.failed
	}
	return p.done, err
}

// replaying is a Replay at work. It holds what it has looked at and not replayed, as it would get that again otherwise, but no longer than a turn:
// a broker closes the channel of a consumer that holds events for long.
type replaying struct {
	*Box
	*Replay
	begun    context.Context // of letters that were handed to the broker: it outlives the replay's by confirmWait
	handover router.Handover
	limiter  *rate.Limiter
	next     time.Time // when another letter may be replayed; zero: that is to be asked
	over     time.Time // the end of the turn
	turns    int
	again    bool // there is to be another turn
	taken    int

	mu       sync.Mutex
	done     int
	failed   error
	failures map[string]int // in which turn a letter failed: it is not tried again in later ones
}

// turn replays until the turn is over. There are so many letters at its begin; what is behind them is younger than the replay.
func (p *replaying) turn(ctx context.Context, letters int) error {
	if err := p.pause(ctx); err != nil {
		return err
	}
	p.turns++
	p.again, p.over = false, time.Now().Add(p.Turn)
	return p.Broker.Browse(ctx, p.Queue, p.Sources, func(d *router.Delivery) bool {
		letters--
		return letters >= 0 && p.one(ctx, d)
	}, p.handover.Wait)
}

func (p *replaying) one(ctx context.Context, d *router.Delivery) bool {
	l := p.letter(d)
	if !p.picks(&l) || p.hasFailed(&l) {
		return true
	}
	if p.Limit > 0 && p.taken == p.Limit || !p.may(ctx) {
		return false
	}
	p.taken++
	exchange, key, ok := p.Target(d)
	if !ok {
		p.note(l, fmt.Errorf("event %q: it was published to exchange %q, which is not one of the rules'", l.Event.ID, d.Exchange))
		return true
	}
	m := router.Message{Event: d.Event, Exchange: exchange, Key: key, Mandatory: true}
	if !slices.Contains(p.Sources, exchange) { // the key is not its type
		m.Trail = router.Trail{Type: d.Event.Type, Exchange: d.Exchange}
	}
	p.handover.Do(p.begun, d, func(err error) { p.note(l, err) }, m)
	return true
}

// may waits until another letter may be replayed. It reports false where ctx or the turn ends before.
func (p *replaying) may(ctx context.Context) bool {
	if p.next.IsZero() {
		p.next = time.Now().Add(p.limiter.Reserve().Delay())
	}
	if p.Rate > 0 && p.next.After(p.over) {
		p.again = true
		return false
	}
	if p.pause(ctx) != nil {
		return false
	}
	p.next = time.Time{}
	return true
}

// pause waits until the next letter may be replayed, as far as that is known.
func (p *replaying) pause(ctx context.Context) error {
	wait := time.NewTimer(time.Until(p.next))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	return context.Cause(ctx)
}

func (p *replaying) note(l Letter, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		p.done++
	} else {
		p.failures[identity(&l)] = p.turns
		if p.failed == nil {
			p.failed = err
		}
	}
	if p.Replayed != nil {
		p.Replayed(l, err)
	}
}

// hasFailed reports whether a letter failed in an earlier turn.
func (p *replaying) hasFailed(l *Letter) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	turn, failed := p.failures[identity(l)]
	return failed && turn < p.turns
}

// identity is what names an event.
func identity(l *Letter) string { return l.Event.Source + "\n" + l.Event.ID }
