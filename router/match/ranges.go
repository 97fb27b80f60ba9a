package match

import (
	"cmp"
	"slices"
	"sort"
)

// ranges finds which of many numeric ranges a number lies in: they are in the order of their lower bounds, under a tree that
// knows the highest upper bound of each part (an augmented interval tree). The time grows with the ranges that
// are found, times the logarithm of their number.
type ranges struct {
	list    []numberRange
	highest []int32 // a heap-like tree over list: the range with the highest upper bound of each part
	leaves  int     // parts of the lowest level: a power of two
}

type numberRange struct {
	low, high bound
	bucket    int32
}

func makeRanges(list []numberRange) *ranges {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b numberRange) int { return compareLow(&a.low, &b.low) })
	r := &ranges{list: list, leaves: 1}
	for r.leaves < len(list) {
		r.leaves *= 2
	}
	r.highest = make([]int32, 2*r.leaves)
	for i := len(r.highest) - 1; i > 0; i-- {
		if i >= r.leaves {
			if r.highest[i] = int32(i - r.leaves); i-r.leaves >= len(list) {
				r.highest[i] = noValue
			}
			continue
		}
		a, b := r.highest[2*i], r.highest[2*i+1]
		if r.highest[i] = a; b != noValue && compareHigh(&list[a].high, &list[b].high) < 0 {
			r.highest[i] = b
		}
	}
	return r
}

// compareLow orders lower bounds: whatever a bound lets in, those before it let in too.
func compareLow(a, b *bound) int {
	switch {
	case !a.set || !b.set:
		return cmp.Compare(flag(a.set), flag(b.set))
	}
	return cmp.Or(compareConstants(&a.number, &b.number), cmp.Compare(flag(b.inclusive), flag(a.inclusive)))
}

// compareHigh orders upper bounds: whatever a bound lets in, those after it let in too.
func compareHigh(a, b *bound) int {
	switch {
	case !a.set || !b.set:
		return cmp.Compare(flag(b.set), flag(a.set))
	}
	return cmp.Or(compareConstants(&a.number, &b.number), cmp.Compare(flag(a.inclusive), flag(b.inclusive)))
}

func flag(b bool) int {
	if b {
		return 1
	}
	return 0
}

// find appends the buckets of all ranges that the number lies in.
func (r *ranges) find(v *value, into []int32) []int32 {
	begun := sort.Search(len(r.list), func(i int) bool { return !r.list[i].low.below(v) })
	return r.part(1, 0, r.leaves, begun, v, into)
}

// part looks at the ranges from begin to end, of which those before begun have a lower bound that lets the number in.
func (r *ranges) part(at, begin, end, begun int, v *value, into []int32) []int32 {
	if begin >= begun || !r.list[r.highest[at]].high.above(v) {
		return into
	}
	if end-begin == 1 {
		return append(into, r.list[begin].bucket)
	}
	middle := (begin + end) / 2
	into = r.part(2*at, begin, middle, begun, v, into)
	return r.part(2*at+1, middle, end, begun, v, into)
}
