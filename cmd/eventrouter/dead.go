package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/pipelines/dead"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// keptFlags are those of all commands on events that were kept aside.
type keptFlags struct {
	broker brokerFlags
	rules  rulesFlag
	ids    []string
	kind   string
	text   string
	rule   string
	older  time.Duration
	newer  time.Duration
	output outputFlag
}

func (k *keptFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringSliceVar(&k.ids, "id", nil, "ids of events")
	flags.StringVar(&k.kind, "type", "", "only events of this type: a topic pattern, such as order.*")
	flags.StringVar(&k.text, "error", "", "only those whose error has this text in it")
	flags.StringVar(&k.rule, "rule", "", "only those for which this rule held")
	flags.DurationVar(&k.older, "older", 0, "only those that failed, or were put aside, at least so long ago, such as 30m; an event that no rule has the type of has no time, and is not picked")
	flags.DurationVar(&k.newer, "newer", 0, "only those that failed, or were put aside, at most so long ago; as with --older")
	scope(cmd, "filter", "id", "type", "error", "rule", "older", "newer")
	k.rules.add(cmd)
	k.broker.add(cmd, "the one on "+defaultListen)
	k.output.add(cmd)
}

func (k *keptFlags) filter() dead.Filter {
	return dead.Filter{IDs: k.ids, Type: k.kind, Error: k.text, Rule: k.rule, Older: k.older, Newer: k.newer}
}

// narrow reports whether any filter is given.
func (k *keptFlags) narrow() bool {
	return len(k.ids) > 0 || k.kind != "" || k.text != "" || k.rule != "" || k.older > 0 || k.newer > 0
}

// kept makes the commands for one kind of kept events.
type kept struct {
	c    *console
	name string // dead or unrouted
	noun string // "dead letter"
	args cobra.PositionalArgs
	use  string
}

func (c *console) deadCommand() *cobra.Command {
	k := &kept{c: c, name: "dead", noun: "dead letter", use: " [PIPELINE...]", args: cobra.ArbitraryArgs}
	cmd := group(&cobra.Command{
		Use:   "dead",
		Short: "List, show, replay, drop, export or import dead letters: events that a pipeline has given up",
		Example: `  eventrouter dead list
  eventrouter dead show --id 01KAV8Q0M9
  eventrouter dead replay billing --all --rate 20
  eventrouter dead drop billing --error "unknown customer"`,
	})
	cmd.AddCommand(k.list(), k.show(), k.replay(), k.drop(), k.export(), k.imports())
	return cmd
}

func (c *console) unroutedCommand() *cobra.Command {
	k := &kept{c: c, name: "unrouted", noun: "unrouted event", args: arguments(0, 0, "")}
	cmd := group(&cobra.Command{
		Use:   "unrouted",
		Short: "List, show, replay, drop, export or import events that no rule wanted",
		Example: `  eventrouter unrouted list --type 'order.#'
  eventrouter unrouted replay --all     # through the rules in force now`,
	})
	cmd.AddCommand(k.list(), k.show(), k.replay(), k.drop(), k.export(), k.imports())
	return cmd
}

// session is a command at work: a broker and the boxes that it is about.
func (k *kept) session(cmd *cobra.Command, f *keptFlags, args []string, work func(ctx context.Context, boxes []*dead.Box) error) error {
	if err := f.output.validate(cmd); err != nil {
		return err
	}
	_, p, err := f.rules.load(k.c, cmd, nil)
	if err != nil {
		return err
	}
	picked, err := k.picked(cmd, p, args)
	if err != nil {
		return err
	}
	b, closeBroker, err := k.c.dial(cmd, &f.broker)
	if err != nil {
		return err
	}
	defer closeBroker()
	var boxes []*dead.Box
	if k.name == "unrouted" {
		boxes = []*dead.Box{dead.Unrouted(b, p)}
	}
	for _, pipeline := range picked {
		boxes = append(boxes, dead.Letters(b, p, pipeline))
	}
	if err := work(cmd.Context(), boxes); err != nil {
		if cause := context.Cause(cmd.Context()); cause != nil && !errors.Is(err, cause) {
			return cause
		}
		if errors.Is(err, router.ErrNoQueue) {
			return fmt.Errorf("%w: the rules of %q were not applied on this broker, or somebody has deleted it ('eventrouter apply' declares it)", err, p.Name)
		}
		return err
	}
	return nil
}

