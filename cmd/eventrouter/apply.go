package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

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
	migrate      bool
	letGo        time.Duration
	drain        time.Duration
	settle       settleFlag
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

A queue for retries that is not needed any more, and one that retries may come back to, is deleted when it has been
seen empty for 7 minutes (--settle): for some minutes RabbitMQ may hold events of it that it does not count. Until then
it is told too, and 'run' deletes it by itself, or a later 'apply'.

What is there in another shape is an error that names both shapes. With --migrate a pipeline's queue is moved into
the shape that the rules want, under its own name, while events flow. What it holds is moved to NAME.PIPELINE.moved,
what comes meanwhile goes to NAME.PIPELINE.migrating, and 'run' works off both, in this order, before the queue
itself; then they are deleted. Where another program consumes the queue, it has to do that. The queue is not consumed
while its events are moved: 'run' lets go of it by itself, and others are waited for, for --migrate-wait.

Objects of others are never touched.
'run' does all this by itself when it starts, and when its rules change.`,
		Example: `  eventrouter plan && eventrouter apply
  EVENTROUTER_BROKER=amqp://user:pass@rabbit eventrouter apply --delete-queues
  eventrouter apply --migrate`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.apply(cmd, &o) },
	}
	o.rules.add(cmd)
	o.output.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.force, "force", false, "overwrite what a newer version of eventrouter has applied")
	flags.BoolVar(&o.deleteQueues, "delete-queues", false, "wait until queues that are to be deleted are empty; refuse where nobody consumes them")
	flags.DurationVar(&o.drain, "delete-timeout", time.Minute, "how long --delete-queues waits for each queue")
	flags.BoolVar(&o.migrate, "migrate", false, "move pipelines' queues whose type or limits the rules have changed")
	flags.DurationVar(&o.letGo, "migrate-wait", 45*time.Second, "how long --migrate waits for the consumers of a queue to let go of it")
	o.settle.add(flags)
	flags.DurationVar(&o.wait, "lock-timeout", 30*time.Second, "how long to wait for another who is applying")
	o.broker.add(cmd, "the one on "+defaultListen)
	return cmd
}

func (c *console) apply(cmd *cobra.Command, o *applyOptions) error {
	if err := o.output.validate(cmd); err != nil {
		return err
	}
	for flag, d := range map[string]time.Duration{"lock-timeout": o.wait, "migrate-wait": o.letGo, "delete-timeout": o.drain} {
		if d <= 0 {
			return usagef(cmd, "--%s has to be more than 0", flag)
		}
	}
	if err := o.settle.validate(cmd); err != nil {
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
	options := router.ApplyOptions{Force: o.force, Wait: o.wait, By: author(), Migrate: o.migrate, LetGo: o.letGo, Settle: o.settle.option()}
	if o.deleteQueues {
		options.Drain = o.drain
		options.Check = refuseUnconsumed
	}
	bar := c.newSteps()
	options.Progress = bar.show
	began := time.Now()
	change, done, err := apply(cmd.Context(), b, p, options)
	bar.finish()
	if err != nil {
		if change != nil && cmd.Context().Err() != nil {
			err = fmt.Errorf("%w; the next 'apply' goes on from there", causeOf(cmd.Context()))
		}
		if errors.Is(err, plan.ErrNewer) {
			err = fmt.Errorf("%w; --force overwrites it", err)
		}
		if _, shape := errors.AsType[*router.ShapeError](err); shape && o.migrate {
			err = fmt.Errorf("%w (--migrate moves what eventrouter has applied, and no more: of this it does not know what is bound to it)", err)
		}
		return fmt.Errorf("applying: %w", err)
	}
	done.migrate, done.Seconds = o.migrate, time.Since(began).Seconds()
	return c.tellApplied(&o.output, change, done)
}

// apply makes a change, and tells what became of queues.
func apply(ctx context.Context, b router.Changer, p *plan.Plan, o router.ApplyOptions) (*plan.Change, appliedResult, error) {
	a, err := router.Begin(ctx, b, p, o)
	if err != nil {
		return nil, appliedResult{}, err
	}
	done := appliedResult{Kept: []router.Kept{}, Moved: []router.Moved{}}
	err = a.Add(ctx)
	if err == nil {
		var kept []router.Kept
		kept, err = a.Remove(ctx)
		done.Kept = append(done.Kept, kept...)
	}
	done.Moved = append(done.Moved, a.Moved()...)
	return a.Change, done, errors.Join(err, a.Close())
}

// settleFlag is how long a queue is empty before it is deleted.
type settleFlag struct{ time.Duration }

func (s *settleFlag) add(flags *pflag.FlagSet) {
	flags.DurationVar(&s.Duration, "settle", router.DefaultSettle, "how long a queue that retries wait in, or may come back to, is empty before it is deleted; 0: no time")
}

func (s *settleFlag) validate(cmd *cobra.Command) error {
	if s.Duration < 0 {
		return usagef(cmd, "--settle cannot be less than 0")
	}
	return nil
}

func (s *settleFlag) option() time.Duration {
	if s.Duration == 0 {
		return -1
	}
	return s.Duration
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
	Moved   []router.Moved `json:"moved"`
	Kept    []router.Kept  `json:"kept"` // stale, and still there
	Seconds float64        `json:"seconds"`

	migrate bool // was asked for
}

func (c *console) tellApplied(o *outputFlag, change *plan.Change, done appliedResult) error {
	shown := newShownChange(change, nil)
	if o.json() {
		done.shownChange = shown
		return writeJSON(c.out, done)
	}
	t := change.Plan.Topology
	but := ""
	if len(done.Kept) > 0 && shown.Remove > 0 {
		but = ", but for what is kept"
	}
	text := fmt.Sprintf("applied: %s, %s, %s; %d added, %d changed, %d removed%s\n",
		count(len(t.Exchanges), "exchange"), count(len(t.Queues), "queue"), count(len(t.Bindings), "binding"), shown.Add, shown.Change, shown.Remove, but)
	for _, m := range done.Moved {
		text += fmt.Sprintf("moved: queue %s has its new shape; it held %s", m.Queue, count(m.Events, "event"))
		if m.Consumed {
			text += ", not in order any more, as somebody went on consuming it"
		}
		text += "\n"
	}
	if done.migrate && len(done.Moved) == 0 {
		text += "moved: nothing, all queues have the shape that the rules want\n"
	}
	for _, k := range done.Kept {
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
