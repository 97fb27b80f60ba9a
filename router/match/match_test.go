package match_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/match"
	"github.com/eventrouter/eventrouter/rules"
	"github.com/eventrouter/eventrouter/rules/topic"
)

// slow is the meaning of Match, one rule after another, by the slow meaning of patterns.
func slow(rs []rules.Rule, e *event.Event, exchangeKey string) (holding, failed []int) {
	doc := e.Document()
	for i := range rs {
		r := &rs[i]
		if len(r.From) > 0 && exchangeKey != "" && !slices.Contains(r.From, exchangeKey) || !topic.Match(r.Type, e.Type) || !r.Match.Matches(doc) {
			continue
		}
		switch ok, err := r.Where.Holds(doc); {
		case err != nil:
			failed = append(failed, i)
		case ok:
			holding = append(holding, i)
		}
	}
	return holding, failed
}

func compile(t testing.TB, rs []rules.Rule) *match.Matcher {
	t.Helper()
	m, err := match.Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func pattern(t testing.TB, src string) *rules.Pattern {
	t.Helper()
	p, err := rules.ParsePattern([]byte(src))
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return p
}

type failer interface{ Fatalf(string, ...any) }

// agree fails where the matcher and the slow meaning differ.
func agree(t failer, m *match.Matcher, rs []rules.Rule, e *event.Event, exchangeKey string) {
	want, wantFailed := slow(rs, e, exchangeKey)
	got, errs := m.MatchWhere(e, exchangeKey, nil, nil)
	var gotFailed []int
	for _, err := range errs {
		gotFailed = append(gotFailed, err.Rule)
	}
	if slices.Equal(got, want) && slices.Equal(gotFailed, wantFailed) {
		return
	}
	var about string
	for i := range rs {
		if slices.Contains(got, i) != slices.Contains(want, i) || slices.Contains(gotFailed, i) != slices.Contains(wantFailed, i) {
			about += fmt.Sprintf("\nrule %d, type %q: %v", i, rs[i].Type, rs[i].Match)
		}
	}
	t.Fatalf("%.2000q, type %q, attributes %q, headers %q:\nfast %v (failed %v)\nslow %v (failed %v)%s", e.Data, e.Type, e.Attributes, e.Headers, got, gotFailed, want, wantFailed, about)
}

func fastIsSlow(t *rapid.T) {
	var rs []rules.Rule
	for range rapid.IntRange(1, 4).Draw(t, "changes") {
		for range rapid.IntRange(0, 20).Draw(t, "added") {
			rs = append(rs, drawRule(t))
		}
		if n := len(rs); n > 0 && rapid.Bool().Draw(t, "remove") {
			i := rapid.IntRange(0, n-1).Draw(t, "first")
			rs = slices.Delete(slices.Clone(rs), i, rapid.IntRange(i, n).Draw(t, "end"))
		}
		m, err := match.Compile(rs)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			agree(t, m, rs, drawEvent(t), pick(t, []string{"", "events", "audit"}, "exchange"))
		}
	}
}

func TestTheFastMatcherAgreesWithTheSlowMeaning(t *testing.T) {
	t.Parallel()
	rapid.Check(t, fastIsSlow)
}

func fastIsSlowInACrowd(t *rapid.T) {
	rs := drawCrowd(t)
	m, err := match.Compile(rs)
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		data := several(t, 4, "{", "}", func() string { return `"` + pick(t, []string{"a", "b", "c", "d"}, "name") + `":` + drawCrowdData(t, 4) })
		agree(t, m, rs, &event.Event{Type: "a", Data: []byte(data)}, "")
	}
}

func TestTheFastMatcherAgreesWhereManyRulesShareValues(t *testing.T) {
	t.Parallel()
	rapid.Check(t, fastIsSlowInACrowd)
}

// FuzzCrowd is the same property, led by the coverage of the code.
func FuzzCrowd(f *testing.F) { f.Fuzz(rapid.MakeFuzz(fastIsSlowInACrowd)) }

// FuzzMatch is the property of single rules, led by the coverage of the code.
func FuzzMatch(f *testing.F) { f.Fuzz(rapid.MakeFuzz(fastIsSlow)) }

// FuzzData holds events of any bytes against rules of all kinds.
func FuzzData(f *testing.F) {
	for _, line := range lines(f, "events.ndjson") {
		f.Add(line)
	}
	rs := measuredRules(f)
	m := compile(f, rs)
	f.Fuzz(func(t *testing.T, data []byte) {
		agree(t, m, rs, &event.Event{Type: "a", Data: data}, "")
	})
}

const cases = "../../rules/testdata/pattern-cases"

func lines(t testing.TB, name string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(cases, name))
	if err != nil {
		t.Fatal(err)
	}
	var out [][]byte
	s := bufio.NewScanner(bytes.NewReader(b))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		out = append(out, slices.Clone(s.Bytes()))
	}
	return out
}

// measuredRules are the patterns of the measured cases, on data.
func measuredRules(t testing.TB) []rules.Rule {
	t.Helper()
	var sources []json.RawMessage
	b, err := os.ReadFile(filepath.Join(cases, "patterns.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &sources); err != nil {
		t.Fatal(err)
	}
	rs := make([]rules.Rule, len(sources))
	for i, src := range sources {
		rs[i] = rules.Rule{Type: "#", Match: pattern(t, `{"data":`+string(src)+`}`)}
	}
	return rs
}

// The cases were measured with event-ruler 2.x, the reference of the language.
func TestMeasuredCases(t *testing.T) {
	t.Parallel()
	rs := measuredRules(t)
	m := compile(t, rs)
	expected := lines(t, "expected.ndjson")
	for i, data := range lines(t, "events.ndjson") {
		var want []int
		if err := json.Unmarshal(expected[i], &want); err != nil {
			t.Fatal(err)
		}
		e := &event.Event{Type: "a", Data: data}
		if got := m.Match(e, "", nil); !slices.Equal(got, want) {
			t.Errorf("event %d %s: rules %v, the reference says %v", i, data, got, want)
		}
		for j := range rs {
			one := compile(t, rs[j:j+1]).Match(e, "", nil)
			if alone := len(one) == 1; alone != slices.Contains(want, j) {
				t.Errorf("event %d %s and rule %d alone: %v", i, data, j, alone)
			}
		}
	}
}
