package changes_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/router/plan"
)

func TestAChangeThatIsKilledAtAnyStepIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	step := changes.Setting(t, "EVENTROUTER_TEST_KILL_STEP", killStep)
	for i, pair := range changes.Pairs {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, back %v", pair.Name, back), func(t *testing.T) {
				t.Parallel()
				interrupt(t, pair, i%step, step, back)
			})
		}
	}
}

// TestAChangeOfRandomRulesThatIsKilledIsFinishedByTheNext kills less often than other changes are, but elsewhere each time. EVENTROUTER_TEST_KILL_STEP=1 kills after each operation.
func TestAChangeOfRandomRulesThatIsKilledIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	step := changes.Setting(t, "EVENTROUTER_TEST_KILL_STEP", 5*killStep)
	for _, back := range []bool{false, true} {
		t.Run(fmt.Sprintf("back %v", back), func(t *testing.T) {
			t.Parallel()
			interrupt(t, changes.RandomPair(t), rand.IntN(step), step, back)
		})
	}
	t.Run("the example", func(t *testing.T) {
		t.Parallel()
		interrupt(t, changes.Example(t, "../.."), rand.IntN(step), step, false)
	})
}

// interrupt kills a change after ever more operations, until it comes to its end.
func interrupt(t *testing.T, pair changes.Pair, first, step int, back bool) {
	url, steps := amqptest.Broker(t).URL(), first
	for !changes.Interrupt(t, url, "", fmt.Sprintf("s%d", steps), pair, steps, back) && !t.Failed() {
		steps += step
	}
	t.Logf("killed up to operation %d", steps)
}

func TestRandomRulesMeet(t *testing.T) {
	t.Parallel()
	turns, same := 0, 0
	for seed := range uint64(60) {
		pair := changes.Random(seed)
		c := plan.NewChange(&plan.Record{Applied: changes.Compile(t, "r", pair.Old).State()}, changes.Compile(t, "r", pair.New))
		if c.Turns {
			turns++
		}
		if len(c.Stale().Bindings) == 0 {
			same++
		}
		if again := changes.Random(seed); again != pair {
			t.Fatalf("seed %d makes different pairs", seed)
		}
	}
	if turns < 15 || turns > 58 || same > 15 {
		t.Errorf("of 60 pairs %d turn, and %d take nothing away", turns, same)
	}
}

func TestAServiceIsReloadedWhileEventsFlow(t *testing.T) {
	t.Parallel()
	seconds := changes.Setting(t, "EVENTROUTER_TEST_RELOAD_SECONDS", 5)
	rate := changes.Setting(t, "EVENTROUTER_TEST_RELOAD_RATE", 1000)
	for _, pair := range changes.Pairs {
		t.Run(pair.Name, func(t *testing.T) {
			t.Parallel()
			changes.Reload(t, amqptest.Broker(t).URL(), "reload", pair, seconds, rate)
		})
	}
}
