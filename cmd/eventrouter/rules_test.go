package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

const shop = `version: 1
name: shop
pipelines:
  billing: {steps: [{log: {}}]}
  archive: {steps: [{log: {level: debug}}]}
rules:
  - name: large orders
    type: order.*
    match: {data: {total: [{numeric: [">=", 1000]}], country: [DE, AT]}}
    where: data.total > data.credit_limit
    pipelines: [billing]
  - {name: invoices, type: invoice.#, pipelines: [billing]}
  - {name: all orders, type: order.#, pipelines: [archive]}
tests:
  - name: a large German order is charged
    event: {type: order.created, data: {total: 1500, country: DE, credit_limit: 1000}}
    pipelines: [archive, billing]
  - name: a small one is not
    event: {type: order.created, data: {total: 10, country: DE, credit_limit: 1000}}
    excludes: [billing]
`

// plain takes the folder of the test out of what is printed.
func plain(text, path string) string { return strings.ReplaceAll(text, path, "rules.yaml") }

func TestCheck(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, golden, rules string
		code                int
	}{
		{"a file without problems", "check-ok.txt", shop, exitOK},
		{"slips of the pen", "check-problems.txt", strings.NewReplacer("pipelines: [billing]\n  - {name: inv", "pipelines: [biling]\n  - {name: inv", "type: order.*", "tpye: order.*", "numeric", "numerc").Replace(shop), exitFailed},
		{"a test that fails", "check-failing.txt", strings.Replace(shop, "total: 1500", "total: 900", 1), exitFailed},
		{"a variable that is not set", "check-warning.txt", strings.Replace(shop, "{log: {}}", `webhook: {url: "${BILLING_URL}"}`, 1), exitOK},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := write(t, "rules.yaml", tt.rules)
			code, out, errs := eventrouter(t, "check", path)
			if code != tt.code || errs != "" {
				t.Errorf("exit code %d, standard error %q; want code %d", code, errs, tt.code)
			}
			golden(t, tt.golden, plain(out, path))
		})
	}
}

