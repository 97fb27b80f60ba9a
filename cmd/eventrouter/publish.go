package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/event"
)

// publishOptions are the flags of publish.
type publishOptions struct {
	broker   brokerFlags
	rules    rulesFlag
	exchange string
	event    eventFlags
	skip     bool
	timeout  time.Duration
	output   outputFlag
}

func (c *console) publishCommand() *cobra.Command {
	var o publishOptions
	cmd := &cobra.Command{
		Use:   "publish",
		Short: "Publish one event, or many from standard input, and wait for the confirms",
		Long: `Publish one event from flags, or events from standard input, a JSON document (CloudEvents' JSON format)
a line. An event without an id gets one.

The exit code is 0 only if the broker has confirmed every event; those that it has not are named, with
their line. Such an event may have arrived all the same, when the connection was lost before its confirm.

A line that is no event ends the reading with exit code 1, when what was read before it is confirmed;
with --skip-invalid the lines after it are published too, and the exit code is still 1.`,
		Example: `  eventrouter publish --type order.created --data '{"total": 1500}'
  eventrouter publish --type order.created --data @order.json --subject order-7 --attr tenant=acme
  eventrouter publish < events.ndjson
  EVENTROUTER_BROKER=amqp://user:pass@rabbit eventrouter publish --exchange shop.events < events.ndjson`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.output.validate(cmd); err != nil {
				return err
			}
			return c.publish(cmd, &o)
		},
	}
	o.event.add(cmd)
	cmd.Flags().StringVar(&o.exchange, "exchange", "", "exchange to publish to: its key in the rules, or its name on the broker (without it: the first of the rules)")
	cmd.Flags().BoolVar(&o.skip, "skip-invalid", false, "go on after a line that is no event")
	cmd.Flags().DurationVar(&o.timeout, "confirm-timeout", 30*time.Second, "how long to wait for a connection, and for each confirm")
	o.rules.add(cmd)
	o.broker.add(cmd, "the one on "+defaultListen)
	o.output.add(cmd)
	return cmd
}

// publish does the command.
func (c *console) publish(cmd *cobra.Command, o *publishOptions) error {
	if err := o.event.check(cmd); err != nil {
		return err
	}
	exchange, err := o.target(c, cmd)
	if err != nil {
		return err
	}
	var one *event.Event
	switch {
	case o.event.given():
		if one, err = o.event.event(cmd); err != nil {
			return err
		}
	case c.inTerm:
		return usagef(cmd, "no event: give one with --type and --data, or events on standard input")
	}
	b, closeBroker, err := c.dial(cmd, &o.broker)
	if err != nil {
		return err
	}
	defer closeBroker()

	ctx := cmd.Context()
	t := &tally{publisher: b, exchange: exchange, timeout: o.timeout}
	if !o.output.json() {
		t.said = c.err
	}
	if one != nil {
		t.publish(ctx, withID(one), 0)
	} else {
		t.progress = c.newProgress("publishing")
		err = c.publishAll(ctx, t, o.skip)
	}
	t.wait()
	t.progress.finish()
	if reportErr := t.report(c, o.output.json()); err == nil {
		err = reportErr
	}
	return err
}

// target finds out which exchange is meant.
func (o *publishOptions) target(c *console, cmd *cobra.Command) (string, error) {
	if len(o.rules.paths) == 0 {
		if _, err := os.Stat(defaultRules); errors.Is(err, fs.ErrNotExist) {
			if o.exchange == "" {
				return "", usagef(cmd, "which exchange? Name it with --exchange, or the rules with --rules")
			}
			return o.exchange, nil
		}
	}
	_, p, err := o.rules.load(c, cmd, nil)
	if err != nil {
		return "", err
	}
	if name, ok := p.Source(o.exchange); ok {
		return name, nil
	}
	if o.exchange == "" {
		return "", usagef(cmd, "the rules have no exchange: name one with --exchange")
	}
	return o.exchange, nil
}

// publishAll publishes the events on standard input.
func (c *console) publishAll(ctx context.Context, t *tally, skip bool) error {
	in := event.NewReader(&interruptible{ctx: ctx, in: c.in})
	for {
		var e event.Event
		err := in.Next(&e)
		var bad *event.LineError
		switch {
		case err == nil:
			t.publish(ctx, withID(&e), in.Line())
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			t.fail(failure{Line: bad.Line, Error: bad.Err.Error()})
			if !skip {
				return fmt.Errorf("ended at line %d: nothing after it was published (--skip-invalid goes on after such lines)", bad.Line)
			}
		default:
			return fmt.Errorf("after line %d: %w", in.Line(), err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("after line %d: %w", in.Line(), causeOf(ctx))
		}
	}
}

// withID gives an event an id if it has none.
func withID(e *event.Event) *event.Event {
	if e.ID == "" {
		e.ID = event.NewID()
	}
	return e
}
