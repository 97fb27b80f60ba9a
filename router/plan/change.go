package plan

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Change is the way from what is on a broker to a plan, as steps of which each may be done again. It is made by [NewChange] without a look at a
// broker. What is new is added first, and then what is stale is removed: for a moment both hold, and as a queue gets
// one copy of an event however many of its bindings match, nothing is lost or doubled by that.
//
// # The turn
//
// That is not enough where a pipeline's feed changes between the broker and the router. While both hold, an event would go to the
// pipeline's queue and also to the match queue; whoever takes it from there cannot tell whether the pipeline has
// it already (published before the old binding was removed) or is still owed it (published after). Any order of the two bindings loses or doubles
// events, as binding and unbinding are two operations. The same goes for a pipeline whose queue is another one now, and for a pipeline that is
// removed while another is added, which may be its new name.
//
// Such a change turns over at once, by one operation. Each exchange X that publishers publish to gets, for as long as the change takes,
//
//	X ──#──▶ F ──▶ A       A: a topic exchange with all bindings of X in the old plan
//	         └─(alternate) B: a topic exchange with all bindings of X in the new plan
//
// With X bound to F, the bindings of X that only the old plan has are removed: nothing changes, since A has them all. Then F is unbound from A.
// From this instant the broker uses the alternate exchange, and so B: each event has gone wholly by the old plan or
// goes wholly by the new one. Then X gets the bindings that only the new plan has, and F, A and B are deleted.
//
// A broker looks at one exchange after the other, and its process may be held up in between: an event that X was looked at for while it had bindings of the old plan has to be past F when F
// turns, and one for which X led to F alone has to be past it when F is deleted. So there is a pause before both. (Once, on RabbitMQ 3.10 and a busy machine, one of 7,421 events came to a
// pipeline by both plans, for which we know no other explanation. A program that did nothing but turn did not show it in 3,633 turns.)
//
// The same goes for an event that waits in the match queue, and that the new plan leaves to the broker, by a type that was not bound when it was published.
//
// Where a feed changes, an event could stray like that, or the limits of the match queue change, the new plan has a match queue of another name, so that the old plan's holds only events that were published under the old
// plan. Those are owed to the pipelines that the router fed then, and to no others: the queue becomes a [Leftover], and the router works
// it off with that in mind, under the rules in force when it takes them, as ever.
type Change struct {
	Plan      *Plan   // what was wanted, with the match queue that it gets on this broker
	Before    *Record // what was recorded; nil: nothing
	Turns     bool
	Add       []Step // up to and including those after which the new plan is in force
	Remove    []Step
	Leftovers []Leftover // match queues to be worked off once the new plan is in force
	Settled   bool       // the broker is recorded to have this plan already, and no other

	record       *Record // that it starts from; Before, unless queues were moved since
	prior        State
	kept         Topology // stale objects of plans before prior
	stale        Topology
	predecessors []Predecessors
	quiet        map[string]time.Time
	lines        []Line // of the change as it was before queues were moved for it
}

// Moved is the change that is left when queues were moved for it, and rec is recorded. It tells the lines of the whole.
func (c *Change) Moved(rec *Record, p *Plan) *Change {
	out := NewChange(rec, p)
	out.Before, out.lines = c.Before, c.Lines()
	return out
}

// Stale is what the removal is about. Objects of others are never stale.
func (c *Change) Stale() Topology { return c.stale }

// Step is one thing that a change does. Doing it twice is as doing it once.
type Step struct {
	Note       *Record // to be written, with serial, author and time filled in
	Exchanges  []Exchange
	Queues     []Queue
	Bind       []Binding
	Unbind     []Binding
	DropQueue  string   // to be deleted if it is empty and nobody consumes it
	Later      bool     // DropQueue is for the next change: now events may be on their way to it, or back to it from who consumed it
	Delays     []Queue  // what these hold may come back to DropQueue
	Held       string   // the queue whose consumers have events of DropQueue in hand, though they consume that no more; "": no pipeline works on it
	Rests      bool     // DropQueue has to be empty for a while: the broker may have events of it, or for it, that it does not count
	Back       *Queue   // while this one is full, what has waited in DropQueue cannot come back to it
	DropChange string   // an exchange to be deleted, whatever is bound to it
	Drop       string   // an exchange to be deleted if nothing is bound to it
	Gone       []string // queues that have to be gone first: else nothing is done
	Haul       *Haul    // of a queue that is moved
	Pause      bool     // until what the broker routes by bindings as they were is in its queues, see [Change]
}

