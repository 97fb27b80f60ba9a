package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/eventrouter/eventrouter/rules/topic"
)

// bound are the types of events that the broker alone takes to pipelines: the bindings by which it does, without their queues.
func (s *State) bound() []Binding {
	broker, _ := s.byFeed()
	if broker == nil {
		broker = []Binding{} // nil is: not known
	}
	return broker
}

// byFeed parts the types of the bindings of publishers' exchanges into those of pipelines and those of the match queue.
func (s *State) byFeed() (broker, router []Binding) {
	topics := map[string]bool{}
	for _, x := range s.Topology.Exchanges {
		topics[x.Name] = x.Kind == topicKind
	}
	seen := map[Binding]bool{}
	for _, b := range s.Topology.Bindings {
		if !topics[b.Exchange] || b.ToExchange {
			continue
		}
		kind := Binding{Exchange: b.Exchange, Key: b.Key}
		if s.Match != "" && b.Queue == s.Match {
			router = append(router, kind)
		} else if !seen[kind] {
			seen[kind] = true
			broker = append(broker, kind)
		}
	}
	return broker, router
}

// mostPairs bounds the work of strays: over it the answer is yes.
const mostPairs = 1_000_000

// strays reports whether an event that waits for the router may belong nowhere after a change that only adds and removes: the new rules leave it to the broker,
// by a type that was not bound yet when the event was published, and the old ones had left it to the router alone.
func (s *State) strays(want *State) bool {
	there, waiting := s.byFeed()
	if len(waiting) == 0 {
		return false
	}
	wanted, _ := want.byFeed()
	added := exceptBindings(wanted, there)
	if len(added)*len(waiting) > mostPairs {
		return true
	}
	slices.SortFunc(there, func(a, b Binding) int { return cmp.Compare(strings.Count(a.Key, "."), strings.Count(b.Key, ".")) }) // such as # first
	known := map[Binding]bool{}
	covered := func(b Binding) bool {
		is, asked := known[b]
		if !asked {
			is = slices.ContainsFunc(there, func(g Binding) bool { return g.Exchange == b.Exchange && topic.Covers(g.Key, b.Key) })
			known[b] = is
		}
		return is
	}
	for _, b := range added {
		for _, w := range waiting {
			if w.Exchange == b.Exchange && topic.Meet(w.Key, b.Key) && !covered(w) && !covered(b) {
				return true
			}
		}
	}
	return false
}

// Delivered makes a function that says whether the broker has taken an event of a leftover to a pipeline when it was published.
func (l *Leftover) Delivered() func(exchange, kind string) bool {
	if l.Bound == nil {
		return func(string, string) bool { return true } // an older version noted nothing
	}
	types := map[string]*topic.Index[bool]{}
	for _, b := range l.Bound {
		if types[b.Exchange] == nil {
			types[b.Exchange] = &topic.Index[bool]{}
		}
		types[b.Exchange].Add(b.Key, true)
	}
	return func(exchange, kind string) (found bool) {
		if x := types[exchange]; x != nil {
			x.Walk(kind, func(bool) bool { found = true; return false })
		}
		return found
	}
}
