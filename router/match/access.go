package match

import (
	"math"
	"regexp/syntax"
	"strconv"
	"strings"

	"github.com/eventrouter/eventrouter/rules"
)

// access is one way to an alternative: it holds only where one of the values is there. All values are of the same field, or of the
// fields that the branches of a $and of $or ask for.
type access struct {
	values   []key
	choices  [][]key // each: any one of these keys is enough, the rarest serves best
	anchored bool
	id       int // of the way, among those of its alternative
}

// key is a value to be found in an index.
type key struct {
	node   int32
	kind   keyKind
	text   string
	bits   uint64           // of a number's rounding
	from   *rules.Condition // of a range
	number rules.Number
}

type keyKind uint8

const (
	byText keyKind = iota
	byNumber
	byYes
	byNo
	byNull
	byType // the event's type, as the pattern has it
	byTopic
	byFold
	byPrefix
	bySuffix
	byFoldPrefix
	byFoldSuffix
	byBlock
	byPiece
	byRange
	byExclusion // anything-but
	byAnyText
	byAnyLeaf
)

// identity is a key as a value that can be compared. Equal keys are of the same bucket.
type identity struct {
	node int32
	kind keyKind
	text string
	bits uint64
}

func (k *key) identity() identity { return identity{k.node, k.kind, k.text, k.bits} }

// typeAccess is the way by a rule's type pattern; false if that lets everything in.
func typeAccess(pattern string) (access, bool) {
	a := access{id: 0}
	wild := false
	for word := range strings.SplitSeq(pattern, ".") {
		wild = wild || word == "*" || word == "#"
	}
	switch {
	case pattern == "#":
		return a, false
	case wild:
		a.values = []key{{kind: byTopic, text: pattern}}
	default:
		a.values = []key{{kind: byType, text: pattern}}
	}
	return a, true
}

// ways lists the ways to an alternative of a rule.
func (p *paths) ways(typePattern string, c *rules.Conjunction) []access {
	var out []access
	if a, ok := typeAccess(typePattern); ok {
		out = append(out, a)
	}
	for i := range c.Fields {
		if a, ok := p.fieldAccess(&c.Fields[i]); ok {
			a.anchored = true
			a.id = len(out) + 1
			out = append(out, a)
		}
	}
	for _, and := range c.And {
		if a, ok := p.patternAccess(and); ok {
			a.id = len(out) + 1
			out = append(out, a)
		}
	}
	return out
}

// patternAccess is a way to a pattern that is judged by itself: by a field of each alternative.
func (p *paths) patternAccess(r *rules.Pattern) (access, bool) {
	var out access
	for i := range r.Alternatives {
		var best access
		found := false
		for _, a := range p.ways("#", &r.Alternatives[i]) {
			if !found || a.breadth() < best.breadth() {
				best, found = a, true
			}
		}
		if !found {
			return out, false
		}
		out.values = append(out.values, best.values...)
		out.choices = append(out.choices, best.choices...)
	}
	return out, len(r.Alternatives) > 0
}

// breadth is the widest kind of key, a guess at how much comes this way before anything is counted.
func (a *access) breadth() int {
	widest := len(a.values) / 16
	for i := range a.values {
		widest = max(widest, int(a.values[i].kind))
	}
	for _, c := range a.choices {
		widest = max(widest, int(c[0].kind))
	}
	return widest
}

// fieldAccess is the way by a field's values; false if the alternative can hold without the field.
func (p *paths) fieldAccess(f *rules.Field) (access, bool) {
	var a access
	node := p.add(f.Path)
	for i := range f.Conditions {
		c := &f.Conditions[i]
		if c.Op == rules.OpMissing {
			return a, false
		}
		a.add(node, c)
	}
	return a, true
}

