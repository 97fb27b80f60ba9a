package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eventrouter/eventrouter/rules/topic"
)

// contradiction is why a pattern cannot be fulfilled.
type contradiction struct {
	reason   string
	onlyList string // a path: it can be fulfilled, but only where there is a list on the way, with an element for each of two conditions
}

// contradiction finds out why no event that the type pattern lets through fulfils the pattern; nil if one may.
func (p *Pattern) contradiction(typePattern string) *contradiction {
	if p == nil {
		return nil
	}
	var found *contradiction
	for i := range p.Alternatives {
		c := p.Alternatives[i].contradiction(newProof(), typePattern)
		if c == nil {
			return nil
		}
		if found == nil || found.onlyList == "" {
			found = c // if any alternative can be fulfilled by lists, so can the whole
		}
	}
	return found
}

func (c *Conjunction) contradiction(p *proof, typePattern string) *contradiction {
	for _, and := range c.And {
		if inside := and.contradiction(typePattern); inside != nil && inside.onlyList == "" {
			return inside
		}
	}
	fields, nots := c.demands(nil, nil)
	for _, not := range nots {
		if p.gives(c, not) {
			return &contradiction{reason: "its $not is of just what the rest demands: " + not.String()}
		}
	}
	byPath := map[string][]*Field{}
	for _, f := range fields {
		key := pathKey(f.Path)
		byPath[key] = append(byPath[key], f)
	}
	var only *contradiction
	for _, f := range fields {
		same := byPath[pathKey(f.Path)]
		if same[0] != f {
			continue // each path once
		}
		switch found := p.onePath(same, typePattern); {
		case found == nil:
		case found.onlyList == "":
			return found
		case only == nil:
			only = found
		}
	}
	return only
}

// demands lists all fields that have to hold, and all patterns that must not: those of the conjunction and of what is inside of $and.
func (c *Conjunction) demands(fields []*Field, nots []*Pattern) ([]*Field, []*Pattern) {
	for i := range c.Fields {
		fields = append(fields, &c.Fields[i])
	}
	nots = append(nots, c.Not...)
	for _, and := range c.And {
		if len(and.Alternatives) == 1 {
			fields, nots = and.Alternatives[0].demands(fields, nots)
		}
	}
	return fields, nots
}

// onePath looks at all that is demanded of one path.
func (p *proof) onePath(fields []*Field, typePattern string) *contradiction {
	path := fields[0].Path
	if reason := p.context(fields, typePattern); reason != "" {
		return &contradiction{reason: reason}
	}
	for i, a := range fields {
		for _, b := range fields[i+1:] {
			if !p.exclude(a, b) {
				continue
			}
			both := fmt.Sprintf("%s cannot be both %s and %s", strings.Join(path, "."), expected(a), expected(b))
			if alwaysOne(path) || len(path) == 1 && a.missing() != b.missing() {
				return &contradiction{reason: both}
			}
			return &contradiction{reason: both, onlyList: strings.Join(path, ".")}
		}
	}
	return nil
}

// alwaysOne reports whether a path is that of one string, if it is there: never of a list.
func alwaysOne(path []string) bool {
	return len(path) == 1 && knownField(path[0]) && path[0] != "data" && path[0] != "headers"
}

// missing reports whether the field demands that there is nothing.
func (f *Field) missing() bool {
	return !slices.ContainsFunc(f.Conditions, func(c Condition) bool { return c.Op != OpMissing })
}

// context says why fields of one path can never hold, where that path is one of CloudEvents', of which it is known what they are.
func (p *proof) context(fields []*Field, typePattern string) string {
	path := fields[0].Path
	name := path[0]
	if !knownField(name) || name == "data" || name == "headers" && len(path) > 1 {
		return ""
	}
	for _, f := range fields {
		if slices.ContainsFunc(f.Conditions, func(c Condition) bool { return possible(&c, path) }) {
			continue
		}
		switch {
		case name == "headers":
			return "headers is an object, not a value"
		case len(path) > 1:
			return name + " is a string, and has no fields inside"
		case f.missing():
			return "every event has a type"
		case name == "time":
			return "time is a string such as 2026-01-31T12:00:00Z, without zeros at the end of a fraction, and never " + expected(f)
		}
		return fmt.Sprintf("%s is a string, and never %s", name, expected(f))
	}
	for _, f := range fields {
		if len(path) > 1 || slices.ContainsFunc(f.Conditions, func(c Condition) bool { return c.Op != OpEqual }) {
			continue
		}
		fits := func(c Condition) bool {
			s, _ := c.Value.(string)
			return p.step() && possible(&c, path) && (name != "type" || topic.Match(typePattern, s)) && allHold(fields, s)
		}
		if !slices.ContainsFunc(f.Conditions, fits) && p.left > 0 {
			if name == "type" && len(fields) == 1 {
				return fmt.Sprintf("the type pattern %s lets no %s through", typePattern, expected(f))
			}
			return fmt.Sprintf("no %s is all that is demanded of it; it would have to be %s", name, expected(f))
		}
	}
	return ""
}

func allHold(fields []*Field, value string) bool {
	return !slices.ContainsFunc(fields, func(f *Field) bool {
		return !slices.ContainsFunc(f.Conditions, func(c Condition) bool { return c.holds(value) })
	})
}

// possible reports whether the condition can hold at the path of a string of CloudEvents, or of headers.
func possible(c *Condition, path []string) bool {
	switch {
	case c.Op == OpMissing:
		return len(path) > 1 || path[0] != "type"
	case len(path) > 1 || path[0] == "headers":
		return false
	case c.Op == OpRange:
		return false
	case c.Op == OpEqual:
		s, ok := c.Value.(string)
		if ok && path[0] == "time" {
			t, err := time.Parse(time.RFC3339Nano, s)
			return err == nil && t.Format(time.RFC3339Nano) == s
		}
		return ok && s != ""
	}
	return true
}

// contradictions warns of a rule that can never hold.
func (b *builder) contradictions(v values, r *Rule) {
	if n := v.nodes["type"]; n != nil && r.Type == "" {
		v.w.warn(n, fmt.Sprintf("rule %q can never hold: no event has an empty type", r.Name), `"#" is every type`)
	}
	if n := v.nodes["match"]; n != nil {
		switch c := r.Match.contradiction(r.Type); {
		case c == nil:
		case c.onlyList != "":
			v.w.warn(n, fmt.Sprintf("rule %q holds only where there is a list at %s, or on the way to it: %s", r.Name, c.onlyList, c.reason), "the entries of one list are alternatives")
		default:
			v.w.warn(n, fmt.Sprintf("rule %q can never hold: %s", r.Name, c.reason), "")
		}
	}
	if n := v.nodes["where"]; n != nil && r.Where != nil {
		if value, constant := r.Where.constant(); constant && !value {
			v.w.warn(n, fmt.Sprintf("rule %q can never hold: its where is false for every event", r.Name), "")
		} else if constant {
			v.w.warn(n, fmt.Sprintf("the where of rule %q says nothing: it is true for every event", r.Name), "")
		}
	}
}
