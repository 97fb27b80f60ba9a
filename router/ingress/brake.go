package ingress

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// Where a queue is full RabbitMQ refuses an event that it was to get, although all other queues have got theirs: with each attempt they get it once more. So where
// events of a type were refused, only one request with that type is tried after a pause, and as long as that is refused too the pauses grow. When one is taken, one more at a time is tried with each
// that is taken. All others are told to come again, without anything being published.

const (
	leastPause = time.Second
	mostPause  = 8 * time.Second
	// enoughAtOnce is how many requests at a time have to go well for the type to be forgotten.
	enoughAtOnce = 64
	// mostBraked is how many types are remembered, at most.
	mostBraked = 1000
)

// brakes hold back events of types of which the broker has refused some.
type brakes struct {
	mu     sync.Mutex
	braked map[kind]*brake
}

// kind is what decides, in one set of rules, which queues get an event from the broker.
type kind struct{ exchange, eventType string }

type brake struct {
	until time.Time     // nothing is tried before
	pause time.Duration // after the last refusal
	most  int           // requests at a time
	now   int           // requests that are under way
}

// passage is a request that was let through.
type passage struct {
	brakes  *brakes
	kinds   map[kind]bool
	counted []*brake
}

// enter lets a request through, or tells it when to come again.
func (b *brakes) enter(exchange string, events []*event.Event) (*passage, *problem) {
	p := &passage{brakes: b, kinds: map[kind]bool{}}
	for _, e := range events {
		p.kinds[kind{exchange, e.Type}] = true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.braked) == 0 {
		return p, nil
	}
	for k := range p.kinds {
		if held := b.braked[k]; held != nil {
			if wait := time.Until(held.until); wait > 0 || held.now >= held.most {
				refused := unavailable(fmt.Sprintf("the broker refuses events of type %s, as a queue that they go to is full: send it again later", quote(k.eventType)))
				refused.retryAfter = max(soon, int(math.Ceil(wait.Seconds())))
				return nil, &refused
			}
			p.counted = append(p.counted, held)
		}
	}
	for _, held := range p.counted {
		held.now++
	}
	return p, nil
}

// leave notes what the broker has said to the request's events.
func (p *passage) leave(events []*event.Event, errs []error) {
	b := p.brakes
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, held := range p.counted {
		held.now--
	}
	if len(b.braked) == 0 && errors.Join(errs...) == nil {
		return
	}
	refused, taken := map[string]bool{}, map[string]bool{}
	for i, e := range events {
		refused[e.Type] = refused[e.Type] || errors.Is(errs[i], router.ErrRefused)
		taken[e.Type] = taken[e.Type] || errs[i] == nil
	}
	for k := range p.kinds {
		switch {
		case refused[k.eventType]:
			b.refused(k)
		case taken[k.eventType]:
			b.taken(k)
		}
	}
}

// refused holds a type back; b.mu is held. What was under way at the first refusal may be refused too, and makes the pause no longer.
func (b *brakes) refused(k kind) {
	held := b.braked[k]
	if held == nil {
		if b.forget(); len(b.braked) >= mostBraked {
			return
		}
		held = &brake{}
		b.braked[k] = held
	}
	held.most = 1
	if time.Until(held.until) <= 0 {
		held.pause = min(max(leastPause, 2*held.pause), mostPause)
		held.until = time.Now().Add(held.pause)
	}
}

// taken lets more through; b.mu is held.
func (b *brakes) taken(k kind) {
	held := b.braked[k]
	if held == nil || time.Until(held.until) > 0 {
		return
	}
	held.pause = 0
	if held.most++; held.most > enoughAtOnce {
		delete(b.braked, k)
	}
}

// forget makes room by types that nobody has sent for a while; b.mu is held.
func (b *brakes) forget() {
	if len(b.braked) < mostBraked {
		return
	}
	for k, held := range b.braked {
		if held.now == 0 && time.Since(held.until) > mostPause {
			delete(b.braked, k)
		}
	}
}
