package changes

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/management"
	"github.com/eventrouter/eventrouter/router/plan"
)

// comparison is how long the management API may tell of what was, and how often it is asked.
const (
	comparison = 30 * time.Second
	askAgain   = 200 * time.Millisecond
)

// Compare compares, through the management API, what is on a broker with what a plan wants there: all of it, in that shape, and nothing else of its name.
func Compare(t testing.TB, api string, p *plan.Plan) {
	t.Helper()
	client, err := management.New(api, "/", management.Options{})
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for end := time.Now().Add(comparison); ; <-tick.C {
		found, err := client.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wrong := differences(p, found)
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("the topology is not what the plan wants:\n%s", strings.Join(wrong, "\n"))
			return
		}
	}
}

func differences(p *plan.Plan, found *management.Found) (out []string) {
	want, record := p.Topology, p.RecordTopology()
	want.Exchanges = slices.Concat(want.Exchanges, record.Exchanges)
	want.Queues = slices.Concat(want.Queues, record.Queues)
	want.Bindings = slices.Concat(want.Bindings, record.Bindings)
	for _, d := range management.Drift(&want, &plan.Topology{}, found) {
		out = append(out, fmt.Sprintf("%s %s: %s", d.Kind, d.Name, d.Detail))
	}
	for _, x := range found.Exchanges {
		if strings.HasPrefix(x.Name, p.Name+".") && !slices.ContainsFunc(want.Exchanges, func(w plan.Exchange) bool { return w.Name == x.Name }) {
			out = append(out, "left behind: exchange "+x.Name)
		}
	}
	for _, q := range found.Queues {
		if strings.HasPrefix(q.Name, p.Name+".") && !q.Exclusive && !slices.ContainsFunc(want.Queues, func(w plan.Queue) bool { return w.Name == q.Name }) {
			out = append(out, "left behind: queue "+q.Name)
		}
	}
	for _, b := range found.Bindings {
		if strings.HasPrefix(b.Source, p.Name+".") && !slices.Contains(want.Bindings, plan.Binding{Exchange: b.Source, Queue: b.Destination, Key: b.Key}) {
			out = append(out, fmt.Sprintf("left behind: the binding of %s to %s with %q", b.Destination, b.Source, b.Key))
		}
	}
	return out
}
