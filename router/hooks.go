package router

import (
	"reflect"
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
	NotEvaluated func(e *Event, rule string, err error)       // the rule's where asks for what the event does not have; it does not hold
	Started      func(pipeline string, e *Event, attempt int) // an attempt, counted from 1
	Handled      func(pipeline string, e *Event, attempt int, took time.Duration, err error)
	Retried      func(pipeline string, e *Event, attempt int, delay time.Duration, err error) // will be tried again after delay
	Dead         func(pipeline string, e *Event, attempts int, err error)
	Duplicate    func(pipeline string, e *Event) // dropped: the pipeline has handled it already, within the window of its dedup
	Problem      func(where string, err error)   // something that went wrong, will be tried again, and loses nothing
}

func (h *Hooks) problem(where string, err error) {
	if h.Problem != nil {
		h.Problem(where, err)
	}
}

// Join makes hooks that call all of several, in their order.
func Join(all ...Hooks) Hooks {
	var out Hooks
	for _, h := range all {
		out.Connected = join(out.Connected, h.Connected, func(f, g func(string, string)) func(string, string) {
			return func(role, url string) { f(role, url); g(role, url) }
		})
		out.Disconnected = join(out.Disconnected, h.Disconnected, func(f, g func(string, error)) func(string, error) {
			return func(role string, err error) { f(role, err); g(role, err) }
		})
		out.Blocked = join(out.Blocked, h.Blocked, func(f, g func(string)) func(string) {
			return func(reason string) { f(reason); g(reason) }
		})
		out.Published = join(out.Published, h.Published, func(f, g func(Message, time.Duration, error)) func(Message, time.Duration, error) {
			return func(m Message, took time.Duration, err error) { f(m, took, err); g(m, took, err) }
		})
		out.Routed = join(out.Routed, h.Routed, func(f, g routedHook) routedHook {
			return func(e *Event, rules, pipelines []string, took time.Duration) {
				f(e, rules, pipelines, took)
				g(e, rules, pipelines, took)
			}
		})
		out.Unrouted = join(out.Unrouted, h.Unrouted, func(f, g func(*Event, string)) func(*Event, string) {
			return func(e *Event, reason string) { f(e, reason); g(e, reason) }
		})
		out.NotEvaluated = join(out.NotEvaluated, h.NotEvaluated, func(f, g func(*Event, string, error)) func(*Event, string, error) {
			return func(e *Event, rule string, err error) { f(e, rule, err); g(e, rule, err) }
		})
		out.Started = join(out.Started, h.Started, func(f, g startedHook) startedHook {
			return func(p string, e *Event, attempt int) { f(p, e, attempt); g(p, e, attempt) }
		})
		out.Handled = join(out.Handled, h.Handled, func(f, g attemptHook) attemptHook {
			return func(p string, e *Event, n int, took time.Duration, err error) {
				f(p, e, n, took, err)
				g(p, e, n, took, err)
			}
		})
		out.Retried = join(out.Retried, h.Retried, func(f, g attemptHook) attemptHook {
			return func(p string, e *Event, n int, delay time.Duration, err error) {
				f(p, e, n, delay, err)
				g(p, e, n, delay, err)
			}
		})
		out.Dead = join(out.Dead, h.Dead, func(f, g deadHook) deadHook {
			return func(p string, e *Event, attempts int, err error) { f(p, e, attempts, err); g(p, e, attempts, err) }
		})
		out.Duplicate = join(out.Duplicate, h.Duplicate, func(f, g func(string, *Event)) func(string, *Event) {
			return func(p string, e *Event) { f(p, e); g(p, e) }
		})
		out.Problem = join(out.Problem, h.Problem, func(f, g func(string, error)) func(string, error) {
			return func(where string, err error) { f(where, err); g(where, err) }
		})
	}
	return out
}

type (
	routedHook  = func(e *Event, rules, pipelines []string, took time.Duration)
	startedHook = func(pipeline string, e *Event, attempt int)
	attemptHook = func(pipeline string, e *Event, attempt int, took time.Duration, err error)
	deadHook    = func(pipeline string, e *Event, attempts int, err error)
)

// join makes one function of two, of which either may be nil.
func join[F any](f, g F, both func(f, g F) F) F {
	switch {
	case isNil(f):
		return g
	case isNil(g):
		return f
	}
	return both(f, g)
}

func isNil(f any) bool { return reflect.ValueOf(f).IsNil() }
