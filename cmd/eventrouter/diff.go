package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

func (c *console) diffCommand() *cobra.Command {
	var output outputFlag
	var events, from string
	var exitCode bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell which recorded events would change their way with new rules",
		Long: `Route recorded events by the old rules and by the new ones, and tell which of them change their way: how many,
which reach no pipeline any more, by which rules and into which pipelines, with examples. OLD and NEW are
rules files, or folders of them; the events are a JSON document a line, as 'tail' writes them. No broker is needed.`,
		Example: `  eventrouter tail --count 10000 > recorded.ndjson
  eventrouter diff rules.yaml new.yaml --events recorded.ndjson
  eventrouter diff <(git show HEAD:rules.yaml) rules.yaml --events recorded.ndjson --exit-code`,
		Args: arguments(2, 2, "the old rules and the new ones"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.validate(cmd); err != nil {
				return err
			}
			if events == "" {
				return usagef(cmd, "--events names the recorded events; - is standard input")
			}
			old, now := rulesFlag{}, rulesFlag{}
			_, before, err := old.load(c, cmd, args[:1])
			if err != nil {
				return err
			}
			_, after, err := now.load(c, cmd, args[1:])
			if err != nil {
				return err
			}
			for _, p := range []*plan.Plan{before, after} {
				if _, ok := p.Source(from); !ok {
					return usagef(cmd, "--from %q: the rules called %q have no such exchange", from, p.Name)
				}
			}
			in, closeInput, err := c.open(cmd, events)
			if err != nil {
				return err
			}
			defer closeInput()
			d := &difference{old: newJudge(before, from), now: newJudge(after, from), rules: map[string]*shift{}, pipelines: map[string]*shift{}}
			if err := d.read(in); err != nil {
				return fmt.Errorf("%s: %w", events, err)
			}
			shown := d.shown()
			if output.json() {
				err = writeJSON(c.out, shown)
			} else {
				err = shown.print(c.out)
			}
			if err == nil && exitCode && shown.Changed > 0 {
				return errChanges
			}
			return err
		},
	}
	output.add(cmd)
	cmd.Flags().StringVar(&events, "events", "", "file of recorded events (NDJSON); - is standard input")
	cmd.Flags().StringVar(&from, "from", "", "exchange that the events are published to, by its key in the rules (the first without it)")
	cmd.Flags().BoolVar(&exitCode, "exit-code", false, exitCodeUsage)
	return cmd
}

// open opens a file, or standard input for -.
func (c *console) open(cmd *cobra.Command, path string) (io.Reader, func(), error) {
	if path == "-" {
		return &interruptible{ctx: cmd.Context(), in: c.in}, func() {}, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	return f, func() { _ = f.Close() }, nil // nothing was written to it
}

// difference compares two plans by events.
type difference struct {
	old, now         *judge
	events, changed  int
	stray            int // reach no pipeline any more
	rules, pipelines map[string]*shift
	examples         []example
}

// shift is how many events a rule or a pipeline gains and loses.
type shift struct {
	Name  string `json:"name"`
	Gains int    `json:"gains"`
	Loses int    `json:"loses"`
}

// example is an event that changes its way.
type example struct {
	ID     string   `json:"id"`
	Type   string   `json:"type"`
	Before []string `json:"before"` // pipelines
	After  []string `json:"after"`
}

// maxExamples is how many events are named: first those that reach no pipeline any more.
const maxExamples = 5

func (d *difference) read(in io.Reader) error {
	events := event.NewReader(in)
	for {
		var e event.Event
		switch err := events.Next(&e); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		d.add(&e)
	}
}

func (d *difference) add(e *event.Event) {
	oldRules, before := d.old.judge(e)
	nowRules, after := d.now.judge(e)
	d.events++
	tallyNames(d.rules, oldRules, nowRules)
	tallyNames(d.pipelines, before, after)
	slices.Sort(before)
	slices.Sort(after)
	if slices.Equal(before, after) {
		return
	}
	d.changed++
	x := example{e.ID, e.Type, append([]string{}, before...), append([]string{}, after...)}
	if len(after) == 0 {
		d.stray++
		d.examples = slices.Insert(d.examples, min(d.stray-1, len(d.examples)), x)
	} else if len(d.examples) < maxExamples {
		d.examples = append(d.examples, x)
	}
	d.examples = d.examples[:min(len(d.examples), maxExamples)]
}

// tallyNames counts what names gain and lose by one event.
func tallyNames(all map[string]*shift, before, after []string) {
	at := func(name string) *shift {
		if all[name] == nil {
			all[name] = &shift{Name: name}
		}
		return all[name]
	}
	for _, name := range before {
		if !slices.Contains(after, name) {
			at(name).Loses++
		}
	}
	for _, name := range after {
		if !slices.Contains(before, name) {
			at(name).Gains++
		}
	}
}

// shownDifference is the form of the result.
type shownDifference struct {
	Events    int       `json:"events"`
	Changed   int       `json:"changed"`
	Stray     int       `json:"stray"` // of them, events that reach no pipeline any more
	Rules     []shift   `json:"rules"`
	Pipelines []shift   `json:"pipelines"`
	Examples  []example `json:"examples"`
}

func (d *difference) shown() *shownDifference {
	return &shownDifference{d.events, d.changed, d.stray, ordered(d.rules), ordered(d.pipelines), append([]example{}, d.examples...)}
}

// ordered lists shifts, the largest first.
func ordered(all map[string]*shift) []shift {
	out := []shift{}
	for _, s := range all {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b shift) int {
		return cmp.Or(cmp.Compare(b.Gains+b.Loses, a.Gains+a.Loses), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func (s *shownDifference) print(w io.Writer) error {
	var b strings.Builder
	change, reach := "change their way", "reach"
	if s.Changed == 1 {
		change = "changes its way"
	}
	if s.Stray == 1 {
		reach = "reaches"
	}
	fmt.Fprintf(&b, "%d of %s %s; %d %s no pipeline any more\n", s.Changed, count(s.Events, "event"), change, s.Stray, reach)
	for _, section := range []struct {
		title string
		list  []shift
	}{{"pipelines", s.Pipelines}, {"rules", s.Rules}} {
		if len(section.list) > 0 {
			fmt.Fprintf(&b, "\n%s\n", section.title)
		}
		for _, x := range section.list {
			fmt.Fprintf(&b, "  %-30s %s\n", x.Name, x.text())
		}
	}
	if len(s.Examples) > 0 {
		b.WriteString("\nfor instance\n")
	}
	for _, x := range s.Examples {
		fmt.Fprintf(&b, "  %s: %s → %s\n", printable(strings.TrimSpace(x.Type+" "+x.ID), ""), listed(x.Before), listed(x.After))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (s *shift) text() string {
	var parts []string
	if s.Gains > 0 {
		parts = append(parts, fmt.Sprintf("+%d", s.Gains))
	}
	if s.Loses > 0 {
		parts = append(parts, fmt.Sprintf("-%d", s.Loses))
	}
	return strings.Join(parts, " ")
}

func listed(names []string) string {
	if len(names) == 0 {
		return "no pipeline"
	}
	return strings.Join(names, ", ")
}
