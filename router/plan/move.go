package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Move is a queue on its way into another shape under its own name: a broker cannot change a queue's type or limits in place. It is part of the record, so that
// whoever applies next, or a service that runs, carries it on from wherever it was interrupted.
//
// # How a queue is moved
//
// The queue Q has to be deleted before it can be declared again, and no event may go astray, be doubled or change places
// with another meanwhile. So all that comes for Q goes through one exchange F for the time of the move:
//
//	X ──key──▶ F ──▶ Q              F: a fanout exchange; each binding of Q is one of F now
//	           └─(alternate) ──▶ S  S: a queue of the new shape
//
// With F bound to Q, Q's own bindings are removed: nothing changes by that, as a queue gets one copy of an event however many ways lead to it. Then F is
// unbound from Q. From this instant, by one operation of the broker, events go to S, and Q is finite. Its content is moved into T, another queue
// of the new shape (into S it could not go: S has later events), and Q is deleted and declared in its new shape. Then F is bound
// to Q: from this instant, again by one operation, events go to Q, and T and S are finite. Q gets its bindings back, and F is deleted. There is a pause before F is
// unbound and before it is deleted, as in a turn; see [Change].
//
// What is in T was published before what is in S, and that before what is in Q. T and S are the [Predecessors] of Q: who works on Q's events
// works off T first, then S, and then Q, and order holds throughout. To move them into Q instead, behind what has come there meanwhile, could
// not keep it: between the last look at S and the switch back to Q there is always a moment in which an event can come.
type Move struct {
	Queue     Queue     `json:"queue"`    // as it will be
	Bindings  []Binding `json:"bindings"` // that let events into it
	Stage     MoveStage `json:"stage"`
	Moved     string    `json:"moved"`     // T: what the queue held
	Meanwhile string    `json:"meanwhile"` // S: what is published while the queue is away
	Sources   []string  `json:"sources"`   // exchanges that publishers publish to
}

// MoveStage is how far a move is.
type MoveStage string

const (
	Raising   MoveStage = "raising"   // the objects of the move come; events go to the queue
	Leaving   MoveStage = "leaving"   // events may go to S; the queue's content moves into T, and the queue is deleted
	Returning MoveStage = "returning" // the queue is gone, or there in its new shape; events may go to it
)

// movingDigest is the digest of what is in force while a queue moves: nobody's, so that nobody declares it again.
const movingDigest = "moving"

// Predecessors are queues whose events come before those of a queue, in their order. They get no more.
type Predecessors struct {
	Queue string   `json:"queue"`
	First []string `json:"first"`
}

// Haul is the work of moving a queue's events to an exchange, until the queue is empty, and deleting it then.
type Haul struct {
	From, To string
	Sources  []string // exchanges that publishers publish to: a trail on what comes straight from one of them is not ours
	// Beside others who consume the queue, and are sent no more while the mover has room: how long the queue has to be empty for them to settle what they have in hand.
	Beside time.Duration
}

// First are the queues that have to be worked off before that one.
func (r *Record) First(queue string) []string { return firstOf(r.Predecessors, queue) }

// First are the queues that have to be worked off before that one.
func (c *Change) First(queue string) []string { return firstOf(c.predecessors, queue) }

// Next is the queue whose events come after those of one that stands before it; "" for any other.
func (c *Change) Next(queue string) string {
	for _, p := range c.predecessors {
		if slices.Contains(p.First, queue) {
			return p.Queue
		}
	}
	return ""
}

func firstOf(all []Predecessors, queue string) (out []string) {
	for _, p := range all {
		if p.Queue == queue {
			out = append(out, p.First...)
		}
	}
	return out
}

// Moves reports whether the queue is on its way into another shape.
func (r *Record) Moves(queue string) bool { return r.Move != nil && r.Move.Queue.Name == queue }

// Reshaped are the queues of ours that were applied in another shape than is wanted now.
func (c *Change) Reshaped() (out []Queue) {
	was := map[string]*Queue{}
	for i := range c.prior.Topology.Queues {
		was[c.prior.Topology.Queues[i].Name] = &c.prior.Topology.Queues[i]
	}
	for _, q := range c.Plan.Topology.Queues {
		if old := was[q.Name]; old != nil && arguments(old.Arguments, q.Arguments, old.Passive || q.Passive) != "" {
			out = append(out, q)
		}
	}
	return out
}

