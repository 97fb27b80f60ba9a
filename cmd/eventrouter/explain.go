package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// maxOthers is how many rules that do not hold are shown without --all.
const maxOthers = 10

// explained is why one event goes where it goes, in the form of -o json.
type explained struct {
	ID        string              `json:"id"`
	Type      string              `json:"type"`
	Exchange  string              `json:"exchange"`
	Pipelines []explainedPipeline `json:"pipelines"`
	Unrouted  string              `json:"unrouted,omitempty"`
	Rules     []explainedRule     `json:"rules"`
	Hidden    int                 `json:"hidden,omitempty"` // rules that are not shown
	// Rules of which type and pattern hold and the expression cannot be evaluated.
	NotEvaluated int `json:"not_evaluated,omitempty"`
}

type explainedPipeline struct {
	Name  string   `json:"name"`
	Queue string   `json:"queue"`
	Fed   string   `json:"fed_by"` // broker or router
	Way   []string `json:"way"`
	Rules []string `json:"rules"`
}

type explainedRule struct {
	Name     string   `json:"name"`
	Place    string   `json:"place,omitempty"`
	Holds    bool     `json:"holds"`
	Near     bool     `json:"near,omitempty"` // all conditions but one hold
	Path     string   `json:"path,omitempty"`
	Expected string   `json:"expected,omitempty"`
	Actual   string   `json:"actual,omitempty"`
	Error    string   `json:"error,omitempty"` // of a where that cannot be evaluated
	Also     []string `json:"also,omitempty"`  // paths of the other conditions that fail
	reason   string
}

func (c *console) explainCommand() *cobra.Command {
	var named rulesFlag
	var from string
	var flags eventFlags
	var output outputFlag
	var all bool
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Tell for an event which rules hold, and what keeps the others from it",
		Long: `Tell for one event, from flags or standard input (CloudEvents' JSON format, several on lines of their
own), which pipelines get it and through which exchanges and queues; which rules hold; and for the
others the first condition that fails, with what was expected and what the event has. Rules of which only
one condition fails come first. Of more rules than ten that do not hold the nearest are shown, and all
with --all. The verdict is that of the router itself. No broker is needed.`,
		Example: `  eventrouter explain --type order.created --data '{"total": 999, "country": "DE"}'
  eventrouter explain --rules rules/ --all < event.json
  eventrouter explain -o json --type order.created --data @order.json`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef(cmd, "events come from flags or from standard input, not from arguments (%s): < FILE", shownArgument(args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(output.validate(cmd), flags.check(cmd)); err != nil {
				return err
			}
			_, p, err := named.load(c, cmd, nil)
			if err != nil {
				return err
			}
			exchange, ok := p.Source(from)
			if !ok {
				return usagef(cmd, "--from %q: the rules have no such exchange", from)
			}
			show := func(e *event.Event) error {
				x := explainEvent(p, e, exchange, all)
				if output.json() {
					return writeJSON(c.out, x)
				}
				return x.print(c.out)
			}
			if !flags.given() {
				return c.eachEvent(cmd, show)
			}
			e, err := flags.event(cmd)
			if err != nil {
				return err
			}
			return show(e)
		},
	}
	flags.add(cmd)
	named.add(cmd)
	output.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "exchange that the events are published to, by its key in the rules (the first without it)")
	cmd.Flags().BoolVar(&all, "all", false, "show every rule, however many")
	return cmd
}

