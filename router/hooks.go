package router

import (
	"time"
)

// Hooks is the one seam by which logs, metrics and traces listen. Every field may be nil. Hooks are called from many
// goroutines at once, on the way of the events: they must be safe for that, and quick.
type Hooks struct {
	Connected    func(role, url string)       // role is publish or consume; url without its password
	Disconnected func(role string, err error) // and redialled
	Blocked      func(reason string)          // the broker takes no publishes; "" when it does again
	Published    func(m Message, took time.Duration, err error)
	Routed       func(e *Event, rules, pipelines []string, took time.Duration) // after the confirm
	Unrouted     func(e *Event, reason string)
	Started      func(pipeline string, e *Event, attempt int) // an attempt, counted from 1
	Handled      func(pipeline string, e *Event, attempt int, took time.Duration, err error)
	Retried      func(pipeline string, e *Event, attempt int, delay time.Duration, err error) // will be tried again after delay
	Dead         func(pipeline string, e *Event, attempts int, err error)
	Problem      func(where string, err error) // something that went wrong, will be tried again, and loses nothing
}
