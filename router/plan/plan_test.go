package plan_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

var update = flag.Bool("update", false, "write the golden files")

func parse(t testing.TB, text string) *rules.File {
	t.Helper()
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte(text)})
	if file == nil {
		t.Fatal(problems)
	}
	return file
}

func compile(t testing.TB, text string) *plan.Plan {
	t.Helper()
	p, err := plan.Compile(parse(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// written is a topology, one object to a line.
func written(t plan.Topology) string {
	var b strings.Builder
	arguments := func(passive bool, args map[string]any) {
		if passive {
			b.WriteString(" passive")
		}
		for _, name := range slices.Sorted(maps.Keys(args)) {
			fmt.Fprintf(&b, " %s=%v", name, args[name])
		}
		b.WriteByte('\n')
	}
	for _, x := range t.Exchanges {
		b.WriteString("exchange " + x.Name + " " + x.Kind)
		arguments(x.Passive, x.Arguments)
	}
	for _, q := range t.Queues {
		b.WriteString("queue " + q.Name)
		arguments(q.Passive, q.Arguments)
	}
	for _, x := range t.Bindings {
		fmt.Fprintf(&b, "binding %s -> %s %q\n", x.Exchange, x.Queue, x.Key)
	}
	return b.String()
}

func TestTopology(t *testing.T) {
	t.Parallel()
	got := written(compile(t, read(t, "testdata/rules.yaml")).Topology)
	if *update {
		if err := os.WriteFile("testdata/topology.want", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if want := read(t, "testdata/topology.want"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheSameFileGivesTheSamePlan(t *testing.T) {
	t.Parallel()
	text := read(t, "testdata/rules.yaml")
	first := compile(t, text).Topology
	for range 20 {
		if again := compile(t, text).Topology; !reflect.DeepEqual(first, again) {
			t.Fatalf("once\n%s\nthen\n%s", written(first), written(again))
		}
	}
}

func TestObjectsThatWouldClash(t *testing.T) {
	t.Parallel()
	const file = "version: 1\nname: n\nexchanges: {events: {name: %s}}\npipelines: {p: {queue: {name: %s}}, q: {}}\nrules: [{name: r, pipelines: [p, q]}]\n"
	for _, c := range []struct{ exchange, queue, want string }{
		{"x", "n.q", `two queues would be called "n.q"`},
		{"x", "n.q.dead", `two queues would be called "n.q.dead"`},
		{"n.unrouted", "y", `two exchanges would be called "n.unrouted"`},
	} {
		if _, err := plan.Compile(parse(t, fmt.Sprintf(file, c.exchange, c.queue))); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("exchange %s, queue %s: %v", c.exchange, c.queue, err)
		}
	}
	if _, err := plan.Compile(nil); err == nil {
		t.Error("no file, and no error")
	}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	p := compile(t, read(t, "testdata/rules.yaml"))
	for _, c := range []struct{ exchange, event, rules, pipelines string }{
		{"shop.events", `{"type": "order.paid", "data": {"total": 200}}`, "everything paid", "archive billing"},
		{"shop.events", `{"type": "order.paid", "data": {"total": 100}}`, "everything", "archive"},
		{"legacy", `{"type": "order.paid", "data": {"total": 200}}`, "paid", "billing archive"},
		{"legacy", `{"type": "order.paid"}`, "", ""},
		{"legacy", `{"type": "mail.sent"}`, "mails", "mail limited"},
		{"company.audit", `{"type": "mail.sent"}`, "", ""},
		{"company.audit", `{"type": "user", "data": {"admin": true}}`, "theirs|theirs too", "theirs billing"},
		{"company.audit", `{"type": "user", "data": {"admin": "yes"}}`, "theirs", "theirs"},
		// From an exchange bound to ours by somebody else, rules of every exchange hold.
		{"elsewhere", `{"type": "mail.sent"}`, "everything mails", "archive mail limited"},
	} {
		var e event.Event
		if err := e.UnmarshalJSON([]byte(c.event)); err != nil {
			t.Fatal(err)
		}
		var r plan.Routed
		p.Route(&e, c.exchange, &r)
		separator := " "
		if strings.Contains(c.rules, "|") {
			separator = "|"
		}
		if got := strings.Join(p.RuleNames(&r), separator); got != c.rules {
			t.Errorf("%s from %s: rules %q, want %q", c.event, c.exchange, got, c.rules)
		}
		if got := strings.Join(p.PipelineNames(&r), " "); got != c.pipelines {
			t.Errorf("%s from %s: pipelines %q, want %q", c.event, c.exchange, got, c.pipelines)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	p := compile(t, read(t, "testdata/rules.yaml"))
	if got := strings.Join(p.Sources(), " "); got != "shop.events legacy company.audit" {
		t.Errorf("sources %s", got)
	}
	for key, want := range map[string]string{"": "shop.events", "audit": "company.audit", "nowhere": ""} {
		if name, ok := p.Source(key); name != want || ok != (want != "") {
			t.Errorf("exchange %q is %q, %v", key, name, ok)
		}
	}
	if at := p.Pipeline("theirs"); at == nil || at.QueueName != "their-queue" || at.DeadName != "shop.theirs.dead" {
		t.Errorf("theirs is %+v", at)
	}
	if p.Pipeline("nobody") != nil {
		t.Error("there is a pipeline nobody")
	}
}

func TestExplainTellsTheNearestFirst(t *testing.T) {
	t.Parallel()
	p := compile(t, read(t, "testdata/rules.yaml"))
	e := &event.Event{Type: "order.paid", ContentType: "application/json", Data: []byte(`{"total": 50}`)}
	x := p.Explain(e, "shop.events")
	var got []string
	for _, v := range x.Rules {
		if v.Holds {
			got = append(got, p.Rules[v.Rule].Name+" holds")
			continue
		}
		near := ""
		if v.Near() {
			near = "nearly: "
		}
		got = append(got, p.Rules[v.Rule].Name+" "+near+v.Reason())
	}
	want := []string{
		"everything holds",
		`paid nearly: data.total: expected {"numeric":[">",100]}, found 50`,
		`mails nearly: type: expected mail.*, found "order.paid"`,
		`theirs type: expected user.#, found "order.paid" (and 1 more condition fails)`,
		`theirs too type: expected user.#, found "order.paid" (and 2 more conditions fail)`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if len(x.Pipelines) != 1 || p.Pipelines[x.Pipelines[0].Pipeline].Name != "archive" || !slices.Equal(x.Pipelines[0].Rules, []int{0}) || x.Unrouted != "" {
		t.Errorf("reached %+v, unrouted %q", x.Pipelines, x.Unrouted)
	}
	if x := p.Explain(&event.Event{Type: "nobody"}, "legacy"); x.Unrouted != "shop.unrouted" || len(x.Pipelines) != 0 {
		t.Errorf("reached %+v, unrouted %q", x.Pipelines, x.Unrouted)
	}
}
