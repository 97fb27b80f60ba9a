// Package forward is the step that publishes each event to another exchange.
package forward

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// New makes the step, which may be called by any number of goroutines: it publishes to exchange, with key as the routing
// key or the event's type where key is empty, and is done when the broker has confirmed. The exchange must not be empty: the
// broker takes the key for a queue's name then, and an event's type would choose it. An event that no queue gets there,
// or that the broker can never take, is a permanent error; others are tried again, and so is one that is not confirmed when
// the context ends: then the event may have got there, and comes twice.
func New(p router.Publisher, exchange, key string) pipelines.Handler {
	return func(ctx context.Context, e router.Event) error {
		m := router.Message{Event: &e, Exchange: exchange, Key: key, Mandatory: true}
		if key == "" {
			m.Key = e.Type
		}
		err := publish(ctx, p, m)
		if err == nil {
			return nil
		}
		err = fmt.Errorf("exchange %q, key %q: %w", m.Exchange, m.Key, err)
		if errors.Is(err, router.ErrUnroutable) || errors.Is(err, router.ErrExchange) || errors.Is(err, router.ErrInvalid) || errors.Is(err, router.ErrTooLarge) {
			return pipelines.Permanent(err)
		}
		return err
	}
}

// publish waits for the broker's answer, which counts even where the context is over by then.
func publish(ctx context.Context, p router.Publisher, m router.Message) error {
	done := make(chan error, 1)
	p.Publish(ctx, m, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	default:
		return fmt.Errorf("not confirmed: %w", context.Cause(ctx))
	}
}
