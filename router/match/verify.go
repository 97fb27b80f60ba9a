package match

import "github.com/eventrouter/eventrouter/rules"

// pattern is a rules.Pattern, made ready to be held against a tape.
type pattern []alternative

// alternative is a rules.Conjunction, its fields as the tree that they form.
type alternative struct {
	fields []field
	and    []pattern
	not    []pattern
}

// field is one name of a pattern: the conditions on the values there, or on the fields inside them, or both.
type field struct {
	node       int32
	conditions *conditions // nil: none
	inside     []field
	absent     bool // holds where the field is not there
}

func (p *paths) pattern(r *rules.Pattern) pattern {
	out := make(pattern, len(r.Alternatives))
	for i := range r.Alternatives {
		out[i] = p.alternative(&r.Alternatives[i])
	}
	return out
}

func (p *paths) alternative(c *rules.Conjunction) alternative {
	a := alternative{fields: p.fields(c.Fields, 0)}
	for _, and := range c.And {
		a.and = append(a.and, p.pattern(and))
	}
	for _, not := range c.Not {
		a.not = append(a.not, p.pattern(not))
	}
	return a
}

// fields makes the tree of fields whose paths are alike up to depth.
func (p *paths) fields(list []rules.Field, depth int) []field {
	var out []field
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n].Path[depth] == list[0].Path[depth] {
			n++
		}
		f := field{node: p.add(list[0].Path[:depth+1]), absent: true}
		inside := list[:n]
		if first := &list[0]; len(first.Path) == depth+1 {
			p.addLeaf(first)
			c := makeConditions(first.Conditions)
			f.conditions, f.absent, inside = &c, c.missing, inside[1:]
		}
		f.inside = p.fields(inside, depth+1)
		f.absent = f.absent && allAbsent(f.inside)
		out = append(out, f)
		list = list[n:]
	}
	return out
}

func allAbsent(fields []field) bool {
	for i := range fields {
		if !fields[i].absent {
			return false
		}
	}
	return true
}

// hold reports whether any alternative holds. See rules.Pattern.Matches, of which these functions are the double.
func (p pattern) hold(t *tape) bool {
	for i := range p {
		if p[i].hold(t, nil) {
			return true
		}
	}
	return false
}

// hold reports whether the alternative holds. Anchors are the leaves, in their order, of which one has to be the one that fulfils its
// field, which is the same for all of them: only those elements are looked at of the lists around them in which they lie. Without
// anchors, everything is looked at.
func (a *alternative) hold(t *tape, anchors []candidate) bool {
	if !t.holdInside(a.fields, documentNode, documentNode, anchors) {
		return false
	}
	for _, p := range a.and {
		if !p.hold(t) {
			return false
		}
	}
	for _, p := range a.not {
		if p.hold(t) {
			return false
		}
	}
	return true
}

// holdInside reports whether all fields hold in the value at; in a list, in one and the same element. All anchors lie inside the value, if
// there are any.
func (t *tape) holdInside(fields []field, node, at int32, anchors []candidate) bool {
	v := &t.values[at]
	switch {
	case v.kind == object:
		return t.holdObject(fields, at, anchors)
	case v.kind == list && v.next > at+1:
		// An anchor at the path of the list itself is a leaf, and says nothing about the fields inside other elements.
		if len(anchors) > 0 && t.values[anchors[0].anchor()].node != node {
			return t.holdAnchored(fields, node, at, anchors)
		}
		for i := at + 1; i < v.next; i = t.values[i].next {
			if t.holdInside(fields, node, i, nil) {
				return true
			}
		}
		return false
	}
	return allAbsent(fields)
}

// holdAnchored is holdInside for a list, of which it looks at the elements with anchors.
func (t *tape) holdAnchored(fields []field, node, at int32, anchors []candidate) bool {
	for len(anchors) > 0 {
		element := anchors[0].anchor()
		for t.values[element].parent != at {
			element = t.values[element].parent
		}
		n := 1
		for n < len(anchors) && anchors[n].anchor() < t.values[element].next {
			n++
		}
		if t.holdInside(fields, node, element, anchors[:n]) {
			return true
		}
		anchors = anchors[n:]
	}
	return false
}

func (t *tape) holdObject(fields []field, at int32, anchors []candidate) bool {
	for i := range fields {
		f := &fields[i]
		inside := t.find(at, f.node)
		if inside == noValue {
			if !f.absent {
				return false
			}
			continue
		}
		// All anchors are of one field, and so lie in the same field of this object.
		within := anchors
		if len(anchors) > 0 && (anchors[0].anchor() < inside || anchors[0].anchor() >= t.values[inside].next) {
			within = nil
		}
		if f.conditions != nil && !t.holdLeaf(f.conditions, f.node, inside, within) || len(f.inside) > 0 && !t.holdInside(f.inside, f.node, inside, within) {
			return false
		}
	}
	return true
}

// holdLeaf reports whether any leaf of the value fulfils the conditions; any of the anchors, if they are such leaves.
func (t *tape) holdLeaf(c *conditions, node, at int32, anchors []candidate) bool {
	if len(anchors) > 0 && t.values[anchors[0].anchor()].node == node {
		for _, a := range anchors {
			if c.hold(&t.values[a.anchor()]) {
				return true
			}
		}
		return false
	}
	leaves := false
	for i := at; i < t.values[at].next; i++ {
		if v := &t.values[i]; v.node == node && v.kind.leaf() {
			if leaves = true; c.hold(v) {
				return true
			}
		}
	}
	return !leaves && c.missing
}
