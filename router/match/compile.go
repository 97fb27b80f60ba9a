package match

import (
	"github.com/eventrouter/eventrouter/rules"
	"github.com/eventrouter/eventrouter/rules/topic"
)

const (
	// largeBucket is from how many alternatives on a bucket is parted by their other fields.
	largeBucket = 8
	// maxLevels and maxNarrow bound how often an alternative may stand in the indexes below the first, so that they stay in
	// proportion to the rules.
	maxLevels = 3
	maxNarrow = 4
	maxWays   = 64
)

// compiler puts the alternatives of all rules into indexes.
type compiler struct {
	ways    [][]access // of each alternative
	used    []uint64   // by alternative: the ways by which the index that is being made was reached
	buckets []bucket
}

// compile makes the first index of all alternatives.
func compile(ways [][]access) (*index, []bucket) {
	c := &compiler{ways: ways, used: make([]uint64, len(ways))}
	all := make([]ref, len(ways))
	for i := range all {
		all[i] = makeRef(int32(i), false)
	}
	x := c.index(all, 0)
	return x, c.buckets
}

// draft is an index that is being made.
type draft struct {
	index
	list    []ref
	counts  map[identity]int
	places  map[identity]int32 // buckets
	keys    []key              // one for each bucket, the first of which is base
	base    int32
	through []int // by ref of list: the way that was taken
}

// index makes an index of a list of alternatives; nil if it would not find less than all of it.
func (c *compiler) index(list []ref, level int) *index {
	d := &draft{list: list, counts: map[identity]int{}, places: map[identity]int32{}, base: int32(len(c.buckets))}
	for _, r := range list {
		c.usable(r, level, d.count)
	}
	if level > 0 && len(d.counts) == 0 {
		return nil
	}
	for _, r := range list {
		c.place(d, r, level)
	}
	if level > 0 && len(d.rest) > len(list)/2 {
		c.buckets = c.buckets[:d.base]
		return nil
	}
	d.fields = d.fieldIndexes()
	if level < maxLevels {
		c.part(d, level)
	}
	return &d.index
}

// usable calls do for each way that can still be taken to an alternative.
func (c *compiler) usable(r ref, level int, do func(*access)) {
	ways := c.ways[r.alternative()]
	for i := range ways {
		a := &ways[i]
		narrow := len(a.values)+len(a.choices) <= maxNarrow
		if a.id < maxWays && c.used[r.alternative()]&(1<<a.id) == 0 && (level == 0 || narrow) {
			do(a)
		}
	}
}

func (d *draft) count(a *access) {
	for i := range a.values {
		d.counts[a.values[i].identity()]++
	}
	for _, choices := range a.choices {
		for i := range choices {
			d.counts[choices[i].identity()]++
		}
	}
}

// place puts an alternative into the buckets of the way by which the fewest others will be found in vain.
func (c *compiler) place(d *draft, r ref, level int) {
	var best *access
	least := 0.0
	c.usable(r, level, func(a *access) {
		if cost := d.cost(a); best == nil || cost < least {
			best, least = a, cost
		}
	})
	if best == nil || level > 0 && least > float64(len(d.list))/2 {
		d.rest = append(d.rest, r)
		d.through = append(d.through, -1)
		return
	}
	d.through = append(d.through, best.id)
	to := makeRef(r.alternative(), best.anchored)
	for i := range best.values {
		c.put(d, &best.values[i], to)
	}
	for _, choices := range best.choices {
		c.put(d, d.rarest(choices), to)
	}
}

func (c *compiler) put(d *draft, k *key, r ref) {
	id := k.identity()
	at, ok := d.places[id]
	if !ok {
		at = int32(len(c.buckets))
		d.places[id] = at
		c.buckets = append(c.buckets, bucket{})
		d.keys = append(d.keys, *k)
	}
	b := &c.buckets[at]
	if n := len(b.refs); n == 0 || b.refs[n-1] != r {
		b.refs = append(b.refs, r)
	}
}

// part gives large buckets an index of their own.
func (c *compiler) part(d *draft, level int) {
	for i, r := range d.list {
		if d.through[i] >= 0 {
			c.used[r.alternative()] |= 1 << d.through[i]
		}
	}
	for at := d.base; int(at) < int(d.base)+len(d.keys); at++ {
		if len(c.buckets[at].refs) > largeBucket {
			sub := c.index(c.buckets[at].refs, level+1)
			c.buckets[at].sub = sub
		}
	}
	for i, r := range d.list {
		if d.through[i] >= 0 {
			c.used[r.alternative()] &^= 1 << d.through[i]
		}
	}
}

func (d *draft) cost(a *access) float64 {
	sum := 0.0
	for i := range a.values {
		sum += d.expected(&a.values[i])
	}
	for _, choices := range a.choices {
		sum += d.expected(d.rarest(choices))
	}
	return sum
}

