package rules

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxAlternatives bounds how many alternatives the $or of one pattern may multiply out to.
const maxAlternatives = 1000

// ParsePattern reads one pattern in JSON or YAML. The error is of type Problems, and lists all that is wrong.
func ParsePattern(src []byte) (*Pattern, error) {
	w := &walker{lines: lines(string(src)), forms: map[string]*regexp.Regexp{}}
	var p *Pattern
	if root := w.document(src); root != nil {
		p = w.pattern(root)
	}
	if errs := w.problems.Errors(); len(errs) > 0 {
		return nil, errs
	}
	return p, nil
}

// patternParser reads one pattern.
type patternParser struct {
	w      *walker
	failed bool
	nodes  int
	depth  int // of objects in each other, those of $or, $and and $not counted
}

// pattern reads a pattern; nil if anything is wrong with it, which has then been reported.
func (w *walker) pattern(n *yaml.Node) *Pattern {
	p := &patternParser{w: w}
	alternatives := p.object(n, nil)
	if p.failed {
		return nil
	}
	return finishPattern(alternatives)
}

func finishPattern(alternatives []draft) *Pattern {
	out := &Pattern{}
	for _, d := range alternatives {
		c := Conjunction{And: d.and, Not: d.not}
		for _, key := range slices.Sorted(maps.Keys(d.fields)) {
			f := d.fields[key]
			c.Fields = append(c.Fields, f[0])
			// A path that stands both around and inside a $or: both have to hold, each by itself.
			for _, more := range f[1:] {
				c.And = append(c.And, &Pattern{Alternatives: []Conjunction{{Fields: []Field{more}}}})
			}
		}
		out.Alternatives = append(out.Alternatives, c)
	}
	return out
}

// draft is an alternative as it is put together.
type draft struct {
	fields map[string][]Field // by path
	and    []*Pattern
	not    []*Pattern
}

// pathKey orders paths so that those with the same beginning stand together, a path before those that go on from it.
func pathKey(path []string) string {
	names := make([]string, len(path))
	for i, name := range path {
		names[i] = strings.ReplaceAll(name, "\x00", "\x00\x01")
	}
	return strings.Join(names, "\x00\x00")
}

// both is every alternative of a together with every one of b. It may change a.
func (p *patternParser) both(n *yaml.Node, a, b []draft) []draft {
	if len(a)*len(b) > maxAlternatives {
		p.error(n, fmt.Sprintf("the $or of this pattern multiply out to more than %d alternatives", maxAlternatives), "make several rules of it")
		return a
	}
	if len(a) == 1 && len(b) == 1 {
		a[0].add(b[0])
		return a
	}
	var out []draft
	for _, x := range a {
		for _, y := range b {
			d := draft{fields: maps.Clone(x.fields), and: slices.Clone(x.and), not: slices.Clone(x.not)}
			d.add(y)
			out = append(out, d)
		}
	}
	return out
}

func (d *draft) add(other draft) {
	if d.fields == nil {
		d.fields = make(map[string][]Field, len(other.fields))
	}
	for k, f := range other.fields {
		d.fields[k] = slices.Concat(d.fields[k], f)
	}
	d.and, d.not = append(d.and, other.and...), append(d.not, other.not...)
}

func (p *patternParser) error(n *yaml.Node, message, hint string) {
	p.failed = true
	p.w.error(n, message, hint)
}

// maxNodes bounds the nodes of one pattern, as aliases can unfold a few lines into millions.
const maxNodes = 1_000_000

// follow resolves an alias. What is wrong with a scalar is told at the place of the alias, which is where it is wrong.
func (p *patternParser) follow(n *yaml.Node) *yaml.Node {
	if p.nodes++; p.nodes > maxNodes {
		if p.nodes == maxNodes+1 {
			p.error(n, "the pattern is too large", "")
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
	}
	at := n
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if at != n && n.Kind == yaml.ScalarNode {
		moved := *n
		moved.Line, moved.Column = at.Line, at.Column
		return &moved
	}
	return n
}

// maxPatternDepth bounds how deep objects stand in each other.
const maxPatternDepth = 200

func (p *patternParser) object(n *yaml.Node, path []string) []draft {
	n = p.follow(n)
	out := []draft{{}}
	if n.Kind != yaml.MappingNode {
		p.error(n, fmt.Sprintf("a pattern is an object of fields, not %s", what(n)), "such as {data: {country: [DE, AT]}}")
		return out
	}
	if len(n.Content) == 0 {
		p.error(n, "an object in a pattern names at least one field", "for any value: field: [{exists: true}]")
		return out
	}
	if p.depth++; p.depth > maxPatternDepth {
		p.error(n, fmt.Sprintf("a pattern is nested at most %d levels deep", maxPatternDepth), "")
		return out
	}
	defer func() { p.depth-- }()
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := p.follow(n.Content[i]), p.follow(n.Content[i+1])
		switch {
		case k.Kind != yaml.ScalarNode || isNull(k):
			p.error(k, "a field's name is a string, not "+what(k), "")
			continue
		case k.ShortTag() == "!!merge":
			p.error(k, "<< is not resolved inside a pattern", "write the fields out")
			continue
		case seen[k.Value]:
			p.error(k, fmt.Sprintf("field %q stands twice", shorten(k.Value)), "a list is any of its entries; for two conditions on one field: $and: [{…}, {…}]")
			continue
		}
		seen[k.Value] = true
		if part := p.member(k, v, path); part != nil {
			out = p.both(k, out, part)
		}
	}
	return out
}

