package rules

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxAlternatives bounds how many alternatives the $or of one pattern may multiply out to.
const maxAlternatives = 1000

// ParsePattern reads one pattern in JSON or YAML. The error is of type Problems, and lists all that is wrong.
func ParsePattern(src []byte) (*Pattern, error) {
	w := &walker{lines: strings.Split(string(src), "\n"), forms: map[string]*regexp.Regexp{}}
	var p *Pattern
	if root := w.document(src); root != nil {
		p = parsePattern(root, w.error)
	}
	if len(w.problems) > 0 {
		return nil, w.problems
	}
	return p, nil
}

// patternParser reads one pattern.
type patternParser struct {
	report report
	failed bool
	nodes  int
}

// parsePattern reads a pattern; nil if anything is wrong with it, which has then been reported.
func parsePattern(n *yaml.Node, report report) *Pattern {
	p := &patternParser{report: report}
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
func pathKey(path []string) string { return strings.Join(path, "\x00") }

// both is every alternative of a together with every one of b.
func (p *patternParser) both(n *yaml.Node, a, b []draft) []draft {
	if len(a)*len(b) > maxAlternatives {
		p.error(n, fmt.Sprintf("the $or of this pattern multiply out to more than %d alternatives", maxAlternatives), "make several rules of it")
		return a
	}
	var out []draft
	for _, x := range a {
		for _, y := range b {
			d := draft{fields: maps.Clone(x.fields), and: slices.Concat(x.and, y.and), not: slices.Concat(x.not, y.not)}
			if d.fields == nil {
				d.fields = map[string][]Field{}
			}
			for k, f := range y.fields {
				d.fields[k] = slices.Concat(d.fields[k], f)
			}
			out = append(out, d)
		}
	}
	return out
}

func (p *patternParser) error(n *yaml.Node, message, hint string) {
	p.failed = true
	p.report(n, message, hint)
}

func (p *patternParser) follow(n *yaml.Node) *yaml.Node {
	if p.nodes++; p.nodes > 1_000_000 {
		if p.nodes == 1_000_001 {
			p.error(n, "the pattern is too large", "")
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
	}
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func (p *patternParser) object(n *yaml.Node, path []string) []draft {
	n = p.follow(n)
	out := []draft{{}}
	if n.Kind != yaml.MappingNode {
		p.error(n, fmt.Sprintf("a pattern is an object of fields, not %s", what(n)), "")
		return out
	}
	if len(n.Content) == 0 {
		p.error(n, "an object in a pattern names at least one field", "for any value: field: [{exists: true}]")
		return out
	}
	if len(path) > 200 {
		p.error(n, "a pattern is nested at most 200 levels deep", "")
		return out
	}
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
	inside := append(slices.Clone(path), k.Value)
	switch v.Kind {
	case yaml.MappingNode:
		if len(v.Content) == 2 && slices.Contains(operators, v.Content[0].Value) && v.Content[1].Kind != yaml.MappingNode && !strings.HasPrefix(v.Content[0].Value, "$") {
			if op := v.Content[0].Value; op != "exists" && op != "prefix" && op != "suffix" && op != "regex" || v.Content[1].Kind == yaml.ScalarNode {
				p.error(v, fmt.Sprintf("field %q: an operator stands in a list", shorten(k.Value)), fmt.Sprintf("%s: [{%s: …}]", k.Value, op))
				return nil
			}
		}
		return p.object(v, inside)
	case yaml.SequenceNode:
		return []draft{{fields: map[string][]Field{pathKey(inside): {{Path: inside, Conditions: p.leaf(v)}}}}}
	}
	p.error(v, fmt.Sprintf("field %q holds a list of what matches, or an object of fields, not %s", shorten(k.Value), what(v)), fmt.Sprintf("write [%s]", shorten(v.Value)))
	return nil
}

func (p *patternParser) alternatives(k, v *yaml.Node) []*yaml.Node {
	if v.Kind != yaml.SequenceNode || len(v.Content) < 2 {
		p.error(v, fmt.Sprintf("%s takes a list of two or more objects", k.Value), "")
		return nil
	}
	return v.Content
}

func (p *patternParser) leaf(n *yaml.Node) []Condition {
	if len(n.Content) == 0 {
		p.error(n, "an empty list matches nothing", "for any value: [{exists: true}]")
	}
	var out []Condition
	for _, c := range n.Content {
		c = p.follow(c)
		switch c.Kind {
		case yaml.ScalarNode:
			if v, ok := p.scalar(c); ok {
				out = append(out, Condition{Op: OpEqual, Value: v, Text: written(c)})
			}
		case yaml.MappingNode:
			if op, ok := p.operator(c); ok {
				op.Text = written(c)
				out = append(out, op)
			}
		default:
			p.error(c, "an entry is a value or an object with one operator, not "+what(c), "")
		}
	}
	return out
}

// written gives a node as JSON, for explanations.
func written(n *yaml.Node) string {
	w := &walker{forms: map[string]*regexp.Regexp{}}
	return jsonText(w.json(n, 0))
}

func (p *patternParser) scalar(n *yaml.Node) (any, bool) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, true
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), true
	case "!!null":
		return nil, true
	case "!!int", "!!float":
		if v, ok := ParseNumber(n.Value); ok {
			return v, true
		}
		p.error(n, fmt.Sprintf("%s is no number of JSON", shorten(n.Value)), "digits as JSON has them, or a string in quotes")
		return nil, false
	}
	p.error(n, "an entry is a string, a number, true, false or null, not "+what(n), "")
	return nil, false
}