func TestCheckForPrograms(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", strings.Replace(shop, "[billing]", "[biling]", 1))
	code, out, _ := eventrouter(t, "check", "-o", "json", path)
	var v struct {
		OK       bool
		Problems []struct {
			File, Severity, Message, Hint string
			Line, Column                  int
		}
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	if code != exitFailed || v.OK || len(v.Problems) != 1 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	if p := v.Problems[0]; p.File != path || p.Line != 11 || p.Column != 17 || p.Severity != "error" || !strings.Contains(p.Hint, `"billing"`) {
		t.Errorf("problem %+v", p)
	}
}

func TestStrictCheckFailsOnWarnings(t *testing.T) {
	t.Parallel()
	unused := strings.Replace(shop, "pipelines:\n", "pipelines:\n  unused: {}\n", 1)
	path := write(t, "rules.yaml", unused)
	if code, _, _ := eventrouter(t, "check", path); code != exitOK {
		t.Errorf("a warning fails the check: %d", code)
	}
	if code, _, _ := eventrouter(t, "check", "--strict", path); code != exitFailed {
		t.Errorf("a warning does not fail the strict check: %d", code)
	}
}

func TestFailedTestsSayWhy(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", strings.Replace(shop, "total: 1500", "total: 900", 1))
	code, out, _ := eventrouter(t, "test", "--verbose", path)
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	golden(t, "test-failing.txt", plain(out, path))
}

func TestCoverageListsTheRulesThatNoTestMatches(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", shop)
	code, out, _ := eventrouter(t, "test", "--coverage", path)
	if code != exitOK {
		t.Errorf("a rule without a test fails: %d", code)
	}
	golden(t, "test-coverage.txt", plain(out, path))
	code, out, _ = eventrouter(t, "test", "--coverage", "--strict", "-o", "json", path)
	var r testResults
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if c := r.Coverage; code != exitFailed || c == nil || c.Rules != 3 || c.Covered != 2 || len(c.Missing) != 1 || c.Missing[0] != (uncoveredRule{"invoices", path, 12, 12}) {
		t.Errorf("exit code %d: %s", code, out)
	}
	covered := shop + "  - {name: invoices, event: {type: invoice.x}, holds: [invoices]}\n"
	if code, out, _ := eventrouter(t, "test", "--coverage", "--strict", write(t, "rules.yaml", covered)); code != exitOK || !strings.Contains(out, "3 of 3 rules hold in a test") {
		t.Errorf("exit code %d: %s", code, out)
	}
	if code, _, errs := eventrouter(t, "test", "--strict", path); code != exitUsage || !strings.Contains(errs, "--coverage") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

func TestTestsWithEventsOfAFile(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", shop+`  - {name: large orders from yesterday, events: yesterday.ndjson, includes: [billing], fails: {invoices: data.total}}
`)
	events := filepath.Join(filepath.Dir(path), "yesterday.ndjson")
	code, _, errs := eventrouter(t, "test", path)
	if code != exitFailed || !strings.Contains(errs, `the events of test "large orders from yesterday": `+events+": cannot be read: no such file") {
		t.Errorf("without the file: exit code %d, %s", code, errs)
	}
	if code, _, errs := eventrouterIn(t, `{"type":"x"}`, "route", "--rules", path); code != exitOK {
		t.Errorf("who routes needs no events of tests: %s", errs)
	}
	lines := `{"type":"order.a","data":{"total":5000,"country":"DE","credit_limit":1}}
{"type":"order.b","data":{"total":50,"country":"DE","credit_limit":1}}
`
	if err := os.WriteFile(events, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, _ := eventrouter(t, "test", path)
	if code != exitFailed {
		t.Errorf("exit code %d", code)
	}
	golden(t, "test-events.txt", strings.ReplaceAll(plain(out, path), events, "yesterday.ndjson"))
	if err := os.WriteFile(events, []byte("{\"type\":\"x\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	code, out, _ = eventrouter(t, "check", path)
	if code != exitFailed || !strings.Contains(out, events+":1:11: error: an event is a JSON object: unexpected EOF") {
		t.Errorf("a line that is no event: exit code %d\n%s", code, out)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", shop)
	for name, data := range map[string]string{
		"explain-holds.txt": `{"total": 1500, "country": "DE", "credit_limit": 1000}`,
		"explain-near.txt":  `{"total": 999, "country": "DE", "credit_limit": 10}`,
		"explain-where.txt": `{"total": 1500, "country": "DE"}`,
	} {
		code, out, errs := eventrouter(t, "explain", "--rules", path, "--type", "order.created", "--id", "1", "--data", data)
		if code != exitOK || errs != "" {
			t.Errorf("%s: exit code %d, %s", name, code, errs)
		}
		golden(t, name, plain(out, path))
	}
	_, out, _ := eventrouter(t, "explain", "--rules", path, "--type", "other", "-o", "json")
	var x explained
	if err := json.Unmarshal([]byte(out), &x); err != nil || x.Unrouted != "shop.unrouted" || len(x.Rules) != 3 {
		t.Errorf("%v: %s", err, out)
	}
}

func TestExplainForPrograms(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", shop)
	for name, data := range map[string]string{
		"explain-holds.json": `{"total": 1500, "country": "DE", "credit_limit": 1000}`,
		"explain-where.json": `{"total": 1500, "country": "DE"}`,
		"explain-far.json":   `{"total": 5, "country": "FR"}`,
	} {
		code, out, errs := eventrouter(t, "explain", "--rules", path, "--type", "order.created", "--id", "1", "--data", data, "-o", "json")
		if code != exitOK || errs != "" {
			t.Errorf("%s: exit code %d, %s", name, code, errs)
		}
		golden(t, name, plain(out, path))
	}
}

func TestExplainOfManyRulesShowsTheNearest(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", manyRules(500))
	args := []string{"explain", "--rules", path, "--type", "t7.x", "-o", "json"}
	_, out, _ := eventrouter(t, args...)
	var x explained
	if err := json.Unmarshal([]byte(out), &x); err != nil {
		t.Fatal(err)
	}
	if len(x.Rules) != 1+maxOthers || !x.Rules[0].Holds || x.Rules[0].Name != "r7" || x.Hidden != 499-maxOthers {
		t.Errorf("%d rules shown, %d hidden, first %+v", len(x.Rules), x.Hidden, x.Rules[0])
	}
	_, out, _ = eventrouter(t, append(args, "--all")...)
	x = explained{}
	if err := json.Unmarshal([]byte(out), &x); err != nil || len(x.Rules) != 500 {
		t.Errorf("--all shows %d rules: %v", len(x.Rules), err)
	}
}

func manyRules(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nname: many\npipelines: {p: {}}\nrules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: r%d, type: t%d.*, pipelines: [p]}\n", i, i)
	}
	return b.String()
}

func TestRouteWritesALineForEachEventInOrder(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", shop)
	in := `{"id":"1","type":"order.created","data":{"total":1500,"country":"DE","credit_limit":1000}}
{"id":"2","type":"nothing"}

{"type":"order.a.b"}
{"id":"4\"<","type":"invoice.line.added"}
`
	code, out, errs := eventrouterIn(t, in, "route", "--rules", path)
	want := `{"id":"1","rules":["large orders","all orders"],"pipelines":["billing","archive"]}
{"id":"2","rules":[],"pipelines":[]}
{"id":"","rules":["all orders"],"pipelines":["archive"]}
{"id":"4\"\u003c","rules":["invoices"],"pipelines":["billing"]}
`
	if code != exitOK || out != want || errs != "" {
		t.Errorf("exit code %d, printed\n%s%s\nwant\n%s", code, out, errs, want)
	}
}

func TestRouteEndsAtALineThatIsNoEventUnlessToldNotTo(t *testing.T) {
	t.Parallel()
	path := write(t, "rules.yaml", shop)
	in := "{\"id\":\"1\",\"type\":\"order.x\"}\n{\"id\":7}\n{\"id\":\"3\",\"type\":\"order.x\"}\n"
	code, out, errs := eventrouterIn(t, in, "route", "--rules", path)
	if code != exitFailed || strings.Count(out, "\n") != 1 || !strings.Contains(errs, `line 2: "id" is a string, not 7`) {
		t.Errorf("exit code %d, printed %q, %q", code, out, errs)
	}
	code, out, errs = eventrouterIn(t, in, "route", "--rules", path, "--skip-invalid")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if code != exitFailed || len(lines) != 3 || lines[1] != `{"error":"line 2: \"id\" is a string, not 7"}` {
		t.Errorf("exit code %d, printed %q, %q", code, out, errs)
	}
}

// BenchmarkRoute is `route`, a thousand lines an operation, on type rules, and on rules that look at content: values, prefixes, ranges, wildcards and exclusions
// of the same fields.
func BenchmarkRoute(b *testing.B) {
	b.Run("100 types", func(b *testing.B) { benchRoute(b, manyRules(100)) })
	b.Run("10000 mixed", func(b *testing.B) { benchRoute(b, manyContentRules(10_000)) })
}

func manyContentRules(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nname: many\npipelines: {p0: {}, p1: {}, p2: {}, p3: {}, p4: {}}\nrules:\n")
	for i := range n {
		match := []string{
			fmt.Sprintf(`{customer: [c%d]}`, i),
			fmt.Sprintf(`{country: [DE], customer: [{prefix: "c%d."}]}`, i),
			fmt.Sprintf(`{country: [AT], total: [{numeric: [">=", %d, "<", %d]}]}`, i, i+3),
			fmt.Sprintf(`{note: [{wildcard: "*order %d of*"}]}`, i),
			fmt.Sprintf(`{customer: [c%d], country: [{anything-but: [FR, IT]}]}`, i-1),
		}[i%5]
		fmt.Fprintf(&b, "  - {name: r%d, type: \"t%d.*\", match: {data: %s}, pipelines: [p%d]}\n", i, i%120, match, i%5)
	}
	return b.String()
}

func benchRoute(b *testing.B, text string) {
	file, problems := rules.Parse(rules.Source{Name: "many", Text: []byte(text)})
	if file == nil {
		b.Fatal(problems)
	}
	p, err := plan.Compile(file)
	if err != nil {
		b.Fatal(err)
	}
	exchange, _ := p.Source("")
	var lines []string
	for i := range 1000 {
		lines = append(lines, fmt.Sprintf(`{"id":"%s","type":"t%d.created","source":"/shop","time":"2026-11-24T08:58:01.204Z","data":{"total":%d,"customer":"c%d","note":"order %d of the day","country":"DE","items":[{"sku":"a","n":1},{"sku":"b","n":2}]}}`, event.NewID(), i%120, i, i*10, i))
	}
	in := strings.Join(lines, "\n")
	s := newSession(nil, nil)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		s.in = strings.NewReader(in)
		s.out.b.Reset()
		if err := s.route(b.Context(), p, exchange, false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*1000/b.Elapsed().Seconds(), "events/s")
}
