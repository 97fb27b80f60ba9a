package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/integration/rabbit"
)

// loss is how nodes of a cluster are lost, one at a time, three times.
type loss struct {
	node func(r *rig, turn int) int
	lose func(node int) error
	back func(node int) error
}

// inTurn are all nodes, so that the leader of each queue is among them.
func inTurn(_ *rig, turn int) int { return turn }

// TestNothingIsLostInACluster takes nodes from a cluster of three under load, keeps books, and says how long it takes until events flow again. Nodes are
// restarted in order only where EVENTROUTER_TEST_LONG is set: it takes minutes.
func TestNothingIsLostInACluster(t *testing.T) {
	t.Parallel()
	c := rabbit.NewCluster(t, 8)
	t.Run("nodes are killed", func(t *testing.T) {
		lose(t, c, loss{inTurn, func(node int) error { return c.Nodes[node].Kill(t.Context()) }, func(node int) error { return c.Revive(t.Context(), node) }})
	})
	if os.Getenv("EVENTROUTER_TEST_LONG") != "" {
		t.Run("nodes are restarted in turn", func(t *testing.T) {
			lose(t, c, loss{inTurn, func(node int) error { return c.Restart(t.Context(), node) }, func(int) error { return nil }})
		})
	}
}

// TestNothingIsLostWhenANodeIsCutOff cuts off the node that eventrouter is connected to, and neither side is told. The other nodes notice after about
// net_ticktime, and until then events wait. It takes RabbitMQ minutes to have a node back, so that it is skipped where EVENTROUTER_TEST_LONG is not set.
func TestNothingIsLostWhenANodeIsCutOff(t *testing.T) {
	t.Parallel()
	if os.Getenv("EVENTROUTER_TEST_LONG") == "" {
		t.Skip("it takes minutes: EVENTROUTER_TEST_LONG is not set")
	}
	for _, tick := range []int{3, 8} {
		t.Run(fmt.Sprintf("net_ticktime = %d", tick), func(t *testing.T) {
			c := rabbit.NewCluster(t, tick)
			used := func(r *rig, _ int) int { return nodeOf(r, c) }
			lose(t, c, loss{used, func(node int) error { return c.CutOff(t.Context(), node) }, func(node int) error { return c.Join(t.Context(), node) }})
		})
	}
}

func lose(t *testing.T, c *rabbit.Cluster, l loss) {
	r := startRig(t, &rig{server: c.Nodes[0], url: c.URL}, c.URL)
	for turn := range c.Nodes {
		node := l.node(r, turn)
		r.goesOn(50)
		r.book.Mark(fmt.Sprintf("node %d goes", node))
		if err := l.lose(node); err != nil {
			t.Fatal(err)
		}
		r.flows()
		r.goesOn(50)
		r.book.Mark(fmt.Sprintf("node %d comes back", node))
		if err := l.back(node); err != nil {
			t.Fatal(err)
		}
		r.book.Mark(fmt.Sprintf("node %d is back", node))
	}
	r.flows()
	for _, line := range strings.Split(r.process.said(), "\n") {
		if strings.Contains(line, "has sent nothing for") {
			t.Logf("RabbitMQ has forgotten a consumer: %s", line)
		}
	}
	r.balance()
}

// nodeOf is the node that eventrouter has said last that it is connected to.
func nodeOf(r *rig, c *rabbit.Cluster) int {
	r.t.Helper()
	said := r.process.said()
	last := strings.LastIndex(said, `"connected to the broker"`)
	line, _, _ := strings.Cut(said[max(0, last):], "\n")
	for i, n := range c.Nodes {
		if _, host, _ := strings.Cut(n.URL, "@"); strings.Contains(line, host) {
			return i
		}
	}
	r.t.Fatalf("it is connected to no node:\n%s", said)
	return 0
}
