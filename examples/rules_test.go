// Package examples holds nothing but the test that the examples, and the rules files in the documentation, are right.
package examples

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/rules"
)

func TestExamplesHaveNoProblems(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*/rules.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range found {
		if _, problems := rules.Load(path); len(problems) > 0 {
			t.Errorf("%s:\n%v", path, problems)
		}
	}
}

func TestRulesFilesInTheDocumentationHaveNoProblems(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, page := range append(pages, "../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for i, block := range strings.Split(string(text), "```yaml\n")[1:] {
			block, _, _ = strings.Cut(block, "```")
			if !strings.HasPrefix(block, "version: 1") {
				continue // a part of a file
			}
			count++
			name := fmt.Sprintf("%s, rules file %d", page, i+1)
			if _, problems := rules.Parse(rules.Source{Name: name, Text: []byte(block)}); len(problems) > 0 {
				t.Errorf("%v", problems)
			}
		}
	}
	if count < 2 {
		t.Errorf("only %d rules files found in the documentation", count)
	}
}

func TestSampleEventsAreEventsWithIDsOfTheirOwn(t *testing.T) {
	t.Parallel()
	found, err := filepath.Glob("*/events.ndjson")
	if err != nil || len(found) == 0 {
		t.Fatalf("no sample events: %v", err)
	}
	for _, path := range found {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		seen := map[string]bool{}
		for r := event.NewReader(f); ; {
			var e event.Event
			err := r.Next(&e)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			if e.ID == "" || seen[e.ID] {
				t.Errorf("%s: line %d: id %q is empty or there twice", path, r.Line(), e.ID)
			}
			seen[e.ID] = true
		}
	}
}
