// Package pipelines runs pipelines: it takes events from their queues, hands them to handlers with as many workers as the
// pipeline has, and sees to retries and dead letters.
package pipelines

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

// Handler works on one event. nil means done. A [Permanent] error sends the event to the dead letters, one made by [RetryAfter] says
// when it may be tried again, and any other error is tried again after the pipeline's next delay, until its attempts are
// used up. A panic is an error, with its stack.
//
// ctx ends with the pipeline's timeout, or when a drain has lasted too long. A handler may be called several times for one
// event (see the guarantees), from as many goroutines at once as the pipeline has workers. It does not change the
// event's maps and bytes.
type Handler func(ctx context.Context, e router.Event) error

// Permanent marks an error that another attempt would not mend. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &permanentError{err}
}

// RetryAfter marks an error with the time that has to pass before another attempt: the event waits for the pipeline's delays, as many and as long as
// are needed for that. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &retryAfterError{err, d}
}

type permanentError struct{ error }

func (e *permanentError) Unwrap() error { return e.error }

type retryAfterError struct {
	error
	after time.Duration
}

func (e *retryAfterError) Unwrap() error { return e.error }

// IsPermanent reports whether err, or one that it wraps, was marked by Permanent.
func IsPermanent(err error) bool {
	_, ok := errors.AsType[*permanentError](err)
	return ok
}

// retryAfter is the time that an error asks for; 0 where it does not.
func retryAfter(err error) time.Duration {
	if e, ok := errors.AsType[*retryAfterError](err); ok {
		return e.after
	}
	return 0
}

// PanicError is a panic of a handler.
type PanicError struct {
	Value any
	Stack []byte
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Attempt says which attempt at an event is under way.
type Attempt struct {
	Pipeline string
	Number   int  // from 1
	Last     bool // a failure of this one ends in the dead letters
}

type attemptKey struct{}

// AttemptOf returns the attempt that a handler was called for, from the context that it was called with.
func AttemptOf(ctx context.Context) Attempt {
	a, _ := ctx.Value(attemptKey{}).(Attempt)
	return a
}
