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
}

type explainedPipeline struct {
	Name  string   `json:"name"`
	Queue string   `json:"queue"`
	Fed   string   `json:"fed_by"`
	Rules []string `json:"rules"`
}

type explainedRule struct {
	Name     string `json:"name"`
	Place    string `json:"place,omitempty"`
	Holds    bool   `json:"holds"`
	Near     bool   `json:"near,omitempty"` // all conditions but one hold
	Path     string `json:"path,omitempty"`
	Expected string `json:"expected,omitempty"`
	Actual   string `json:"actual,omitempty"`
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
own), which pipelines get it and through which queues; which rules hold; and for the others the first
condition that fails, with what was expected and what the event has. Rules of which only one condition
fails come first. No broker is needed.`,
		Example: `  eventrouter explain --type order.created --data '{"total": 999, "country": "DE"}'
  eventrouter explain --rules rules/ --all < event.json
  eventrouter explain -o json --type order.created --data @order.json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.validate(cmd); err != nil {
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
	out := explained{ID: e.ID, Type: e.Type, Exchange: x.Exchange, Pipelines: []explainedPipeline{}, Rules: []explainedRule{}, Unrouted: x.Unrouted}
	for _, r := range x.Pipelines {
		pipeline := &p.Pipelines[r.Pipeline]
		shown := explainedPipeline{Name: pipeline.Name, Queue: pipeline.QueueName, Fed: "the broker"}
		if pipeline.Feed == plan.ByRouter {
			shown.Fed = "the router"
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
			shown.Path, shown.Expected, shown.Actual, shown.reason = v.Path, v.Expected, v.Actual, v.Reason()
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
	fmt.Fprintf(&b, "event %s, type %s, published to %s\n", id, x.Type, x.Exchange)
	if x.Unrouted != "" {
		fmt.Fprintf(&b, "\nno pipeline gets it: it is kept in %s\n", x.Unrouted)
	}
	for i, p := range x.Pipelines {
		if i == 0 {
			b.WriteString("\npipelines that get it:\n")
		}
		fmt.Fprintf(&b, "  %-20s queue %s, from %s, by %s\n", p.Name, p.Queue, p.Fed, strings.Join(p.Rules, ", "))
	}
	x.section(&b, "rules that hold:", func(r explainedRule) bool { return r.Holds })
	x.section(&b, "rules of which one condition fails:", func(r explainedRule) bool { return r.Near })
	x.section(&b, "other rules:", func(r explainedRule) bool { return !r.Holds && !r.Near })
	if x.Hidden > 0 {
		fmt.Fprintf(&b, "  and %s more, which are further off (--all shows them)\n", count(x.Hidden, "rule"))
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
			fmt.Fprintf(b, "      %s\n", r.reason)
		}
	}
}