func (a *access) add(node int32, c *rules.Condition) {
	switch c.Op {
	case rules.OpEqual:
		a.values = append(a.values, valueKey(node, c.Value))
	case rules.OpRange:
		a.values = append(a.values, key{node: node, kind: byRange, from: c, text: rangeText(c)})
	case rules.OpCIDR:
		bits := appendBits(nil, c.Block.Addr(), c.Block.Bits())
		a.values = append(a.values, key{node: node, kind: byBlock, text: string(bits)})
	case rules.OpRegexp:
		k := key{node: node, kind: byAnyText}
		if piece := requiredPiece(c.Regexp.String()); piece != "" {
			k = key{node: node, kind: byPiece, text: piece}
		}
		a.values = append(a.values, k)
	case rules.OpWildcard:
		for _, g := range c.Globs {
			a.addGlob(node, g)
		}
	case rules.OpPrefix, rules.OpSuffix, rules.OpFold, rules.OpPrefixFold, rules.OpSuffixFold:
		for _, t := range c.Texts {
			a.values = append(a.values, textKey(node, c.Op, t))
		}
	case rules.OpNot:
		a.values = append(a.values, key{node: node, kind: byExclusion, from: c, text: exclusionText(c)})
	default:
		a.values = append(a.values, key{node: node, kind: byAnyLeaf})
	}
}

func textKey(node int32, op rules.Op, t string) key {
	k := key{node: node, text: t}
	switch op {
	case rules.OpPrefix:
		k.kind = byPrefix
	case rules.OpSuffix:
		k.kind = bySuffix
	case rules.OpFold:
		k.kind, k.text = byFold, fold(t)
	case rules.OpPrefixFold:
		k.kind, k.text = byFoldPrefix, fold(t)
	case rules.OpSuffixFold:
		k.kind, k.text = byFoldSuffix, fold(t)
	}
	if k.text == "" && k.kind != byFold {
		return key{node: node, kind: byAnyText}
	}
	return k
}

// addGlob adds the literal parts of a wildcard pattern, of which the rarest will serve.
func (a *access) addGlob(node int32, g rules.Glob) {
	last := len(g.Parts) - 1
	if last == 0 {
		a.values = append(a.values, key{node: node, kind: byText, text: g.Parts[0]})
		return
	}
	var choices []key
	for i, part := range g.Parts {
		k := key{node: node, kind: byPiece, text: part}
		switch {
		case part == "":
			continue
		case i == 0:
			k.kind = byPrefix
		case i == last:
			k.kind = bySuffix
		}
		choices = append(choices, k)
	}
	if len(choices) == 0 {
		a.values = append(a.values, key{node: node, kind: byAnyText})
		return
	}
	a.choices = append(a.choices, choices)
}

func valueKey(node int32, v any) key {
	switch v := v.(type) {
	case string:
		return key{node: node, kind: byText, text: v}
	case rules.Number:
		n := constant(v)
		k := key{node: node, kind: byNumber, bits: math.Float64bits(n.rounded), number: v}
		if !n.short {
			k.text = numberText(v)
		}
		return k
	case bool:
		if v {
			return key{node: node, kind: byYes}
		}
		return key{node: node, kind: byNo}
	}
	return key{node: node, kind: byNull}
}

func numberText(n rules.Number) string {
	return strconv.FormatBool(n.Negative) + n.Digits + "e" + strconv.FormatInt(n.Exponent, 10)
}

func rangeText(c *rules.Condition) string {
	text := ""
	for _, b := range []rules.Bound{c.Low, c.High} {
		text += strconv.FormatBool(b.Set) + strconv.FormatBool(b.Inclusive) + numberText(b.Number) + " "
	}
	return text
}

// requiredPiece is the longest text that every string has in it that the expression matches, as far as it is easily seen.
func requiredPiece(expression string) string {
	re, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return ""
	}
	return longestPiece(re)
}

func longestPiece(re *syntax.Regexp) string {
	switch re.Op {
	case syntax.OpLiteral:
		// U+FFFD stands for bytes that are not UTF-8, too.
		if s := string(re.Rune); re.Flags&syntax.FoldCase == 0 && !strings.Contains(s, "\ufffd") {
			return s
		}
	case syntax.OpCapture, syntax.OpPlus:
		return longestPiece(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return longestPiece(re.Sub[0])
		}
	case syntax.OpConcat:
		longest := ""
		for _, sub := range re.Sub {
			if s := longestPiece(sub); len(s) > len(longest) {
				longest = s
			}
		}
		return longest
	}
	return ""
}
