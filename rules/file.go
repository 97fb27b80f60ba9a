package rules

import "time"

// Pos is a place in a rules file. Line and Column count from 1, Column in characters. The zero Pos is nowhere.
type Pos struct {
	File   string
	Line   int
	Column int
}

// File is what one or several rules files say together: checked, with defaults filled in, every part in the order in which
// it was written and with its place. It is plain data, and is not changed after Load.
type File struct {
	Name       string // prefix of every broker object that the file owns
	Exchanges  []Exchange
	Pipelines  []Pipeline
	MatchQueue Limits // of the queue in which events wait for rules that look at their content
	Rules      []Rule
	Tests      []Test
}

// Limits are what a queue may hold. Over them publishers are refused, and no event is dropped. 0 is no limit.
type Limits struct {
	MaxLength int64 // events
	MaxBytes  int64 // bytes of bodies
}

// Exchange is a topic exchange that publishers publish to.
type Exchange struct {
	Pos     Pos
	Key     string // what rules call it in `from`
	Name    string // the broker's name for it, where the file gives one; else empty
	Declare bool   // false: somebody else's, which is only checked to be there
}

// QueueType is RabbitMQ's x-queue-type.
type QueueType string

const (
	Quorum  QueueType = "quorum"
	Classic QueueType = "classic"
)

// Queue is the shape of a pipeline's queue.
type Queue struct {
	Name          string    // the broker's name for it, where the file gives one; else empty
	Declare       bool      // false: somebody else's, which is only checked to be there
	Type          QueueType // default Quorum
	MaxLength     int64     // events; over it publishers are refused, not events dropped. 0 is no limit
	MaxBytes      int64     // bytes of bodies, likewise. 0 is no limit
	DeliveryLimit int       // how often an event that crashes its consumer comes back before it is dead; quorum only, default 20
	SingleActive  bool      // one consumer at a time gets its events, and the others wait to take over
}

// Retry says when a failed event is tried again.
type Retry struct {
	Attempts int             // in all, the first included; default 5
	Delays   []time.Duration // before the second attempt, the third and so on; the last repeats. Default 1s, 10s, 1m, 5m
	KeyWaits bool            // later events of its OrderBy key wait for one that is tried again; false: they pass it
}

// Longest is the longest time that all attempts at one event and the delays between them may take, where each attempt ends with the timeout.
func (r *Retry) Longest(timeout time.Duration) time.Duration {
	sum := time.Duration(r.Attempts) * timeout
	for i := range r.Attempts - 1 {
		sum += r.Delays[min(i, len(r.Delays)-1)]
	}
	return sum
}

// Dedup says for how long a pipeline remembers which events it has handled. The zero Dedup remembers none.
type Dedup struct {
	Window  time.Duration // since the event was handled; 0: nothing is remembered
	Entries int           // events remembered at most; over it the oldest are forgotten early. Default 1,000,000
}

// Pipeline is one way of working on events: a queue, and what is done with each event in it.
type Pipeline struct {
	Pos         Pos
	Name        string
	Description string
	Queue       Queue
	Workers     int           // events handled at once, default 1
	Prefetch    int           // unsettled events held at most; 0 lets it follow Workers
	OrderBy     []string      // path into the event's document, such as data, customer, id; empty: no order by key
	Timeout     time.Duration // for one attempt; default 30s
	Retry       Retry
	Dedup       Dedup
	Steps       []Step // done one after another; empty: the handler is a Go function, or another program's consumer
}

// Rule names the pipelines of the events that fulfil all its conditions.
type Rule struct {
	Pos       Pos
	Name      string
	Type      string   // topic pattern, see package topic; default "#"
	From      []string // keys of exchanges; empty: every exchange of the file
	Match     *Pattern // content pattern; nil: holds always
	Where     *Where   // CEL expression; nil: holds always
	Pipelines []string
}

// Conditional reports whether the rule looks at more than the event's type, which a binding cannot.
func (r *Rule) Conditional() bool { return r.Match != nil || r.Where != nil }

// Test is an example in the rules file: one event, or the events of a file, and what is to become of each.
type Test struct {
	Pos        Pos
	Name       string
	Event      map[string]any // the event's document: encoding/json types, numbers as json.Number; nil where they are in a file
	EventsFile string         // path of the file of events, seen from where the program runs; empty: Event is the one
	Events     []TestEvent    // those of the file, once [File.ReadEvents] has read them
	From       string         // key of the exchange that they are published to; empty: the file's first
	Pipelines  []string       // exactly these, in any order; nil where not stated
	Rules      []string       // exactly these, in any order; nil where not stated
	Includes   []string       // at least these pipelines
	Excludes   []string       // none of these pipelines
	Holds      []string       // at least these rules
	Fails      []Reason       // none of these rules, each for its reason

	file quoted // where EventsFile is named
}

// TestEvent is one event of a file of events.
type TestEvent struct {
	Pos   Pos
	Event map[string]any // its document
}

// Reason is why a rule is not to hold.
type Reason struct {
	Rule string
	Path string // of a condition that has to fail, as explain shows it: type, from, where, or a path such as data.total; empty: any
}

// quoted is a place with its line.
type quoted struct {
	pos  Pos
	line string
}