func (d *draft) rarest(choices []key) *key {
	best, least := &choices[0], d.expected(&choices[0])
	for i := 1; i < len(choices); i++ {
		if e := d.expected(&choices[i]); e < least {
			best, least = &choices[i], e
		}
	}
	return best
}

// expected guesses how many alternatives will be found by a key, on the assumption that events have the values that rules ask for as
// often as rules ask for them.
func (d *draft) expected(k *key) float64 {
	count, all := float64(d.counts[k.identity()]), float64(len(d.list))
	length := float64(len(k.text))
	switch k.kind {
	case byPrefix, bySuffix, byFoldPrefix, byFoldSuffix:
		return count * (1.1 + 4/length)
	case byFold, byYes, byNo, byNull:
		return count * 1.1
	case byPiece:
		return count * (1.2 + 8/length)
	case byBlock, byTopic:
		return count * 2
	case byRange:
		if k.from.Low.Set && k.from.High.Set {
			return max(all/10, count)
		}
		return max(all/2, count)
	case byExclusion:
		return max(all, count) * 0.45
	case byAnyText, byAnyLeaf:
		return max(all, count) * 1.2
	}
	return count
}

// fieldIndexes makes the indexes of the keys that were placed, and fills in the types.
func (d *draft) fieldIndexes() []fieldIndex {
	byNode := map[int32]*fieldDraft{}
	var order []int32
	for i := range d.keys {
		k, at := &d.keys[i], d.base+int32(i)
		switch k.kind {
		case byType:
			if d.types == nil {
				d.types = map[string]int32{}
			}
			d.types[k.text] = at
		case byTopic:
			if d.topics == nil {
				d.topics = &topic.Index[int32]{}
			}
			d.topics.Add(k.text, at)
		default:
			f := byNode[k.node]
			if f == nil {
				f = newFieldDraft(k.node)
				byNode[k.node] = f
				order = append(order, k.node)
			}
			f.add(k, at)
		}
	}
	out := make([]fieldIndex, 0, len(order))
	for _, node := range order {
		out = append(out, byNode[node].finish())
	}
	return out
}

// fieldDraft is a fieldIndex that is being made.
type fieldDraft struct {
	fieldIndex
	posted [byAnyLeaf + 1][]posted
	spans  []numberRange
	nots   []*rules.Condition
	notAt  []int32
}

func newFieldDraft(node int32) *fieldDraft {
	f := &fieldDraft{}
	f.node, f.anyText, f.anyLeaf = node, noBucket, noBucket
	for i := range f.literals {
		f.literals[i] = noBucket
	}
	return f
}

func (f *fieldDraft) add(k *key, at int32) {
	switch k.kind {
	case byNumber:
		if f.numbers == nil {
			f.numbers = map[uint64][]numberBucket{}
		}
		f.numbers[k.bits] = append(f.numbers[k.bits], numberBucket{constant(k.number), at})
	case byYes:
		f.literals[yes] = at
	case byNo:
		f.literals[no] = at
	case byNull:
		f.literals[null] = at
	case byRange:
		f.spans = append(f.spans, numberRange{makeBound(k.from.Low), makeBound(k.from.High), at})
	case byExclusion:
		f.nots, f.notAt = append(f.nots, k.from), append(f.notAt, at)
	case byAnyText:
		f.anyText = at
	case byAnyLeaf:
		f.anyLeaf = at
	default:
		f.posted[k.kind] = append(f.posted[k.kind], posted{k.text, at})
	}
}

func (f *fieldDraft) finish() fieldIndex {
	table := func(list []posted) map[string]int32 {
		if len(list) == 0 {
			return nil
		}
		m := make(map[string]int32, len(list))
		for _, p := range list {
			m[p.text] = p.bucket
		}
		return m
	}
	tree := func(list []posted, backwards bool) *affixes {
		if len(list) == 0 {
			return nil
		}
		return makeAffixes(list, backwards)
	}
	f.texts, f.folded = table(f.posted[byText]), table(f.posted[byFold])
	f.prefixes, f.foldPrefix = tree(f.posted[byPrefix], false), tree(f.posted[byFoldPrefix], false)
	f.suffixes, f.foldSuffix = tree(f.posted[bySuffix], true), tree(f.posted[byFoldSuffix], true)
	f.blocks = tree(f.posted[byBlock], false)
	if len(f.posted[byPiece]) > 0 {
		f.pieces = makeSubstrings(f.posted[byPiece])
	}
	if len(f.spans) > 0 {
		f.ranges = makeRanges(f.spans)
	}
	if len(f.nots) > 0 {
		f.exclusions = makeExclusions(f.node, f.nots, f.notAt)
	}
	return f.fieldIndex
}
