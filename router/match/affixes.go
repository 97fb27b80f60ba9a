package match

import (
	"slices"
	"strings"
)

// affixes finds which of many texts a string begins with, or ends with, in time proportional to the string: a tree in which texts with the same
// beginning share it (a radix tree). Texts that are to stand at the end are stored backwards.
type affixes struct {
	nodes     []affixNode
	backwards bool
}

// affixNode is reached by the bytes of label. Its children stand side by side, in the order of their first bytes.
type affixNode struct {
	label  string
	first  string // the first byte of each child's label
	child  int32
	bucket int32 // of the text that ends here, or noBucket
}

// posted is a text and what is to be found by it.
type posted struct {
	text   string
	bucket int32
}

// makeAffixes makes a tree of texts, of which no two are the same and none is empty.
func makeAffixes(texts []posted, backwards bool) *affixes {
	texts = slices.Clone(texts)
	if backwards {
		for i := range texts {
			texts[i].text = reverse(texts[i].text)
		}
	}
	slices.SortFunc(texts, func(a, b posted) int { return strings.Compare(a.text, b.text) })
	x := &affixes{backwards: backwards, nodes: make([]affixNode, 1, 2*len(texts))}
	x.build(0, texts, 0)
	return x
}

func reverse(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// build makes the node at of all texts, which are alike in the bytes up to depth and are sorted.
func (x *affixes) build(at int32, texts []posted, depth int) {
	begin := depth
	if last := texts[len(texts)-1].text; at != 0 {
		depth += sharedPrefix(texts[0].text[depth:], last[depth:])
	}
	n := affixNode{label: texts[0].text[begin:depth], bucket: noBucket}
	if len(texts[0].text) == depth {
		n.bucket = texts[0].bucket
		texts = texts[1:]
	}
	var groups [][]posted
	var first []byte
	for len(texts) > 0 {
		c, size := texts[0].text[depth], 1
		for size < len(texts) && texts[size].text[depth] == c {
			size++
		}
		groups = append(groups, texts[:size])
		first = append(first, c)
		texts = texts[size:]
	}
	n.first, n.child = string(first), int32(len(x.nodes))
	x.nodes[at] = n
	x.nodes = append(x.nodes, make([]affixNode, len(groups))...)
	for i, g := range groups {
		x.build(n.child+int32(i), g, depth)
	}
}

func sharedPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// find appends the buckets of all texts that s begins (or ends) with.
func (x *affixes) find(s string, into []int32) []int32 {
	n := &x.nodes[0]
	for done := 0; done < len(s); done += len(n.label) {
		next := s[done]
		if x.backwards {
			next = s[len(s)-1-done]
		}
		i := strings.IndexByte(n.first, next)
		if i < 0 {
			break
		}
		n = &x.nodes[n.child+int32(i)]
		if !x.follows(s, done, n.label) {
			break
		}
		if n.bucket != noBucket {
			into = append(into, n.bucket)
		}
	}
	return into
}

// follows reports whether the label comes next after done bytes of s.
func (x *affixes) follows(s string, done int, label string) bool {
	if !x.backwards {
		return strings.HasPrefix(s[done:], label)
	}
	s = s[:len(s)-done]
	for i := range len(label) {
		if i >= len(s) || s[len(s)-1-i] != label[i] {
			return false
		}
	}
	return true
}
