package plan

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/eventrouter/eventrouter/rules"
)

// RecordFormat is the highest number of a form of records that this version writes and reads. A record with a higher one is of a newer version.
const RecordFormat = 2

// plainFormat is the form of a record without queues that move, or have been moved, which older versions read too. They must not read another: they
// would forget the events in those queues.
const plainFormat = 1

// Form is the number of the form that the record needs.
func (r *Record) Form() int {
	if r.Move == nil && len(r.Predecessors) == 0 {
		return plainFormat
	}
	return RecordFormat
}

// ErrNewer: the record on the broker was written by a newer version of eventrouter, which may know what this one does not.
var ErrNewer = errors.New("the plan on the broker was applied by a newer version of eventrouter")

// Record is what is kept on the broker of the plan that was applied last, in the queue [Plan.RecordName]. From it the objects of
// rules that are gone are found again. While a change is under way it holds both sides, so that whoever applies next
// can go on from wherever an earlier one was interrupted.
type Record struct {
	Format    int        `json:"format"`
	Serial    int64      `json:"serial"` // counts up with each record written
	By        string     `json:"by"`     // who wrote it: program, version, host, process
	At        time.Time  `json:"at"`
	Applied   State      `json:"applied"`
	Next      *State     `json:"next,omitempty"`  // what is being applied; nil: nothing is under way
	Stage     Stage      `json:"stage,omitempty"` // of the change to Next
	Kept      Topology   `json:"kept"`            // objects of earlier plans that could not be deleted yet
	Leftovers []Leftover `json:"leftovers,omitempty"`

	Move         *Move          `json:"move,omitempty"` // a queue on its way into another shape; Next is nil then
	Predecessors []Predecessors `json:"predecessors,omitempty"`

	// Quiet is since when queues of Kept are empty, by the clock of who looked; see [Step.Rests].
	Quiet map[string]time.Time `json:"quiet,omitempty"`
}

// Stage is how far a change is that turns over from one match queue to another; see [Change].
type Stage string

const (
	Adding    Stage = ""          // adding what is new, or removing what is stale: no turn
	Preparing Stage = "preparing" // adding what a turn needs; the old plan is in force
	Turning   Stage = "turning"   // the objects of the turn may be there; the old plan is in force
	Turned    Stage = "turned"    // likewise; the new plan is in force
)

// Leftover is a match queue that gets no more events, with those pipelines that its events are still owed to.
type Leftover struct {
	Queue     string   `json:"queue"`
	Pipelines []string `json:"pipelines"`
	// Bound are the types that the broker alone took to pipelines when these events were published; nil: not known.
	Bound []Binding `json:"bound,omitzero"`
}

// State is a plan as far as the broker knows it.
type State struct {
	Digest    string         `json:"digest"` // of all that decides where events go
	Topology  Topology       `json:"topology"`
	Match     string         `json:"match,omitempty"`
	Matched   string         `json:"matched,omitempty"`
	Unrouted  string         `json:"unrouted"`
	Pipelines map[string]Fed `json:"pipelines"` // by name
	Rules     []Ruled        `json:"rules"`
}

// Fed is how a pipeline gets its events.
type Fed struct {
	Feed  Feed   `json:"feed"`
	Queue string `json:"queue"` // on the broker
}

// Ruled is a rule as far as it is needed to tell what has changed.
type Ruled struct {
	Name      string   `json:"name"`
	Place     string   `json:"place"` // file:line:column
	Type      string   `json:"type"`
	From      []string `json:"from,omitempty"`    // the exchanges' names on the broker
	Content   string   `json:"content,omitempty"` // its conditions on content, for people
	Sum       string   `json:"sum,omitempty"`     // of them, whole
	Pipelines []string `json:"pipelines"`
}

// RecordName is the queue of the record, and the fanout exchange before it by which running routers hear of a new one.
func (p *Plan) RecordName() string { return p.Name + ".plan" }

// RecordTopology is what the record needs on the broker. It is no part of the plan's own topology.
func (p *Plan) RecordTopology() Topology {
	name := p.RecordName()
	return Topology{
		Exchanges: []Exchange{{Name: name, Kind: "fanout"}},
		Queues:    []Queue{{Name: name, Arguments: kept()}},
		Bindings:  []Binding{{Exchange: name, Queue: name}},
	}
}

// LockName is the exclusive queue that whoever changes the topology holds.
func (p *Plan) LockName() string { return p.Name + ".lock" }

// State is what is recorded of the plan.
func (p *Plan) State() State {
	s := State{
		Topology: p.Topology, Match: p.Match, Matched: p.Matched, Unrouted: p.Unrouted,
		Pipelines: map[string]Fed{},
	}
	for i := range p.Pipelines {
		s.Pipelines[p.Pipelines[i].Name] = Fed{p.Pipelines[i].Feed, p.Pipelines[i].QueueName}
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		said := Ruled{Name: r.Name, Place: r.Pos.String(), Type: r.Type, Pipelines: r.Pipelines}
		for _, x := range p.Exchanges {
			if len(r.From) == 0 || slices.Contains(r.From, x.Key) {
				said.From = append(said.From, x.Name)
			}
		}
		said.content(r)
		s.Rules = append(s.Rules, said)
	}
	s.Digest = s.digest()
	return s
}

