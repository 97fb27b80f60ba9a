package plan

import (
	"fmt"
	"slices"
)

// turn are the steps of a turn, up to where the new plan is in force and the objects of the turn are gone.
func (c *Change) turn(want *State) []Step {
	t := turning{from: &c.prior, to: want, plan: c.Plan}
	steps := []Step{{Note: c.note(want, Preparing)}}
	steps = append(steps, c.declare(&want.Topology, t.indirect(want))...)
	steps = append(steps, Step{Note: c.note(want, Turning)})
	steps = append(steps, t.raise()...)
	steps = append(steps, Step{Bind: t.toF()})
	steps = append(steps, unbind(exceptBindings(t.direct(&c.prior), t.direct(want)))...)
	steps = append(steps, Step{Pause: true}, Step{Unbind: t.toA()}, Step{Note: c.note(want, Turned)})
	steps = append(steps, bind(t.direct(want))...)
	return append(steps, t.clear()...)
}

// turning knows the objects of a turn.
type turning struct {
	from, to *State
	plan     *Plan
}

// sources are the exchanges that publishers publish to in both plans.
func (t *turning) sources() (names []string) {
	for _, x := range t.from.Topology.Exchanges {
		if x.Kind == topicKind && slices.ContainsFunc(t.to.Topology.Exchanges, func(y Exchange) bool { return y.Name == x.Name && y.Kind == topicKind }) {
			names = append(names, x.Name)
		}
	}
	return names
}

const topicKind = "topic"

func (t *turning) name(i int, part string) string {
	return fmt.Sprintf("%s.turn.%d%s", t.plan.Name, i, part)
}

// direct are the bindings of a state that a turn replaces.
func (t *turning) direct(s *State) (out []Binding) {
	sources := t.sources()
	for _, b := range s.Topology.Bindings {
		if slices.Contains(sources, b.Exchange) {
			out = append(out, b)
		}
	}
	return out
}

// indirect are the other bindings of a state.
func (t *turning) indirect(s *State) []Binding {
	return exceptBindings(s.Topology.Bindings, t.direct(s))
}

// raise declares F, A and B for each source, and binds all but the source to F.
func (t *turning) raise() []Step {
	var exchanges []Exchange
	var bindings []Binding
	for i, x := range t.sources() {
		f, a, b := t.name(i, ""), t.name(i, ".from"), t.name(i, ".to")
		unrouted := map[string]any{"alternate-exchange": t.plan.Unrouted}
		exchanges = append(exchanges,
			Exchange{Name: a, Kind: topicKind, Arguments: unrouted}, Exchange{Name: b, Kind: topicKind, Arguments: unrouted},
			Exchange{Name: f, Kind: "fanout", Arguments: map[string]any{"alternate-exchange": b}})
		bindings = append(bindings, rebound(t.from, x, a)...)
		bindings = append(bindings, rebound(t.to, x, b)...)
	}
	steps := append([]Step{{Exchanges: exchanges}}, bind(bindings)...)
	return append(steps, Step{Bind: t.toA()})
}

// rebound are the bindings of an exchange as those of another.
func rebound(s *State, exchange, to string) (out []Binding) {
	for _, b := range s.Topology.Bindings {
		if b.Exchange == exchange {
			b.Exchange = to
			out = append(out, b)
		}
	}
	return out
}

func (t *turning) toF() (out []Binding) {
	for i, x := range t.sources() {
		out = append(out, Binding{Exchange: x, Queue: t.name(i, ""), Key: "#", ToExchange: true})
	}
	return out
}

func (t *turning) toA() (out []Binding) {
	for i := range t.sources() {
		out = append(out, Binding{Exchange: t.name(i, ""), Queue: t.name(i, ".from"), ToExchange: true})
	}
	return out
}

// clear takes the objects of the turn away.
func (t *turning) clear() []Step {
	steps := []Step{{Unbind: t.toF()}, {Pause: true}}
	for i := range t.sources() {
		for _, part := range []string{"", ".from", ".to"} {
			steps = append(steps, Step{DropChange: t.name(i, part)})
		}
	}
	return steps
}
