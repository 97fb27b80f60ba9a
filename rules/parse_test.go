package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func writeFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestFoldersAndFilesAreMerged(t *testing.T) {
	t.Parallel()
	folder := writeFolder(t, map[string]string{
		"10-base.yaml": "version: 1\nname: shop\npipelines: {billing: {}}\n",
		"20-rules.yml": "version: 1\nrules: [{name: first, pipelines: [billing, archive]}]\n",
		"30-more.json": `{"version": 1, "rules": [{"name": "second", "pipelines": ["archive"]}]}`,
		"README.md":    "no rules",
		".hidden.yaml": "nonsense: 1\n",
	})
	extra := filepath.Join(writeFolder(t, map[string]string{"extra.yaml": "version: 1\nname: shop\npipelines: {archive: {}}\n"}), "extra.yaml")
	file, problems := Load(folder, extra)
	if file == nil {
		t.Fatal(problems)
	}
	var names []string
	for _, r := range file.Rules {
		names = append(names, r.Name)
	}
	if file.Name != "shop" || len(file.Pipelines) != 2 || !slices.Equal(names, []string{"first", "second"}) || len(file.Exchanges) != 1 {
		t.Errorf("merged into %+v", file)
	}
}

func TestPartsOfOneNameInTwoFilesAreTold(t *testing.T) {
	t.Parallel()
	_, problems := Parse(
		Source{Name: "a.yaml", Text: []byte("version: 1\nname: shop\npipelines: {billing: {}}\nrules: [{name: r, pipelines: [billing]}]\n")},
		Source{Name: "b.yaml", Text: []byte("version: 1\nname: other\npipelines: {billing: {}}\nrules: [{name: r, pipelines: [billing]}]\n")},
	)
	want := []string{
		`b.yaml:2:7: error: name is "other" here and "shop" in a.yaml:2:7; files that are read together have one name`,
		`b.yaml:3:13: error: pipeline "billing" is there already, in a.yaml:3:13`,
		`b.yaml:4:16: error: rule "r" is there already, in a.yaml:4:16`,
	}
	if got := strings.Split(problems.Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", problems, strings.Join(want, "\n"))
	}
}

func TestPathsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	_, problems := Load("nowhere.yaml", empty)
	text := problems.Error()
	if !strings.Contains(text, "nowhere.yaml: error: cannot be read: no such file") || !strings.Contains(text, "no *.yaml, *.yml or *.json file in the folder") {
		t.Errorf("said %s", text)
	}
	if _, problems := Parse(); len(problems.Errors()) != 1 {
		t.Errorf("no file at all: %v", problems)
	}
}