// String says what a step does.
func (s *Step) String() string {
	switch {
	case s.Note != nil:
		return "record the plan"
	case len(s.Unbind) > 0:
		return fmt.Sprintf("remove %d bindings", len(s.Unbind))
	case s.DropQueue != "":
		return "delete queue " + s.DropQueue
	case s.Pause:
		return "wait until the broker has routed what it was sent"
	case s.Haul != nil:
		return "move the events of " + s.Haul.From
	case s.Drop+s.DropChange != "":
		return "delete exchange " + s.Drop + s.DropChange
	case len(s.Bind) > 0:
		return fmt.Sprintf("add %d bindings", len(s.Bind))
	}
	return fmt.Sprintf("declare %d exchanges and %d queues", len(s.Exchanges), len(s.Queues))
}

// NewChange finds out how a plan gets onto a broker on which rec is recorded; nil: nothing is.
func NewChange(rec *Record, p *Plan) *Change {
	c := &Change{Plan: p, Before: rec, record: rec}
	var repair []Step
	if rec != nil {
		again := rec.Next != nil && (rec.Stage == Preparing || rec.Stage == Turning) && rec.Next.Digest == p.State().Digest
		repair = c.recall(rec, again)
		if again {
			c.Plan = p.matching(rec.Next.Match)
		} else {
			c.Plan = p.matching(c.matchName())
		}
	}
	want := c.Plan.State()
	c.quiet = maps.Clone(c.quiet)
	maps.DeleteFunc(c.quiet, func(name string, _ time.Time) bool { return want.Topology.queue(name) != nil }) // it is in use again
	c.Settled = rec != nil && rec.Next == nil && rec.Applied.Digest == want.Digest && rec.Applied.Match == want.Match &&
		len(c.kept.Queues)+len(c.kept.Exchanges)+len(c.Leftovers) == 0
	c.Turns = rec != nil && (c.prior.turns(&want) || c.prior.strays(&want) || c.prior.Match != "" && want.Match != "" && c.prior.Match != want.Match)
	switch {
	case c.Settled:
		c.Add = c.declare(&want.Topology, want.Topology.Bindings)
	case c.Turns:
		c.Add = append(repair, c.turn(&want)...)
	default:
		c.Add = append(repair, Step{Note: c.note(&want, Adding)})
		c.Add = append(c.Add, c.declare(&want.Topology, want.Topology.Bindings)...)
	}
	if old := c.prior.Match; old != "" && old != want.Match {
		c.Leftovers = append(c.Leftovers, Leftover{old, c.prior.Routed(), c.prior.bound()})
	}
	if !c.Settled {
		c.stale = c.unwanted(&want)
		c.Remove = c.removal(&want)
	}
	return c
}

// Quiet is since when stale queues have been seen empty, by earlier looks at them.
func (c *Change) Quiet() map[string]time.Time { return maps.Clone(c.quiet) }

// Final is the record of a change that is done. kept are the objects of the removal that are still there, and quiet since when queues of them are empty.
func (c *Change) Final(kept Topology, quiet map[string]time.Time) *Record {
	r := &Record{Applied: c.Plan.State(), Kept: kept, Quiet: maps.Clone(quiet)}
	maps.DeleteFunc(r.Quiet, func(name string, _ time.Time) bool { return kept.queue(name) == nil })
	for _, p := range c.predecessors {
		p.First = slices.DeleteFunc(slices.Clone(p.First), func(name string) bool {
			return !slices.ContainsFunc(kept.Queues, func(q Queue) bool { return q.Name == name })
		})
		if len(p.First) > 0 {
			r.Predecessors = append(r.Predecessors, p)
		}
	}
	for _, l := range c.Leftovers {
		if slices.ContainsFunc(kept.Queues, func(q Queue) bool { return q.Name == l.Queue }) {
			r.Leftovers = append(r.Leftovers, l)
		}
	}
	return r
}

