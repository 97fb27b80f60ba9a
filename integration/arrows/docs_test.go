package arrows

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

var (
	link  = regexp.MustCompile(`\]\(([^)#\s]+)(#[^)]*)?\)`)
	block = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```")
)

// pages are the README and all of docs.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	out := map[string]string{}
	for _, name := range append(names, "../../README.md") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(text)
	}
	return out
}

func TestLinksOfTheDocsLeadSomewhere(t *testing.T) {
	t.Parallel()
	for name, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// testName is a test that a page names as its proof.
var testName = regexp.MustCompile("`(Test[A-Z][A-Za-z]+)`")

func TestTestsThatTheDocsNameAreThere(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for name, text := range pages(t) {
		for _, m := range testName.FindAllStringSubmatch(text, -1) {
			if named++; !there[m[1]] {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
	if named == 0 {
		t.Error("no page names a test")
	}
}

func TestRulesInTheDocsAreRight(t *testing.T) {
	t.Parallel()
	whole := 0
	for name, text := range pages(t) {
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			if !strings.HasPrefix(m[1], "version: 1") {
				continue
			}
			whole++
			file, problems := rules.Parse(rules.Source{Name: name, Text: []byte(m[1])})
			if file == nil || len(problems) > 0 {
				t.Fatal(problems)
			}
			p, err := plan.Compile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range p.RunTests() {
				if len(o.Failures) > 0 {
					t.Errorf("%s: test %q: %+v", name, o.Test.Name, o.Failures)
				}
			}
		}
	}
	if whole == 0 {
		t.Error("no rules file in the docs")
	}
}
