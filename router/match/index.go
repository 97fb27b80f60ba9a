package match

import (
	"math"
	"net/netip"
	"unicode"

	"github.com/eventrouter/eventrouter/rules/topic"
)

// index finds alternatives by what an event has: each stands in it by the values of one of its fields, or by its type, of
// which one has to be there for the alternative to hold.
type index struct {
	types  map[string]int32 // buckets by type
	topics *topic.Index[int32]
	fields []fieldIndex
	rest   []ref // what is found by nothing, and always has to be looked at
}

// ref is an alternative, and whether the leaf by which it was found is an anchor for it.
type ref uint32

func makeRef(alternative int32, anchored bool) ref {
	r := ref(alternative) << 1
	if anchored {
		r |= 1
	}
	return r
}

func (r ref) alternative() int32 { return int32(r >> 1) }
func (r ref) anchored() bool     { return r&1 == 1 }

// bucket is what stands in an index by the same value. Where that is much, another index in it parts it by other fields.
type bucket struct {
	refs []ref
	sub  *index
}

const noBucket = -1

// fieldIndex finds buckets by the values of one field, by each kind of condition in its own way.
type fieldIndex struct {
	node       int32
	texts      map[string]int32
	folded     map[string]int32
	numbers    map[uint64][]numberBucket // by their roundings
	literals   [null + 1]int32
	prefixes   *affixes
	suffixes   *affixes
	foldPrefix *affixes
	foldSuffix *affixes
	pieces     *substrings
	blocks     *affixes // the bits of addresses, as text
	ranges     *ranges
	exclusions *exclusions
	anyText    int32
	anyLeaf    int32
}

type numberBucket struct {
	number number
	bucket int32
}

// lookup appends the buckets of a leaf's value, but for those of ranges and of what is excluded.
func (x *fieldIndex) lookup(s *scratch, v *value, found []int32) []int32 {
	if x.anyLeaf != noBucket {
		found = append(found, x.anyLeaf)
	}
	switch v.kind {
	case text:
		return x.lookupText(s, v.text, found)
	case numeric:
		same := x.numbers[math.Float64bits(v.rounded)]
		for i := range same {
			if same[i].number.compare(v) == 0 {
				found = append(found, same[i].bucket)
			}
		}
	case yes, no, null:
		if b := x.literals[v.kind]; b != noBucket {
			found = append(found, b)
		}
	}
	return found
}

func (x *fieldIndex) lookupText(s *scratch, value string, found []int32) []int32 {
	if b, ok := x.texts[value]; ok {
		found = append(found, b)
	}
	if x.anyText != noBucket {
		found = append(found, x.anyText)
	}
	if x.prefixes != nil {
		found = x.prefixes.find(value, found)
	}
	if x.suffixes != nil {
		found = x.suffixes.find(value, found)
	}
	if x.pieces != nil {
		found = x.pieces.find(value, &s.reported, found)
	}
	if x.folded != nil || x.foldPrefix != nil || x.foldSuffix != nil {
		found = x.lookupFolded(s, value, found)
	}
	if x.blocks != nil {
		if a, ok := address(value); ok {
			s.folded = appendBits(s.folded[:0], a, a.BitLen())
			found = x.blocks.find(alias(s.folded), found)
		}
	}
	return found
}

func (x *fieldIndex) lookupFolded(s *scratch, value string, found []int32) []int32 {
	s.folded = appendFolded(s.folded[:0], value)
	folded := alias(s.folded)
	if b, ok := x.folded[folded]; ok {
		found = append(found, b)
	}
	if x.foldPrefix != nil {
		found = x.foldPrefix.find(folded, found)
	}
	if x.foldSuffix != nil {
		found = x.foldSuffix.find(folded, found)
	}
	return found
}

// appendFolded appends s with each character replaced by the first of those that it equals under case folding, as strings.EqualFold
// has it. Two strings are equal under case folding if this is the same for them.
func appendFolded(to []byte, s string) []byte {
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z' && r != 'k' && r != 's':
			to = append(to, byte(r-'a'+'A'))
		case r < unicode.MaxASCII && r != 'k' && r != 's':
			to = append(to, byte(r))
		default:
			least := r
			for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
				least = min(least, f)
			}
			to = append(to, string(least)...)
		}
	}
	return to
}

func fold(s string) string { return string(appendFolded(nil, s)) }

// appendBits appends the first bits of an address as text, IPv4 and IPv6 apart.
func appendBits(to []byte, a netip.Addr, bits int) []byte {
	bytes := a.As16()
	all, family := bytes[:], byte('6')
	if a.Is4() {
		all, family = bytes[12:], '4'
	}
	to = append(to, family)
	for i := range bits {
		to = append(to, '0'+all[i/8]>>(7-i%8)&1)
	}
	return to
}