func (c *Change) note(want *State, s Stage) *Record {
	return &Record{Applied: c.prior, Next: want, Stage: s, Kept: c.kept, Leftovers: c.Leftovers, Predecessors: c.predecessors, Quiet: c.quiet}
}

// recall finds out what is on the broker, from a record that may be one of an interrupted change, and which steps take an interrupted turn back or
// to its end. again: the same turn is done once more, and needs neither.
func (c *Change) recall(rec *Record, again bool) (repair []Step) {
	c.prior, c.kept, c.Leftovers, c.predecessors = rec.Applied, rec.Kept, slices.Clone(rec.Leftovers), rec.Predecessors
	c.quiet = rec.Quiet
	if rec.Next == nil || again {
		return nil
	}
	old, next := &rec.Applied, rec.Next
	t := turning{from: old, to: next, plan: c.Plan}
	switch rec.Stage {
	case Preparing:
		c.prior = old.with(next, t.indirect(next))
		return nil
	case Turning:
		c.prior = old.with(next, t.indirect(next))
		if next.Match != "" && next.Match != old.Match {
			c.Leftovers = append(c.Leftovers, Leftover{next.Match, next.Routed(), next.bound()})
		}
		// It may have turned just before it was interrupted: binding F to A again turns back.
		repair = append(t.raise(), Step{Bind: t.direct(&c.prior)})
		return append(repair, t.clear()...)
	case Turned:
		c.prior = next.with(old, t.indirect(old))
		if old.Match != "" && old.Match != next.Match {
			c.Leftovers = append(c.Leftovers, Leftover{old.Match, old.Routed(), old.bound()})
		}
		return append([]Step{{Bind: t.direct(next)}}, t.clear()...)
	}
	c.prior = old.with(next, next.Topology.Bindings)
	return nil
}

// with is a state of which objects and bindings of another may be there too.
func (s *State) with(other *State, bindings []Binding) State {
	out := *s
	out.Topology = Topology{
		Exchanges: union(s.Topology.Exchanges, other.Topology.Exchanges, func(x Exchange) string { return x.Name }),
		Queues:    union(s.Topology.Queues, other.Topology.Queues, func(q Queue) string { return q.Name }),
		Bindings:  union(s.Topology.Bindings, bindings, func(b Binding) Binding { return b }),
	}
	out.Pipelines = map[string]Fed{}
	for name, fed := range other.Pipelines {
		out.Pipelines[name] = fed
	}
	for name, fed := range s.Pipelines {
		out.Pipelines[name] = fed
	}
	if out.Match == "" {
		out.Match, out.Matched = other.Match, other.Matched
	}
	return out
}

// union is a list with what another has besides.
func union[T any, K comparable](list, more []T, key func(T) K) []T {
	seen := make(map[K]bool, len(list))
	for _, v := range list {
		seen[key(v)] = true
	}
	out := slices.Clip(list)
	for _, v := range more {
		if !seen[key(v)] {
			seen[key(v)] = true
			out = append(out, v)
		}
	}
	return out
}

// without is a list without what another has.
func except[T any, K comparable](list, others []T, key func(T) K) []T {
	seen := make(map[K]bool, len(others))
	for _, v := range others {
		seen[key(v)] = true
	}
	var out []T
	for _, v := range list {
		if !seen[key(v)] {
			out = append(out, v)
		}
	}
	return out
}

func exceptBindings(list, others []Binding) []Binding {
	return except(list, others, func(b Binding) Binding { return b })
}

// turns reports whether the way to another state has to turn over at once.
func (s *State) turns(want *State) bool {
	removed, added := false, false
	for name, fed := range s.Pipelines {
		other, there := want.Pipelines[name]
		if there && other != fed {
			return true
		}
		removed = removed || !there
	}
	for name := range want.Pipelines {
		_, there := s.Pipelines[name]
		added = added || !there
	}
	return removed && added
}

