package router_test

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/eventrouter/eventrouter/router"
)

// broker is a router.Broker that answers publishes as a test says, and hands out the deliveries of a channel.
type broker struct {
	router.Broker // what is not below is not called

	// answer says what becomes of a message; a nil answer confirms everything. It is called for one message at a time.
	answer     func(m router.Message) error
	deliveries chan *router.Delivery

	mu        sync.Mutex
	confirmed map[string]int // by routing key
	published []router.Message
	declared  int

	subscription router.Subscription // the last
}

func (b *broker) Redeclare(context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.declared++
	return nil
}

func (b *broker) Depth(context.Context, string) (int, error) { return 0, nil }

func (b *broker) Publish(_ context.Context, m router.Message, done func(error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, m)
	var err error
	if b.answer != nil {
		err = b.answer(m)
	}
	if err == nil {
		if b.confirmed == nil {
			b.confirmed = map[string]int{}
		}
		for _, key := range keys(m) {
			b.confirmed[key]++
		}
	}
	go done(err)
}

// keys are all routing keys of a message.
func keys(m router.Message) []string { return append([]string{m.Key}, m.BCC...) }

func (b *broker) Consume(ctx context.Context, s router.Subscription, handle func(*router.Delivery)) error {
	b.mu.Lock()
	b.subscription = s
	b.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, open := <-b.deliveries:
			if !open {
				return nil
			}
			handle(d)
		}
	}
}

// seen returns what was confirmed, and how often the topology was declared.
func (b *broker) seen() (confirmed map[string]int, published []router.Message, declared int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.confirmed), b.published, b.declared
}

// fate is a settler that remembers what was called.
type fate struct {
	mu    sync.Mutex
	calls []string
	lost  atomic.Bool // with its channel
}

func (f *fate) note(call string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, call)
	return nil
}

func (f *fate) Ack() error     { return f.note("ack") }
func (f *fate) Lost() bool     { return f.lost.Load() }
func (f *fate) Requeue() error { return f.note("requeue") }
func (f *fate) Reject() error  { return f.note("reject") }

// is the one call that was made, "" where there was none yet.
func (f *fate) is() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) > 1 {
		return "settled more than once"
	}
	if len(f.calls) == 0 {
		return ""
	}
	return f.calls[0]
}
