package rules

import (
	"regexp"
	"strings"
	"testing"
)

var example = regexp.MustCompile("(?ms)^```yaml\n(match:.*?)^```")

// Each example of docs/patterns.md is a pattern with events that it matches and events that it does not.
func TestExamplesOfThePatternLanguage(t *testing.T) {
	t.Parallel()
	page := string(read(t, "../docs/patterns.md"))
	found := example.FindAllStringSubmatch(page, -1)
	for _, m := range found {
		w := &walker{file: "docs/patterns.md", lines: lines(m[1]), forms: map[string]*regexp.Regexp{}}
		var pattern *Pattern
		events := map[string][]any{}
		for _, e := range w.entries(w.document([]byte(m[1])), "an example") {
			if e.key.Value == "match" {
				pattern = w.pattern(e.value)
				continue
			}
			list, _ := w.json(e.value, 0).([]any)
			events[e.key.Value] = list
		}
		if len(w.problems) > 0 {
			t.Errorf("%s\n%v", m[1], w.problems)
			continue
		}
		if len(events["matches"]) == 0 || len(events["does not match"]) == 0 || len(events) != 2 {
			t.Errorf("events that match, and events that do not, are wanted:\n%s", m[1])
		}
		for want, list := range map[bool][]any{true: events["matches"], false: events["does not match"]} {
			for _, event := range list {
				if doc, ok := event.(map[string]any); !ok || pattern.Matches(doc) != want {
					t.Errorf("want %v of %v for\n%s", want, event, m[1])
				}
			}
		}
	}
	for _, operator := range append(operators, "$or", "$and", "$not") {
		if !strings.Contains(page, "\n## "+operator+"\n") {
			t.Errorf("%s has no section", operator)
		}
	}
	if len(found) < 20 {
		t.Errorf("only %d examples found", len(found))
	}
}