// matchName is the name of the match queue: the one there is, unless what is in it could not be told from what the new plan puts there.
func (c *Change) matchName() string {
	if c.Plan.Match == "" {
		return ""
	}
	moved := c.prior.strays(&State{Topology: c.Plan.Topology, Match: c.Plan.Match}) || c.reshapesMatch()
	for i := range c.Plan.Pipelines {
		p := &c.Plan.Pipelines[i]
		fed, there := c.prior.Pipelines[p.Name]
		moved = moved || there && fed.Feed != p.Feed
	}
	if !moved && c.prior.Match != "" {
		return c.prior.Match
	}
	name := c.Plan.Match
	for n := 2; name == c.prior.Match || slices.ContainsFunc(c.Leftovers, func(l Leftover) bool { return l.Queue == name }); n++ {
		name = c.Plan.Match + "." + strconv.Itoa(n)
	}
	return name
}

// reshapesMatch reports whether the match queue is to have other limits: it cannot, and another one takes its place.
func (c *Change) reshapesMatch() bool {
	old, now := c.prior.Topology.queue(c.prior.Match), c.Plan.Topology.queue(c.Plan.Match)
	return old != nil && now != nil && arguments(old.Arguments, now.Arguments, false) != ""
}

// matching is the plan with a match queue of that name.
func (p *Plan) matching(name string) *Plan {
	if name == p.Match || p.Match == "" || name == "" {
		return p
	}
	out := *p
	out.Match = name
	out.Topology.Queues = slices.Clone(p.Topology.Queues)
	for i := range out.Topology.Queues {
		if q := &out.Topology.Queues[i]; q.Name == p.Match {
			q.Name = name
		}
	}
	out.Topology.Bindings = slices.Clone(p.Topology.Bindings)
	for i := range out.Topology.Bindings {
		if b := &out.Topology.Bindings[i]; b.Queue == p.Match {
			b.Queue = name
		}
	}
	return &out
}

// Running is the plan as it is to be run where rec is in force: with the match queue that it got there.
func (p *Plan) Running(rec *Record) *Plan {
	if s := rec.InForce(); s.Match != "" {
		return p.matching(s.Match)
	}
	return p
}

// chunk is how many bindings one step makes at most.
const chunk = 4000

func (c *Change) declare(t *Topology, bindings []Binding) []Step {
	return append([]Step{{Exchanges: t.Exchanges, Queues: t.Queues}}, bind(bindings)...)
}

func bind(bindings []Binding) (steps []Step) {
	for part := range slices.Chunk(bindings, chunk) {
		steps = append(steps, Step{Bind: part})
	}
	return steps
}

func unbind(bindings []Binding, gone ...string) (steps []Step) {
	for part := range slices.Chunk(bindings, chunk) {
		steps = append(steps, Step{Unbind: part, Gone: gone})
	}
	return steps
}

// unwanted is what is on the broker and not wanted any more.
func (c *Change) unwanted(want *State) Topology {
	there := Topology{
		Exchanges: union(c.prior.Topology.Exchanges, c.kept.Exchanges, func(x Exchange) string { return x.Name }),
		Queues:    union(c.prior.Topology.Queues, c.kept.Queues, func(q Queue) string { return q.Name }),
		Bindings:  union(c.prior.Topology.Bindings, c.kept.Bindings, func(b Binding) Binding { return b }),
	}
	out := Topology{
		Exchanges: except(there.Exchanges, want.Topology.Exchanges, func(x Exchange) string { return x.Name }),
		Queues:    except(there.Queues, want.Topology.Queues, func(q Queue) string { return q.Name }),
		Bindings:  exceptBindings(there.Bindings, want.Topology.Bindings),
	}
	// What waits in a delay for a queue that is gone from the rules still comes back to it. The binding goes with the queue, and stays with one that is somebody else's.
	out.Bindings = slices.DeleteFunc(out.Bindings, func(b Binding) bool { return b.Exchange == retryName(c.Plan.Name) })
	out.Exchanges = slices.DeleteFunc(out.Exchanges, func(x Exchange) bool { return x.Passive })
	out.Queues = slices.DeleteFunc(out.Queues, func(q Queue) bool { return q.Passive })
	return out
}

