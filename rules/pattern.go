package rules

import (
	"net/netip"
	"strings"
	"unicode/utf8"
)

// Pattern is a content pattern: the language of `match`, which is that of Amazon EventBridge event patterns with $and, $not and
// regex besides. It is kept as alternatives: every $or is multiplied out when the pattern is read, because the fields of an
// alternative and those around it go through one list of objects together (array consistency).
// A Pattern is not changed after it is read, and safe for concurrent use.
type Pattern struct {
	Alternatives []Conjunction // any of them holds
}

// Conjunction is what has to hold all together.
type Conjunction struct {
	Fields []Field    // no path twice, in order of their paths
	And    []*Pattern // each judged by itself
	Not    []*Pattern // none of them holds
}

// Field is a path into the document and the conditions of which any has to hold for a value there.
type Field struct {
	Path       []string
	Conditions []Condition
}

// Op is what a condition compares.
type Op int

const (
	OpEqual      Op = iota // Value: a string, a Number, true, false or nil
	OpPrefix               // Texts: any of them
	OpSuffix               // Texts
	OpFold                 // Texts: equal under case folding
	OpPrefixFold           // Texts
	OpSuffixFold           // Texts
	OpWildcard             // Globs
	OpRange                // Low, High
	OpCIDR                 // Block
	OpRegexp               // Regexp
	OpExists
	OpMissing // the field is not there
	OpNot     // Inner: the field is there, and the value fulfils none of them
)

// Condition is one entry of a leaf's list.
type Condition struct {
	Op     Op
	Value  any
	Texts  []string
	Globs  []Glob
	Low    Bound
	High   Bound
	Block  netip.Prefix
	Regexp Regexp
	Inner  []Condition
	Text   string // as it was written, in JSON
}

// Regexp is what a condition needs of a regular expression.
type Regexp interface {
	MatchString(s string) bool
	String() string
}

// Bound is one end of a numeric range. The zero Bound is no bound.
type Bound struct {
	Number    Number
	Set       bool
	Inclusive bool
}

// holds reports whether a leaf value, of encoding/json's types with numbers as json.Number, fulfils the condition.
func (c *Condition) holds(value any) bool {
	switch c.Op {
	case OpExists:
		return true
	case OpMissing:
		return false
	case OpNot:
		for i := range c.Inner {
			if c.Inner[i].holds(value) {
				return false
			}
		}
		return true
	case OpEqual:
		return equalLeaf(c.Value, value)
	case OpRange:
		n, ok := leafNumber(value)
		return ok && c.Low.below(n) && c.High.above(n)
	}
	s, ok := value.(string)
	return ok && c.HoldsString(s)
}

// HoldsString reports whether a string fulfils the condition, which is one on strings only: neither OpEqual nor one of those that ask
// whether a field is there.
func (c *Condition) HoldsString(s string) bool {
	switch c.Op {
	case OpWildcard:
		for _, g := range c.Globs {
			if g.Match(s) {
				return true
			}
		}
		return false
	case OpCIDR:
		a, err := netip.ParseAddr(s)
		return err == nil && a.Zone() == "" && c.Block.Contains(a)
	case OpRegexp:
		return c.Regexp.MatchString(s)
	}
	for _, t := range c.Texts {
		if compareText(c.Op, t, s) {
			return true
		}
	}
	return false
}

func compareText(op Op, t, s string) bool {
	switch op {
	case OpPrefix:
		return strings.HasPrefix(s, t)
	case OpSuffix:
		return strings.HasSuffix(s, t)
	case OpFold:
		return strings.EqualFold(s, t)
	case OpPrefixFold:
		return strings.EqualFold(head(s, utf8.RuneCountInString(t)), t)
	case OpSuffixFold:
		return strings.EqualFold(tail(s, utf8.RuneCountInString(t)), t)
	}
	return false
}

// head is the first n characters of s, or all.
func head(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// tail is the last n characters of s, or all.
func tail(s string, n int) string {
	i := len(s)
	for ; n > 0 && i > 0; n-- {
		_, size := utf8.DecodeLastRuneInString(s[:i])
		i -= size
	}
	return s[i:]
}

func (b Bound) below(n Number) bool {
	c := b.Number.Compare(n)
	return !b.Set || c < 0 || b.Inclusive && c == 0
}

func (b Bound) above(n Number) bool {
	c := b.Number.Compare(n)
	return !b.Set || c > 0 || b.Inclusive && c == 0
}

// Glob is a wildcard pattern, as its literal parts between the stars: one part is an exact string.
type Glob struct{ Parts []string }

// Match reports whether the parts stand in s in order, the first at its beginning and the last at its end.
// Taking each middle part at its first place is enough, so the time is proportional to the lengths.
func (g Glob) Match(s string) bool {
	first, last := g.Parts[0], g.Parts[len(g.Parts)-1]
	if len(g.Parts) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range g.Parts[1 : len(g.Parts)-1] {
		i := strings.Index(s, part)
		if i < 0 {
			return false
		}
		s = s[i+len(part):]
	}
	return true
}
