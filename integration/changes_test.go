package integration

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/integration/rabbit"
)

// TestAChangeThatIsKilledIsFinishedByTheNext kills after every twentieth operation, as each time takes RabbitMQ some seconds; EVENTROUTER_TEST_KILL_STEP=1
// kills after each.
func TestAChangeThatIsKilledIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	step := changes.Setting(t, "EVENTROUTER_TEST_KILL_STEP", 20)
	for i, pair := range changes.Pairs {
		t.Run(pair.Name, func(t *testing.T) {
			t.Parallel()
			steps := 5 * i
			for !changes.Interrupt(t, s.URL, s.Management, newName(), pair, steps, steps%2 == 1) && !t.Failed() {
				steps += step
			}
			t.Logf("killed up to operation %d", steps)
		})
	}
}

// TestAChangeOfRandomRulesThatIsKilledIsFinishedByTheNext also kills a change of the example's rules where EVENTROUTER_TEST_LONG is set.
func TestAChangeOfRandomRulesThatIsKilledIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	step := changes.Setting(t, "EVENTROUTER_TEST_KILL_STEP", 60)
	pairs := []changes.Pair{changes.RandomPair(t)}
	if os.Getenv("EVENTROUTER_TEST_LONG") != "" {
		pairs = append(pairs, changes.Example(t, ".."))
	}
	for _, pair := range pairs {
		t.Run(pair.Name, func(t *testing.T) {
			t.Parallel()
			steps := rand.IntN(step)
			for !changes.Interrupt(t, s.URL, s.Management, newName(), pair, steps, steps%2 == 1) && !t.Failed() {
				steps += step
			}
			t.Logf("killed up to operation %d", steps)
		})
	}
}

func TestAServiceIsReloadedWhileEventsFlow(t *testing.T) {
	t.Parallel()
	seconds := changes.Setting(t, "EVENTROUTER_TEST_RELOAD_SECONDS", 3)
	rate := changes.Setting(t, "EVENTROUTER_TEST_RELOAD_RATE", 1000)
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		for _, pair := range changes.Pairs {
			t.Run(fmt.Sprintf("%s, %s", v, pair.Name), func(t *testing.T) {
				changes.Reload(t, server(t, v).URL, newName(), pair, seconds, rate)
			})
		}
	}
}

func TestTwoRoutersAtOnce(t *testing.T) {
	t.Parallel()
	rounds := changes.Setting(t, "EVENTROUTER_TEST_ROUNDS", 1)
	for v, pairs := range map[rabbit.Version][]changes.Pair{rabbit.V4: changes.Pairs, rabbit.V3: changes.Pairs[:1]} {
		for _, pair := range pairs {
			t.Run(fmt.Sprintf("%s, %s", v, pair.Name), func(t *testing.T) {
				t.Parallel()
				s := server(t, v)
				for range rounds {
					changes.TwoAtOnce(t, s.URL, s.Management, newName(), pair)
				}
			})
		}
	}
}

func TestADelayIsNotDeletedBeforeAllIsBackFromIt(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			changes.BackFromAFullQueue(t, server(t, v).URL, newName(), changes.Settle)
		})
	}
}
