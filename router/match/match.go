// Package match finds the rules that an event fulfils.
package match

import (
	"slices"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/rules"
	"github.com/eventrouter/eventrouter/rules/topic"
)

// Matcher holds rules made ready to match. It is not changed after Compile, and safe for concurrent use.
type Matcher struct {
	rules   []rules.Rule
	content bool // some rule looks at more than the type
}

// Compile makes a matcher of rules.
func Compile(rs []rules.Rule) (*Matcher, error) {
	m := &Matcher{rules: rs}
	for i := range rs {
		m.content = m.content || rs[i].Conditional()
	}
	return m, nil
}

// Match appends the indices of the rules that hold for an event from the exchange of that key to into, ascending.
// With an empty key, rules of every exchange hold.
func (m *Matcher) Match(e *event.Event, exchangeKey string, into []int) []int {
	var doc map[string]any
	for i := range m.rules {
		r := &m.rules[i]
		if !applies(r, e, exchangeKey) {
			continue
		}
		if r.Conditional() {
			if doc == nil {
				doc = e.Document()
			}
			if !r.Match.Matches(doc) {
				continue
			}
			if ok, err := r.Where.Holds(doc); !ok || err != nil {
				continue
			}
		}
		into = append(into, i)
	}
	return into
}

func applies(r *rules.Rule, e *event.Event, exchangeKey string) bool {
	if len(r.From) > 0 && exchangeKey != "" && !slices.Contains(r.From, exchangeKey) {
		return false
	}
	return topic.Match(r.Type, e.Type)
}

// Verdict says whether a rule holds for an event, or what keeps it from it.
type Verdict struct {
	Rule     int    // index
	Holds    bool   //
	Path     string // of the first condition that failed: type, from, where, or a path into the document
	Expected string // as the rule has it
	Actual   string // as the event has it; empty: it is not there
	Held     int    // conditions that hold
	Failed   int    // conditions that do not
}
