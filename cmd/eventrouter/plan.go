package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/plan"
)

func (c *console) planCommand() *cobra.Command {
	var named rulesFlag
	var output outputFlag
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Print the exchanges, queues and bindings that the rules need",
		Long:  "Print the exchanges, queues and bindings that the rules need on the broker. No broker is asked.",
		Example: `  eventrouter plan
  eventrouter plan --rules rules/ -o json`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := output.validate(cmd); err != nil {
				return err
			}
			_, p, err := named.load(c, cmd, nil)
			if err != nil {
				return err
			}
			if output.json() {
				return writeJSON(c.out, shownTopology(p.Topology))
			}
			return printTopology(c.out, p.Topology)
		},
	}
	named.add(cmd)
	output.add(cmd)
	return cmd
}

func (c *console) applyCommand() *cobra.Command {
	var named rulesFlag
	var broker brokerFlags
	cmd := &cobra.Command{
		Use:   "apply",
		Short: "Declare the exchanges, queues and bindings that the rules need",
		Long: `Declare on the broker the exchanges, queues and bindings that the rules need. What is there already is
left as it is; what is there in another shape is an error that names both shapes. Nothing is removed.

'run' does this by itself when it starts.`,
		Example: `  eventrouter apply --broker amqp://guest:guest@localhost`,
		Args:    arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, p, err := named.load(c, cmd, nil)
			if err != nil {
				return err
			}
			b, closeBroker, err := c.dial(cmd, &broker)
			if err != nil {
				return err
			}
			defer closeBroker()
			if err := b.Declare(cmd.Context(), p.Topology); err != nil {
				return fmt.Errorf("declaring: %w", err)
			}
			t := p.Topology
			_, err = fmt.Fprintf(c.out, "declared: %s, %s, %s\n",
				count(len(t.Exchanges), "exchange"), count(len(t.Queues), "queue"), count(len(t.Bindings), "binding"))
			return err
		},
	}
	named.add(cmd)
	broker.add(cmd, "the one on "+defaultListen)
	return cmd
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
		s.Bindings = append(s.Bindings, shownBinding(b))
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