// member reads one key of an object.
func (p *patternParser) member(k, v *yaml.Node, path []string) []draft {
	switch k.Value {
	case "$or":
		var out []draft
		for _, c := range p.alternatives(k, v) {
			out = append(out, p.object(c, path)...)
		}
		return out
	case "$and":
		d := draft{}
		for _, c := range p.alternatives(k, v) {
			d.and = append(d.and, finishPattern(p.object(c, path)))
		}
		return []draft{d}
	case "$not":
		return []draft{{not: []*Pattern{finishPattern(p.object(v, path))}}}
	}
	if strings.HasPrefix(k.Value, "$") {
		p.error(k, fmt.Sprintf("unknown operator %q", shorten(k.Value)), didYouMean(k.Value, []string{"$or", "$and", "$not"}))
		return nil
	}
	if len(path) == 0 {
		p.topLevel(k, v)
	}
	inside := append(slices.Clone(path), k.Value)
	switch v.Kind {
	case yaml.MappingNode:
		if p.operatorOutside(k, v) {
			return nil
		}
		return p.object(v, inside)
	case yaml.SequenceNode:
		return []draft{{fields: map[string][]Field{pathKey(inside): {{Path: inside, Conditions: p.leaf(v)}}}}}
	}
	hint := fmt.Sprintf("write [%s]", shorten(v.Value))
	if isNull(v) {
		hint = "for null: [null]; for a field that is not there: [{exists: false}]"
	}
	p.error(v, fmt.Sprintf("field %q holds a list of what matches, or an object of fields, not %s", shorten(k.Value), what(v)), hint)
	return nil
}

// foreign are fields of events elsewhere, and what they are called here.
var foreign = map[string]string{"detail": "data", "detail-type": "type", "detailtype": "type", "payload": "data", "body": "data"}

// topLevel warns of a field that no event has.
func (p *patternParser) topLevel(k, v *yaml.Node) {
	name := k.Value
	if knownField(name) {
		return
	}
	hint := didYouMean(name, documentFields)
	if attributeName.MatchString(name) && (v.Kind != yaml.MappingNode || p.operatorInside(v) != "") {
		if near := closest(name, documentFields); len(name) > 2 && near != "" && editDistance(name, near) == 1 {
			p.w.warn(k, fmt.Sprintf("%q is taken for an extension attribute", name), hint)
		}
		return
	}
	if foreign[name] != "" {
		hint = fmt.Sprintf("here it is called %q", foreign[name])
	}
	if attributeName.MatchString(name) {
		p.w.warn(k, fmt.Sprintf("%q is taken for an extension attribute, and those have no fields inside", shorten(name)), hint)
		return
	}
	p.w.warn(k, fmt.Sprintf("no event has a field %q: there are those of CloudEvents, headers, data, and extension attributes of lower-case letters and digits", shorten(name)), hint)
}

// operatorInside is the operator that an object holds alone; empty if it is no such object.
func (p *patternParser) operatorInside(v *yaml.Node) string {
	if len(v.Content) == 2 && v.Content[0].Kind == yaml.ScalarNode && slices.Contains(operators, v.Content[0].Value) {
		return v.Content[0].Value
	}
	return ""
}

// operatorOutside finds an operator that does not stand in a list. A field may have an operator's name, so it is an error only where it could be
// nothing else, and else a warning where it looks like it.
func (p *patternParser) operatorOutside(k, v *yaml.Node) bool {
	op := p.operatorInside(v)
	if op == "" {
		return false
	}
	message, hint := fmt.Sprintf("field %q: an operator stands in a list", shorten(k.Value)), fmt.Sprintf("%s: [{%s: …}]", k.Value, op)
	switch inside := p.follow(v.Content[1]); {
	case inside.Kind == yaml.ScalarNode:
		p.error(v, message, hint)
		return true
	case op == "anything-but" && inside.Kind == yaml.MappingNode && p.operatorInside(inside) != "", op == "equals-ignore-case",
		op == "anything-but" && inside.Kind == yaml.SequenceNode,
		op == "numeric" && inside.Kind == yaml.SequenceNode && len(inside.Content) > 1 && slices.Contains(comparisons, inside.Content[0].Value):
		p.w.warn(v, fmt.Sprintf("field %q: %s is taken for the name of a field", shorten(k.Value), op), "the operator stands in a list: "+hint)
	}
	return false
}

func (p *patternParser) alternatives(k, v *yaml.Node) []*yaml.Node {
	if v.Kind != yaml.SequenceNode || len(v.Content) < 2 {
		p.error(v, fmt.Sprintf("%s takes a list of two or more objects", k.Value), fmt.Sprintf("%s: [{…}, {…}]", k.Value))
		return nil
	}
	return v.Content
}
