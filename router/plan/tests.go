package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/rules"
)

// Outcome is what one of the file's tests came to.
type Outcome struct {
	Test      *rules.Test
	Events    int      // that were judged
	Rules     []string // that hold, for any of the events
	Pipelines []string // that get any of them
	Failures  []Failure
}

// Failure is an expectation that is not met.
type Failure struct {
	What       string   // event, pipelines, rules, includes, excludes, holds or fails
	Event      string   // place of the event, where it is one of a file
	Missing    []string // expected, and not there
	Unexpected []string // there, and not expected
	Why        []string // for what is missing: what kept the rules from holding; for what is not expected: the rules that hold
}

// RunTests runs the file's tests. Outcomes are in the order of the file. The events of files have to be read before, by
// [rules.File.ReadEvents].
func (p *Plan) RunTests() []Outcome {
	out := make([]Outcome, len(p.Tests))
	for i := range p.Tests {
		out[i] = p.runTest(&p.Tests[i])
	}
	return out
}

// Uncovered are the rules that hold for no event of the tests: indices into Rules, ascending.
func (p *Plan) Uncovered(outcomes []Outcome) []int {
	held := map[string]bool{}
	for _, o := range outcomes {
		for _, name := range o.Rules {
			held[name] = true
		}
	}
	var out []int
	for i := range p.Rules {
		if !held[p.Rules[i].Name] {
			out = append(out, i)
		}
	}
	return out
}

// maxFailing is how many events of a file one test tells of.
const maxFailing = 5

// running is a test under way.
type running struct {
	*Outcome
	plan             *Plan
	exchange         string
	rules, pipelines map[int]bool // seen for any event
	failing          int          // events
}

func (p *Plan) runTest(t *rules.Test) Outcome {
	o := Outcome{Test: t}
	exchange, _ := p.Source(t.From)
	r := &running{Outcome: &o, plan: p, exchange: exchange, rules: map[int]bool{}, pipelines: map[int]bool{}}
	if t.EventsFile == "" {
		r.judge(t.Event, "")
	} else if len(t.Events) == 0 {
		o.Failures = []Failure{{What: "event", Why: []string{"the events of " + t.EventsFile + " are not read"}}}
	}
	for i := range t.Events {
		r.judge(t.Events[i].Event, t.Events[i].Pos.String())
	}
	if more := r.failing - maxFailing; more > 0 {
		o.Failures = append(o.Failures, Failure{What: "event", Why: []string{fmt.Sprintf("%d more of the %d events fail", more, o.Events)}})
	}
	for i := range p.Rules {
		if r.rules[i] {
			o.Rules = append(o.Rules, p.Rules[i].Name)
		}
	}
	for i := range p.Pipelines {
		if r.pipelines[i] {
			o.Pipelines = append(o.Pipelines, p.Pipelines[i].Name)
		}
	}
	return o
}

// judge compares what becomes of one event with what the test says.
func (r *running) judge(doc map[string]any, place string) {
	r.Events++
	var failures []Failure
	e, err := event.FromDocument(doc)
	if err != nil {
		failures = []Failure{{What: "event", Why: []string{err.Error()}}}
	} else {
		failures = r.failures(&e)
	}
	if len(failures) > 0 {
		r.failing++
	}
	if r.failing > maxFailing {
		return
	}
	for i := range failures {
		failures[i].Event = place
	}
	r.Outcome.Failures = append(r.Outcome.Failures, failures...)
}

func (r *running) failures(e *event.Event) []Failure {
	p, t := r.plan, r.Test
	var routed Routed
	p.Route(e, r.exchange, &routed)
	for _, i := range routed.Rules {
		r.rules[i] = true
	}
	for _, i := range routed.Pipelines {
		r.pipelines[i] = true
	}
	held, reached := p.RuleNames(&routed), p.PipelineNames(&routed)
	var out []Failure
	expect := func(what string, missing, unexpected []string) {
		if len(missing)+len(unexpected) > 0 {
			out = append(out, Failure{What: what, Missing: missing, Unexpected: unexpected})
		}
	}
	if t.Pipelines != nil {
		expect("pipelines", without(t.Pipelines, reached), without(reached, t.Pipelines))
	}
	if t.Rules != nil {
		expect("rules", without(t.Rules, held), without(held, t.Rules))
	}
	expect("includes", without(t.Includes, reached), nil)
	expect("excludes", nil, both(t.Excludes, reached))
	expect("holds", without(t.Holds, held), nil)
	for i := range out {
		out[i].Why = append(p.why(e, r.exchange, &out[i]), p.whyThere(&routed, &out[i])...)
	}
	return append(out, p.reasons(e, r.exchange, t.Fails, held)...)
}

// reasons judges the rules that are not to hold.
func (p *Plan) reasons(e *event.Event, exchange string, fails []rules.Reason, held []string) []Failure {
	if len(fails) == 0 {
		return nil
	}
	f := Failure{What: "fails"}
	doc := e.Document()
	for _, reason := range fails {
		if slices.Contains(held, reason.Rule) {
			f.Unexpected = append(f.Unexpected, reason.Rule)
			continue
		}
		at := slices.IndexFunc(p.Rules, func(r rules.Rule) bool { return r.Name == reason.Rule })
		v := RuleVerdict{at, p.matcher.Why(at, e, doc, p.keys[exchange])}
		if reason.Path != "" && reason.Path != v.Path && !slices.Contains(v.Also, reason.Path) {
			f.Why = append(f.Why, fmt.Sprintf("rule %q does not hold, but not because of %s: %s", reason.Rule, reason.Path, v.Reason()))
		}
	}
	if len(f.Unexpected)+len(f.Why) == 0 {
		return nil
	}
	return []Failure{f}
}

// maxWhy is how many reasons a failure gives.
const maxWhy = 3

// why tells for what is missing which rules would have led there, and what kept them from holding: the nearest first.
func (p *Plan) why(e *event.Event, exchange string, f *Failure) []string {
	var out []string
	if len(f.Missing) == 0 {
		return nil
	}
	for _, v := range p.Explain(e, exchange).Rules {
		r := &p.Rules[v.Rule]
		leads := f.ofRules() && slices.Contains(f.Missing, r.Name) || !f.ofRules() && len(both(f.Missing, r.Pipelines)) > 0
		if !v.Holds && leads && len(out) < maxWhy {
			out = append(out, fmt.Sprintf("rule %q does not hold: %s", r.Name, v.Reason()))
		}
	}
	return out
}

// whyThere tells for pipelines that are not expected which rules led there.
func (p *Plan) whyThere(routed *Routed, f *Failure) []string {
	var out []string
	if f.ofRules() {
		return nil
	}
	for _, i := range routed.Rules {
		if names := both(f.Unexpected, p.Rules[i].Pipelines); len(names) > 0 && len(out) < maxWhy {
			out = append(out, fmt.Sprintf("rule %q holds, and names %s", p.Rules[i].Name, strings.Join(names, ", ")))
		}
	}
	return out
}

func (f *Failure) ofRules() bool { return f.What == "rules" || f.What == "holds" }

func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}

func both(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !slices.Contains(others, s) })
}
