package changes_test

import (
	"fmt"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/changes"
)

func TestQueuesAreMovedIntoAnotherShapeWhileProducersGoOn(t *testing.T) {
	t.Parallel()
	events := changes.Setting(t, "EVENTROUTER_TEST_MOVE_EVENTS", 2000)
	for _, way := range [][2]string{{changes.Classic, changes.Quorum}, {changes.Quorum, changes.Classic}} {
		t.Run(way[0]+" to "+way[1]+" and back", func(t *testing.T) {
			t.Parallel()
			changes.Migrate(t, amqptest.Broker(t).URL(), "", "move", way[0], way[1], events)
		})
	}
}

// TestAMoveThatIsKilledAtAnyStepIsCarriedOn kills less often than other changes are, as each time takes several seconds; EVENTROUTER_TEST_KILL_STEP=1 kills after each operation.
func TestAMoveThatIsKilledAtAnyStepIsCarriedOn(t *testing.T) {
	t.Parallel()
	step := changes.Setting(t, "EVENTROUTER_TEST_KILL_STEP", 4*killStep)
	for i, service := range []bool{false, true} {
		t.Run(fmt.Sprintf("service %v", service), func(t *testing.T) {
			t.Parallel()
			url := amqptest.Broker(t).URL()
			steps := i * step / 2
			for !changes.InterruptMove(t, url, "", fmt.Sprintf("s%d", steps), steps, 600, service) && !t.Failed() {
				steps += step
			}
			t.Logf("killed up to operation %d", steps)
		})
	}
}