// eachEvent reads the events on standard input.
func (c *console) eachEvent(cmd *cobra.Command, f func(*event.Event) error) error {
	if c.inTerm {
		return usagef(cmd, "no event: give one with --type and --data, or on standard input")
	}
	in := event.NewReader(&interruptible{ctx: cmd.Context(), in: c.in})
	for n := 0; ; n++ {
		var e event.Event
		switch err := in.Next(&e); {
		case errors.Is(err, io.EOF) && n == 0:
			return usagef(cmd, "no event: standard input is empty")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if err := f(&e); err != nil {
			return err
		}
	}
}

func explainEvent(p *plan.Plan, e *event.Event, exchange string, all bool) explained {
	x := p.Explain(e, exchange)
	out := explained{ID: e.ID, Type: e.Type, Exchange: x.Exchange, Pipelines: []explainedPipeline{}, Rules: []explainedRule{}, Unrouted: x.Unrouted, NotEvaluated: x.NotEvaluated}
	for _, r := range x.Pipelines {
		pipeline := &p.Pipelines[r.Pipeline]
		shown := explainedPipeline{Name: pipeline.Name, Queue: pipeline.QueueName, Fed: "broker", Way: r.Way}
		if pipeline.Feed == plan.ByRouter {
			shown.Fed = "router"
		}
		for _, rule := range r.Rules {
			shown.Rules = append(shown.Rules, p.Rules[rule].Name)
		}
		out.Pipelines = append(out.Pipelines, shown)
	}
	others := 0
	for _, v := range x.Rules {
		if !v.Holds {
			if others++; others > maxOthers && !all {
				out.Hidden++
				continue
			}
		}
		rule := &p.Rules[v.Rule]
		shown := explainedRule{Name: rule.Name, Place: rule.Pos.String(), Holds: v.Holds, Near: v.Near()}
		if !v.Holds {
			shown.Path, shown.Expected, shown.Actual, shown.Also, shown.reason = v.Path, v.Expected, v.Actual, v.Also, v.Reason()
			if v.Err != nil {
				shown.Error = v.Err.Error()
			}
		}
		out.Rules = append(out.Rules, shown)
	}
	return out
}

// print writes the explanation for people.
func (x *explained) print(w io.Writer) error {
	var b strings.Builder
	id := x.ID
	if id == "" {
		id = "without an id"
	}
	fmt.Fprintf(&b, "event %s, type %s, published to %s\n", printable(id, ""), printable(x.Type, ""), x.Exchange)
	if x.Unrouted != "" {
		fmt.Fprintf(&b, "\nno pipeline gets it: it is kept in %s\n", x.Unrouted)
	}
	for i, p := range x.Pipelines {
		if i == 0 {
			b.WriteString("\npipelines that get it:\n")
		}
		by := "by the broker alone"
		if p.Fed == "router" {
			by = "by the router"
		}
		fmt.Fprintf(&b, "  %s, because of %s\n      %s: %s\n", p.Name, strings.Join(p.Rules, ", "), by, strings.Join(p.Way, " → "))
	}
	x.section(&b, "rules that hold:", func(r explainedRule) bool { return r.Holds })
	x.section(&b, "rules of which one condition fails:", func(r explainedRule) bool { return r.Near })
	x.section(&b, "other rules:", func(r explainedRule) bool { return !r.Holds && !r.Near })
	if x.Hidden > 0 {
		fmt.Fprintf(&b, "\n%s not hold either, and are no nearer (--all shows all)\n", does(x.Hidden))
	}
	if x.NotEvaluated > 0 {
		fmt.Fprintf(&b, "\n%s not hold because where cannot be evaluated (metric eventrouter_where_errors_total)\n", does(x.NotEvaluated))
	}
	_, err := io.WriteString(w, b.String()+"\n")
	return err
}

func (x *explained) section(b *strings.Builder, title string, in func(explainedRule) bool) {
	for _, r := range x.Rules {
		if !in(r) {
			continue
		}
		if title != "" {
			fmt.Fprintf(b, "\n%s\n", title)
			title = ""
		}
		mark := "✗"
		if r.Holds {
			mark = "✓"
		}
		fmt.Fprintf(b, "  %s %-30s %s\n", mark, r.Name, r.Place)
		if !r.Holds {
			fmt.Fprintf(b, "      %s\n", printable(r.reason, ""))
		}
	}
}

// does writes "1 rule does", "2 rules do".
func does(n int) string {
	if n == 1 {
		return "1 rule does"
	}
	return count(n, "rule") + " do"
}
