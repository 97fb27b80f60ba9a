package match

import (
	"math/bits"
	"strconv"

	"github.com/eventrouter/eventrouter/rules"
)

// exclusions finds which of many anything-but conditions a value fulfils, by what it does not fulfil: every condition has a place in a
// set of bits, and an index of the excluded values says which of them to take away.
type exclusions struct {
	buckets  []int32    // by place
	index    fieldIndex // its buckets are indices of excluded
	excluded []places
}

// places are places of conditions: as a list, or where they are many as bits.
type places struct {
	list []int32
	bits []uint64
}

// makeExclusions makes them of conditions, the bucket of each beside it.
func makeExclusions(node int32, conditions []*rules.Condition, buckets []int32) *exclusions {
	x := &exclusions{buckets: buckets}
	f := newFieldDraft(node)
	at := map[identity]int32{}
	for place, c := range conditions {
		for _, k := range excludedKeys(node, c) {
			id := k.identity()
			i, ok := at[id]
			if !ok {
				i = int32(len(x.excluded))
				at[id] = i
				x.excluded = append(x.excluded, places{})
				f.add(&k, i)
			}
			x.excluded[i].list = append(x.excluded[i].list, int32(place))
		}
	}
	x.index = f.finish()
	for i := range x.excluded {
		x.excluded[i].pack(len(conditions))
	}
	return x
}

// excludedKeys are the values that a condition surely excludes. Wildcards are not among them: their literal parts alone exclude nothing.
func excludedKeys(node int32, c *rules.Condition) []key {
	var out []key
	for i := range c.Inner {
		switch inner := &c.Inner[i]; inner.Op {
		case rules.OpEqual:
			out = append(out, valueKey(node, inner.Value))
		case rules.OpPrefix, rules.OpSuffix, rules.OpFold:
			for _, t := range inner.Texts {
				if t != "" || inner.Op == rules.OpFold {
					out = append(out, textKey(node, inner.Op, t))
				}
			}
		}
	}
	return out
}

// exclusionText tells conditions apart.
func exclusionText(c *rules.Condition) string {
	text := ""
	for i := range c.Inner {
		inner := &c.Inner[i]
		text += strconv.Itoa(int(inner.Op))
		switch v := inner.Value.(type) {
		case string:
			text += strconv.Quote(v)
		case rules.Number:
			text += numberText(v)
		}
		for _, t := range inner.Texts {
			text += strconv.Quote(t)
		}
		for _, g := range inner.Globs {
			for _, part := range g.Parts {
				text += strconv.Quote(part)
			}
			text += "/"
		}
		text += ";"
	}
	return text
}

func words(places int) int { return (places + 63) / 64 }

// pack makes bits of a list that takes more room.
func (p *places) pack(all int) {
	if 32*len(p.list) < all {
		return
	}
	p.bits = make([]uint64, words(all))
	for _, place := range p.list {
		p.bits[place/64] |= 1 << (place % 64)
	}
	p.list = nil
}

func (p *places) remove(from []uint64) {
	for i, w := range p.bits {
		from[i] &^= w
	}
	for _, place := range p.list {
		from[place/64] &^= 1 << (place % 64)
	}
}

// find notes the buckets of all conditions that the leaf at fulfils, and perhaps those of some others.
func (x *exclusions) find(s *scratch, at int32) {
	n := len(x.buckets)
	s.remaining = s.remaining[:0]
	for range words(n) {
		s.remaining = append(s.remaining, 1<<64-1)
	}
	if n%64 != 0 {
		s.remaining[n/64] = 1<<(n%64) - 1
	}
	s.found = x.index.lookup(s, &s.values[at], s.found[:0])
	for _, i := range s.found {
		x.excluded[i].remove(s.remaining)
	}
	for i, w := range s.remaining {
		for ; w != 0; w &= w - 1 {
			s.hit(x.buckets[64*i+bits.TrailingZeros64(w)], at)
		}
	}
}