// Retyped are the types that a queue was applied with and that is wanted now; "" where there is none.
func (c *Change) Retyped(name string) (was, want string) {
	return c.prior.Topology.queueType(name), c.Plan.Topology.queueType(name)
}

func (t *Topology) queueType(name string) string {
	q := t.queue(name)
	if q == nil {
		return ""
	}
	kind, _ := q.Arguments["x-queue-type"].(string)
	return kind
}

// queue is the queue of that name; nil where there is none.
func (t *Topology) queue(name string) *Queue {
	for i := range t.Queues {
		if t.Queues[i].Name == name {
			return &t.Queues[i]
		}
	}
	return nil
}

// Ours are the queues of the plan that were applied before, in whatever shape.
func (c *Change) Ours() (out []Queue) {
	for _, q := range c.Plan.Topology.Queues {
		if !q.Passive && slices.ContainsFunc(c.prior.Topology.Queues, func(old Queue) bool { return old.Name == q.Name && !old.Passive }) {
			out = append(out, q)
		}
	}
	return out
}

// Migration is the work of a [Move]. Its steps may each be done again.
type Migration struct {
	Record *Record // before the first step; Move is set
	Steps  []Step
	Final  *Record // when all is done; it is the note of the last step
}

// Continue is what is left to do of a move that was interrupted.
func Continue(rec *Record) *Migration {
	m := &Migration{Record: rec}
	m.plan()
	return m
}

// Migrate moves a queue of the plan, before the rest of the change is made. The bindings of the queue are those that are recorded. An error says why it cannot be.
func (c *Change) Migrate(q Queue) (*Migration, error) {
	if !slices.ContainsFunc(c.Plan.Pipelines, func(p Pipeline) bool { return p.QueueName == q.Name }) {
		return nil, fmt.Errorf("queue %q is no pipeline's own, and cannot be moved: delete it when nothing is in it", q.Name)
	}
	fresh := &Change{Plan: c.Plan}
	repair := fresh.recall(c.record, false)
	rec := &Record{Applied: fresh.prior, Kept: fresh.kept, Leftovers: fresh.Leftovers, Predecessors: fresh.predecessors, Quiet: fresh.quiet}
	move := &Move{Queue: q, Stage: Raising}
	for _, b := range rec.Applied.Topology.Bindings {
		if b.Queue == q.Name && !b.ToExchange {
			move.Bindings = append(move.Bindings, b)
		}
	}
	for _, x := range rec.Applied.Topology.Exchanges {
		if x.Kind == topicKind {
			move.Sources = append(move.Sources, x.Name)
		}
	}
	move.name(c.Plan.Name, &rec.Kept)
	if longest := move.Meanwhile + ".switch"; len(longest) > maxName {
		return nil, fmt.Errorf("queue %q cannot be moved: its name leaves no room for that of %q", q.Name, longest)
	}
	rec.Applied.Topology.Queues = slices.Clone(rec.Applied.Topology.Queues)
	for i := range rec.Applied.Topology.Queues {
		if rec.Applied.Topology.Queues[i].Name == q.Name {
			rec.Applied.Topology.Queues[i] = q
		}
	}
	rec.Applied.Digest = movingDigest
	rec.Move = move
	m := &Migration{Record: rec, Steps: repair}
	m.plan()
	return m, nil
}

// name finds names for what the move needs, which begin with that of the plan, and are not those of an earlier move.
func (m *Move) name(prefix string, kept *Topology) {
	base := ownName(prefix, m.Queue.Name)
	taken := func(name string) bool {
		return slices.ContainsFunc(kept.Queues, func(q Queue) bool { return q.Name == name })
	}
	for n := 1; n == 1 || taken(m.Moved) || taken(m.Meanwhile); n++ {
		m.Moved, m.Meanwhile = base+".moved", base+".migrating"
		if n > 1 {
			m.Moved, m.Meanwhile = fmt.Sprintf("%s.%d", m.Moved, n), fmt.Sprintf("%s.%d", m.Meanwhile, n)
		}
	}
}

// ownName is a queue's name, begun with that of the plan.
func ownName(plan, queue string) string {
	if strings.HasPrefix(queue, plan+".") {
		return queue
	}
	return plan + "." + queue
}

