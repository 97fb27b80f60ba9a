package match

import (
	"slices"
	"strings"
)

// substrings finds which of many texts stand anywhere in a string, in one pass over it, whatever the texts: the automaton of
// Aho and Corasick (Efficient string matching, CACM 1975).
type substrings struct {
	nodes []substringNode
	root  [256]int32 // the children of the first node
}

// substringNode is the state after the bytes that lead to it. Its children stand side by side, in the order of their bytes.
type substringNode struct {
	first  string // the byte of each child
	child  int32
	fail   int32 // the longest other state that these bytes end with
	report int32 // the longest of those, if any, at which a text ends; else 0
	bucket int32 // of the text that ends here, or noBucket
}

// makeSubstrings makes the automaton of texts, of which no two are the same and none is empty.
func makeSubstrings(texts []posted) *substrings {
	texts = slices.Clone(texts)
	slices.SortFunc(texts, func(a, b posted) int { return strings.Compare(a.text, b.text) })
	x := &substrings{nodes: make([]substringNode, 1)}
	// Level by level, so that a state's shorter endings are complete before it.
	type span struct {
		node       int32
		begin, end int // of the texts that go through it
		depth      int
	}
	for queue := []span{{0, 0, len(texts), 0}}; len(queue) > 0; queue = queue[1:] {
		q := queue[0]
		n := substringNode{bucket: noBucket, child: int32(len(x.nodes)), fail: x.nodes[q.node].fail}
		if q.begin < q.end && len(texts[q.begin].text) == q.depth {
			n.bucket = texts[q.begin].bucket
			q.begin++
		}
		var first []byte
		for i := q.begin; i < q.end; {
			c, begin := texts[i].text[q.depth], i
			for i < q.end && texts[i].text[q.depth] == c {
				i++
			}
			queue = append(queue, span{n.child + int32(len(first)), begin, i, q.depth + 1})
			first = append(first, c)
		}
		n.first = string(first)
		if f := &x.nodes[n.fail]; q.node != 0 {
			if n.report = n.fail; f.bucket == noBucket {
				n.report = f.report
			}
		}
		x.nodes[q.node] = n
		x.nodes = append(x.nodes, make([]substringNode, len(first))...)
		for i, c := range first {
			child := n.child + int32(i)
			if q.node == 0 {
				x.root[c] = child
			} else {
				x.nodes[child].fail = x.step(n.fail, c)
			}
		}
	}
	return x
}

// step is the state that follows on a byte.
func (x *substrings) step(at int32, c byte) int32 {
	for at != 0 {
		n := &x.nodes[at]
		if i := strings.IndexByte(n.first, c); i >= 0 {
			return n.child + int32(i)
		}
		at = n.fail
	}
	return x.root[c]
}

// find appends the buckets of all texts that stand in s, each once.
func (x *substrings) find(s string, seen *marks, into []int32) []int32 {
	seen.begin()
	at := int32(0)
	for i := range len(s) {
		at = x.step(at, s[i])
		n := &x.nodes[at]
		for report := at; ; report, n = n.report, &x.nodes[n.report] {
			if n.bucket != noBucket {
				// What else ends here has been found together with this text, when that was found first.
				if seen.set(n.bucket) {
					break
				}
				into = append(into, n.bucket)
			}
			if report == 0 || n.report == 0 {
				break
			}
		}
	}
	return into
}

// marks are flags that are all taken away at once.
type marks struct {
	rounds []uint32
	round  uint32
}

func (m *marks) begin() {
	if m.round++; m.round == 0 {
		clear(m.rounds)
		m.round = 1
	}
}

// set sets the flag, and reports whether it was set already.
func (m *marks) set(i int32) bool {
	before := m.rounds[i] == m.round
	m.rounds[i] = m.round
	return before
}
