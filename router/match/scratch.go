package match

import (
	"cmp"
	"slices"
	"sort"
)

// scratch is what one event needs while it is matched. It is used again, so that nothing is allocated.
type scratch struct {
	tape
	matcher    *Matcher
	leaves     []leaves // by node
	round      uint32   // of the entries of leaves and hitCounts that are of this event
	hits       []hit
	hitCounts  []hitCount // by bucket
	candidates []candidate
	found      []int32
	folded     []byte
	reported   marks
	sorted     []int32
	remaining  []uint64
}

// leaves are the leaves of one node, as a list through value.same.
type leaves struct {
	round uint32
	first int32
	count int32
}

// hit is a bucket that the event leads to, and the leaf that does; noValue if there is none or no single one.
type hit struct{ bucket, leaf int32 }

type hitCount struct {
	round  uint32
	count  int32
	parted bool // its index was asked
}

// candidate is an alternative to be looked at and its anchor, in one number by which candidates are sorted: an alternative without an
// anchor comes first.
type candidate uint64

func makeCandidate(alternative, anchor int32) candidate {
	return candidate(alternative)<<32 | candidate(anchor+1)
}

func (c candidate) alternative() int32 { return int32(c >> 32) }
func (c candidate) anchor() int32      { return int32(c&(1<<32-1)) - 1 }

const (
	// maxAnchors is how many anchors the alternatives of a bucket may have together; each may have minAnchors in any case. If there
	// are more, everything is looked at instead.
	maxAnchors = 1 << 16
	minAnchors = 16
	// manyLeaves is from where on the leaves of a field are not looked up one by one where another way is better.
	manyLeaves = 32
	// What a large event needed is not kept.
	keptValues = 1 << 14
	keptBytes  = 1 << 20
)

func (m *Matcher) begin() *scratch {
	s, _ := m.scratch.Get().(*scratch)
	if s == nil {
		s = &scratch{
			matcher:   m,
			leaves:    make([]leaves, len(m.paths.nodes)),
			hitCounts: make([]hitCount, len(m.buckets)),
			reported:  marks{rounds: make([]uint32, len(m.buckets))},
		}
		s.paths, s.latest = m.paths, make([]int32, len(m.paths.nodes))
	}
	if s.round++; s.round == 0 {
		clear(s.leaves)
		clear(s.hitCounts)
		s.round = 1
	}
	return s
}

// end lets go of the event.
func (m *Matcher) end(s *scratch) {
	if cap(s.values) > keptValues || cap(s.hits) > keptValues || cap(s.candidates) > keptValues || cap(s.arena)+cap(s.folded) > keptBytes {
		return
	}
	clear(s.values)
	s.values, s.arena = s.values[:0], s.arena[:0]
	s.hits, s.candidates = s.hits[:0], s.candidates[:0]
	m.scratch.Put(s)
}

// find fills in the candidates.
func (s *scratch) find(eventType string) {
	first := s.matcher.first
	s.findType(first, eventType)
	s.findLeaves(first)
	for _, r := range first.rest {
		s.candidates = append(s.candidates, makeCandidate(r.alternative(), noValue))
	}
	for i := 0; i < len(s.hits); i++ {
		s.expand(s.hits[i], eventType)
	}
}

func (s *scratch) findType(x *index, eventType string) {
	if b, ok := x.types[eventType]; ok {
		s.hit(b, noValue)
	}
	if x.topics != nil {
		x.topics.Walk(eventType, func(b int32) bool {
			s.hit(b, noValue)
			return true
		})
	}
}

// findLeaves looks up every leaf in the first index, and lists the leaves of each node.
func (s *scratch) findLeaves(first *index) {
	for i := int32(0); int(i) < len(s.values); i++ {
		v := &s.values[i]
		if v.node == noNode {
			i = v.next - 1
			continue
		}
		if !v.kind.leaf() {
			continue
		}
		l := &s.leaves[v.node]
		if l.round != s.round {
			*l = leaves{round: s.round, first: noValue}
		}
		v.same, l.first = l.first, i
		l.count++
		if at := s.matcher.at[v.node]; at >= 0 {
			s.lookup(&first.fields[at], i)
		}
	}
	for _, i := range s.matcher.late {
		s.findLate(&first.fields[i])
	}
}

