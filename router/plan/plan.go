// Package plan turns a rules file into what runs: the topology on the broker, and for every event the rules and pipelines that
// it belongs to. It is pure: no broker, no clock, no environment. The same file always gives the same plan.
package plan

import (
	"time"

	"github.com/eventrouter/eventrouter/router/match"
	"github.com/eventrouter/eventrouter/rules"
)

// Topology is what has to be on the broker, as plain data in a stable order. Everything in it is durable.
type Topology struct {
	Exchanges []Exchange
	Queues    []Queue
	Bindings  []Binding
}

// Exchange is an exchange of the broker.
type Exchange struct {
	Name      string
	Kind      string         // topic, direct or fanout
	Passive   bool           // somebody else's: only checked to be there
	Arguments map[string]any // string or int64
}

// Queue is a queue of the broker.
type Queue struct {
	Name      string
	Passive   bool           // somebody else's: only checked to be there
	Arguments map[string]any // string, int64 or bool
}

// Binding lets events of an exchange into a queue.
type Binding struct {
	Exchange   string
	Queue      string
	Key        string
	ToExchange bool `json:",omitempty"` // Queue is an exchange; only while a change is under way
}

// Plan is a rules file made ready to run. It is not changed after Compile, and safe for concurrent use.
type Plan struct {
	Name      string
	Topology  Topology
	Exchanges []Source
	Pipelines []Pipeline // as in the file
	Rules     []rules.Rule
	Tests     []rules.Test

	// The names of section 1 of the life of an event. Match and Matched are empty where no rule looks at content.
	Match    string // queue of the events that the router has to look at
	Matched  string // direct exchange on which each queue is bound by its own name: by its pipeline's, two would get an event while a queue is renamed
	Retry    string // direct exchange on which each pipeline's queue is bound by its own name: what comes to one pipeline alone comes through it, from delays and replays
	Unrouted string // queue, and the fanout exchange before it, of events that no rule wanted

	matcher   *match.Matcher
	keys      map[string]string // of exchanges, by their names on the broker
	pipelines map[string]int    // by name
	targets   [][]int           // pipelines of each rule
}

// Source is an exchange that publishers publish to.
type Source struct {
	Key  string // in the rules file
	Name string // on the broker
}

// Feed says who puts events into a pipeline's queue.
type Feed int

const (
	ByBroker Feed = iota // bindings of the topic exchanges: all its rules look at the type only
	ByRouter             // the router, by way of the exchange Matched
)

// Pipeline is a pipeline made ready to run.
type Pipeline struct {
	rules.Pipeline
	Feed      Feed
	QueueName string  // on the broker
	DeadName  string  // queue of its dead letters
	Delays    []Delay // before the second attempt, the third and so on; the last repeats
}

// Delay is one of the waits before another attempt: the event is published to Exchange with the pipeline's queue as its
// routing key and comes back there After that time, through the exchange Retry of the plan.
type Delay struct {
	After    time.Duration
	Exchange string
}
