package router_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/router"
)

var (
	anEvent = &router.Event{ID: "1", Type: "order.created"}
	errLost = errors.New("connection lost")
)

// handOver has messages made of one delivery handed over, and returns when nothing is under way any more.
func handOver(ctx context.Context, h *router.Handover, messages ...router.Message) (f *fate, outcome error) {
	f = &fate{}
	h.Do(ctx, &router.Delivery{Event: anEvent, Queue: "q", Settler: f}, func(err error) { outcome = err }, messages...)
	h.Wait()
	return f, outcome
}

func TestNothingIsAcknowledgedBeforeAllIsConfirmed(t *testing.T) {
	t.Parallel()
	b := &slow{}
	h := &router.Handover{Broker: b}
	f := &fate{}
	h.Do(t.Context(), &router.Delivery{Event: anEvent, Settler: f}, nil, router.Message{Key: "a"}, router.Message{Key: "b"})
	for _, done := range b.confirms {
		if f.is() != "" {
			t.Fatalf("%s before the last confirm", f.is())
		}
		done(nil)
	}
	if f.is() != "ack" {
		t.Errorf("after all confirms: %q", f.is())
	}
}

// slow is a broker that has its confirms given by the test.
type slow struct {
	router.Broker
	confirms []func(error)
}

func (s *slow) Publish(_ context.Context, _ router.Message, done func(error)) {
	s.confirms = append(s.confirms, done)
}

func TestADeliveryWithoutMessagesIsAcknowledged(t *testing.T) {
	t.Parallel()
	if f, err := handOver(t.Context(), &router.Handover{}); f.is() != "ack" || err != nil {
		t.Errorf("%q, %v", f.is(), err)
	}
}

func TestAFullQueueDoublesNothingInTheOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const full = 7 // attempts for which queue b is full
		refused := 0
		b := &broker{}
		b.answer = func(m router.Message) error {
			if !slices.Contains(keys(m), "b") || refused == full {
				return nil
			}
			refused++
			return fmt.Errorf("queue b is full: %w", router.ErrRefused)
		}
		f, err := handOver(t.Context(), &router.Handover{Broker: b}, router.Message{Key: "a", BCC: []string{"b", "c"}})
		confirmed, published, _ := b.seen()
		// The broker may have put the first message, that it refused, into a and c: once more is what cannot be avoided.
		if f.is() != "ack" || err != nil || confirmed["a"] != 1 || confirmed["b"] != 1 || confirmed["c"] != 1 {
			t.Errorf("%q, %v: %v", f.is(), err, confirmed)
		}
		if len(published) != 1+2+full {
			t.Errorf("%d messages published: %v", len(published), published)
		}
	})
}

// It comes again with another connection, and would be published once more with each.
func TestWhatComesAgainIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &broker{answer: func(router.Message) error { return router.ErrRefused }}
		h, f := &router.Handover{Broker: b}, &fate{}
		h.Do(t.Context(), &router.Delivery{Event: anEvent, Queue: "full", Settler: f}, nil, router.Message{Key: "full", BCC: []string{"another"}})
		time.Sleep(time.Minute)
		f.lost.Store(true)
		_, before, _ := b.seen()
		h.Wait()
		if _, after, _ := b.seen(); len(before) < 10 || len(after) > len(before) || f.is() == "ack" {
			t.Errorf("%d messages published, and %d after the channel was lost: %q", len(before), len(after)-len(before), f.is())
		}
	})
}

func TestATopologyThatSomebodyTookAwayIsDeclaredAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &broker{}
		b.answer = func(router.Message) error {
			if b.declared == 0 {
				return router.ErrUnroutable
			}
			return nil
		}
		if f, err := handOver(t.Context(), &router.Handover{Broker: b}, router.Message{Key: "a"}); f.is() != "ack" || err != nil || b.declared != 1 {
			t.Errorf("%q, %v, declared %d times", f.is(), err, b.declared)
		}
	})
}

// An exchange can be gone because other rules have been applied: the events of a process with the older ones are no dead letters for that.
func TestWhatAnExchangeDoesNotTakeIsKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		b := &broker{answer: func(router.Message) error {
			if time.Since(began) < time.Minute {
				return fmt.Errorf("wrapped: %w", router.ErrExchange)
			}
			return nil
		}}
		if f, err := handOver(t.Context(), &router.Handover{Broker: b}, router.Message{Key: "a"}); f.is() != "ack" || err != nil {
			t.Errorf("%q, %v", f.is(), err)
		}
		if _, published, _ := b.seen(); len(published) > 25 {
			t.Errorf("the broker had to close a channel %d times in a minute", len(published))
		}
	})
}