func (s *scratch) lookup(f *fieldIndex, at int32) {
	s.found = f.lookup(s, &s.values[at], s.found[:0])
	for _, b := range s.found {
		s.hit(b, at)
	}
}

// findLate looks up what depends on how many leaves a field has.
func (s *scratch) findLate(f *fieldIndex) {
	if f.ranges != nil {
		s.findRanges(f)
	}
	if f.exclusions == nil {
		return
	}
	l := s.of(f.node)
	if l.count > manyLeaves {
		// One of so many leaves will do.
		for _, b := range f.exclusions.buckets {
			s.hit(b, noValue)
		}
		return
	}
	for at := l.first; at != noValue; at = s.values[at].same {
		f.exclusions.find(s, at)
	}
}

// of lists the leaves of a node.
func (s *scratch) of(node int32) leaves {
	if l := s.leaves[node]; l.round == s.round {
		return l
	}
	return leaves{first: noValue}
}

// findRanges looks up the numbers of a field; if they are many, the other way round: for each range, which numbers lie in it.
func (s *scratch) findRanges(f *fieldIndex) {
	l := s.of(f.node)
	if l.count <= manyLeaves {
		for at := l.first; at != noValue; at = s.values[at].same {
			if s.values[at].kind == numeric {
				s.found = f.ranges.find(&s.values[at], s.found[:0])
				for _, b := range s.found {
					s.hit(b, at)
				}
			}
		}
		return
	}
	s.sorted = s.sorted[:0]
	for at := l.first; at != noValue; at = s.values[at].same {
		if s.values[at].kind == numeric {
			s.sorted = append(s.sorted, at)
		}
	}
	slices.SortFunc(s.sorted, func(a, b int32) int { return compareValues(&s.values[a], &s.values[b]) })
	for i := range f.ranges.list {
		r := &f.ranges.list[i]
		begin := sort.Search(len(s.sorted), func(i int) bool { return r.low.below(&s.values[s.sorted[i]]) })
		for n, at := range s.sorted[begin:] {
			if n > minAnchors || !r.high.above(&s.values[at]) {
				break
			}
			if n == minAnchors {
				at = noValue // so many that all are looked at
			}
			s.hit(r.bucket, at)
		}
	}
}

func compareValues(a, b *value) int {
	if c := cmp.Compare(a.rounded, b.rounded); c != 0 || a.short && b.short {
		return c
	}
	x, y := parseDecimal(a.text), parseDecimal(b.text)
	return x.compare(&y)
}

// hit notes that a leaf leads to a bucket. When there are too many such leaves, none is an anchor.
func (s *scratch) hit(b, leaf int32) {
	h := &s.hitCounts[b]
	if h.round != s.round {
		*h = hitCount{round: s.round}
	}
	switch limit := s.anchors(b); {
	case h.count > limit:
		return
	case h.count == limit:
		leaf = noValue
	}
	h.count++
	s.hits = append(s.hits, hit{b, leaf})
}

// anchors is how many leaves that lead to a bucket are noted.
func (s *scratch) anchors(b int32) int32 {
	return int32(max(minAnchors, maxAnchors/len(s.matcher.buckets[b].refs)))
}

// expand makes candidates of what is in a bucket, or asks the bucket's index for them.
func (s *scratch) expand(h hit, eventType string) {
	b := &s.matcher.buckets[h.bucket]
	refs := b.refs
	if b.sub != nil && s.askable(b.sub) {
		refs = b.sub.rest
		if count := &s.hitCounts[h.bucket]; !count.parted {
			count.parted = true
			s.ask(b.sub, eventType)
		}
	}
	for _, r := range refs {
		anchor := h.leaf
		if !r.anchored() {
			anchor = noValue
		}
		s.candidates = append(s.candidates, makeCandidate(r.alternative(), anchor))
	}
}

// askable reports whether the fields of an index have so few leaves that it is worth looking them up once more.
func (s *scratch) askable(x *index) bool {
	for i := range x.fields {
		if s.of(x.fields[i].node).count > manyLeaves {
			return false
		}
	}
	return true
}

func (s *scratch) ask(x *index, eventType string) {
	s.findType(x, eventType)
	for i := range x.fields {
		f := &x.fields[i]
		l := s.of(f.node)
		for at := l.first; at != noValue; at = s.values[at].same {
			s.lookup(f, at)
		}
		s.findLate(f)
	}
}
