package rules

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Mismatch is the first condition of a pattern that a document does not fulfil, in the alternative that comes nearest.
type Mismatch struct {
	Path     string   // such as data.customer.country
	Expected string   // the conditions as they were written, in JSON
	Actual   string   // what is there, in JSON; empty where nothing is
	Held     int      // conditions of that alternative that hold
	Failed   int      // and that do not
	Also     []string // paths of those that fail besides the first
}

// Mismatch says what keeps a document from fulfilling the pattern; nil if it does fulfil it.
func (p *Pattern) Mismatch(doc map[string]any) *Mismatch {
	if p.Matches(doc) {
		return nil
	}
	var nearest *Mismatch
	for i := range p.Alternatives {
		if m := p.Alternatives[i].mismatch(doc); nearest == nil || m.Failed < nearest.Failed || m.Failed == nearest.Failed && m.Held > nearest.Held {
			nearest = m
		}
	}
	return nearest
}

func (c *Conjunction) mismatch(doc map[string]any) *Mismatch {
	var m Mismatch
	for i := range c.Fields {
		f := &c.Fields[i]
		if fieldsHold(c.Fields[i:i+1], 0, doc) {
			m.Held++
			continue
		}
		m.fail(strings.Join(f.Path, "."), expected(f), actual(doc, f.Path))
	}
	if m.Failed == 0 && !fieldsHold(c.Fields, 0, doc) {
		apart := apart(c.Fields, doc)
		path := commonPath(apart)
		var texts []string
		for i := range apart {
			texts = append(texts, strings.Join(apart[i].Path[len(path):], ".")+": "+expected(&apart[i]))
		}
		m.fail(strings.Join(path, "."), shortenTo("one element with "+strings.Join(texts, ", "), 300), "each in an element of its own")
	}
	for _, p := range c.And {
		if inner := p.Mismatch(doc); inner != nil {
			m.fail(inner.Path, inner.Expected, inner.Actual)
			m.Failed += inner.Failed - 1
			m.Held += inner.Held
			m.Also = append(m.Also, inner.Also...)
		} else {
			m.Held++
		}
	}
	for _, p := range c.Not {
		if p.Matches(doc) {
			m.fail("$not", "no event like "+p.String(), "it is like that")
		} else {
			m.Held++
		}
	}
	return &m
}

// fail counts a condition that does not hold, and keeps the first.
func (m *Mismatch) fail(path, expected, actual string) {
	if m.Failed == 0 {
		m.Path, m.Expected, m.Actual = path, expected, actual
	} else {
		m.Also = append(m.Also, path)
	}
	m.Failed++
}

func expected(f *Field) string {
	texts := make([]string, len(f.Conditions))
	for i := range f.Conditions {
		texts[i] = f.Conditions[i].Text
	}
	return shortenTo(strings.Join(texts, " or "), 300)
}

// String is the pattern as the paths and conditions that it holds.
func (p *Pattern) String() string {
	var alternatives []string
	for _, c := range p.Alternatives {
		var parts []string
		for i := range c.Fields {
			parts = append(parts, strings.Join(c.Fields[i].Path, ".")+": "+expected(&c.Fields[i]))
		}
		for _, and := range c.And {
			parts = append(parts, "("+and.String()+")")
		}
		for _, not := range c.Not {
			parts = append(parts, "not ("+not.String()+")")
		}
		alternatives = append(alternatives, strings.Join(parts, ", "))
	}
	return shortenTo(strings.Join(alternatives, " or "), 300)
}

// maxApart is up to how many fields it is looked for those that no one element fulfils.
const maxApart = 20

// apart are fields of which each holds, and which do not hold together: two where there are such, or else all.
func apart(fields []Field, doc map[string]any) []Field {
	for i := range min(len(fields), maxApart) {
		for j := i + 1; j < min(len(fields), maxApart); j++ {
			if two := []Field{fields[i], fields[j]}; !fieldsHold(two, 0, doc) {
				return two
			}
		}
	}
	return fields
}

// commonPath is what the paths of all fields begin with.
func commonPath(fields []Field) []string {
	common := fields[0].Path
	for _, f := range fields[1:] {
		n := 0
		for n < len(common) && n < len(f.Path) && common[n] == f.Path[n] {
			n++
		}
		common = common[:n]
	}
	return common
}

// maxShown is how many values of a list are shown.
const maxShown = 5

// actual shows what a document has at a path: of a list, its first values.
func actual(doc any, path []string) string {
	var found []string
	more := false
	var walk func(at any, path []string)
	walk = func(at any, path []string) {
		if list, ok := at.([]any); ok && len(list) > 0 {
			for _, element := range list {
				if len(found) > maxShown {
					more = true
					return
				}
				walk(element, path)
			}
			return
		}
		if len(path) == 0 {
			found = append(found, jsonText(at))
			return
		}
		if object, ok := at.(map[string]any); ok {
			if inside, there := object[path[0]]; there {
				walk(inside, path[1:])
			}
		}
	}
	walk(doc, path)
	if more || len(found) > maxShown {
		found = append(found[:maxShown], "…")
	}
	return shortenTo(strings.Join(found, ", "), 300)
}

// jsonText writes a value as JSON, without the escapes that are for browsers.
func jsonText(v any) string {
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// shortenTo cuts a text to so many bytes, between characters.
func shortenTo(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