// picked finds the pipelines that the arguments name; without any, all.
func (k *kept) picked(cmd *cobra.Command, p *plan.Plan, args []string) ([]*plan.Pipeline, error) {
	var out []*plan.Pipeline
	if k.name != "dead" {
		return nil, nil
	}
	var names []string
	for i := range p.Pipelines {
		names = append(names, p.Pipelines[i].Name)
		if len(args) == 0 {
			out = append(out, &p.Pipelines[i])
		}
	}
	for _, name := range args {
		pipeline := p.Pipeline(name)
		if pipeline == nil {
			return nil, usagef(cmd, "the rules have no pipeline %q%s", name, didYouMean(name, names, ""))
		}
		out = append(out, pipeline)
	}
	return out, nil
}

// command makes one of the commands.
func (k *kept) command(verb, short, long, example string, f *keptFlags, run func(cmd *cobra.Command, args []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: verb + k.use, Short: short, Long: long, Args: k.args, RunE: run,
		Example: strings.ReplaceAll(example, "NAME", "eventrouter "+k.name),
	}
	if k.name == "dead" {
		cmd.ValidArgsFunction = k.c.completePipelines(&f.rules)
	}
	f.add(cmd)
	return cmd
}

// shownLetter is a kept event in the form of -o json.
type shownLetter struct {
	ID           string     `json:"id"`
	Type         string     `json:"type"`
	Pipeline     string     `json:"pipeline,omitempty"`
	Exchange     string     `json:"exchange,omitempty"`
	Reason       string     `json:"reason"`
	Attempts     int        `json:"attempts,omitempty"`
	FirstFailure *time.Time `json:"first_failure,omitempty"`
	LastFailure  *time.Time `json:"last_failure,omitempty"`
	Rules        []string   `json:"rules,omitempty"`
	Event        any        `json:"event,omitempty"` // of show
}

func shownOf(l *dead.Letter) shownLetter {
	s := shownLetter{
		ID: l.Event.ID, Type: l.Event.Type, Pipeline: l.Pipeline, Exchange: l.Exchange, Reason: l.Reason(),
		Attempts: l.Trail.Attempts, Rules: l.Trail.Rules,
	}
	if !l.Trail.FirstFailure.IsZero() {
		s.FirstFailure = &l.Trail.FirstFailure
	}
	if !l.Trail.LastFailure.IsZero() {
		s.LastFailure = &l.Trail.LastFailure
	}
	return s
}

func (k *kept) show() *cobra.Command {
	var f keptFlags
	cmd := k.command("show", "Show "+k.noun+"s whole", "Show "+k.noun+`s whole, each as a JSON document: the event, and why it is here. They stay where they are.
Data that may be JSON by its content type, and is other text, is shown behind its document, with control characters
escaped. With -o json it stands in the document, as base64.`,
		"  NAME show --id 01KAV8Q0M9", &f, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return k.session(cmd, &f, args, func(ctx context.Context, boxes []*dead.Box) error {
			var failed error
			shown := 0
			for _, box := range boxes {
				if err := box.Each(ctx, f.filter(), func(l dead.Letter) bool {
					if shown++; f.output.json() {
						s := shownOf(&l)
						s.Event = l.Event
						failed = writeJSON(k.c.out, s)
					} else {
						failed = showText(k.c.out, &l)
					}
					return failed == nil
				}); err != nil || failed != nil {
					return firstError(failed, err)
				}
			}
			if shown == 0 {
				return k.none()
			}
			return nil
		})
	}
	return cmd
}

