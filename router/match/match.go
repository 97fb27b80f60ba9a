package match

import (
	"slices"
	"sync"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/rules"
	"github.com/eventrouter/eventrouter/rules/topic"
)

// Matcher holds rules made ready to match. It is not changed after Compile, and safe for concurrent use.
type Matcher struct {
	rules        []rules.Rule
	alternatives []ruleAlternative // in the order of the rules
	paths        *paths
	first        *index
	at           []int32 // by node: which of first.fields is its, or -1
	late         []int32 // which of first.fields have ranges or exclusions
	buckets      []bucket
	wantsData    topic.Index[bool] // the types of rules that ask for data
	scratch      sync.Pool
}

// ruleAlternative is an alternative of a rule's pattern; the only one, without fields, where it has none.
type ruleAlternative struct {
	alternative
	rule int32
}

// WhereError is a rule whose `where` could not be evaluated for an event, which means that it did not hold.
type WhereError struct {
	Rule int // its index
	Err  error
}

// Compile makes a matcher of rules, which are not changed any more.
func Compile(rs []rules.Rule) (*Matcher, error) {
	m := &Matcher{rules: rs, paths: newPaths()}
	var ways [][]access
	wanted := map[string]bool{}
	for i := range rs {
		r := &rs[i]
		alternatives := []rules.Conjunction{{}}
		if r.Match != nil {
			alternatives = r.Match.Alternatives
		}
		for j := range alternatives {
			c := &alternatives[j]
			m.alternatives = append(m.alternatives, ruleAlternative{m.paths.alternative(c), int32(i)})
			ways = append(ways, m.paths.ways(r.Type, c))
			if asksData(c) && !wanted[r.Type] {
				wanted[r.Type] = true
				m.wantsData.Add(r.Type, true)
			}
		}
	}
	m.first, m.buckets = compile(ways)
	m.at = make([]int32, len(m.paths.nodes))
	for i := range m.at {
		m.at[i] = -1
	}
	for i := range m.first.fields {
		f := &m.first.fields[i]
		m.at[f.node] = int32(i)
		if f.ranges != nil || f.exclusions != nil {
			m.late = append(m.late, int32(i))
		}
	}
	return m, nil
}

func asksData(c *rules.Conjunction) bool {
	for i := range c.Fields {
		if c.Fields[i].Path[0] == dataField {
			return true
		}
	}
	for _, inner := range slices.Concat(c.And, c.Not) {
		for i := range inner.Alternatives {
			if asksData(&inner.Alternatives[i]) {
				return true
			}
		}
	}
	return false
}

// Match appends the indices of the rules that hold for an event from the exchange of that key to into, ascending.
// With an empty key, rules of every exchange hold. Nothing is allocated for an event for which nothing holds.
func (m *Matcher) Match(e *event.Event, exchangeKey string, into []int) []int {
	into, _ = m.MatchWhere(e, exchangeKey, into, nil)
	return into
}

// MatchWhere is Match that also appends to failed each rule whose `where` could not be evaluated.
func (m *Matcher) MatchWhere(e *event.Event, exchangeKey string, into []int, failed []WhereError) ([]int, []WhereError) {
	s := m.begin()
	s.readEvent(e)
	if m.needsData(e.Type) {
		s.readData(e)
	}
	s.leave(documentNode)
	s.find(e.Type)
	into, failed = s.verify(e, exchangeKey, into, failed)
	m.end(s)
	return into, failed
}

// needsData reports whether any rule that the type lets in asks for data.
func (m *Matcher) needsData(eventType string) bool {
	needs := false
	m.wantsData.Walk(eventType, func(bool) bool {
		needs = true
		return false
	})
	return needs
}

// applies reports whether the event's type and exchange let the rule hold.
func (m *Matcher) applies(rule int32, eventType, exchangeKey string) bool {
	r := &m.rules[rule]
	if len(r.From) > 0 && exchangeKey != "" && !slices.Contains(r.From, exchangeKey) {
		return false
	}
	return r.Type == "#" || r.Type == eventType || topic.Match(r.Type, eventType)
}

// verify holds the candidates against the event, those of the same rule one after another.
func (s *scratch) verify(e *event.Event, exchangeKey string, into []int, failed []WhereError) ([]int, []WhereError) {
	slices.Sort(s.candidates)
	var document map[string]any
	done := int32(-1)
	for begin, end := 0, 0; begin < len(s.candidates); begin = end {
		at := s.candidates[begin].alternative()
		for end = begin + 1; end < len(s.candidates) && s.candidates[end].alternative() == at; end++ {
		}
		anchors := s.candidates[begin:end]
		if !s.anchored(anchors) {
			anchors = nil
		}
		a := &s.matcher.alternatives[at]
		switch {
		case a.rule == done:
			continue
		case !s.matcher.applies(a.rule, e.Type, exchangeKey):
			done = a.rule
			continue
		case !a.hold(&s.tape, anchors):
			continue
		}
		done = a.rule
		if where := s.matcher.rules[a.rule].Where; where != nil {
			if document == nil {
				document = e.Document()
			}
			holds, err := where.Holds(document)
			if err != nil {
				failed = append(failed, WhereError{int(a.rule), err})
			}
			if err != nil || !holds {
				continue
			}
		}
		into = append(into, int(a.rule))
	}
	return into, failed
}

// anchored reports whether all candidates have an anchor, and of the same field: an alternative can be found by its values of one field,
// and through one of those by another field.
func (s *scratch) anchored(list []candidate) bool {
	if list[0].anchor() == noValue {
		return false // it would come first
	}
	node := s.values[list[0].anchor()].node
	for _, c := range list[1:] {
		if s.values[c.anchor()].node != node {
			return false
		}
	}
	return true
}
