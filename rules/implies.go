package rules

import (
	"slices"
	"strings"
)

// What can be said of patterns without an event: whether all that fulfils one fulfils another, and whether two exclude each other. For the checks
// of a rules file: true is always right, false may only mean that it is not known.

// proof bounds the work on one question. Over the bound nothing more is known.
type proof struct{ left int }

func newProof() *proof { return &proof{left: 20_000} }

func (p *proof) step() bool {
	p.left--
	return p.left > 0
}

// implies: every document that fulfils a fulfils b. A nil pattern is fulfilled by all.
func (p *proof) implies(a, b *Pattern) bool {
	if a == nil || b == nil {
		return b == nil
	}
	for i := range a.Alternatives {
		if !p.gives(&a.Alternatives[i], b) {
			return false
		}
	}
	return true
}

// gives: every document that fulfils c fulfils the pattern.
func (p *proof) gives(c *Conjunction, pattern *Pattern) bool {
	for i := range pattern.Alternatives {
		if p.step() && p.givesAll(c, &pattern.Alternatives[i]) {
			return true
		}
	}
	return false
}

func (p *proof) givesAll(c, d *Conjunction) bool {
	for _, and := range d.And {
		if !p.gives(c, and) {
			return false
		}
	}
	for _, not := range d.Not {
		if !slices.ContainsFunc(c.Not, func(known *Pattern) bool { return p.implies(not, known) }) {
			return false
		}
	}
	return p.givesFields(c, d.Fields)
}

// givesFields: the fields hold, all in one element of each list that their paths go through. So they have to follow from fields that do,
// and not from some of c and some of a pattern inside of it.
func (p *proof) givesFields(c *Conjunction, fields []Field) bool {
	if len(fields) == 0 {
		return true
	}
	if p.givenBy(c.Fields, fields) {
		return true
	}
	for _, and := range c.And {
		all := true
		for i := range and.Alternatives {
			all = all && p.step() && p.givesFields(&and.Alternatives[i], fields)
		}
		if all {
			return true
		}
	}
	return false
}

// givenBy: each field follows from one of the same path. Both lists are in order of their paths.
func (p *proof) givenBy(known, fields []Field) bool {
	at := 0
	for i := range fields {
		f := &fields[i]
		for at < len(known) && slices.Compare(known[at].Path, f.Path) < 0 {
			at++
		}
		if at == len(known) || !slices.Equal(known[at].Path, f.Path) || !p.weaker(known[at].Conditions, f.Conditions) {
			return false
		}
	}
	return true
}

// weaker: each condition of the one list implies some of the other.
func (p *proof) weaker(strong, weak []Condition) bool {
	for i := range strong {
		implied := false
		for j := 0; j < len(weak) && !implied; j++ {
			implied = p.step() && strong[i].implies(&weak[j])
		}
		if !implied {
			return false
		}
	}
	return true
}

// implies: every leaf that fulfils c fulfils d, or both are for a field that is not there.
func (c *Condition) implies(d *Condition) bool {
	switch {
	case c.Op == OpMissing || d.Op == OpMissing:
		return c.Op == d.Op
	case d.Op == OpExists || c.Text != "" && c.Text == d.Text:
		return true
	case c.Op == OpEqual:
		return d.holdsFor(c.Value)
	case c.Op == OpRange && d.Op == OpRange:
		return d.Low.looser(c.Low, -1) && d.High.looser(c.High, 1)
	case c.Op == OpPrefix && d.Op == OpPrefix:
		return allHave(c.Texts, d.Texts, strings.HasPrefix)
	case c.Op == OpSuffix && d.Op == OpSuffix:
		return allHave(c.Texts, d.Texts, strings.HasSuffix)
	case c.Op == OpCIDR && d.Op == OpCIDR:
		return d.Block.Bits() <= c.Block.Bits() && d.Block.Contains(c.Block.Addr())
	case c.Op == OpNot && d.Op == OpNot:
		return !slices.ContainsFunc(d.Inner, func(x Condition) bool {
			return !slices.ContainsFunc(c.Inner, func(y Condition) bool { return x.implies(&y) })
		})
	case d.Op == OpNot:
		return !slices.ContainsFunc(d.Inner, func(x Condition) bool { return !c.excludes(&x) })
	}
	return false
}

func allHave(texts, of []string, has func(s, of string) bool) bool {
	return !slices.ContainsFunc(texts, func(s string) bool {
		return !slices.ContainsFunc(of, func(t string) bool { return has(s, t) })
	})
}

// holdsFor reports whether a value that a pattern names fulfils the condition.
func (c *Condition) holdsFor(value any) bool {
	n, ok := value.(Number)
	switch {
	case c.Op == OpEqual:
		return c.Value == value
	case !ok:
		return c.holds(value)
	case c.Op == OpNot:
		return !slices.ContainsFunc(c.Inner, func(x Condition) bool { return x.holdsFor(value) })
	}
	return c.Op == OpExists || c.Op == OpRange && c.Low.below(n) && c.High.above(n)
}

// looser: all that is inside of the other bound is inside of b. side is -1 for lower bounds and 1 for upper ones.
func (b Bound) looser(other Bound, side int) bool {
	if !b.Set || !other.Set {
		return !b.Set
	}
	c := side * b.Number.Compare(other.Number)
	return c > 0 || c == 0 && (b.Inclusive || !other.Inclusive)
}

// excludes: no leaf fulfils both, nor can both be for a field that is not there.
func (c *Condition) excludes(d *Condition) bool {
	switch {
	case c.Op == OpMissing || d.Op == OpMissing:
		return c.Op != d.Op
	case c.Op == OpExists || d.Op == OpExists:
		return false
	case c.Op == OpEqual:
		return !d.holdsFor(c.Value)
	case d.Op == OpEqual:
		return !c.holdsFor(d.Value)
	case c.Op == OpNot:
		return slices.ContainsFunc(c.Inner, func(x Condition) bool { return d.Op != OpNot && d.implies(&x) })
	case d.Op == OpNot:
		return d.excludes(c)
	case c.Op == OpRange && d.Op == OpRange:
		return gap(c.High, d.Low) || gap(d.High, c.Low)
	case c.Op == OpRange || d.Op == OpRange:
		return true // all others are for strings
	case c.Op == OpPrefix && d.Op == OpPrefix:
		return neither(c.Texts, d.Texts, strings.HasPrefix)
	case c.Op == OpSuffix && d.Op == OpSuffix:
		return neither(c.Texts, d.Texts, strings.HasSuffix)
	case c.Op == OpCIDR && d.Op == OpCIDR:
		return !c.Block.Overlaps(d.Block)
	}
	return false
}

func neither(texts, others []string, has func(s, of string) bool) bool {
	for _, s := range texts {
		for _, t := range others {
			if has(s, t) || has(t, s) {
				return false
			}
		}
	}
	return true
}

// gap: nothing is below the one bound and above the other.
func gap(high, low Bound) bool {
	c := high.Number.Compare(low.Number)
	return high.Set && low.Set && (c < 0 || c == 0 && !(high.Inclusive && low.Inclusive))
}

// exclude: no one leaf fulfils both fields' conditions.
func (p *proof) exclude(a, b *Field) bool {
	for i := range a.Conditions {
		for j := range b.Conditions {
			if !p.step() || !a.Conditions[i].excludes(&b.Conditions[j]) {
				return false
			}
		}
	}
	return true
}