var operators = []string{"prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr", "exists", "regex"}

func (p *patternParser) operator(n *yaml.Node) (Condition, bool) {
	if len(n.Content) != 2 {
		p.error(n, "an entry that is an object holds exactly one operator", "several entries of the list are alternatives; for all of several: $and: [{…}, {…}]")
		return Condition{}, false
	}
	k, v := p.follow(n.Content[0]), p.follow(n.Content[1])
	switch k.Value {
	case "prefix", "suffix":
		return p.affix(k, v)
	case "equals-ignore-case":
		return p.texts(k, v, OpFold, false)
	case "wildcard":
		return p.wildcards(k, v, false)
	case "anything-but":
		return p.anythingBut(k, v)
	case "numeric":
		return p.numeric(v)
	case "cidr":
		return p.cidr(v)
	case "exists":
		if v.Kind == yaml.ScalarNode && v.ShortTag() == "!!bool" {
			if strings.EqualFold(v.Value, "true") {
				return Condition{Op: OpExists}, true
			}
			return Condition{Op: OpMissing}, true
		}
		p.error(v, "exists takes true or false, not "+what(v), "")
		return Condition{}, false
	case "regex":
		if s, ok := p.text(k, v); ok {
			re, err := regexp.Compile(s)
			if err == nil {
				return Condition{Op: OpRegexp, Regexp: re}, true
			}
			p.error(v, "regex: "+strings.TrimPrefix(err.Error(), "error parsing regexp: "), "the syntax is RE2's")
		}
		return Condition{}, false
	}
	p.error(k, fmt.Sprintf("unknown operator %q", shorten(k.Value)), didYouMean(k.Value, operators))
	return Condition{}, false
}

func (p *patternParser) text(k, v *yaml.Node) (string, bool) {
	if v.Kind != yaml.ScalarNode || v.ShortTag() != "!!str" {
		p.error(v, fmt.Sprintf("%s takes a string, not %s", k.Value, what(v)), "")
		return "", false
	}
	return v.Value, true
}

// affix reads prefix and suffix: a string, or {equals-ignore-case: string}.
func (p *patternParser) affix(k, v *yaml.Node) (Condition, bool) {
	op, fold := OpPrefix, OpPrefixFold
	if k.Value == "suffix" {
		op, fold = OpSuffix, OpSuffixFold
	}
	if v.Kind == yaml.MappingNode {
		if len(v.Content) == 2 && v.Content[0].Value == "equals-ignore-case" {
			return p.texts(v.Content[0], p.follow(v.Content[1]), fold, false)
		}
		p.error(v, k.Value+" takes a string or {equals-ignore-case: string}", "")
		return Condition{}, false
	}
	return p.texts(k, v, op, false)
}

// texts reads one string, or where that is allowed a list of them.
func (p *patternParser) texts(k, v *yaml.Node, op Op, list bool) (Condition, bool) {
	c := Condition{Op: op}
	nodes := []*yaml.Node{v}
	if list && v.Kind == yaml.SequenceNode {
		if nodes = v.Content; len(nodes) == 0 {
			p.error(v, k.Value+" takes at least one string", "")
			return c, false
		}
	}
	for _, n := range nodes {
		s, ok := p.text(k, p.follow(n))
		if !ok {
			return c, false
		}
		if s == "" && op != OpFold {
			p.error(n, k.Value+" takes a string that is not empty", "")
			return c, false
		}
		c.Texts = append(c.Texts, s)
	}
	return c, true
}

func (p *patternParser) wildcards(k, v *yaml.Node, list bool) (Condition, bool) {
	c, ok := p.texts(k, v, OpWildcard, list)
	if !ok {
		return c, false
	}
	for _, s := range c.Texts {
		g, err := ParseGlob(s)
		if err != nil {
			p.error(v, fmt.Sprintf("wildcard %q: %v", shorten(s), err), "")
			return c, false
		}
		c.Globs = append(c.Globs, g)
	}
	c.Texts = nil
	return c, true
}