// HeldName is the queue whose consumers are those who end, and have events of a queue in hand yet: by the queue's own consumers they may not be seen, and
// whoever is to delete it waits for them. It holds no events, and is there only while it has a consumer. "" where the name would be too long.
func (p *Plan) HeldName(queue string) string {
	if name := ownName(p.Name, queue) + ".held"; len(name) <= maxName {
		return name
	}
	return ""
}

// Gone tells the migration that its queue is not on the broker before its first step: there is nothing to move.
func (m *Migration) Gone() {
	m.Record = m.Record.at(Returning)
	m.Steps = nil
	m.plan()
}

// at is the record at a stage of its move.
func (r *Record) at(s MoveStage) *Record {
	out, move := *r, *r.Move
	move.Stage = s
	out.Move = &move
	return &out
}

// plan appends the steps from the stage that the move is at. Nothing is bound again at a stage at which it may have been unbound on purpose.
func (m *Migration) plan() {
	move := m.Record.Move
	if move.Stage == Raising {
		m.add(Step{Note: m.Record.at(Raising)}, move.raise())
		m.add(bind(move.toSwitch())...)
		m.add(unbind(move.Bindings)...)
		m.add(Step{Pause: true})
	}
	if move.Stage != Returning {
		m.add(Step{Note: m.Record.at(Leaving)}, Step{Unbind: move.switched()},
			Step{Haul: &Haul{From: move.Queue.Name, To: move.Moved, Sources: move.Sources}})
	}
	m.add(Step{Note: m.Record.at(Returning)})
	raised := move.raise()
	raised.Queues = append(raised.Queues, move.Queue)
	m.add(raised)
	m.add(bind(move.Bindings)...)
	m.add(unbind(move.toSwitch())...)
	m.add(Step{Pause: true})
	for _, x := range move.exchanges() {
		m.add(Step{DropChange: x.Name})
	}
	m.Final = m.final()
	m.add(Step{Note: m.Final})
}

func (m *Migration) add(steps ...Step) { m.Steps = append(m.Steps, steps...) }

// final is the record when the queue has its new shape.
func (m *Migration) final() *Record {
	move, out := m.Record.Move, *m.Record
	out.Move = nil
	out.Applied.Digest = out.Applied.digest()
	out.Kept.Queues = append(slices.Clip(out.Kept.Queues), move.queues()...)
	out.Predecessors = nil
	first := append(m.Record.First(move.Queue.Name), move.Moved, move.Meanwhile)
	for _, p := range m.Record.Predecessors {
		if p.Queue != move.Queue.Name {
			out.Predecessors = append(out.Predecessors, p)
		}
	}
	out.Predecessors = append(out.Predecessors, Predecessors{move.Queue.Name, first})
	return &out
}

// switchName is the exchange F.
func (m *Move) switchName() string { return m.Meanwhile + ".switch" }

// exchanges are F, and one before each of T and S.
func (m *Move) exchanges() []Exchange {
	return []Exchange{
		{Name: m.Moved, Kind: "fanout"},
		{Name: m.Meanwhile, Kind: "fanout"},
		{Name: m.switchName(), Kind: "fanout", Arguments: map[string]any{"alternate-exchange": m.Meanwhile}},
	}
}

// queues are T and S: of the new shape but for its limits on length, since what the old shape held has to find room.
func (m *Move) queues() (out []Queue) {
	args := maps.Clone(m.Queue.Arguments)
	delete(args, "x-max-length")
	delete(args, "x-max-length-bytes")
	for _, name := range []string{m.Moved, m.Meanwhile} {
		out = append(out, Queue{Name: name, Arguments: args})
	}
	return out
}

// raise declares all that the move needs, with F bound to the queue.
func (m *Move) raise() Step {
	s := Step{Exchanges: m.exchanges(), Queues: m.queues()}
	for _, q := range s.Queues {
		s.Bind = append(s.Bind, Binding{Exchange: q.Name, Queue: q.Name})
	}
	s.Bind = append(s.Bind, m.switched()...)
	return s
}

// switched is the binding of F to the queue: events go to the queue while it is there, and to S while it is not.
func (m *Move) switched() []Binding {
	return []Binding{{Exchange: m.switchName(), Queue: m.Queue.Name}}
}

// toSwitch are the queue's bindings, as those of F.
func (m *Move) toSwitch() (out []Binding) {
	for _, b := range m.Bindings {
		b.Queue, b.ToExchange = m.switchName(), true
		out = append(out, b)
	}
	return out
}
