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
	Rules     []string // that hold
	Pipelines []string // that get the event
	Failures  []Failure
}

// Failure is an expectation that is not met.
type Failure struct {
	What       string   // pipelines, rules, includes or excludes
	Missing    []string // expected, and not there
	Unexpected []string // there, and not expected
	Why        []string // for what is missing: what kept the rules from holding
}

// RunTests runs the file's tests. Outcomes are in the order of the file.
func (p *Plan) RunTests() []Outcome {
	out := make([]Outcome, len(p.Tests))
	for i := range p.Tests {
		out[i] = p.runTest(&p.Tests[i])
	}
	return out
}

func (p *Plan) runTest(t *rules.Test) Outcome {
	o := Outcome{Test: t}
	e, err := event.FromDocument(t.Event)
	if err != nil {
		o.Failures = []Failure{{What: "event", Why: []string{err.Error()}}}
		return o
	}
	exchange, _ := p.Source(t.From)
	var routed Routed
	p.Route(&e, exchange, &routed)
	o.Rules, o.Pipelines = p.RuleNames(&routed), p.PipelineNames(&routed)
	o.expect("pipelines", t.Pipelines, o.Pipelines, true)
	o.expect("rules", t.Rules, o.Rules, true)
	o.expect("includes", t.Includes, o.Pipelines, false)
	if shared := both(t.Excludes, o.Pipelines); len(shared) > 0 {
		o.Failures = append(o.Failures, Failure{What: "excludes", Unexpected: shared})
	}
	for i := range o.Failures {
		o.Failures[i].Why = p.why(&e, exchange, &o.Failures[i])
	}
	return o
}

// expect compares two sets; a nil want says nothing.
func (o *Outcome) expect(what string, want, got []string, exactly bool) {
	if want == nil {
		return
	}
	f := Failure{What: what, Missing: without(want, got)}
	if exactly {
		f.Unexpected = without(got, want)
	}
	if len(f.Missing)+len(f.Unexpected) > 0 {
		o.Failures = append(o.Failures, f)
	}
}

// maxWhy is how many reasons a failure gives.
const maxWhy = 3

// why tells for what is missing which rules would have led there, and what kept them from holding.
func (p *Plan) why(e *event.Event, exchange string, f *Failure) []string {
	var out []string
	if len(f.Missing) == 0 {
		return nil
	}
	for _, v := range p.Explain(e, exchange).Rules {
		r := &p.Rules[v.Rule]
		leads := f.What == "rules" && slices.Contains(f.Missing, r.Name) || f.What != "rules" && len(both(f.Missing, r.Pipelines)) > 0
		if !v.Holds && leads && len(out) < maxWhy {
			out = append(out, fmt.Sprintf("rule %q does not hold: %s", r.Name, v.Reason()))
		}
	}
	return out
}

// Reason says in one line why the rule does not hold.
func (v RuleVerdict) Reason() string {
	actual := v.Actual
	if actual == "" {
		actual = "nothing"
	}
	reason := fmt.Sprintf("%s: expected %s, found %s", v.Path, v.Expected, actual)
	if v.Failed > 1 {
		reason += fmt.Sprintf(" (and %d more conditions fail)", v.Failed-1)
	}
	return strings.Replace(reason, "1 more conditions fail", "1 more condition fails", 1)
}

func without(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(others, s) })
}

func both(list, others []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return !slices.Contains(others, s) })
}
