package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// applyOptions are the flags of apply.
type applyOptions struct {
	rules        rulesFlag
	broker       brokerFlags
	output       outputFlag
	force        bool
	deleteQueues bool
	drain        time.Duration
	wait         time.Duration
}

func (c *console) applyCommand() *cobra.Command {
	var o applyOptions
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Bring the broker to what the rules need, while events flow",
		Long: `Bring the exchanges, queues and bindings on the broker to what the rules need: first what is new is added,
then what earlier rules needed and these do not is removed. No event is lost or doubled on the way. It may be
interrupted at any point: the next 'apply' goes on from there.

A queue that still holds events, or that somebody consumes, is not deleted but told, and the next 'apply' tries
again. With --delete-queues it waits for those that somebody consumes to become empty, and refuses to do
anything where a queue holds events and nobody consumes it.

What is there in another shape is an error that names both shapes. Objects of others are never touched.
'run' does all this by itself when it starts, and when its rules change.`,
		Example: `  eventrouter plan && eventrouter apply
  eventrouter apply --broker amqp://user:pass@rabbit --delete-queues`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.apply(cmd, &o) },
	}
	o.rules.add(cmd)
	o.output.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.force, "force", false, "overwrite what a newer version of eventrouter has applied")
	flags.BoolVar(&o.deleteQueues, "delete-queues", false, "wait until queues that are to be deleted are empty; refuse where nobody consumes them")
	flags.DurationVar(&o.drain, "delete-timeout", time.Minute, "how long --delete-queues waits for each queue")
	flags.DurationVar(&o.wait, "lock-timeout", 30*time.Second, "how long to wait for another who is applying")
	o.broker.add(cmd, "the one on "+defaultListen)
	return cmd
}

func (c *console) apply(cmd *cobra.Command, o *applyOptions) error {
	if err := o.output.validate(cmd); err != nil {
		return err
	}
	_, p, err := o.rules.load(c, cmd, nil)
	if err != nil {
		return err
	}
	b, closeBroker, err := c.dial(cmd, &o.broker)
	if err != nil {
		return err
	}
	defer closeBroker()
	options := router.ApplyOptions{Force: o.force, Wait: o.wait, By: author()}
	if o.deleteQueues {
		options.Drain = o.drain
		options.Check = refuseUnconsumed
	}
	bar := c.newSteps()
	options.Progress = bar.show
	began := time.Now()
	change, kept, err := router.Apply(cmd.Context(), b, p, options, nil)
	bar.finish()
	if err != nil {
		if errors.Is(err, plan.ErrNewer) {
			err = fmt.Errorf("%w; --force overwrites it", err)
		}
		return fmt.Errorf("applying: %w", err)
	}
	return c.tellApplied(&o.output, change, kept, time.Since(began))
}

// author names who applies, for the record.
func author() string { return "eventrouter " + currentVersion() + ", " + router.Process() }

// refuseUnconsumed refuses a change that would have to delete queues with events that nobody will take out.
func refuseUnconsumed(ctx context.Context, l router.Lock, c *plan.Change) error {
	var errs []error
	for _, q := range c.Stale().Queues {
		events, consumers, _, err := l.Count(ctx, q.Name)
		if err != nil {
			return err
		}
		if events > 0 && consumers == 0 {
			errs = append(errs, fmt.Errorf("queue %q holds %s and nobody consumes it: nothing was changed", q.Name, count(events, "event")))
		}
	}
	return errors.Join(errs...)
}

// appliedResult is the form of the result in JSON.
type appliedResult struct {
	*shownChange
	Kept    []router.Kept `json:"kept"` // stale, and still there
	Seconds float64       `json:"seconds"`
}

func (c *console) tellApplied(o *outputFlag, change *plan.Change, kept []router.Kept, took time.Duration) error {
	shown := newShownChange(change, nil)
	if o.json() {
		return writeJSON(c.out, appliedResult{shown, append([]router.Kept{}, kept...), took.Seconds()})
	}
	t := change.Plan.Topology
	text := fmt.Sprintf("applied: %s, %s, %s; %d added, %d changed, %d removed\n",
		count(len(t.Exchanges), "exchange"), count(len(t.Queues), "queue"), count(len(t.Bindings), "binding"), shown.Add, shown.Change, shown.Remove)
	for _, k := range kept {
		text += fmt.Sprintf("kept: %s %s: %s\n", k.Kind, k.Name, k.Why)
	}
	_, err := fmt.Fprint(c.out, text)
	return err
}

// stepBar shows how far a change is, on a terminal only.
type stepBar struct{ bar *progressbar.ProgressBar }

func (c *console) newSteps() *stepBar {
	if !c.errTerm {
		return &stepBar{}
	}
	return &stepBar{progressbar.NewOptions(1,
		progressbar.OptionSetWriter(c.err),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)}
}

// show draws the bar. One that cannot be drawn is no reason to stop the work.
func (s *stepBar) show(done, all int, what string) {
	if s.bar != nil {
		s.bar.ChangeMax(all)
		s.bar.Describe(what)
		_ = s.bar.Set(done)
	}
}

func (s *stepBar) finish() {
	if s.bar != nil {
		_ = s.bar.Finish()
	}
}
