package plan

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/match"
)

// Explanation is why an event goes where it goes, by the same matcher that routes it.
type Explanation struct {
	Exchange  string // that it is published to
	Rules     []RuleVerdict
	Pipelines []Reached
	Unrouted  string // the queue that keeps it, where no rule holds; else empty
	// NotEvaluated are the rules of which type and pattern hold and the expression cannot be evaluated, as routing counts them.
	NotEvaluated int
}

// RuleVerdict is what one rule says.
type RuleVerdict struct {
	Rule int // index in Plan.Rules
	match.Verdict
}

// Near reports whether all conditions but one hold.
func (v RuleVerdict) Near() bool { return !v.Holds && v.Failed == 1 && v.Held > 0 }

// Reached is a pipeline that gets the event.
type Reached struct {
	Pipeline int      // index in Plan.Pipelines
	Rules    []int    // that name it and hold
	Way      []string // the exchanges and queues of the broker that it goes through, from the one it is published to to the pipeline's queue
}

// Explain judges every rule for an event published to exchange (its name on the broker). First come the rules that hold, then those
// of which the fewest conditions fail, and among equals in the order of the file.
func (p *Plan) Explain(e *event.Event, exchange string) *Explanation {
	out := &Explanation{Exchange: exchange}
	for i, v := range p.matcher.Explain(e, p.keys[exchange]) {
		out.Rules = append(out.Rules, RuleVerdict{i, v})
	}
	slices.SortStableFunc(out.Rules, func(a, b RuleVerdict) int {
		return cmp.Or(cmp.Compare(a.Failed, b.Failed), cmp.Compare(b.Held, a.Held))
	})
	var routed Routed
	p.Route(e, exchange, &routed)
	out.NotEvaluated = len(routed.NotEvaluated)
	for _, pipeline := range routed.Pipelines {
		r := Reached{Pipeline: pipeline, Way: p.way(pipeline, exchange)}
		for _, rule := range routed.Rules {
			if slices.Contains(p.targets[rule], pipeline) {
				r.Rules = append(r.Rules, rule)
			}
		}
		out.Pipelines = append(out.Pipelines, r)
	}
	if len(out.Pipelines) == 0 {
		out.Unrouted = p.Unrouted
	}
	return out
}

// way is how events get into a pipeline's queue.
func (p *Plan) way(pipeline int, exchange string) []string {
	to := &p.Pipelines[pipeline]
	if to.Feed == ByRouter {
		return []string{exchange, p.Match, p.Matched, to.QueueName}
	}
	return []string{exchange, to.QueueName}
}

// Reason says in one line why the rule does not hold.
func (v RuleVerdict) Reason() string {
	actual := v.Actual
	if actual == "" {
		actual = "nothing"
	}
	reason := fmt.Sprintf("%s: expected %s, found %s", v.Path, v.Expected, actual)
	if v.Path == "where" && v.Err != nil {
		reason = fmt.Sprintf("where: %s cannot be evaluated: %v", v.Expected, v.Err)
	}
	switch {
	case v.Failed == 2:
		reason += " (and 1 more condition fails)"
	case v.Failed > 2:
		reason += fmt.Sprintf(" (and %d more conditions fail)", v.Failed-1)
	}
	return reason
}
