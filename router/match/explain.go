package match

import (
	"slices"
	"strconv"
	"strings"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/rules"
	"github.com/eventrouter/eventrouter/rules/topic"
)

// Verdict says whether a rule holds for an event, or what keeps it from it.
type Verdict struct {
	Holds    bool
	Path     string   // of the first condition that failed: type, from, where, or a path into the document
	Expected string   // as the rule has it
	Actual   string   // as the event has it; empty: it is not there
	Held     int      // conditions that hold
	Failed   int      // conditions that do not
	Also     []string // paths of those that failed besides the first
	Err      error    // where could not be evaluated, and so does not hold
}

// Explain judges every rule, with the place of the first condition that does not hold. Verdicts are in the order of the rules. The
// exchange's key is as for Match.
func (m *Matcher) Explain(e *event.Event, exchangeKey string) []Verdict {
	doc := e.Document()
	out := make([]Verdict, len(m.rules))
	for _, i := range m.Match(e, exchangeKey, nil) {
		out[i].Holds = true
	}
	for i := range m.rules {
		if !out[i].Holds {
			out[i] = explain(&m.rules[i], e, doc, exchangeKey)
		}
	}
	return out
}

// Why says what keeps one rule, by its index, from holding. The document is that of the event.
func (m *Matcher) Why(rule int, e *event.Event, doc map[string]any, exchangeKey string) Verdict {
	return explain(&m.rules[rule], e, doc, exchangeKey)
}

func explain(r *rules.Rule, e *event.Event, doc map[string]any, exchangeKey string) Verdict {
	var v Verdict
	if topic.Match(r.Type, e.Type) {
		v.Held++
	} else {
		v.fail("type", r.Type, strconv.Quote(e.Type))
	}
	if len(r.From) > 0 && exchangeKey != "" {
		if slices.Contains(r.From, exchangeKey) {
			v.Held++
		} else {
			v.fail("from", strings.Join(r.From, " or "), exchangeKey)
		}
	}
	if r.Match != nil {
		if m := r.Match.Mismatch(doc); m != nil {
			v.fail(m.Path, m.Expected, m.Actual)
			v.Failed += m.Failed - 1
			v.Held += m.Held
			v.Also = append(v.Also, m.Also...)
		} else {
			v.Held++
		}
	}
	if r.Where != nil {
		switch ok, err := r.Where.Holds(doc); {
		case ok && err == nil:
			v.Held++
		case err != nil:
			v.Err = err
			v.fail("where", r.Where.Source, "")
		default:
			v.fail("where", r.Where.Source, "false")
		}
	}
	v.Holds = v.Failed == 0
	return v
}

// fail counts a condition that does not hold, and keeps the first.
func (v *Verdict) fail(path, expected, actual string) {
	if v.Failed == 0 {
		v.Path, v.Expected, v.Actual = path, expected, actual
	} else {
		v.Also = append(v.Also, path)
	}
	v.Failed++
}