// none is the error where no event was picked that was asked for.
func (k *kept) none() error { return fmt.Errorf("there is no such %s", k.noun) }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (k *kept) replay() *cobra.Command {
	var f keptFlags
	var all, dry bool
	var rate float64
	long := "Send dead letters back to their own pipeline, with their attempts reset."
	if k.name == "unrouted" {
		long = "Publish unrouted events again to their exchange, and so through the rules in force now."
	}
	long += ` Each is taken away from here only when
its publish is confirmed, so that an interrupted replay loses nothing; at worst the last few events
come twice. Name them with --id or a filter, or say --all.`
	cmd := k.command("replay", "Send "+k.noun+"s on their way again", long,
		"  NAME replay --all --dry-run\n  NAME replay --id 01KAV8Q0M9\n  NAME replay --all --rate 20", &f, nil)
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell which they would be")
	scope(cmd, "filter", "all")
	cmd.Flags().Float64Var(&rate, "rate", 0, "events a second at most; 0 is no limit")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !all && !f.narrow() {
			return usagef(cmd, "which? Name them with --id or a filter, or say --all")
		}
		if rate < 0 {
			return usagef(cmd, "--rate %v is below 0", rate)
		}
		return k.session(cmd, &f, args, func(ctx context.Context, boxes []*dead.Box) error {
			progress := k.c.newProgress("replaying")
			total := 0
			for _, box := range boxes {
				n, err := k.replayBox(ctx, box, &f, dry, rate, progress)
				if total += n; err != nil {
					progress.finish()
					return fmt.Errorf("%w (replayed before that: %d)", err, total)
				}
			}
			progress.finish()
			if total == 0 && len(f.ids) > 0 {
				return k.none()
			}
			return k.report(f.output.json(), "replayed", total, dry)
		})
	}
	return cmd
}

func (k *kept) replayBox(ctx context.Context, box *dead.Box, f *keptFlags, dry bool, rate float64, progress *progress) (int, error) {
	if dry {
		return k.dryRun(ctx, box, f)
	}
	return box.Replay(ctx, dead.Replay{Filter: f.filter(), Rate: rate, Replayed: func(_ dead.Letter, err error) {
		if err == nil {
			progress.add()
		}
	}})
}

// dryRun names the letters that would be worked on.
func (k *kept) dryRun(ctx context.Context, box *dead.Box, f *keptFlags) (int, error) {
	n := 0
	err := box.Each(ctx, f.filter(), func(l dead.Letter) bool {
		if n++; !f.output.json() {
			fmt.Fprintf(k.c.out, "%s %s %s\n", printable(l.Event.ID, ""), printable(l.Event.Type, ""), l.Pipeline)
		}
		return true
	})
	return n, err
}

func (k *kept) drop() *cobra.Command {
	var f keptFlags
	var all, dry bool
	cmd := k.command("drop", "Delete "+k.noun+"s for good", "Delete "+k.noun+"s for good. Name them with --id or a filter, or say --all.",
		"  NAME drop --id 01KAV8Q0M9\n  NAME drop --all --older 720h --dry-run", &f, nil)
	cmd.Flags().BoolVar(&all, "all", false, "all of them")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "only tell which they would be")
	scope(cmd, "filter", "all")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !all && !f.narrow() {
			return usagef(cmd, "which? Name them with --id or a filter, or say --all")
		}
		return k.session(cmd, &f, args, func(ctx context.Context, boxes []*dead.Box) error {
			total := 0
			for _, box := range boxes {
				drop := func() (int, error) { return box.Drop(ctx, f.filter(), nil) }
				if dry {
					drop = func() (int, error) { return k.dryRun(ctx, box, &f) }
				}
				n, err := drop()
				if total += n; err != nil {
					return fmt.Errorf("%w (dropped before that: %d)", err, total)
				}
			}
			if total == 0 && len(f.ids) > 0 {
				return k.none()
			}
			return k.report(f.output.json(), "dropped", total, dry)
		})
	}
	return cmd
}

// report prints how many there were.
func (k *kept) report(asJSON bool, verb string, n int, dry bool) error {
	if asJSON {
		return writeJSON(k.c.out, map[string]any{verb: n, "dry_run": dry})
	}
	if dry {
		verb = "would be " + verb
	}
	_, err := fmt.Fprintf(k.c.out, "%s: %s\n", verb, count(n, k.noun))
	return err
}
