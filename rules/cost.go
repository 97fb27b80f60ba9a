package rules

import (
	"fmt"
	"regexp/syntax"
	"strings"

	"gopkg.in/yaml.v3"
)

// What stands out in cost. Nothing of it can make matching exponential; it is what one rule may take of the time of all others.
const (
	manyStars        = 10   // of a wildcard
	manySteps        = 1000 // of a compiled regular expression: what a character of a value may cost
	manyAlternatives = 100  // that the $or of a pattern multiply out to
	manyEntries      = 1000 // of one list, those that are plain values not counted
)

// costs warns of conditions that cost far more than others.
func (w *walker) costs(n *yaml.Node, r *Rule) {
	if r.Match == nil {
		return
	}
	if many := len(r.Match.Alternatives); many > manyAlternatives {
		w.warn(n, fmt.Sprintf("rule %q is costly: its $or multiply out to %d alternatives", r.Name, many), "alternatives of one field are the entries of its list")
	}
	r.Match.eachField(func(f *Field) {
		if many := costlyEntries(f.Conditions); many > manyEntries {
			w.warn(n, fmt.Sprintf("rule %q is costly: %s has %d entries that are no plain values", r.Name, strings.Join(f.Path, "."), many), "")
		}
	})
	told := map[string]bool{} // an $or has each condition around it many times
	r.Match.each(func(c *Condition) {
		if told[c.Text] && c.Text != "" {
			return
		}
		message, hint := c.costly()
		if message != "" && !told[message] {
			told[c.Text], told[message] = true, true
			w.warn(n, fmt.Sprintf("rule %q is costly: %s", r.Name, message), hint)
		}
	})
}

// costlyEntries counts what each value has to be compared with by itself.
func costlyEntries(list []Condition) int {
	n := 0
	for i := range list {
		switch c := &list[i]; c.Op {
		case OpEqual, OpExists, OpMissing:
		case OpNot:
			n += costlyEntries(c.Inner)
		default:
			n += max(1, len(c.Texts), len(c.Globs))
		}
	}
	return n
}

// each visits every condition, those inside of others too.
func (p *Pattern) each(visit func(c *Condition)) {
	var walk func(list []Condition)
	walk = func(list []Condition) {
		for i := range list {
			visit(&list[i])
			walk(list[i].Inner)
		}
	}
	p.eachField(func(f *Field) { walk(f.Conditions) })
}

func (p *Pattern) eachField(visit func(f *Field)) {
	for i := range p.Alternatives {
		a := &p.Alternatives[i]
		for j := range a.Fields {
			visit(&a.Fields[j])
		}
		for _, inside := range a.And {
			inside.eachField(visit)
		}
		for _, inside := range a.Not {
			inside.eachField(visit)
		}
	}
}

func (c *Condition) costly() (message, hint string) {
	switch c.Op {
	case OpWildcard:
		for _, g := range c.Globs {
			if stars := len(g.Parts) - 1; stars > manyStars {
				return fmt.Sprintf("the wildcard %s has %d stars", shorten(c.Text), stars), ""
			}
		}
	case OpRegexp:
		if steps := regexpSteps(c.Regexp.String()); steps > manySteps {
			return fmt.Sprintf("the regex %q has %d steps, and each character of a value may take them all", shorten(c.Regexp.String()), steps),
				"a repetition counts as often as it repeats"
		}
	}
	return "", ""
}

func regexpSteps(expression string) int {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return 0 // it compiled before
	}
	prog, err := syntax.Compile(re.Simplify())
	if err != nil {
		return 0
	}
	return len(prog.Inst)
}
