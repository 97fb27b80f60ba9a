package embedded

import (
	"cmp"
	"slices"
)

// backlog holds the messages of a queue that are with no consumer, in the order of their places.
type backlog struct {
	fresh []*item // published; from head on
	head  int
	back  []*item // that came back, which is before most that are fresh; in order
	bytes int64

	inTurn bool // what came back is before all that is fresh, in the order in which it came back
}

func (b *backlog) len() int { return len(b.fresh) - b.head + len(b.back) }

// push puts a message at the end.
func (b *backlog) push(i *item) {
	b.fresh = append(b.fresh, i)
	b.bytes += int64(i.size())
}

// putBack puts messages to their places, at a cost that does not grow with the square of how many come back. On quorum queues, which is what inTurn is,
// they have no places to come back to.
func (b *backlog) putBack(items []*item, inTurn bool) {
	for _, i := range items {
		b.bytes += int64(i.size())
	}
	if b.inTurn = inTurn; inTurn {
		b.back = append(b.back, items...)
		return
	}
	if len(items) == 1 {
		at, _ := slices.BinarySearchFunc(b.back, items[0].seq, func(i *item, seq uint64) int { return cmp.Compare(i.seq, seq) })
		b.back = slices.Insert(b.back, at, items[0])
		return
	}
	// Both parts are in order or nearly so, which the sort finds quick.
	b.back = append(b.back, items...)
	slices.SortFunc(b.back, func(x, y *item) int { return cmp.Compare(x.seq, y.seq) })
}

// first is the message at the head; nil if there is none.
func (b *backlog) first() *item {
	switch {
	case b.head == len(b.fresh) && len(b.back) == 0:
		return nil
	case b.head == len(b.fresh), len(b.back) > 0 && b.inTurn, len(b.back) > 0 && b.back[0].seq < b.fresh[b.head].seq:
		return b.back[0]
	}
	return b.fresh[b.head]
}

// pop takes the message at the head.
func (b *backlog) pop() *item {
	i := b.first()
	if i == nil {
		return nil
	}
	b.bytes -= int64(i.size())
	if len(b.back) > 0 && b.back[0] == i {
		b.back[0] = nil
		if b.back = b.back[1:]; len(b.back) == 0 {
			b.back = nil
		}
		return i
	}
	b.fresh[b.head] = nil
	b.head++
	switch {
	case b.head == len(b.fresh):
		b.fresh, b.head = b.fresh[:0], 0
		if cap(b.fresh) > 1<<16 {
			b.fresh = nil // what a burst took is given back
		}
	case b.head > 1024 && b.head > len(b.fresh)/2:
		n := copy(b.fresh, b.fresh[b.head:])
		clear(b.fresh[n:])
		b.fresh, b.head = b.fresh[:n], 0
	}
	return i
}

// all are the messages in the order of their places.
func (b *backlog) all() []*item {
	out := append(slices.Clone(b.back), b.fresh[b.head:]...)
	if b.inTurn {
		return out
	}
	slices.SortStableFunc(out, func(x, y *item) int { return cmp.Compare(x.seq, y.seq) })
	return out
}
