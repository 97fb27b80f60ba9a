// Package router holds the running half of the router: the port to a broker, the routing loop, and the one place where
// what came in is acknowledged after everything made of it is confirmed.
package router

import (
	"context"
	"errors"
	"time"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// Event is [event.Event].
type Event = event.Event

// Broker is all that the router and the pipelines ask of a message broker. Package amqp implements it.
// All methods are safe for concurrent use; they work while the broker's own Run does.
type Broker interface {
	Declarer
	Changer
	Publisher
	Consumer
	Browser
}

// Declarer brings a topology onto the broker.
type Declarer interface {
	// Declare adds what is missing, and returns when the broker has it all; it is idempotent. From then on the topology
	// is declared again on every reconnect, before anything is consumed. An object that is there in another shape is
	// an error that names it, the argument and both values.
	Declare(ctx context.Context, t plan.Topology) error
	// Redeclare declares once more what was declared or applied last, as somebody has taken some of it away. Where other rules have been applied
	// since, it is an error that wraps ErrSuperseded.
	Redeclare(ctx context.Context) error
}

// Publisher hands messages to the broker.
type Publisher interface {
	// Publish sends m and calls done exactly once, from any goroutine: with nil when the broker has confirmed it (on disk,
	// on a quorum), with an error that wraps ErrUnroutable, ErrRefused, ErrExchange, ErrTooLarge or ErrInvalid if the broker did
	// not take it, and with any other error when the outcome is unknown (connection lost, ctx over):
	// the message may be there or not, publish it again. done must not block.
	//
	// Publish itself returns as soon as the message is handed over; it blocks while the window of unconfirmed messages
	// is full or the broker is away or has blocked publishers, and no longer than ctx lives. m and all it points to
	// must not be changed before done is called.
	Publish(ctx context.Context, m Message, done func(error))
}

var (
	// ErrUnroutable: the message was mandatory and no queue got it.
	ErrUnroutable = errors.New("no queue is bound for it")
	// ErrRefused: the broker answered with a negative confirm, for instance because a queue is full. Try again later.
	ErrRefused = errors.New("refused by the broker")
	// ErrTooLarge: over the broker's size limit. Trying again is of no use.
	ErrTooLarge = errors.New("message too large for the broker")
	// ErrExchange: the exchange is not there, or this user may not publish to it. That is no fault of the message: it is taken once that is mended.
	ErrExchange = errors.New("exchange cannot be published to")
	// ErrInvalid: the message cannot be published as it is, for instance with a routing key over 255 bytes. Trying again is of no use.
	ErrInvalid = errors.New("message cannot be published")
)

// Message is an event on its way to an exchange.
type Message struct {
	Event     *event.Event
	Exchange  string   // "" is the default exchange, where the key is a queue's name
	Key       string   // routing key, at most 255 bytes
	BCC       []string // more routing keys for the same message, not shown to who receives it
	Mandatory bool     // a message that no queue gets is an error
	Trail     Trail    // notes that travel with the event
}

// Trail is what eventrouter itself notes on an event between its own queues, in headers of its own.
// The zero Trail is that of an event fresh from its publisher.
type Trail struct {
	Type         string    // the event's type, where the routing key is not the type any more
	Exchange     string    // that it was first published to
	Pipeline     string    // whose retry or dead letter it is
	Attempts     int       // made so far
	FirstFailure time.Time // milliseconds
	LastFailure  time.Time // milliseconds; of an unrouted event, when the router put it aside
	NotBefore    time.Time // when it may be tried again, in milliseconds; zero: any time
	Error        string    // of the last attempt, cut to 2 KiB; or why it is unrouted
	Rules        []string  // that held, on a dead letter: the first of them, as many as 8 KiB hold
}

// Consumer hands out what is in queues.
type Consumer interface {
	// Consume calls handle for each event of the queue, one call at a time, until ctx is over, across reconnects.
	// handle may block: that is back-pressure, and at most s.Prefetch unsettled deliveries are held. Each delivery
	// has to be settled once, then or later, from any goroutine.
	//
	// When ctx is over no more events are asked for; Consume returns nil when all that it handed out are settled, or
	// when s.Drain has passed. What is not settled then goes back to the queue. It returns an error, early,
	// only for what a reconnect cannot mend, such as access refused.
	Consume(ctx context.Context, s Subscription, handle func(*Delivery)) error
}

// Subscription says what to consume and how.
type Subscription struct {
	Queue    string
	Prefetch int           // unsettled deliveries held at most, default 64
	Drain    time.Duration // for settling what is in hand at the end, default 30s
	// InOrder keeps the queue's order through the consumer's end. It is the queue's consumer until what is in hand is settled, so that a single active
	// consumer is followed by the next only then, and what is requeued goes back all at once, with it.
	InOrder bool
	// Held is the queue of [plan.Plan.HeldName], which is consumed from when ctx is over until all is settled, so that nobody deletes Queue meanwhile. Where it cannot be, Queue
	// is consumed until all is settled, as with InOrder. "": nobody of ours would delete the queue.
	Held string
	// SingleActive: the queue serves one consumer at a time, and this one may have to wait for another to end.
	SingleActive bool
	// Sources are the exchanges that publishers publish to: the Trail of a message that comes straight from one of them is
	// not ours, and ignored.
	Sources []string
}

// Delivery is one event from a queue, ours until it is settled.
type Delivery struct {
	Event       *event.Event
	Trail       Trail
	Exchange    string // that it was first published to
	Queue       string
	Redelivered bool      // an earlier consumer may have worked on it
	Deaths      string    // why the broker itself dead-lettered it (delivery_limit, expired, maxlen, rejected), if it did
	Died        time.Time // when it did, in seconds; zero where it did not
	Settler
}

// Settler ends a delivery. The first call counts. After the connection was lost all of them return an error
// and the event comes again: a stale call never settles another delivery.
type Settler interface {
	Ack() error     // done; the broker forgets it
	Requeue() error // back to its queue
	Reject() error  // to the queue's dead-letter exchange
	// Lost reports that the connection was lost: the event comes again, here or elsewhere, and work on it is of no use any more.
	Lost() bool
}

// Browser looks into queues and takes single events out of them.
type Browser interface {
	// Depth returns the number of events ready in a queue. A queue that is not there is an error that wraps ErrNoQueue.
	Depth(ctx context.Context, queue string) (int, error)
	// Browse calls visit for the events that are in the queue now, from its head, until visit returns false, ctx is over or
	// the queue's end. Then it calls end, if that is not nil, in which visit's caller can wait for what is still under way.
	// What is not settled after that goes back to the queue, at its place. sources is as in Subscription.
	Browse(ctx context.Context, queue string, sources []string, visit func(*Delivery) (more bool), end func()) error
}

// ErrNoQueue: there is no queue of that name.
var ErrNoQueue = errors.New("no such queue")