// removal are the steps that take away what is stale: bindings first, so that no more events come, then queues that are empty, then exchanges.
func (c *Change) removal(want *State) (steps []Step) {
	stale := &c.stale
	var leftovers []string
	var delays []Queue
	for _, l := range c.Leftovers {
		leftovers = append(leftovers, l.Queue)
	}
	for _, q := range slices.Concat(stale.Queues, want.Topology.Queues) {
		if isRetry(&q) {
			delays = append(delays, q)
		}
	}
	var inner, outer []Binding // of the router's own exchange, and of those of publishers
	matched := c.Plan.Name + ".matched"
	for _, b := range stale.Bindings {
		if b.Exchange == matched {
			inner = append(inner, b)
		} else {
			outer = append(outer, b) // those of retry queues too: a process with older rules may send an event there between the last look at it and its end
		}
	}
	steps = unbind(outer)
	var dead []Step
	for _, q := range retriesFirst(stale.Queues) {
		step := Step{DropQueue: q.Name}
		switch {
		case q.Name == c.prior.Match:
			step.Later = true
		case isRetry(&q):
			step.Rests, step.Back = true, c.back(q.Name, want)
		case slices.Contains(leftovers, q.Name):
		case c.Next(q.Name) != "":
			step.Held = c.Plan.HeldName(q.Name)
		case strings.HasSuffix(q.Name, ".dead"):
			for _, other := range stale.Queues {
				if other.Arguments["x-dead-letter-routing-key"] == q.Name {
					step.Gone = append(step.Gone, other.Name)
				}
			}
			dead = append(dead, step)
			continue
		default:
			step.Held = c.Plan.HeldName(q.Name)
			step.Delays, step.Rests = delays, len(delays) > 0 || q.Arguments["x-dead-letter-strategy"] != nil // its own dead letters may be on their way
		}
		steps = append(steps, step)
	}
	steps = append(steps, dead...)
	steps = append(steps, unbind(inner, leftovers...)...)
	for _, x := range stale.Exchanges {
		step := Step{Drop: x.Name}
		if x.Name == matched {
			step.Gone = leftovers
		} else if x.Kind == "fanout" {
			step.Gone = []string{x.Name}
		}
		steps = append(steps, step)
	}
	return steps
}

// retriesFirst puts the queues of delays before those that their events come back to.
func retriesFirst(queues []Queue) []Queue {
	out := slices.Clone(queues)
	slices.SortStableFunc(out, func(a, b Queue) int {
		switch {
		case isRetry(&a) == isRetry(&b):
			return 0
		case isRetry(&a):
			return -1
		}
		return 1
	})
	return out
}

// back is the queue to which the events of a delay come back that only one pipeline has, as its queue has a limit; nil for another delay, or where
// it has no limit any more.
func (c *Change) back(delay string, want *State) *Queue {
	for _, s := range []*State{want, &c.prior} {
		for name, fed := range s.Pipelines {
			if own := c.Plan.Name + "." + name; strings.HasPrefix(delay, own+delayPart) || strings.HasPrefix(delay, own+oldDelayPart) {
				if q := s.Topology.queue(fed.Queue); q != nil && q.limited() {
					return q
				}
				return nil
			}
		}
	}
	return nil
}

func (q *Queue) limited() bool {
	return q.Arguments["x-max-length"] != nil || q.Arguments["x-max-length-bytes"] != nil
}

// Full reports whether a queue with so many events may be at its limit. One for bytes cannot be seen from their number.
func (q *Queue) Full(events int) bool {
	if q.Arguments["x-max-length-bytes"] != nil && events > 0 {
		return true
	}
	most, limited := q.Arguments["x-max-length"].(int64)
	return limited && int64(events) >= most
}

// Delay is how long events wait in the queue of a delay; 0 for another.
func (q *Queue) Delay() time.Duration {
	ms, _ := q.Arguments["x-message-ttl"].(int64)
	return time.Duration(ms) * time.Millisecond
}

func isRetry(q *Queue) bool { _, ok := q.Arguments["x-message-ttl"]; return ok }
