package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// The entries of a leaf's list: values, and objects with one operator.

func (p *patternParser) leaf(n *yaml.Node) []Condition {
	if len(n.Content) == 0 {
		p.error(n, "an empty list matches nothing", "for any value: [{exists: true}]")
	}
	var out []Condition
	for _, c := range n.Content {
		c = p.follow(c)
		switch c.Kind {
		case yaml.ScalarNode:
			if op, ok := p.equal(c); ok {
				op.Text = written(c)
				out = append(out, op)
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

// equal reads a value as an entry.
func (p *patternParser) equal(n *yaml.Node) (Condition, bool) {
	v, ok := p.scalar(n)
	if s, isString := v.(string); isString && strings.Contains(s, ":") {
		// As in the reference, an IPv6 address equals all other ways to write it.
		if a, err := netip.ParseAddr(s); err == nil && a.Is6() && !strings.ContainsAny(s, ".%") {
			return Condition{Op: OpCIDR, Block: netip.PrefixFrom(a, a.BitLen())}, ok
		}
	}
	return Condition{Op: OpEqual, Value: v}, ok
}

func (p *patternParser) scalar(n *yaml.Node) (any, bool) {
	if isNumber(n) {
		if v, ok := ParseNumber(n.Value); ok {
			return v, true
		}
		p.error(n, fmt.Sprintf("%s is no number of JSON", shorten(n.Value)), "digits as JSON has them, or a string in quotes")
		return nil, false
	}
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, true
	case "!!bool":
		return strings.EqualFold(n.Value, "true"), true
	case "!!null":
		return nil, true
	}
	p.error(n, "an entry is a string, a number, true, false or null, not "+what(n), "")
	return nil, false
}

var operators = []string{"prefix", "suffix", "equals-ignore-case", "wildcard", "anything-but", "numeric", "cidr", "exists", "exactly", "regex"}

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
	case "exactly":
		s, ok := p.text(k, v)
		return Condition{Op: OpEqual, Value: s}, ok
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
	hint := didYouMean(k.Value, operators)
	switch {
	case k.Kind != yaml.ScalarNode:
		p.error(k, "an operator's name is a string, not "+what(k), "one of "+strings.Join(operators, ", "))
		return Condition{}, false
	case slices.Contains([]string{"$or", "$and", "$not"}, k.Value):
		hint = k.Value + " stands among the fields of an object; the entries of a list are alternatives already"
	}
	p.error(k, fmt.Sprintf("unknown operator %q", shorten(k.Value)), hint)
	return Condition{}, false
}

func (p *patternParser) text(k, v *yaml.Node) (string, bool) {
	if v.Kind != yaml.ScalarNode || isNumber(v) || v.ShortTag() != "!!str" && v.ShortTag() != "!!timestamp" {
		hint := ""
		switch {
		case v.Kind == yaml.ScalarNode && !isNull(v):
			hint = fmt.Sprintf("write %q", v.Value)
		case v.Kind == yaml.SequenceNode:
			hint = fmt.Sprintf("the entries of the list around it are alternatives: [{%s: …}, {%s: …}]", k.Value, k.Value)
		}
		p.error(v, fmt.Sprintf("%s takes a string, not %s", k.Value, what(v)), hint)
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
		p.error(v, k.Value+" takes a string or {equals-ignore-case: string}, not another mapping", "")
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
		if s == "" && list && (op == OpPrefix || op == OpSuffix) {
			p.error(n, fmt.Sprintf("anything-but with an empty %s matches no string", k.Value), "")
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
		hint := ""
		if n.Kind == yaml.ScalarNode {
			hint = "for true, false and null: $not: {field: [null]}"
		}
		p.error(n, "anything-but takes strings or numbers, not "+what(n), hint)
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

// comparisons are what numeric has.
var comparisons = []string{"<", "<=", ">", ">=", "="}

func (p *patternParser) numeric(v *yaml.Node) (Condition, bool) {
	c := Condition{Op: OpRange}
	const example = `numeric: [">", 0, "<=", 5]`
	if v.Kind != yaml.SequenceNode || len(v.Content) != 2 && len(v.Content) != 4 {
		p.error(v, "numeric takes one or two comparisons, each an operator and a number", example)
		return c, false
	}
	for i := 0; i < len(v.Content); i += 2 {
		op, n := p.follow(v.Content[i]), p.follow(v.Content[i+1])
		if op.Kind != yaml.ScalarNode || !slices.Contains(comparisons, op.Value) {
			p.error(op, "numeric: a comparison begins with one of <, <=, >, >=, =, not "+what(op), example)
			return c, false
		}
		number, ok := Number{}, false
		if n.Kind == yaml.ScalarNode && isNumber(n) {
			number, ok = ParseNumber(n.Value)
		}
		if !ok {
			p.error(n, "numeric compares with a number of JSON, not "+what(n), "")
			return c, false
		}
		if !c.bound(op.Value, number) {
			p.error(op, fmt.Sprintf("numeric: %s cannot stand beside %s", op.Value, v.Content[0].Value), "a range is > or >=, and then < or <=: "+example)
			return c, false
		}
	}
	if order := c.Low.Number.Compare(c.High.Number); c.Low.Set && c.High.Set && (order > 0 || order == 0 && !(c.Low.Inclusive && c.High.Inclusive)) {
		p.error(v, "no number is in this range", "")
		return c, false
	}
	return c, true
}

// bound adds a comparison. A range goes from below to above, and = is alone.
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
