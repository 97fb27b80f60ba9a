package integration

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/integration/rabbit"
)

// TestNothingIsLostInACluster takes nodes from a cluster of three under load, one at a time, keeps books, and says how long it takes until events flow again.
// When it is done with all three, the leader of each queue was among them. Nodes are restarted in turn, and one is cut off, only where EVENTROUTER_TEST_LONG is
// set: it takes RabbitMQ minutes to notice that a node is cut off, and to have it back.
func TestNothingIsLostInACluster(t *testing.T) {
	t.Parallel()
	c := rabbit.NewCluster(t)
	all := func(*rig) []int { return []int{0, 1, 2} }
	used := func(r *rig) []int { return []int{nodeOf(r, c)} }
	type fault struct {
		name  string
		nodes func(r *rig) []int
		lose  func(node int) error
		back  func(node int) error
	}
	faults := []fault{
		{"nodes are killed", all, func(node int) error { return c.Nodes[node].Kill(t.Context()) }, func(node int) error { return c.Revive(t.Context(), node) }},
	}
	if os.Getenv("EVENTROUTER_TEST_LONG") != "" {
		faults = append(faults,
			fault{"nodes are restarted in turn", all, func(node int) error { return c.Restart(t.Context(), node) }, func(int) error { return nil }},
			fault{"a node is cut off", used, func(node int) error { return c.CutOff(t.Context(), node) }, func(node int) error { return c.Join(t.Context(), node) }})
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			r := startRig(t, &rig{server: c.Nodes[0], url: c.URL}, c.URL)
			for _, node := range fault.nodes(r) {
				r.goesOn(50)
				r.book.Mark(fmt.Sprintf("node %d goes", node))
				if err := fault.lose(node); err != nil {
					t.Fatal(err)
				}
				r.flows()
				r.goesOn(50)
				r.book.Mark(fmt.Sprintf("node %d comes back", node))
				if err := fault.back(node); err != nil {
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
		})
	}
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