func TestWhatHasNowhereToGoIsLeftWhereThatIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, absent := range []error{router.ErrUnroutable, router.ErrExchange} {
		synctest.Test(t, func(t *testing.T) {
			b := &broker{answer: func(router.Message) error { return fmt.Errorf("wrapped: %w", absent) }}
			f, err := handOver(t.Context(), &router.Handover{Broker: b, Leave: true}, router.Message{Key: "a"})
			if f.is() != "" || !errors.Is(err, router.ErrAbsent) || !errors.Is(err, absent) {
				t.Errorf("%q, %v", f.is(), err)
			}
			if _, published, _ := b.seen(); len(published) != 2 {
				t.Errorf("published %d times, not once more after the topology was declared again", len(published))
			}
			lost := 3
			b = &broker{answer: func(router.Message) error {
				if lost--; lost >= 0 {
					return errLost
				}
				return nil
			}}
			if f, err := handOver(t.Context(), &router.Handover{Broker: b, Leave: true}, router.Message{Key: "a"}); f.is() != "ack" || err != nil {
				t.Errorf("a lost connection: %q, %v", f.is(), err)
			}
		})
	}
}

func TestWhatCanNeverBePublishedIsRejected(t *testing.T) {
	t.Parallel()
	for _, permanent := range []error{router.ErrTooLarge, router.ErrInvalid} {
		b := &broker{answer: func(m router.Message) error {
			if m.Key == "b" {
				return fmt.Errorf("wrapped: %w", permanent)
			}
			return nil
		}}
		var problems []error
		h := &router.Handover{Broker: b, Hooks: router.Hooks{Problem: func(_ string, err error) { problems = append(problems, err) }}}
		f, err := handOver(t.Context(), h, router.Message{Key: "a"}, router.Message{Key: "b"})
		if f.is() != "reject" || !errors.Is(err, permanent) || len(problems) != 1 || !errors.Is(problems[0], permanent) {
			t.Errorf("%q, %v, problems %v", f.is(), err, problems)
		}
	}
}

func TestAtTheEndWhatIsNotTakenGoesBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		b := &broker{answer: func(router.Message) error { return errLost }}
		f, err := handOver(ctx, &router.Handover{Broker: b}, router.Message{Key: "a"})
		if f.is() != "requeue" || !errors.Is(err, errLost) {
			t.Errorf("%q, %v", f.is(), err)
		}
		if _, published, _ := b.seen(); len(published) < 10 || len(published) > 40 {
			t.Errorf("%d attempts in a minute", len(published))
		}
	})
}

func TestOnceLeavesWhatIsNotTakenAsItIs(t *testing.T) {
	t.Parallel()
	for _, answer := range []error{errLost, router.ErrRefused, router.ErrUnroutable, router.ErrTooLarge} {
		b := &broker{answer: func(router.Message) error { return answer }}
		f, err := handOver(t.Context(), &router.Handover{Broker: b, Once: true}, router.Message{Key: "a", BCC: []string{"b"}})
		if _, published, declared := b.seen(); f.is() != "" || !errors.Is(err, answer) || len(published) != 1 || declared != 0 {
			t.Errorf("after %v: %q, %v, %d messages", answer, f.is(), err, len(published))
		}
	}
}

func TestWhateverTheBrokerAnswersTheBooksBalance(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		answers := rapid.SliceOfN(rapid.SampledFrom([]error{nil, nil, errLost, router.ErrRefused, router.ErrUnroutable}), 0, 12).Draw(rt, "answers")
		wanted := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-e]`), 1, 4, rapid.ID).Draw(rt, "keys")
		synctest.Test(t, func(t *testing.T) {
			b := &broker{}
			b.answer = func(router.Message) error {
				if len(answers) == 0 {
					return nil
				}
				next := answers[0]
				answers = answers[1:]
				return next
			}
			f, err := handOver(t.Context(), &router.Handover{Broker: b}, router.Message{Key: wanted[0], BCC: wanted[1:]})
			confirmed, _, _ := b.seen()
			if f.is() != "ack" || err != nil || len(confirmed) != len(wanted) {
				rt.Fatalf("%q, %v, %v of %v", f.is(), err, confirmed, wanted)
			}
			for key, times := range confirmed {
				if times != 1 {
					rt.Fatalf("queue %s has it %d times, though no confirm was lost", key, times)
				}
			}
		})
	})
}
