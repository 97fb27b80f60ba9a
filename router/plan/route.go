package plan

import (
	"reflect"
	"slices"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/match"
	"github.com/eventrouter/eventrouter/rules"
)

// Routed is where an event belongs: indices into Plan.Rules and Plan.Pipelines, ascending and in the order of the rules.
// It can be used again for the next event.
type Routed struct {
	Rules     []int
	Pipelines []int
	// NotEvaluated are the rules that do not hold because their where cannot be evaluated for the event.
	NotEvaluated []match.WhereError
}

// Route finds the rules that hold for an event that was published to exchange (its name on the broker), and their pipelines,
// each once. An exchange that is not one of the plan's, such as one from which events come by a binding between
// exchanges, counts as every one. r is overwritten; nothing is allocated once its lists are large enough.
func (p *Plan) Route(e *event.Event, exchange string, r *Routed) {
	r.Rules, r.NotEvaluated = p.matcher.MatchWhere(e, p.keys[exchange], r.Rules[:0], r.NotEvaluated[:0])
	r.Pipelines = r.Pipelines[:0]
	for _, rule := range r.Rules {
	next:
		for _, pipeline := range p.targets[rule] {
			for _, there := range r.Pipelines {
				if there == pipeline {
					continue next
				}
			}
			r.Pipelines = append(r.Pipelines, pipeline)
		}
	}
}

// RuleNames are the names of the rules that held.
func (p *Plan) RuleNames(r *Routed) []string {
	names := make([]string, len(r.Rules))
	for i, at := range r.Rules {
		names[i] = p.Rules[at].Name
	}
	return names
}

// PipelineNames are the names of the pipelines that get the event.
func (p *Plan) PipelineNames(r *Routed) []string {
	names := make([]string, len(r.Pipelines))
	for i, at := range r.Pipelines {
		names[i] = p.Pipelines[at].Name
	}
	return names
}

// Pipeline finds a pipeline by its name; nil if there is none.
func (p *Plan) Pipeline(name string) *Pipeline {
	if at, ok := p.pipelines[name]; ok {
		return &p.Pipelines[at]
	}
	return nil
}

// Alike reports whether two descriptions of a pipeline say the same, wherever they stand in their files.
func Alike(a, b rules.Pipeline) bool {
	for _, p := range []*rules.Pipeline{&a, &b} {
		p.Pos = rules.Pos{}
		p.Steps = slices.Clone(p.Steps)
		for i := range p.Steps {
			p.Steps[i].Pos = rules.Pos{}
		}
	}
	return reflect.DeepEqual(a, b)
}

// Sources are the broker's names of the exchanges that publishers publish to.
func (p *Plan) Sources() []string {
	names := make([]string, len(p.Exchanges))
	for i, x := range p.Exchanges {
		names[i] = x.Name
	}
	return names
}

// Source finds the broker's name of an exchange by its key in the file; with an empty key, that of the first.
func (p *Plan) Source(key string) (string, bool) {
	for _, x := range p.Exchanges {
		if key == "" || x.Key == key {
			return x.Name, true
		}
	}
	return "", false
}
