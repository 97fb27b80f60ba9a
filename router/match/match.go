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
	rules []rules.Rule
}

// Compile makes a matcher of rules.
func Compile(rs []rules.Rule) (*Matcher, error) {
	return &Matcher{rules: rs}, nil
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
