package rules_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/eventrouter/eventrouter/rules"
)

// The cases in testdata/pattern-cases were measured with event-ruler 2.x, the reference of the language.
func TestMeasuredCases(t *testing.T) {
	t.Parallel()
	var sources []json.RawMessage
	read(t, "testdata/pattern-cases/patterns.json", &sources)
	patterns := make([]*rules.Pattern, len(sources))
	for i, src := range sources {
		p, err := rules.ParsePattern(src)
		if err != nil {
			t.Fatalf("pattern %d: %s: %v", i, src, err)
		}
		patterns[i] = p
	}
	expected := lines(t, "testdata/pattern-cases/expected.ndjson")
	for i, line := range lines(t, "testdata/pattern-cases/events.ndjson") {
		var doc map[string]any
		decode(t, line, &doc)
		var want, got []int
		decode(t, expected[i], &want)
		for j, p := range patterns {
			if p.Matches(doc) {
				got = append(got, j)
			}
		}
		for j := range patterns {
			if w := slices.Contains(want, j); w != slices.Contains(got, j) {
				t.Errorf("event %d %s\nand pattern %d %s: reference says %v", i, line, j, compact(sources[j]), w)
			}
		}
	}
}

func compact(b []byte) string {
	var out bytes.Buffer
	_ = json.Compact(&out, b)
	return out.String()
}

func read(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	decode(t, b, into)
}

func decode(t *testing.T, b []byte, into any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
}

func lines(t *testing.T, name string) [][]byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out [][]byte
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		out = append(out, slices.Clone(s.Bytes()))
	}
	return out
}
