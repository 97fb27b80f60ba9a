package match

import (
	"unicode/utf8"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/event/jsonscan"
)

const dataField = "data"

// readData reads the data in one pass: fields that are asked for go to the tape, everything else is only checked. It
// has to be read to its end even when all fields are there: one that comes again counts instead, and data that is not one whole JSON
// value is no part of the document.
func (t *tape) readData(e *event.Event) {
	node := t.paths.nodes[documentNode].child(dataField)
	if node == noNode {
		return
	}
	t.field(documentNode, node)
	before := len(t.values)
	if len(e.Data) > 0 && e.ClaimsJSON() && utf8.Valid(e.Data) {
		r := reader{tape: t, text: e.Data}
		if end, ok := r.value(jsonscan.Space(e.Data, 0), node, 0, false); ok && jsonscan.End(e.Data, end) {
			return
		}
		t.values, t.inside = t.values[:before], documentNode
	}
	if v, ok := e.Attributes[dataField]; ok {
		t.addAny(node, v, false)
	}
}

// reader reads one text of JSON, which is UTF-8, to the tape.
type reader struct {
	*tape
	text []byte
}

// value reads the value that begins at i. Its positions and results are those of jsonscan.
func (r *reader) value(i int, node int32, depth int, inList bool) (int, bool) {
	if i >= len(r.text) {
		return i, false
	}
	n := &r.paths.nodes[node]
	switch c := r.text[i]; {
	case c == '{' && len(n.names) == 0:
		// No field of it is asked for. It is noted that there is an object, in the place of what may have been there before.
		if !inList {
			r.open(node, object)
		}
		return jsonscan.Value(r.text, i, depth)
	case c == '{':
		return r.object(i, node, depth)
	case c == '[':
		return r.list(i, node, depth, inList)
	case !n.leaf:
		r.open(node, other)
		return jsonscan.Scalar(r.text, i)
	case c == '"':
		end, escaped, ok := jsonscan.String(r.text, i)
		if ok {
			r.addText(node, r.string(i, end, escaped))
		}
		return end, ok
	case c == 't':
		r.open(node, yes)
	case c == 'f':
		r.open(node, no)
	case c == 'n':
		r.open(node, null)
	default:
		end, ok := jsonscan.Number(r.text, i)
		if ok {
			r.addNumber(node, alias(r.text[i:end]))
		}
		return end, ok
	}
	return jsonscan.Scalar(r.text, i)
}

// string is what the string between i and end means.
func (r *reader) string(i, end int, escaped bool) string {
	inside := r.text[i+1 : end-1]
	if !escaped {
		return alias(inside)
	}
	n := len(r.arena)
	r.arena = jsonscan.AppendString(r.arena, inside)
	return r.keep(n)
}

func (r *reader) object(i int, node int32, depth int) (int, bool) {
	if depth >= jsonscan.MaxDepth {
		return i, false
	}
	at := r.enter(node, object)
	n := &r.paths.nodes[node]
	i = jsonscan.Space(r.text, i+1)
	if i < len(r.text) && r.text[i] == '}' {
		r.leave(at)
		return i + 1, true
	}
	for {
		if i >= len(r.text) || r.text[i] != '"' {
			return i, false
		}
		end, escaped, ok := jsonscan.String(r.text, i)
		if !ok {
			return end, false
		}
		child := n.child(r.string(i, end, escaped))
		if i = jsonscan.Space(r.text, end); i >= len(r.text) || r.text[i] != ':' {
			return i, false
		}
		i = jsonscan.Space(r.text, i+1)
		if child == noNode {
			i, ok = jsonscan.Value(r.text, i, depth+1)
		} else {
			r.field(at, child)
			i, ok = r.value(i, child, depth+1, false)
		}
		if !ok {
			return i, false
		}
		if i = jsonscan.Space(r.text, i); i >= len(r.text) {
			return i, false
		}
		if r.text[i] != ',' {
			r.leave(at)
			return i + 1, r.text[i] == '}'
		}
		i = jsonscan.Space(r.text, i+1)
	}
}

func (r *reader) list(i int, node int32, depth int, inList bool) (int, bool) {
	if depth >= jsonscan.MaxDepth {
		return i, false
	}
	at := int32(noValue)
	if !inList {
		at = r.enter(node, list)
	}
	i = jsonscan.Space(r.text, i+1)
	if i < len(r.text) && r.text[i] == ']' {
		if inList {
			r.addNothing(node)
		} else {
			r.leave(at)
		}
		return i + 1, true
	}
	for {
		var ok bool
		if i, ok = r.value(i, node, depth+1, true); !ok {
			return i, false
		}
		if i = jsonscan.Space(r.text, i); i >= len(r.text) {
			return i, false
		}
		if r.text[i] != ',' {
			if !inList {
				r.leave(at)
			}
			return i + 1, r.text[i] == ']'
		}
		i = jsonscan.Space(r.text, i+1)
	}
}
