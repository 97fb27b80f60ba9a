// Package forward is the step that publishes each event to another exchange.
package forward

import (
	"context"
	"errors"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// New makes the step: it publishes to exchange, with key as the routing key or the event's type where key is empty, and is done when the broker has
// confirmed. An event that no queue gets there, or that the broker can never take, is a permanent error; others are tried again.
func New(p router.Publisher, exchange, key string) pipelines.Handler {
	return func(ctx context.Context, e router.Event) error {
		m := router.Message{Event: &e, Exchange: exchange, Key: key, Mandatory: true}
		if key == "" {
			m.Key = e.Type
		}
		done := make(chan error, 1)
		p.Publish(ctx, m, func(err error) { done <- err })
		err := <-done
		if errors.Is(err, router.ErrUnroutable) || errors.Is(err, router.ErrInvalid) || errors.Is(err, router.ErrTooLarge) {
			return pipelines.Permanent(err)
		}
		return err
	}
}
