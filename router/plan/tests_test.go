package plan_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// failures are what the tests of a file came to, a line each.
func failures(outcomes []plan.Outcome) []string {
	var out []string
	for _, o := range outcomes {
		for _, f := range o.Failures {
			line := o.Test.Name + ": " + f.What
			if f.Event != "" {
				line = o.Test.Name + ", " + filepath.Base(f.Event) + ": " + f.What
			}
			if len(f.Missing)+len(f.Unexpected) > 0 {
				line += fmt.Sprintf(" missing %v unexpected %v", f.Missing, f.Unexpected)
			}
			out = append(out, line+" because "+strings.Join(f.Why, " | "))
		}
	}
	return out
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTheTestsOfAFile(t *testing.T) {
	t.Parallel()
	if got := failures(compile(t, read(t, "testdata/rules.yaml")).RunTests()); len(got) > 0 {
		t.Errorf("%v", got)
	}
	p := compile(t, `
version: 1
name: n
pipelines: {a: {}, b: {}, c: {}}
rules:
  - {name: first, type: x, pipelines: [a, b]}
  - {name: second, type: x, match: {data: {n: [1]}}, pipelines: [c]}
tests:
  - {name: wrong in all, event: {type: x, data: {n: 2}}, pipelines: [a, c], rules: [second], includes: [c], excludes: [b], holds: [second], fails: {first: type}}
  - {name: none, event: {type: x}, pipelines: []}
  - {name: right, event: {type: x, data: {n: 1}}, pipelines: [c, b, a], rules: [second, first], includes: [a], excludes: [], holds: [first]}
`)
	const why = `rule "second" does not hold: data.n: expected 1, found 2`
	compare(t, failures(p.RunTests()), []string{
		"wrong in all: pipelines missing [c] unexpected [b] because " + why + ` | rule "first" holds, and names b`,
		"wrong in all: rules missing [second] unexpected [first] because " + why,
		"wrong in all: includes missing [c] unexpected [] because " + why,
		`wrong in all: excludes missing [] unexpected [b] because rule "first" holds, and names b`,
		"wrong in all: holds missing [second] unexpected [] because " + why,
		"wrong in all: fails missing [] unexpected [first] because ",
		`none: pipelines missing [] unexpected [a b] because rule "first" holds, and names a, b`,
	})
}

func TestARuleHasToFailForItsReason(t *testing.T) {
	t.Parallel()
	p := compile(t, `
version: 1
name: n
exchanges: {events: {}, other: {}}
pipelines: {a: {}}
rules:
  - name: large
    type: order.*
    from: [events]
    match:
      data: {total: [{numeric: [">", 100]}], country: [DE]}
      $not: {source: [/test]}
    where: data.limit > 5
    pipelines: [a]
tests:
  - {name: any, event: {type: order.x, data: {total: 1}}, fails: {large: ~}}
  - {name: the first, event: {type: order.x, data: {total: 1, country: DE, limit: 9}}, fails: {large: data.total}}
  - {name: one of several, event: {type: invoice, source: /test, data: {total: 1}}, fails: {large: data.country}}
  - {name: type, event: {type: invoice}, fails: {large: type}}
  - {name: not, event: {type: order.x, source: /test, data: {total: 101, country: DE, limit: 9}}, fails: {large: $not}}
  - {name: where, event: {type: order.x, data: {total: 101, country: DE, limit: 1}}, fails: {large: where}}
  - {name: where without its field, event: {type: order.x, data: {total: 101, country: DE}}, fails: {large: where}}
  - {name: from, from: other, event: {type: order.x, data: {total: 101, country: DE, limit: 9}}, fails: {large: from}}
  - {name: another reason, event: {type: order.x, data: {total: 1, country: DE, limit: 9}}, fails: {large: data.country}}
`)
	compare(t, failures(p.RunTests()), []string{
		`another reason: fails because rule "large" does not hold, but not because of data.country: data.total: expected {"numeric":[">",100]}, found 1`,
	})
}

func TestEventsOfAFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	put := func(name, text string) string {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	var events strings.Builder
	for i := range 12 {
		fmt.Fprintf(&events, `{"specversion":"1.0","id":"%d","type":"order.x","data":{"n":%d}}`+"\r\n\n", i, i)
	}
	put("orders.ndjson", "\ufeff"+events.String())
	put("bad.ndjson", "{\"type\":\"x\"}\n{\"type\":\"x\"\n[]\n{\"id\":\"1\"}\n{\"type\":\"x\"} {}\n")
	put("wrong.ndjson", `{"type":"x","time":"soon"}`)
	path := put("rules.yaml", `
version: 1
name: n
pipelines: {a: {}, b: {}}
rules:
  - {name: all, type: order.*, pipelines: [a]}
  - {name: large, type: order.*, match: {data: {n: [{numeric: [">=", 10]}]}}, pipelines: [b]}
  - {name: none, type: order.*, match: {data: {n: [{numeric: [">=", 100]}]}}, pipelines: [b]}
tests:
  - {name: all are kept, events: orders.ndjson, includes: [a]}
  - {name: none is large, events: orders.ndjson, excludes: [b]}
  - {name: each is large, events: orders.ndjson, holds: [large]}
  - {name: times, events: wrong.ndjson, pipelines: []}
`)
	file, problems := rules.Load(path)
	if file == nil {
		t.Fatal(problems)
	}
	p, err := plan.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.RunTests()[0].Failures; len(got) != 1 || !strings.Contains(got[0].Why[0], "are not read") {
		t.Errorf("before the events are read: %+v", got)
	}
	if problems := file.ReadEvents(); len(problems) > 0 {
		t.Fatal(problems)
	}
	outcomes := p.RunTests()
	got := failures(outcomes)
	const why = `: holds missing [large] unexpected [] because rule "large" does not hold: data.n: expected {"numeric":[">=",10]}, found `
	compare(t, got, []string{
		`none is large, orders.ndjson:21:1: excludes missing [] unexpected [b] because rule "large" holds, and names b`,
		`none is large, orders.ndjson:23:1: excludes missing [] unexpected [b] because rule "large" holds, and names b`,
		"each is large, orders.ndjson:1:1" + why + "0", "each is large, orders.ndjson:3:1" + why + "1", "each is large, orders.ndjson:5:1" + why + "2",
		"each is large, orders.ndjson:7:1" + why + "3", "each is large, orders.ndjson:9:1" + why + "4",
		"each is large: event because 5 more of the 12 events fail",
		`times, wrong.ndjson:1:1: event because "time" is an RFC 3339 time such as "2026-01-31T12:00:00Z", not "soon"`,
	})
	if o := outcomes[1]; o.Events != 12 || !slices.Equal(o.Rules, []string{"all", "large"}) || !slices.Equal(o.Pipelines, []string{"a", "b"}) {
		t.Errorf("%d events, rules %v, pipelines %v", o.Events, o.Rules, o.Pipelines)
	}
	if got := p.Uncovered(outcomes); !slices.Equal(got, []int{2}) {
		t.Errorf("not covered: %v", got)
	}
}

func TestWhatIsWrongInAFileOfEvents(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for name, text := range map[string]string{
		"bad.ndjson":   "{\"type\":\"x\"}\n{\"type\":\"x\"\n[]\n{\"id\":\"1\"}\n{\"type\":\"x\"} {}\n  nonsense\n\xff",
		"empty.ndjson": "\n",
		"rules.yaml": "version: 1\nname: n\npipelines: {a: {}}\nrules: [{name: r, pipelines: [a]}]\ntests:\n" +
			"  - {name: bad, events: bad.ndjson, includes: [a]}\n  - {name: empty, events: empty.ndjson, includes: [a]}\n  - {name: gone, events: gone.ndjson, includes: [a]}\n",
	} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file, problems := rules.Load(filepath.Join(folder, "rules.yaml"))
	if file == nil {
		t.Fatal(problems)
	}
	got := strings.Split(strings.ReplaceAll(file.ReadEvents().Error(), folder+string(filepath.Separator), ""), "\n")
	compare(t, got, []string{
		"bad.ndjson:2:11: error: an event is a JSON object: unexpected EOF",
		"bad.ndjson:3:1: error: an event is a JSON object, and this is another value",
		`bad.ndjson:4:1: error: an event has no "type", which it needs`,
		"bad.ndjson:5:14: error: an event is a line of its own, and something follows it",
		"bad.ndjson:6:4: error: an event is a JSON object: invalid character 'o' in literal null (expecting 'u')",
		"bad.ndjson:7:1: error: the event is not UTF-8",
		`rules.yaml:7:27: error: the events of test "empty": empty.ndjson: has no event in it`,
		`rules.yaml:8:26: error: the events of test "gone": gone.ndjson: cannot be read: no such file or directory`,
	})
}
