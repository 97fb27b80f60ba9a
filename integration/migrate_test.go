package integration

import (
	"fmt"
	"testing"

	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/integration/rabbit"
)

// TestQueuesAreMovedIntoAnotherShapeWhileProducersGoOn moves queues with 10,000 events from classic to quorum and back; EVENTROUTER_TEST_MOVE_EVENTS sets another number.
func TestQueuesAreMovedIntoAnotherShapeWhileProducersGoOn(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	changes.Migrate(t, s.URL, s.Management, newName(), changes.Classic, changes.Quorum, changes.Setting(t, "EVENTROUTER_TEST_MOVE_EVENTS", 10_000))
}

// TestAMoveThatIsKilledIsCarriedOn kills after every twenty-third operation, as each time takes RabbitMQ some seconds; EVENTROUTER_TEST_KILL_STEP=1 kills after each.
func TestAMoveThatIsKilledIsCarriedOn(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	steps, step := 11, changes.Setting(t, "EVENTROUTER_TEST_KILL_STEP", 23)
	for !changes.InterruptMove(t, s.URL, s.Management, newName(), steps, 600, steps%2 == 1) && !t.Failed() {
		steps += step
	}
	t.Logf("killed up to operation %d", steps)
}

func TestQueuesAreMovedWhileEventsComeBackForAnotherAttempt(t *testing.T) {
	t.Parallel()
	changes.MigrateWhileRetrying(t, server(t, rabbit.V4).URL, newName(), 2)
}

func TestAQueueThatIsMovedIsLedAround(t *testing.T) {
	t.Parallel()
	onBoth(t, changes.LeadAway)
}

func TestRetriesWaitForTheirWayBack(t *testing.T) {
	t.Parallel()
	onBoth(t, changes.RetriesWaitForTheirWayBack)
}

func TestAMoveWaitsForWhoEndsWithEventsInHand(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t testing.TB, url, name string) {
		for _, inOrder := range []bool{false, true} {
			changes.MoveAfterHands(t, url, fmt.Sprintf("%s-%t", name, inOrder), inOrder)
		}
	})
}

func TestAMoveLeavesOthersTimeForWhatTheyHaveInHand(t *testing.T) {
	t.Parallel()
	onBoth(t, changes.MoveBesideHands)
}

func TestAQueueIsNotDeletedWhileEventsAreInHand(t *testing.T) {
	t.Parallel()
	onBoth(t, changes.KeepWhatIsInHand)
}

// onBoth runs a test on the newest and on the oldest RabbitMQ.
func onBoth(t *testing.T, test func(t testing.TB, url, name string)) {
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			test(t, server(t, v).URL, newName())
		})
	}
}
