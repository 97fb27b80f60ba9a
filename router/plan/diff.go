package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Mark says what becomes of a thing.
type Mark string

const (
	Added   Mark = "+"
	Changed Mark = "~"
	Removed Mark = "-"
)

// Line is one difference between what is recorded on the broker and what is wanted.
type Line struct {
	Mark    Mark   `json:"mark"`
	Kind    string `json:"kind"` // rule, pipeline, exchange, queue or binding
	Name    string `json:"name"`
	Detail  string `json:"detail,omitempty"`  // what of it is different
	Because string `json:"because,omitempty"` // the rule or pipeline that causes it
	Place   string `json:"place,omitempty"`   // of that, in the file; of what is gone, where it stood
}

// Effect is what a change means to a pipeline.
type Effect struct {
	Pipeline string   `json:"pipeline"`
	Gets     string   `json:"gets"`  // more, fewer, or other events
	Rules    []string `json:"rules"` // that make the difference
}

// Lines are the differences: rules and pipelines first, then what they make of the broker's objects.
func (c *Change) Lines() []Line {
	if c.lines != nil {
		return c.lines
	}
	want := c.Plan.State()
	d := differ{old: &c.prior, now: &want, plan: c.Plan, stale: c.stale}
	d.index()
	d.rules()
	d.pipelines()
	d.objects()
	return d.lines
}

// Effects are what the change means to each pipeline that it means something to, in the order of their names.
func (c *Change) Effects() []Effect {
	want := c.Plan.State()
	type balance struct {
		more, fewer bool
		rules       []string
	}
	of := map[string]*balance{}
	note := func(r *Ruled, pipelines []string, more, fewer bool) {
		for _, name := range pipelines {
			b := of[name]
			if b == nil {
				b = &balance{}
				of[name] = b
			}
			b.more, b.fewer = b.more || more, b.fewer || fewer
			if !slices.Contains(b.rules, r.Name) {
				b.rules = append(b.rules, r.Name)
			}
		}
	}
	old, now := byName(c.prior.Rules), byName(want.Rules)
	for i := range want.Rules {
		r := &want.Rules[i]
		was := old[r.Name]
		switch {
		case was == nil:
			note(r, r.Pipelines, true, false)
		case was.asks() != r.asks():
			note(r, both(r.Pipelines, was.Pipelines), true, true)
		}
		if was != nil {
			note(r, without(r.Pipelines, was.Pipelines), true, false)
			note(r, without(was.Pipelines, r.Pipelines), false, true)
		}
	}
	for i := range c.prior.Rules {
		if r := &c.prior.Rules[i]; now[r.Name] == nil {
			note(r, r.Pipelines, false, true)
		}
	}
	var out []Effect
	for _, name := range slices.Sorted(maps.Keys(of)) {
		b := of[name]
		gets := "other"
		if !b.fewer {
			gets = "more"
		} else if !b.more {
			gets = "fewer"
		}
		out = append(out, Effect{name, gets, b.rules})
	}
	return out
}

// asks is all that a rule asks of an event.
func (r *Ruled) asks() string { return fmt.Sprintf("%q %q %s", r.Type, r.From, r.Sum) }

func byName(list []Ruled) map[string]*Ruled {
	out := make(map[string]*Ruled, len(list))
	for i := range list {
		out[list[i].Name] = &list[i]
	}
	return out
}

// differ gathers the differences of two states.
type differ struct {
	old, now *State
	plan     *Plan
	stale    Topology
	lines    []Line
	causes   map[*State]map[Binding][]*Ruled
}

func (d *differ) add(l Line) { d.lines = append(d.lines, l) }

// index finds out which rules cause which bindings.
func (d *differ) index() {
	d.causes = map[*State]map[Binding][]*Ruled{d.old: {}, d.now: {}}
	for s, causes := range d.causes {
		for i := range s.Rules {
			r := &s.Rules[i]
			queues := map[string]bool{}
			for _, name := range r.Pipelines {
				fed := s.Pipelines[name]
				if fed.Feed == ByRouter {
					fed.Queue = s.Match
				}
				queues[fed.Queue] = true
			}
			for _, x := range r.From {
				for queue := range queues {
					b := Binding{Exchange: x, Queue: queue, Key: r.Type}
					causes[b] = append(causes[b], r)
				}
			}
		}
	}
}

