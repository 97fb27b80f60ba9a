package management

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/eventrouter/eventrouter/router/plan"
)

// Difference is something on the broker that is not as it was applied.
type Difference struct {
	Kind   string `json:"kind"` // exchange, queue or binding
	Name   string `json:"name"`
	Detail string `json:"detail"`
}

// Drift compares what is on the broker with what was applied. allowed is what may be there too, of a change under way or not yet removed.
// Objects that somebody else declares are not looked at, and neither is what others bind to exchanges of ours.
func Drift(applied, allowed *plan.Topology, found *Found) []Difference {
	var out []Difference
	exchanges := byName(found.Exchanges, func(x *Exchange) string { return x.Name })
	for i := range applied.Exchanges {
		if x := &applied.Exchanges[i]; !x.Passive {
			out = append(out, exchangeDrift(x, exchanges[x.Name])...)
		}
	}
	queues := byName(found.Queues, func(q *Queue) string { return q.Name })
	for i := range applied.Queues {
		if q := &applied.Queues[i]; !q.Passive {
			out = append(out, queueDrift(q, queues[q.Name])...)
		}
	}
	return append(out, bindingDrift(applied, allowed, found.Bindings)...)
}

func byName[T any](all []T, name func(*T) string) map[string]*T {
	out := map[string]*T{}
	for i := range all {
		out[name(&all[i])] = &all[i]
	}
	return out
}

const gone = "applied, and not on the broker"

func exchangeDrift(want *plan.Exchange, is *Exchange) []Difference {
	if is == nil {
		return []Difference{{"exchange", want.Name, gone}}
	}
	var details []string
	if is.Kind != want.Kind {
		details = append(details, changed("type", want.Kind, is.Kind))
	}
	details = append(details, flags(is.Durable, is.AutoDelete, false)...)
	if is.Internal {
		details = append(details, "internal: publishers are refused")
	}
	details = append(details, argumentDrift(want.Arguments, is.Arguments)...)
	return differences("exchange", want.Name, append(details, policies(is.Policy, "", nil)...))
}

func queueDrift(want *plan.Queue, is *Queue) []Difference {
	if is == nil {
		return []Difference{{"queue", want.Name, gone}}
	}
	details := flags(is.Durable, is.AutoDelete, is.Exclusive)
	details = append(details, argumentDrift(want.Arguments, is.Arguments)...)
	return differences("queue", want.Name, append(details, policies(is.Policy, is.OperatorPolicy, is.Effective)...))
}

func differences(kind, name string, details []string) (out []Difference) {
	for _, detail := range details {
		out = append(out, Difference{kind, name, detail})
	}
	return out
}

// flags tells what is not as all objects of ours are.
func flags(durable, autoDelete, exclusive bool) (out []string) {
	if !durable {
		out = append(out, "not durable")
	}
	if autoDelete {
		out = append(out, "deleted when it is not used any more")
	}
	if exclusive {
		out = append(out, "exclusive")
	}
	return out
}

// policies tells which are in force, and what they set together, where that is known.
func policies(policy, operator string, sets Definition) []string {
	var names, values []string
	if policy != "" {
		names = append(names, fmt.Sprintf("policy %q", policy))
	}
	if operator != "" {
		names = append(names, fmt.Sprintf("operator policy %q", operator))
	}
	if len(names) == 0 {
		return nil
	}
	said := names[0] + " is in force"
	if len(names) > 1 {
		said = strings.Join(names, " and ") + " are in force"
	}
	for _, name := range slices.Sorted(maps.Keys(sets)) {
		values = append(values, name+" "+text(sets, name))
	}
	if len(values) > 0 {
		said += ": " + strings.Join(values, ", ")
	}
	return []string{said}
}

// argumentDrift compares values as texts: numbers from JSON are of another type.
func argumentDrift(want, is map[string]any) (out []string) {
	names := maps.Clone(want)
	if names == nil {
		names = map[string]any{}
	}
	maps.Copy(names, is)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if before, now := text(want, name), text(is, name); before != now {
			out = append(out, changed(name, before, now))
		}
	}
	return out
}

func text(arguments map[string]any, name string) string {
	switch v := arguments[name].(type) {
	case nil:
		return "none"
	case float64:
		return fmt.Sprintf("%.0f", v)
	case string:
		return fmt.Sprintf("%q", v)
	default:
		return fmt.Sprint(v)
	}
}

func changed(what, before, now string) string { return fmt.Sprintf("%s: %s → %s", what, before, now) }

// bindingDrift tells of bindings that are gone, and of those to queues of ours that nobody applied.
func bindingDrift(applied, allowed *plan.Topology, found []Binding) (out []Difference) {
	there := map[plan.Binding]bool{}
	ours := map[string]bool{}
	for _, q := range applied.Queues {
		ours[q.Name] = !q.Passive
	}
	known := map[plan.Binding]bool{}
	for _, b := range slices.Concat(applied.Bindings, allowed.Bindings) {
		known[b] = true
	}
	var strange []Difference
	for _, f := range found {
		b := plan.Binding{Exchange: f.Source, Queue: f.Destination, Key: f.Key, ToExchange: f.Kind == "exchange"}
		plain := len(f.Arguments) == 0
		if plain {
			there[b] = true
		}
		if f.Source != "" && !b.ToExchange && ours[b.Queue] && !(plain && known[b]) {
			strange = append(strange, Difference{"binding", bindingName(b), "on the broker, and not applied"})
		}
	}
	for _, b := range applied.Bindings {
		if !there[b] {
			out = append(out, Difference{"binding", bindingName(b), gone})
		}
	}
	return append(out, strange...)
}

func bindingName(b plan.Binding) string {
	return fmt.Sprintf("%s → %s with %q", b.Exchange, b.Queue, b.Key)
}
