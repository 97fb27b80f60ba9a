package embedded

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever comes and goes, the backlog hands out the message with the lowest place that it holds.
func TestBacklogKeepsPlaces(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var b backlog
	var held, out []uint64 // the slow way, and what is with consumers
	seq := uint64(0)
	make1 := func(seq uint64) *item { return &item{msg: &message{content: make([]byte, 3)}, seq: seq} }
	for range 20_000 {
		switch random.IntN(5) {
		case 0, 1:
			seq++
			b.push(make1(seq))
			held = append(held, seq)
		case 2, 3:
			i := b.pop()
			if (i == nil) != (len(held) == 0) || i != nil && i.seq != held[0] {
				t.Fatalf("got %v, want the first of %v", i, held)
			}
			if i != nil {
				held, out = held[1:], append(out, i.seq)
			}
		default:
			n := random.IntN(len(out) + 1)
			random.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
			var items []*item
			for _, s := range out[:n] {
				items = append(items, make1(s))
			}
			b.putBack(items, false)
			held = append(held, out[:n]...)
			slices.Sort(held)
			out = slices.Clone(out[n:])
		}
		if b.len() != len(held) || b.bytes != int64(3*len(held)) {
			t.Fatalf("%d messages of %d bytes, want %d", b.len(), b.bytes, len(held))
		}
	}
}
