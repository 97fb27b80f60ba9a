package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/eventrouter/eventrouter/management"
	"github.com/eventrouter/eventrouter/router/plan"
)

// shownChange is a change as `plan` and `apply` show it.
type shownChange struct {
	Name        string        `json:"name"`
	Applied     *shownApplied `json:"applied"` // null: nothing is recorded on the broker
	Interrupted bool          `json:"interrupted,omitempty"`
	Turns       bool          `json:"turns,omitempty"`
	Changes     []shownLine   `json:"changes"`
	Effects     []plan.Effect `json:"pipelines"`
	Add         int           `json:"add"`
	Change      int           `json:"change"`
	Remove      int           `json:"remove"`

	Drift   []management.Difference `json:"drift,omitzero"` // see drift
	drifted bool                    // drift was asked for
}

// shownLine is a difference, and of a queue that is to be removed, how many events it holds, or since when it is kept though it is empty.
type shownLine struct {
	plan.Line
	Holds      int       `json:"holds,omitempty"`
	EmptySince time.Time `json:"empty_since,omitzero"`
}

// shownApplied says who applied what is on the broker.
type shownApplied struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

func newShownChange(c *plan.Change, holds map[string]int) *shownChange {
	s := &shownChange{Name: c.Plan.Name, Turns: c.Turns, Changes: []shownLine{}, Effects: c.Effects()}
	if c.Before != nil {
		s.Applied = &shownApplied{c.Before.By, c.Before.At}
		s.Interrupted = c.Before.Next != nil || c.Before.Move != nil
	}
	if s.Effects == nil {
		s.Effects = []plan.Effect{}
	}
	quiet := c.Quiet()
	for _, l := range c.Lines() {
		shown := shownLine{Line: l}
		if l.Kind == "queue" && l.Mark == plan.Removed {
			shown.Holds, shown.EmptySince = holds[l.Name], quiet[l.Name]
		}
		s.Changes = append(s.Changes, shown)
		switch l.Mark {
		case plan.Added:
			s.Add++
		case plan.Changed:
			s.Change++
		case plan.Removed:
			s.Remove++
		}
	}
	return s
}

// The colours of marks.
var colours = map[plan.Mark]string{plan.Added: "32", plan.Changed: "33", plan.Removed: "31"}

// print writes the change for people.
func (s *shownChange) print(w io.Writer, colour bool) error {
	var b strings.Builder
	switch {
	case s.Applied == nil:
		fmt.Fprintf(&b, "nothing is recorded on the broker for %q: all of this is new, or was declared by hand or by an older version\n", s.Name)
	case s.Interrupted:
		fmt.Fprintf(&b, "the change that %s began at %s was interrupted: 'apply' goes on from there\n", s.Applied.By, s.Applied.At.Format(time.RFC3339))
	}
	kind := ""
	for _, l := range s.Changes {
		if l.Kind != kind {
			kind = l.Kind
			fmt.Fprintf(&b, "\n%ss\n", kind)
		}
		mark := string(l.Mark)
		if colour {
			mark = "\x1b[" + colours[l.Mark] + ";1m" + mark + "\x1b[0m"
		}
		fmt.Fprintf(&b, "  %s %s%s\n", mark, l.Name, l.rest())
	}
	if len(s.Effects) > 0 {
		b.WriteString("\nwhat it means\n")
	}
	for _, e := range s.Effects {
		fmt.Fprintf(&b, "    %s gets %s events: %s\n", e.Pipeline, e.Gets, named(e.Rules))
	}
	if len(s.Changes) == 0 {
		b.WriteString("nothing to change: the broker has what the rules need\n")
	} else {
		fmt.Fprintf(&b, "\n%d to add, %d to change, %d to remove\n", s.Add, s.Change, s.Remove)
	}
	if s.Turns {
		b.WriteString("a pipeline changes who feeds it, its queue or its name, or gets types of events that waited for rules by content: all events turn over from the old rules to the new ones at one instant\n")
	}
	if s.drifted {
		b.WriteString(driftText(s.Drift))
	}
	_, err := io.WriteString(w, strings.TrimPrefix(b.String(), "\n"))
	return err
}

// rest is what stands behind a line's name.
func (l *shownLine) rest() string {
	var parts []string
	for _, part := range []string{l.Detail, l.Because, l.Place} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if l.Holds > 0 {
		parts = append(parts, fmt.Sprintf("it holds %s: kept until it is empty", count(l.Holds, "event")))
	} else if !l.EmptySince.IsZero() {
		parts = append(parts, "empty since "+l.EmptySince.Local().Format(time.TimeOnly)+": kept for some minutes")
	}
	if len(parts) == 0 {
		return ""
	}
	return "   " + strings.Join(parts, "   ")
}

// maxNamed is how many names of a list are written out.
const maxNamed = 5

func named(names []string) string {
	if len(names) > maxNamed {
		return strings.Join(names[:maxNamed], ", ") + fmt.Sprintf(" and %d more", len(names)-maxNamed)
	}
	return strings.Join(names, ", ")
}
