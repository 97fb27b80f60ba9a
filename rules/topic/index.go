package topic

import (
	"slices"
	"sync"
)

// Index finds the values of all patterns that match a key, without looking at the other patterns: its patterns stand in a
// tree with one level for each word. The zero Index is empty and ready.
//
// Walk may be called concurrently with itself; Add and Remove need the Index alone.
type Index[T comparable] struct {
	root node[T]
	size int
	// Every # in the tree has a number, so that a walk can mark those that it has seen.
	hashes  int
	free    []int
	scratch sync.Pool
}

// node is where all patterns with the same first words meet.
type node[T comparable] struct {
	literal map[string]*node[T]
	star    *node[T]
	hash    *node[T]
	values  []T // of the patterns that end here
	isHash  bool
	number  int // of a # in Index.hashes
}

// Len is the number of values.
func (x *Index[T]) Len() int { return x.size }

// Add stores value under the pattern. A pattern can hold several values, and the same one more than once.
func (x *Index[T]) Add(pattern string, value T) {
	n := &x.root
	for p := words(pattern); !p.done(); p.next() {
		n = x.grow(n, p.word())
	}
	n.values = append(n.values, value)
	x.size++
}

func (x *Index[T]) grow(n *node[T], word string) *node[T] {
	switch word {
	case any1:
		if n.star == nil {
			n.star = &node[T]{}
		}
		return n.star
	case anyN:
		if n.hash == nil {
			n.hash = &node[T]{isHash: true, number: x.number()}
		}
		return n.hash
	}
	child := n.literal[word]
	if child == nil {
		if n.literal == nil {
			n.literal = make(map[string]*node[T], 1)
		}
		child = &node[T]{}
		n.literal[word] = child
	}
	return child
}

func (x *Index[T]) number() int {
	if last := len(x.free) - 1; last >= 0 {
		n := x.free[last]
		x.free = x.free[:last]
		return n
	}
	x.hashes++
	return x.hashes - 1
}

// Remove takes the value away from the pattern, once, and reports whether it was there.
func (x *Index[T]) Remove(pattern string, value T) bool {
	if !x.remove(&x.root, words(pattern), value) {
		return false
	}
	x.size--
	return true
}

func (x *Index[T]) remove(n *node[T], p cursor, value T) bool {
	if p.done() {
		i := slices.Index(n.values, value)
		if i < 0 {
			return false
		}
		last := len(n.values) - 1
		n.values[i] = n.values[last]
		n.values = slices.Delete(n.values, last, last+1)
		return true
	}
	word := p.word()
	child := n.child(word)
	p.next()
	if child == nil || !x.remove(child, p, value) {
		return false
	}
	if child.empty() {
		x.prune(n, word)
	}
	return true
}

func (n *node[T]) child(word string) *node[T] {
	switch word {
	case any1:
		return n.star
	case anyN:
		return n.hash
	}
	return n.literal[word]
}

func (n *node[T]) empty() bool { return len(n.values) == 0 && n.leaf() }

func (n *node[T]) leaf() bool { return n.star == nil && n.hash == nil && len(n.literal) == 0 }

func (x *Index[T]) prune(n *node[T], word string) {
	switch word {
	case any1:
		n.star = nil
	case anyN:
		x.free = append(x.free, n.hash.number)
		n.hash = nil
	default:
		delete(n.literal, word)
	}
}

// Walk calls visit for the value of each pattern that matches the key, in no particular order, until visit returns false. A value
// stored under several matching patterns is visited once for each. It allocates nothing (but for a scratch area that
// is kept), and its time is at most proportional to the words of the key times the nodes that some matching beginning leads to, whatever the
// number of # in the patterns.
func (x *Index[T]) Walk(key string, visit func(T) bool) {
	w, _ := x.scratch.Get().(*walk[T])
	if w == nil {
		w = &walk[T]{}
	}
	w.begin(x.hashes)
	w.run(&x.root, words(key), visit)
	clear(w.now)
	clear(w.next)
	x.scratch.Put(w)
}

// walk steps through all patterns at once: now holds every node to which some reading of the words so far leads.
type walk[T comparable] struct {
	now, next []*node[T]
	// A # once reached stays reached, as it may swallow every further word: seen[number] == round says that it is in the set.
	seen  []uint32
	round uint32
}

func (w *walk[T]) begin(hashes int) {
	w.now, w.next = w.now[:0], w.next[:0]
	w.round++
	if len(w.seen) < hashes || w.round == 0 {
		w.seen, w.round = make([]uint32, hashes), 1
	}
}

func (w *walk[T]) run(root *node[T], k cursor, visit func(T) bool) {
	if !w.reach(root, visit) {
		return
	}
	w.now, w.next = w.next, w.now
	for ; !k.done() && len(w.now) > 0; k.next() {
		w.next = w.next[:0]
		word := k.word()
		for _, n := range w.now {
			if n.isHash {
				w.next = append(w.next, n)
			}
			if !w.reach(n.star, visit) || !w.reach(n.literal[word], visit) {
				return
			}
		}
		w.now, w.next = w.next, w.now
	}
	if !k.done() {
		return
	}
	for _, n := range w.now {
		if !n.isHash && !each(n.values, visit) {
			return
		}
	}
}

// reach puts a node into the next set, and with it the # that follows it, which stands for no word as well.
// The values of a # are visited here, when it is first reached: it can swallow all that is left.
func (w *walk[T]) reach(n *node[T], visit func(T) bool) bool {
	for ; n != nil; n = n.hash {
		if n.isHash {
			if w.seen[n.number] == w.round {
				return true
			}
			w.seen[n.number] = w.round
			if !each(n.values, visit) {
				return false
			}
			if n.leaf() {
				return true
			}
		}
		w.next = append(w.next, n)
	}
	return true
}

func each[T any](values []T, visit func(T) bool) bool {
	for _, v := range values {
		if !visit(v) {
			return false
		}
	}
	return true
}
