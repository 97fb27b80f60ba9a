package integration

import (
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/differential"
)

// fromEnvironment reads a number, where it is set.
func fromEnvironment(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// attempts is how often a scenario is played before a difference counts: one that comes of a slow moment is not there each time.
const attempts = 3

// ofToday is the seed from which on scenarios are played where nothing else is said: others each day, and the same all day, so that a failure is there
// again when one looks.
func ofToday() uint64 { return uint64(time.Now().Unix()) / (24 * 60 * 60) * 1000 }

// TestSameAsRabbitMQ plays random scenarios on the embedded broker and on RabbitMQ. EVENTROUTER_TEST_SCENARIOS says how many (40), and
// EVENTROUTER_TEST_SEED from which seed on (those of the day): scenario n of a run has that seed plus n.
func TestSameAsRabbitMQ(t *testing.T) {
	t.Parallel()
	ours, theirs := amqptest.Start(t, embedded.Options{Logf: func(string, ...any) {}}), newest(t)
	seed, n := fromEnvironment(t, "EVENTROUTER_TEST_SEED", ofToday()), fromEnvironment(t, "EVENTROUTER_TEST_SCENARIOS", 40)
	t.Logf("%d scenarios from seed %d on %s", n, seed, theirs.Version)
	var next atomic.Uint64
	var players sync.WaitGroup
	for range 8 { // which wait for RabbitMQ most of the time
		players.Go(func() {
			for at := next.Add(1) - 1; at < n; at = next.Add(1) - 1 {
				compare(t, differential.New(seed+at), ours, theirs.URL)
			}
		})
	}
	players.Wait()
}

func compare(t *testing.T, s *differential.Scenario, ours *embedded.Broker, theirs string) {
	t.Helper()
	var difference differential.Difference
	for range attempts {
		var err error
		if difference, err = differential.Compare(s, ours, theirs); err != nil {
			t.Errorf("seed %d: %v", s.Seed, err)
			return
		}
		if difference.What == "" {
			return
		}
		t.Logf("seed %d: a difference, which is looked at again:\n%s", s.Seed, difference)
	}
	t.Errorf("EVENTROUTER_TEST_SEED=%d EVENTROUTER_TEST_SCENARIOS=1 differs:\n%s", s.Seed, difference)
}

// TestRabbitMQWithItself plays scenarios several times and tells how often RabbitMQ did what: where a difference is there at some times only, it is a
// matter of RabbitMQ's timing. EVENTROUTER_TEST_PLAYS says how often; without it there is nothing to do.
func TestRabbitMQWithItself(t *testing.T) {
	t.Parallel()
	plays := fromEnvironment(t, "EVENTROUTER_TEST_PLAYS", 0)
	if plays == 0 {
		t.Skip("EVENTROUTER_TEST_PLAYS is not set")
	}
	ours, theirs := amqptest.Start(t, embedded.Options{Logf: func(string, ...any) {}}), newest(t)
	seed, n := fromEnvironment(t, "EVENTROUTER_TEST_SEED", ofToday()), fromEnvironment(t, "EVENTROUTER_TEST_SCENARIOS", 1)
	for s := seed; s < seed+n; s++ {
		outcomes := map[string]int{}
		for range plays {
			difference, err := differential.Compare(differential.New(s), ours, theirs.URL)
			if err != nil {
				t.Fatalf("seed %d: %v", s, err)
			}
			outcomes[difference.What]++
		}
		t.Logf("seed %d: the same %d times of %d", s, outcomes[""], plays)
		delete(outcomes, "")
		for what, times := range outcomes {
			t.Logf("seed %d: %d times\n%s", s, times, what)
		}
	}
}
