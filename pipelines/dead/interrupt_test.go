package dead_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventrouter/eventrouter/pipelines/dead"
	"github.com/eventrouter/eventrouter/router"
)

// late is a broker with a queue of letters that confirms a publish after some time, as far as the publish's context lives so long. It has room for three that are not confirmed.
type late struct {
	router.Broker
	after   time.Duration
	letters int
	room    chan struct{}

	mu    sync.Mutex
	sent  int
	acked int
}

func (b *late) Browse(ctx context.Context, _ string, _ []string, visit func(*router.Delivery) bool, end func()) error {
	for i := 0; i < b.letters && ctx.Err() == nil; i++ {
		if !visit(&router.Delivery{Event: &router.Event{ID: fmt.Sprint(i), Type: "a"}, Settler: b}) {
			break
		}
	}
	end()
	return context.Cause(ctx)
}

func (b *late) Publish(ctx context.Context, _ router.Message, done func(error)) {
	select {
	case b.room <- struct{}{}:
	case <-ctx.Done():
		done(context.Cause(ctx))
		return
	}
	b.mu.Lock()
	b.sent++
	b.mu.Unlock()
	go func() {
		defer func() { <-b.room }()
		select {
		case <-time.After(b.after):
			done(nil)
		case <-ctx.Done():
			done(context.Cause(ctx))
		}
	}()
}

func (b *late) Ack() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.acked++
	return nil
}

func (b *late) Requeue() error { return nil }
func (b *late) Reject() error  { return nil }
func (b *late) Lost() bool     { return false }

// What is confirmed after the interrupt is not left in the box, where it would be beside what was delivered.
func TestAnInterruptedReplayWaitsForConfirms(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		after    time.Duration
		replayed int
		ends     time.Duration
	}{
		{"that come", 2 * time.Second, 4, 4 * time.Second}, // three that were under way, and one that waited for room
		{"that never come", time.Hour, 0, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &late{after: c.after, letters: 100, room: make(chan struct{}, 3)}
				box := &dead.Box{Broker: b, Queue: "q", Target: func(*router.Delivery) (string, string, bool) { return "", "back", true }}
				ctx, interrupt := context.WithCancelCause(t.Context())
				interrupted := errors.New("interrupted")
				time.AfterFunc(time.Millisecond, func() { interrupt(interrupted) })
				began := time.Now()
				n, err := box.Replay(ctx, dead.Replay{})
				took := time.Since(began).Round(time.Second)
				if n != c.replayed || b.acked != n || !errors.Is(err, interrupted) || took != c.ends {
					t.Errorf("replayed %d, acknowledged %d, within %s: %v", n, b.acked, took, err)
				}
				if b.sent > 4 {
					t.Errorf("handed over %d, most of them after the interrupt", b.sent)
				}
			})
		})
	}
}
