package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

func (c *console) planCommand() *cobra.Command {
	var named rulesFlag
	var output outputFlag
	var broker brokerFlags
	var api managementFlag
	var offline, exitCode bool
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Tell what 'apply' would change on the broker, and what that means",
		Long: `Compare the rules with what was applied to the broker last, and tell what 'apply' would change: + is added,
~ is changed, - is removed, each with the rule or pipeline that causes it and its place in the file, and
which pipelines get more, fewer or other events then. Nothing is changed.

What was applied is read from the queue NAME.plan; the permission to read it is enough. With --offline
no broker is asked, and all exchanges, queues and bindings that the rules need are printed.

With --management it also tells drift: what on the broker is not as it was applied, made by hand or by others:
objects that are gone, arguments, bindings to queues of ours, and policies in force. 'apply' brings back
what is gone; the rest is for you to undo. Queues and bindings of others are not looked at. All users of a machine
see what is on command lines: give a URL with a password by EVENTROUTER_MANAGEMENT, and the broker's by
EVENTROUTER_BROKER.`,
		Example: `  EVENTROUTER_BROKER=amqp://user:pass@rabbit eventrouter plan
  eventrouter plan --exit-code || echo "there are changes, or it failed"
  eventrouter plan --offline -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.validate(cmd); err != nil {
				return err
			}
			if offline && exitCode {
				return usagef(cmd, "--offline asks no broker, and so cannot tell --exit-code of a difference")
			}
			_, p, err := named.load(c, cmd, nil)
			if err != nil {
				return err
			}
			if offline {
				if output.json() {
					return writeJSON(c.out, shownTopology(p.Topology))
				}
				return printTopology(c.out, p.Topology)
			}
			client, err := api.client(cmd, &broker)
			if err != nil {
				return err
			}
			change, kept, err := c.planned(cmd, &broker, p)
			if err != nil {
				return err
			}
			shown := newShownChange(change, kept)
			if client != nil {
				if shown.Drift, err = drift(cmd.Context(), client, change); err != nil {
					return err
				}
				shown.drifted = true
			}
			if output.json() {
				err = writeJSON(c.out, shown)
			} else {
				err = shown.print(c.out, c.outTerm)
			}
			if err == nil && exitCode && len(shown.Changes)+len(shown.Drift) > 0 {
				return errChanges
			}
			return err
		},
	}
	named.add(cmd)
	output.add(cmd)
	cmd.Flags().BoolVar(&offline, "offline", false, "ask no broker: print all that the rules need")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, exitCodeUsage)
	api.add(cmd)
	broker.add(cmd, "the one on "+defaultListen)
	return cmd
}

// planned finds out what a change would be, and for each stale queue how many events it holds.
func (c *console) planned(cmd *cobra.Command, flags *brokerFlags, p *plan.Plan) (*plan.Change, map[string]int, error) {
	b, closeBroker, err := c.dial(cmd, flags)
	if err != nil {
		return nil, nil, err
	}
	defer closeBroker()
	rec, err := router.Applied(cmd.Context(), b, p)
	if err != nil {
		return nil, nil, err
	}
	change := plan.NewChange(rec, p)
	holds := map[string]int{}
	for _, q := range change.Stale().Queues {
		n, err := b.Depth(cmd.Context(), q.Name)
		if err != nil && !errors.Is(err, router.ErrNoQueue) {
			return nil, nil, err
		}
		holds[q.Name] = n
	}
	return change, holds, nil
}

// The form of a topology in JSON.
type (
	shown struct {
		Exchanges []shownExchange `json:"exchanges"`
		Queues    []shownQueue    `json:"queues"`
		Bindings  []shownBinding  `json:"bindings"`
	}
	shownExchange struct {
		Name      string         `json:"name"`
		Kind      string         `json:"kind"`
		Passive   bool           `json:"passive,omitempty"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}
	shownQueue struct {
		Name      string         `json:"name"`
		Passive   bool           `json:"passive,omitempty"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}
	shownBinding struct {
		Exchange string `json:"exchange"`
		Queue    string `json:"queue"`
		Key      string `json:"key"`
	}
)

func shownTopology(t plan.Topology) shown {
	s := shown{[]shownExchange{}, []shownQueue{}, []shownBinding{}}
	for _, x := range t.Exchanges {
		s.Exchanges = append(s.Exchanges, shownExchange(x))
	}
	for _, q := range t.Queues {
		s.Queues = append(s.Queues, shownQueue(q))
	}
	for _, b := range t.Bindings {
		s.Bindings = append(s.Bindings, shownBinding{b.Exchange, b.Queue, b.Key})
	}
	return s
}

func printTopology(w io.Writer, t plan.Topology) error {
	exchanges := newTable("EXCHANGE", "KIND", "ARGUMENTS")
	for _, x := range t.Exchanges {
		exchanges.AppendRow(table.Row{x.Name, x.Kind, shownArguments(x.Passive, x.Arguments)})
	}
	queues := newTable("QUEUE", "ARGUMENTS")
	for _, q := range t.Queues {
		queues.AppendRow(table.Row{q.Name, shownArguments(q.Passive, q.Arguments)})
	}
	bindings := newTable("FROM", "KEY", "TO")
	for _, b := range t.Bindings {
		bindings.AppendRow(table.Row{b.Exchange, b.Key, b.Queue})
	}
	_, err := fmt.Fprintf(w, "%s\n\n%s\n\n%s\n", exchanges.Render(), queues.Render(), bindings.Render())
	return err
}

// shownArguments writes an object's arguments in the order of their names, without the x- that most begin with.
func shownArguments(passive bool, arguments map[string]any) string {
	var words []string
	if passive {
		words = append(words, "not ours: only checked to be there")
	}
	for _, name := range slices.Sorted(maps.Keys(arguments)) {
		value := arguments[name]
		if value == "" {
			value = `""`
		}
		words = append(words, fmt.Sprintf("%s=%v", strings.TrimPrefix(name, "x-"), value))
	}
	return strings.Join(words, " ")
}

// newTable makes a table of plain columns, for people and for awk.
func newTable(header ...any) table.Writer {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	style.Format.Header = 0
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(header)
	return t
}