// ParseGlob reads a wildcard pattern: * is any run of characters, \* and \\ are literal.
func ParseGlob(s string) (Glob, error) {
	parts, part := []string{}, strings.Builder{}
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == '*' || s[i+1] == '\\'):
			i++
			part.WriteByte(s[i])
		case s[i] == '\\':
			return Glob{}, errors.New(`a \ stands only before * or \`)
		case s[i] == '*' && i+1 < len(s) && s[i+1] == '*':
			return Glob{}, errors.New("two * in a row mean no more than one")
		case s[i] == '*':
			parts = append(parts, part.String())
			part.Reset()
		default:
			part.WriteByte(s[i])
		}
	}
	return Glob{Parts: append(parts, part.String())}, nil
}

func (p *patternParser) anythingBut(k, v *yaml.Node) (Condition, bool) {
	out := Condition{Op: OpNot}
	switch v.Kind {
	case yaml.MappingNode:
		inner, ok := p.butOperator(v)
		out.Inner = []Condition{inner}
		return out, ok
	case yaml.SequenceNode:
		if len(v.Content) == 0 {
			p.error(v, "anything-but takes at least one value", "")
			return out, false
		}
		return out, p.butValues(v, &out)
	}
	value, ok := p.butValue(v)
	out.Inner = []Condition{{Op: OpEqual, Value: value}}
	return out, ok
}

func (p *patternParser) butValue(n *yaml.Node) (any, bool) {
	n = p.follow(n)
	if n.Kind != yaml.ScalarNode || isNull(n) || n.ShortTag() == "!!bool" {
		p.error(n, "anything-but takes strings or numbers, not "+what(n), "")
		return nil, false
	}
	return p.scalar(n)
}

func (p *patternParser) butValues(n *yaml.Node, out *Condition) bool {
	numbers := 0
	for _, c := range n.Content {
		value, ok := p.butValue(c)
		if !ok {
			return false
		}
		if _, is := value.(Number); is {
			numbers++
		}
		out.Inner = append(out.Inner, Condition{Op: OpEqual, Value: value})
	}
	if numbers != 0 && numbers != len(out.Inner) {
		p.error(n, "anything-but takes a list of strings or a list of numbers, not both", "")
		return false
	}
	return true
}

func (p *patternParser) butOperator(n *yaml.Node) (Condition, bool) {
	allowed := []string{"prefix", "suffix", "equals-ignore-case", "wildcard"}
	if len(n.Content) != 2 {
		p.error(n, "anything-but takes one operator", "one of "+strings.Join(allowed, ", "))
		return Condition{}, false
	}
	k, v := p.follow(n.Content[0]), p.follow(n.Content[1])
	switch k.Value {
	case "prefix":
		return p.texts(k, v, OpPrefix, true)
	case "suffix":
		return p.texts(k, v, OpSuffix, true)
	case "equals-ignore-case":
		return p.texts(k, v, OpFold, true)
	case "wildcard":
		return p.wildcards(k, v, true)
	}
	p.error(k, fmt.Sprintf("anything-but has no operator %q", shorten(k.Value)), didYouMean(k.Value, allowed))
	return Condition{}, false
}

func (p *patternParser) numeric(v *yaml.Node) (Condition, bool) {
	c := Condition{Op: OpRange}
	if v.Kind != yaml.SequenceNode || len(v.Content) != 2 && len(v.Content) != 4 {
		p.error(v, "numeric takes one or two comparisons, each an operator and a number", `numeric: [">", 0, "<=", 5]`)
		return c, false
	}
	for i := 0; i < len(v.Content); i += 2 {
		op, n := p.follow(v.Content[i]), p.follow(v.Content[i+1])
		number, ok := Number{}, false
		if n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float") {
			number, ok = ParseNumber(n.Value)
		}
		if !ok {
			p.error(n, "numeric compares with a number, not "+what(n), "")
			return c, false
		}
		if !c.bound(op.Value, number) {
			p.error(op, fmt.Sprintf("numeric: %s is not wanted here", what(op)), "one of <, <=, >, >=, =; two make a range: from below, then from above")
			return c, false
		}
	}
	if order := c.Low.Number.Compare(c.High.Number); c.Low.Set && c.High.Set && (order > 0 || order == 0 && !(c.Low.Inclusive && c.High.Inclusive)) {
		p.error(v, "no number is in this range", "")
		return c, false
	}
	return c, true
}

func (c *Condition) bound(op string, n Number) bool {
	low, high := Bound{n, true, op != ">"}, Bound{n, true, op != "<"}
	switch op {
	case "<", "<=":
		if c.High.Set {
			return false
		}
		c.High = high
	case ">", ">=":
		if c.Low.Set || c.High.Set {
			return false
		}
		c.Low = low
	case "=":
		if c.Low.Set || c.High.Set {
			return false
		}
		c.Low, c.High = low, high
	default:
		return false
	}
	return true
}

func (p *patternParser) cidr(v *yaml.Node) (Condition, bool) {
	block, err := netip.ParsePrefix(v.Value)
	if v.Kind != yaml.ScalarNode || err != nil {
		p.error(v, "cidr takes a block of IPv4 or IPv6 addresses, not "+what(v), "such as 10.0.0.0/24 or 2001:db8::/32")
		return Condition{}, false
	}
	return Condition{Op: OpCIDR, Block: block.Masked()}, true
}