// content notes what a rule wants of an event beyond its type.
func (s *Ruled) content(r *rules.Rule) {
	if !r.Conditional() {
		return
	}
	h := sha256.New()
	if r.Match != nil {
		s.Content = r.Match.String()
		sumPattern(h, r.Match)
	}
	if r.Where != nil {
		s.Content = strings.TrimSpace(s.Content + " where " + r.Where.Source)
		fmt.Fprintf(h, "where %q", r.Where.Source)
	}
	s.Sum = hex.EncodeToString(h.Sum(nil)[:8])
}

// sumPattern writes all that a pattern says.
func sumPattern(w io.Writer, p *rules.Pattern) {
	for _, c := range p.Alternatives {
		fmt.Fprint(w, "or")
		for i := range c.Fields {
			fmt.Fprintf(w, "%q", c.Fields[i].Path)
			for j := range c.Fields[i].Conditions {
				fmt.Fprintf(w, "%q", c.Fields[i].Conditions[j].Text)
			}
		}
		for _, and := range c.And {
			fmt.Fprint(w, "and(")
			sumPattern(w, and)
			fmt.Fprint(w, ")")
		}
		for _, not := range c.Not {
			fmt.Fprint(w, "not(")
			sumPattern(w, not)
			fmt.Fprint(w, ")")
		}
	}
}

// digest is the same for plans that send every event the same way, wherever their rules stand in their files and whatever match queue they use.
func (s *State) digest() string {
	h := sha256.New()
	enc := json.NewEncoder(h)
	write := func(v any) { _ = enc.Encode(v) } // a hash takes everything, and all of it has a JSON form
	for _, x := range s.Topology.Exchanges {
		write(x)
	}
	for _, q := range s.Topology.Queues {
		if q.Name == s.Match {
			q.Name = "match"
		}
		write(q)
	}
	for _, b := range s.Topology.Bindings {
		if b.Queue == s.Match {
			b.Queue = "match"
		}
		write(b)
	}
	for _, r := range s.Rules {
		r.Place = ""
		write(r)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// Routed are the pipelines that the router feeds, by name.
func (s *State) Routed() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(s.Pipelines)) {
		if s.Pipelines[name].Feed == ByRouter {
			out = append(out, name)
		}
	}
	return out
}

// InForce is the state by which events go their ways now.
func (r *Record) InForce() *State {
	if r.Stage == Turned && r.Next != nil {
		return r.Next
	}
	return &r.Applied
}

// Encode writes a record as it is kept: JSON, compressed by gzip.
func (r *Record) Encode() ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if err := json.NewEncoder(z).Encode(r); err != nil {
		return nil, fmt.Errorf("writing the applied plan: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("writing the applied plan: %w", err)
	}
	return b.Bytes(), nil
}

// maxRecord bounds a record when it is unpacked, in bytes.
const maxRecord = 1 << 30

// DecodeRecord reads a record. One of a newer version is returned as far as it can be understood, with [ErrNewer].
func DecodeRecord(data []byte) (*Record, error) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("the applied plan on the broker cannot be read: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(z, maxRecord))
	if err != nil {
		return nil, fmt.Errorf("the applied plan on the broker cannot be read: %w", err)
	}
	var r Record
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	err = dec.Decode(&r)
	if r.Format > RecordFormat {
		return &r, fmt.Errorf("%w (format %d, written by %s at %s)", ErrNewer, r.Format, r.By, r.At.Format(time.RFC3339))
	}
	if err != nil {
		return nil, fmt.Errorf("the applied plan on the broker cannot be read: %w", err)
	}
	for _, t := range r.topologies() {
		t.plain()
	}
	return &r, nil
}

// Latest decodes the one of several records that was written last: two are there where somebody was interrupted between writing one and
// taking the other away. nil if there is none.
func Latest(records [][]byte) (*Record, error) {
	var latest *Record
	var newer error
	for _, data := range records {
		r, err := DecodeRecord(data)
		if errors.Is(err, ErrNewer) {
			newer = err
		} else if err != nil {
			return nil, err
		}
		if latest == nil || r.Serial > latest.Serial {
			latest = r
		}
	}
	return latest, newer
}

func (r *Record) topologies() []*Topology {
	all := []*Topology{&r.Applied.Topology, &r.Kept}
	if r.Next != nil {
		all = append(all, &r.Next.Topology)
	}
	if r.Move != nil {
		all = append(all, &Topology{Queues: []Queue{r.Move.Queue}})
	}
	return all
}

// plain makes the numbers of arguments int64 again, as a plan has them.
func (t *Topology) plain() {
	plain := func(arguments map[string]any) {
		for name, v := range arguments {
			if n, ok := v.(json.Number); ok {
				whole, _ := n.Int64()
				arguments[name] = whole
			}
		}
	}
	for _, x := range t.Exchanges {
		plain(x.Arguments)
	}
	for _, q := range t.Queues {
		plain(q.Arguments)
	}
}