// cause is the rule that a binding stands for, and how many more.
func (d *differ) cause(s *State, b Binding) (because, place string) {
	rules := d.causes[s][b]
	if len(rules) == 0 {
		return "", ""
	}
	because = fmt.Sprintf("rule %q", rules[0].Name)
	if n := len(rules) - 1; n > 0 {
		because += fmt.Sprintf(" and %d more", n)
	}
	return because, rules[0].Place
}

func (d *differ) rules() {
	old, now := byName(d.old.Rules), byName(d.now.Rules)
	for i := range d.now.Rules {
		r := &d.now.Rules[i]
		was := old[r.Name]
		if was == nil {
			d.add(Line{Mark: Added, Kind: "rule", Name: r.Name, Detail: r.says(), Place: r.Place})
		} else if detail := was.changed(r); detail != "" {
			d.add(Line{Mark: Changed, Kind: "rule", Name: r.Name, Detail: detail, Place: r.Place})
		}
	}
	for i := range d.old.Rules {
		if r := &d.old.Rules[i]; now[r.Name] == nil {
			d.add(Line{Mark: Removed, Kind: "rule", Name: r.Name, Detail: r.says(), Place: r.Place})
		}
	}
}

func (r *Ruled) says() string {
	text := r.Type
	if r.Content != "" {
		text += ", " + r.Content
	}
	return text + " → " + strings.Join(r.Pipelines, ", ")
}

// changed says how a rule differs from what it was; "" where it does not.
func (r *Ruled) changed(now *Ruled) string {
	var parts []string
	note := func(what, before, after string) {
		if before != after {
			parts = append(parts, fmt.Sprintf("%s: %s → %s", what, cmp.Or(before, "none"), cmp.Or(after, "none")))
		}
	}
	note("type", r.Type, now.Type)
	note("from", strings.Join(r.From, ", "), strings.Join(now.From, ", "))
	note("pipelines", strings.Join(r.Pipelines, ", "), strings.Join(now.Pipelines, ", "))
	if r.Sum != now.Sum {
		if r.Content == now.Content {
			parts = append(parts, "content: "+r.Content+" (too long to show what is different)")
		}
		note("content", r.Content, now.Content)
	}
	return strings.Join(parts, "; ")
}

func (d *differ) pipelines() {
	for i := range d.plan.Pipelines {
		p := &d.plan.Pipelines[i]
		was, there := d.old.Pipelines[p.Name]
		switch {
		case !there:
			d.add(Line{Mark: Added, Kind: "pipeline", Name: p.Name, Detail: "fed by the " + p.Feed.String(), Place: p.Pos.String()})
		case was.Feed != p.Feed:
			because, place := "no rule of it looks at content any more", p.Pos.String()
			if p.Feed == ByRouter {
				because, place = d.looksAtContent(p.Name)
			}
			d.add(Line{Mark: Changed, Kind: "pipeline", Name: p.Name, Detail: fmt.Sprintf("fed by the %s → the %s", was.Feed, p.Feed), Because: because, Place: place})
		case was.Queue != p.QueueName:
			d.add(Line{Mark: Changed, Kind: "pipeline", Name: p.Name, Detail: fmt.Sprintf("queue %s → %s", was.Queue, p.QueueName), Place: p.Pos.String()})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.old.Pipelines)) {
		if _, there := d.now.Pipelines[name]; !there {
			d.add(Line{Mark: Removed, Kind: "pipeline", Name: name})
		}
	}
}

// looksAtContent finds the rule by which the router feeds a pipeline.
func (d *differ) looksAtContent(pipeline string) (because, place string) {
	for i := range d.now.Rules {
		if r := &d.now.Rules[i]; r.Sum != "" && slices.Contains(r.Pipelines, pipeline) {
			return fmt.Sprintf("rule %q looks at content", r.Name), r.Place
		}
	}
	return "", ""
}

// String is the feed as people call it.
func (f Feed) String() string {
	if f == ByRouter {
		return "router"
	}
	return "broker"
}

