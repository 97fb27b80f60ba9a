package rules

import "encoding/json"

// The meaning of content patterns, written to be obviously right. Package router/match does the same fast, and is held
// against this.

// Matches reports whether the document (encoding/json's types, numbers as json.Number) fulfils the pattern.
// A nil pattern is fulfilled by every document.
func (p *Pattern) Matches(doc map[string]any) bool {
	if p == nil {
		return true
	}
	for i := range p.Alternatives {
		if p.Alternatives[i].matches(doc) {
			return true
		}
	}
	return false
}

func (c *Conjunction) matches(doc map[string]any) bool {
	for _, p := range c.And {
		if !p.Matches(doc) {
			return false
		}
	}
	for _, p := range c.Not {
		if p.Matches(doc) {
			return false
		}
	}
	return fieldsHold(c.Fields, 0, doc)
}

// fieldsHold reports whether all fields, whose paths are alike up to depth, hold in a value at that depth. In a list, one element
// has to fulfil them all; lists in lists are as if flat. A value that is no object has no fields.
func fieldsHold(fields []Field, depth int, value any) bool {
	if list, ok := value.([]any); ok && len(list) > 0 {
		for _, element := range list {
			if fieldsHold(fields, depth, element) {
				return true
			}
		}
		return false
	}
	object, _ := value.(map[string]any)
	for len(fields) > 0 {
		name := fields[0].Path[depth]
		n := 1
		for n < len(fields) && fields[n].Path[depth] == name {
			n++
		}
		inside, there := object[name]
		switch {
		case len(fields[0].Path) == depth+1:
			if !leafHolds(&fields[0], inside, there) {
				return false
			}
			if n > 1 && !fieldsHold(fields[1:n], depth+1, inside) {
				return false
			}
		case !fieldsHold(fields[:n], depth+1, inside):
			return false
		}
		fields = fields[n:]
	}
	return true
}

// leafHolds reports whether any leaf of the value fulfils any condition. Where there is no leaf (nothing, an object, an
// empty list) only {exists: false} holds.
func leafHolds(f *Field, value any, there bool) bool {
	leaves := 0
	if there && eachLeaf(value, &leaves, func(leaf any) bool {
		for i := range f.Conditions {
			if f.Conditions[i].holds(leaf) {
				return true
			}
		}
		return false
	}) {
		return true
	}
	if leaves == 0 {
		for i := range f.Conditions {
			if f.Conditions[i].Op == OpMissing {
				return true
			}
		}
	}
	return false
}

func eachLeaf(value any, leaves *int, holds func(any) bool) bool {
	switch v := value.(type) {
	case map[string]any:
		return false
	case []any:
		for _, element := range v {
			if eachLeaf(element, leaves, holds) {
				return true
			}
		}
		return false
	}
	*leaves++
	return holds(value)
}

func equalLeaf(want, value any) bool {
	if n, ok := want.(Number); ok {
		m, isNumber := leafNumber(value)
		return isNumber && n.Compare(m) == 0
	}
	return want == value
}

func leafNumber(value any) (Number, bool) {
	n, ok := value.(json.Number)
	if !ok {
		return Number{}, false
	}
	return ParseNumber(n.String())
}
