package changes_test

import (
	"fmt"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/changes"
)

func TestAChangeThatIsKilledAtAnyStepIsFinishedByTheNext(t *testing.T) {
	t.Parallel()
	step := changes.Setting(t, "EVENTROUTER_TEST_KILL_STEP", killStep)
	for i, pair := range changes.Pairs {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, back %v", pair.Name, back), func(t *testing.T) {
				t.Parallel()
				url := amqptest.Broker(t).URL()
				steps := i % step
				for !changes.Interrupt(t, url, "", fmt.Sprintf("s%d", steps), pair, steps, back) && !t.Failed() {
					steps += step
				}
				t.Logf("killed up to operation %d", steps)
			})
		}
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
