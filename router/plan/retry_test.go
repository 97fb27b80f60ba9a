package plan_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/plan"
)

const retrying = `
version: 1
name: shop
pipelines: {mail: {retry: {delays: [1s]}}, small: {queue: {max_length: 5}, retry: {delays: [7s]}}PIPELINES}
rules:
  - {name: all, pipelines: [mail, small]}
`

// older is a state as versions recorded it whose delays led to the default exchange.
func older(s plan.State) plan.State {
	s.Topology.Exchanges = slices.Clone(s.Topology.Exchanges)
	s.Topology.Queues, s.Topology.Bindings = slices.Clone(s.Topology.Queues), slices.Clone(s.Topology.Bindings)
	old := func(name string) string { return strings.Replace(name, ".delay.", ".retry.", 1) }
	s.Topology.Exchanges = slices.DeleteFunc(s.Topology.Exchanges, func(x plan.Exchange) bool { return x.Name == "shop.retry" })
	s.Topology.Bindings = slices.DeleteFunc(s.Topology.Bindings, func(b plan.Binding) bool { return b.Exchange == "shop.retry" })
	for i := range s.Topology.Exchanges {
		s.Topology.Exchanges[i].Name = old(s.Topology.Exchanges[i].Name)
	}
	for i := range s.Topology.Queues {
		q := &s.Topology.Queues[i]
		if q.Delay() > 0 {
			q.Name, q.Arguments = old(q.Name), maps.Clone(q.Arguments)
			q.Arguments["x-dead-letter-exchange"] = ""
		}
	}
	for i := range s.Topology.Bindings {
		b := &s.Topology.Bindings[i]
		b.Exchange, b.Queue = old(b.Exchange), old(b.Queue)
	}
	s.Digest = "older"
	return s
}

// The first version whose delays lead through an exchange finds those of the last that led to the queues themselves.
func TestDelaysOfOlderVersionsGoWhenAllIsBackFromThem(t *testing.T) {
	t.Parallel()
	p := compile(t, strings.Replace(retrying, "PIPELINES", "", 1))
	c := plan.NewChange(&plan.Record{Applied: older(p.State())}, p)
	if len(c.Reshaped()) > 0 || c.Turns {
		t.Errorf("more has to change than was: reshaped %v, turns %t", c.Reshaped(), c.Turns)
	}
	dropped := map[string]plan.Step{}
	for _, s := range c.Remove {
		if s.DropQueue != "" {
			dropped[s.DropQueue] = s
		}
	}
	mail, small := dropped["shop.retry.1s"], dropped["shop.small.retry.7s"]
	if len(dropped) != 2 || !mail.Rests || !small.Rests {
		t.Errorf("it removes %+v", dropped)
	}
	if mail.Back != nil || small.Back == nil || small.Back.Name != "shop.small" {
		t.Errorf("events come back from them to queues with limits: %+v, %+v", mail.Back, small.Back)
	}
}

// What waits in a delay for a queue that is gone from the rules comes back to it for as long as it is there.
func TestAQueueThatIsGoneKeepsItsWayBack(t *testing.T) {
	t.Parallel()
	old := compile(t, strings.Replace(retrying, "PIPELINES", ", gone: {}, theirs: {queue: {name: their.queue, declare: false}}", 1))
	c := plan.NewChange(&plan.Record{Applied: old.State()}, compile(t, strings.Replace(retrying, "PIPELINES", "", 1)))
	for _, s := range c.Remove {
		for _, b := range s.Unbind {
			if b.Exchange == old.Retry {
				t.Errorf("it unbinds %s from %s", b.Queue, b.Exchange)
			}
		}
		if s.Drop == old.Retry || s.DropChange == old.Retry {
			t.Errorf("it deletes exchange %s", old.Retry)
		}
	}
}

// Each way into a queue is led through the exchange of its move, also those by which events come to that pipeline alone.
func TestAMoveLeadsAllWaysIntoAQueue(t *testing.T) {
	t.Parallel()
	c, q := reshaped(t)
	m, err := c.Migrate(q)
	if err != nil {
		t.Fatal(err)
	}
	var ways []string
	for _, b := range m.Record.Move.Bindings {
		ways = append(ways, b.Exchange+" "+b.Key)
	}
	slices.Sort(ways)
	if want := []string{"shop.matched shop.billing", "shop.retry shop.billing"}; !slices.Equal(ways, want) {
		t.Errorf("it leads %q, want %q", ways, want)
	}
	for _, queue := range c.Plan.Topology.Queues {
		if queue.Delay() > 0 && queue.Arguments["x-dead-letter-exchange"] != c.Plan.Retry {
			t.Errorf("what waited in %s goes to exchange %q", queue.Name, queue.Arguments["x-dead-letter-exchange"])
		}
	}
}