func TestDefaultsAreFilledIn(t *testing.T) {
	t.Parallel()
	file, problems := Parse(Source{Name: "x", Text: []byte("version: 1\nname: n\npipelines: {p: {}}\nrules: [{name: r, pipelines: [p]}]\n")})
	if file == nil {
		t.Fatal(problems)
	}
	p := file.Pipelines[0]
	want := []time.Duration{time.Second, 10 * time.Second, time.Minute, 5 * time.Minute}
	if p.Workers != 1 || p.Prefetch != 0 || p.Timeout != 30*time.Second || p.Retry.Attempts != 5 || !slices.Equal(p.Retry.Delays, want) ||
		p.Queue.Type != Quorum || p.Queue.DeliveryLimit != 20 || !p.Queue.Declare || file.Rules[0].Type != "#" || file.Exchanges[0].Key != "events" {
		t.Errorf("%+v, rule %+v", p, file.Rules[0])
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	lookup := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "1", "EMPTY": "", "NESTED": "${A}"}[name]
		return v, ok
	}
	for text, want := range map[Text]string{
		"": "", "x": "x", "${A}": "1", "a${A}b${A}": "a1b1", "${EMPTY}": "", "$A": "$A", "$${A}": "${A}", "${NESTED}": "${A}", "$${$${A}": "${${A}",
		"${B}": `error: variable "B" is not set`, "${": `error: "" is no variable's name in ${}`, "${A B}": `error: "A B" is no variable's name in ${}`,
	} {
		got, err := text.Expand(lookup)
		if err != nil {
			got = "error: " + err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	file, _ := Parse(Source{Name: "x", Text: read(t, "testdata/good/everything.yaml")})
	var names []string
	for _, p := range file.Unset(lookup) {
		names = append(names, p.Message)
	}
	if got := strings.Join(names, "\n"); strings.Count(got, "is not set") != 4 || strings.Contains(got, "NOT_A_VARIABLE") {
		t.Errorf("told of\n%s", got)
	}
	file, _ = Parse(Source{Name: "x", Text: []byte("version: 1\nname: x\npipelines:\n" +
		"  a: {steps: [{webhook: {url: \"${URL}\"}}]}\n  b: {steps: [{webhook: {url: \"${URL}/${URL}\"}}]}\nrules: [{name: r, type: x, pipelines: [a, b]}]\n")})
	want := `variable "URL" is not set; the pipelines a, b cannot run without it`
	if got := file.Unset(lookup); len(got) != 1 || got[0].Message != want || got[0].Pos.Line != 4 {
		t.Errorf("of a variable that two pipelines need it told\n%v", got)
	}
}

// tenThousand is a file of so many rules; form has the type and what else a rule says, by its number.
func tenThousand(pipelines int, form func(i int) string) []byte {
	var b strings.Builder
	b.WriteString("version: 1\nname: many\npipelines:\n")
	for i := range pipelines {
		fmt.Fprintf(&b, "  p%d: {}\n", i)
	}
	b.WriteString("rules:\n")
	for i := range 10_000 {
		fmt.Fprintf(&b, "  - {name: rule %d, pipelines: [p%d], %s}\n", i, i%pipelines, form(i))
	}
	return []byte(b.String())
}

func many() map[string][]byte {
	return map[string][]byte{
		"types":     tenThousand(100, func(i int) string { return fmt.Sprintf("type: t%d.*.v%d", i, i%7) }),
		"wildcards": tenThousand(1, func(i int) string { return fmt.Sprintf("type: 'order.*.%c.w%d'", "#*ab"[i%4], i) }),
		"conditions": tenThousand(100, func(i int) string {
			return fmt.Sprintf("type: order.*, match: {data: {id: [%d], total: [{numeric: ['>', %d]}]}}", i, i%50)
		}),
	}
}

func TestTenThousandRules(t *testing.T) {
	t.Parallel()
	for name, text := range many() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file, problems := Parse(Source{Name: "many.yaml", Text: text})
			if file == nil || len(file.Rules) != 10_000 || len(problems) > 0 {
				t.Fatalf("%.500s", problems.Error())
			}
		})
	}
}

func TestAListOfThousandsIsWarnedOfUnlessItsEntriesArePlain(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]string{
		"x%d": "", "{wildcard: 'x%d*'}": "data.a has 1500 entries that are no plain values", "{anything-but: {suffix: x%d}}": "data.a has 1500 entries",
	} {
		var entries []string
		for i := range 1500 {
			entries = append(entries, fmt.Sprintf(entry, i))
		}
		text := "version: 1\nname: n\npipelines: {p: {}}\nrules: [{name: r, pipelines: [p], match: {data: {a: [" + strings.Join(entries, ", ") + "]}}}]\n"
		_, problems := Parse(Source{Name: "x", Text: []byte(text)})
		if got := problems.Error(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %.300s", entry, got)
		}
	}
}

func BenchmarkParse10000(b *testing.B) {
	for name, text := range many() {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if file, problems := Parse(Source{Name: "many.yaml", Text: text}); file == nil {
					b.Fatal(problems)
				}
			}
		})
	}
}

// FuzzParse: no input makes it panic, and every problem has its place in the text.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"good/*", "bad/*.yaml"} {
		for _, path := range files(f, pattern) {
			f.Add(read(f, path))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, problems := Parse(Source{Name: "x", Text: text})
		if (file == nil) != (len(problems.Errors()) > 0) {
			t.Errorf("file: %v, problems: %v", file != nil, problems)
		}
		count := len(lines(string(text)))
		for _, p := range problems {
			if p.Pos.File != "x" || p.Pos.Line > count || p.Message == "" {
				t.Errorf("problem %+v in a text of %d lines", p, count)
			}
		}
	})
}

// FuzzEventLine: a line of a test's events is a document with a type, or its mistake has a column in the line.
func FuzzEventLine(f *testing.F) {
	f.Add([]byte(`{"type":"order.created","data":{"total":1e400,"x":[null]}}`))
	f.Add([]byte(`{"type":"ä"} x`))
	f.Add([]byte("{\"type\":\"a\"\xff"))
	f.Fuzz(func(t *testing.T, line []byte) {
		doc, column, err := eventLine(line)
		if kind, _ := doc["type"].(string); err == nil && kind == "" {
			t.Errorf("%v has no type", doc)
		}
		if err != nil && (column < 1 || column > utf8.RuneCount(line)+1) {
			t.Errorf("column %d of %q: %v", column, line, err)
		}
	})
}