func (d *differ) objects() {
	exchanges, queues := map[string]*Exchange{}, map[string]*Queue{}
	for i := range d.old.Topology.Exchanges {
		exchanges[d.old.Topology.Exchanges[i].Name] = &d.old.Topology.Exchanges[i]
	}
	for i := range d.old.Topology.Queues {
		queues[d.old.Topology.Queues[i].Name] = &d.old.Topology.Queues[i]
	}
	for _, x := range d.now.Topology.Exchanges {
		was := exchanges[x.Name]
		detail := x.Kind
		if was != nil {
			detail = arguments(was.Arguments, x.Arguments, was.Passive || x.Passive)
		}
		d.object("exchange", x.Name, was == nil, detail, "", "")
	}
	for _, q := range d.now.Topology.Queues {
		was := queues[q.Name]
		detail, because, place := "", "", ""
		if was != nil {
			detail = arguments(was.Arguments, q.Arguments, was.Passive || q.Passive)
		} else if kind, ok := q.Arguments["x-queue-type"].(string); ok {
			detail = kind
		}
		if p := d.owner(q.Name); p != nil {
			because, place = fmt.Sprintf("pipeline %q", p.Name), p.Pos.String()
		}
		d.object("queue", q.Name, was == nil, detail, because, place)
	}
	for _, b := range exceptBindings(d.now.Topology.Bindings, d.old.Topology.Bindings) {
		because, place := d.cause(d.now, b)
		d.add(Line{Mark: Added, Kind: "binding", Name: b.shown(), Because: because, Place: place})
	}
	for _, b := range d.stale.Bindings {
		if b.Exchange == b.Queue {
			continue // it goes with its queue
		}
		because, place := d.cause(d.old, b)
		d.add(Line{Mark: Removed, Kind: "binding", Name: b.shown(), Because: because, Place: place})
	}
	for _, q := range d.stale.Queues {
		d.add(Line{Mark: Removed, Kind: "queue", Name: q.Name})
	}
	for _, x := range d.stale.Exchanges {
		d.add(Line{Mark: Removed, Kind: "exchange", Name: x.Name, Detail: x.Kind})
	}
}

// object notes an exchange or queue that is new, or differs.
func (d *differ) object(kind, name string, isNew bool, detail, because, place string) {
	switch {
	case isNew:
		d.add(Line{Mark: Added, Kind: kind, Name: name, Detail: detail, Because: because, Place: place})
	case detail != "":
		detail += " (cannot be changed in place)"
		if kind == "queue" {
			detail = strings.TrimSuffix(detail, ")") + ": 'apply --migrate' moves its events)"
		}
		d.add(Line{Mark: Changed, Kind: kind, Name: name, Detail: detail, Because: because, Place: place})
	}
}

// owner is the pipeline that a queue belongs to: as its own, for its dead letters, or the first of those that wait in it.
func (d *differ) owner(queue string) *Pipeline {
	for i := range d.plan.Pipelines {
		p := &d.plan.Pipelines[i]
		if queue == p.QueueName || queue == p.DeadName || slices.ContainsFunc(p.Delays, func(x Delay) bool { return x.Exchange == queue }) {
			return p
		}
	}
	return nil
}

func (b Binding) shown() string {
	if b.Key == "" {
		return fmt.Sprintf("%s → %s", b.Exchange, b.Queue)
	}
	return fmt.Sprintf("%s → %s by %s", b.Exchange, b.Queue, b.Key)
}

// arguments says which arguments differ; "" where none does, or where one of the two is not ours.
func arguments(old, now map[string]any, others bool) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(merged(old, now))) {
		if before, after := old[name], now[name]; before != after && !others {
			parts = append(parts, fmt.Sprintf("%s: %s → %s", name, argument(before), argument(after)))
		}
	}
	return strings.Join(parts, ", ")
}

func merged(a, b map[string]any) map[string]any {
	out := maps.Clone(a)
	if out == nil {
		out = map[string]any{}
	}
	maps.Copy(out, b)
	return out
}

func argument(v any) string {
	switch v {
	case nil:
		return "none"
	case "":
		return `""`
	}
	return fmt.Sprint(v)
}
