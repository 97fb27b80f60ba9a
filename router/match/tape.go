package match

import (
	"encoding/json"
	"strconv"
	"time"
	"unsafe"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/event/jsonscan"
)

// tape holds what rules ask for of one event, in the order in which it was read: the document, then its fields and what is
// in them. Whatever lies inside a value follows it, up to the value's next.
type tape struct {
	paths  *paths
	values []value
	// latest is, by node, where the field was read last. It is right where the value that stands there is of that node;
	// otherwise it is left from another event.
	latest []int32
	inside int32  // what is being read: the value that encloses the next one
	arena  []byte // texts that do not lie in the event as they are compared
}

// value is one value at the path of node, or, where a value before it is a list there, an element of it: lists in lists are as if flat.
type value struct {
	text    string  // of a string, or a number as it is written
	rounded float64 // of a number; see type number
	next    int32
	parent  int32 // what it lies in
	node    int32 // noNode: another field of the same name came later
	same    int32 // the next leaf of the same node, see lookup
	kind    kind
	short   bool
}

type kind uint8

const (
	object kind = iota
	list
	text
	numeric
	yes
	no
	null
	strange // a leaf of an attribute or header that is nothing JSON has
	other   // no object, and no leaf that is asked for
)

func (k kind) leaf() bool { return k >= text && k <= strange }

// open adds a value at node that nothing lies inside.
func (t *tape) open(node int32, k kind) int32 {
	at := int32(len(t.values))
	t.values = append(t.values, value{node: node, kind: k, next: at + 1, parent: t.inside, same: noValue})
	return at
}

// enter adds a value that all that follows lies inside, until it is left.
func (t *tape) enter(node int32, k kind) int32 {
	t.inside = t.open(node, k)
	return t.inside
}

func (t *tape) leave(at int32) {
	t.values[at].next = int32(len(t.values))
	t.inside = t.values[at].parent
}

const noValue = -1

// field is called before the field of a node is read in the object at parent. Of fields with the same name, the last counts.
func (t *tape) field(parent, node int32) {
	if before := t.latest[node]; before > parent && int(before) < len(t.values) && t.values[before].node == node {
		if int(t.values[before].next) == len(t.values) {
			t.values = t.values[:before]
		} else {
			t.values[before].node = noNode
		}
	}
	t.latest[node] = int32(len(t.values))
}

// find is the field of a node in the object at parent; noValue if it is not there.
func (t *tape) find(parent, node int32) int32 {
	at, end := t.latest[node], t.values[parent].next
	if int(at) >= len(t.values) || t.values[at].node != node {
		return noValue // no object of this event has it
	}
	if at > parent && at < end {
		return at
	}
	for at = parent + 1; at < end; at = t.values[at].next {
		if t.values[at].node == node {
			return at
		}
	}
	return noValue
}

func (t *tape) addText(node int32, s string) {
	at := t.open(node, text)
	t.values[at].text = s
}

func (t *tape) addNumber(node int32, s string) {
	at := t.open(node, numeric)
	v := &t.values[at]
	v.text = s
	if t.paths.nodes[node].numbers {
		v.rounded, v.short = round(s)
	}
}

func (t *tape) addBool(node int32, b bool) {
	if b {
		t.open(node, yes)
	} else {
		t.open(node, no)
	}
}

// keep is the text that was appended to the arena since its length was n.
func (t *tape) keep(n int) string { return alias(t.arena[n:]) }

// alias sees bytes as a string without copying them. Those of an event are never changed, and those of the arena only after
// all that sees them is gone.
func alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// readEvent reads all fields that are asked for, but the data.
func (t *tape) readEvent(e *event.Event) {
	t.field(noValue, documentNode)
	document := t.enter(documentNode, object)
	top := &t.paths.nodes[documentNode]
	for name, v := range e.Attributes {
		if node := top.child(name); node != noNode && name != dataField {
			t.field(document, node)
			t.addAny(node, v, false)
		}
	}
	t.readText(document, "type", e.Type, true)
	t.readText(document, "id", e.ID, e.ID != "")
	t.readText(document, "source", e.Source, e.Source != "")
	t.readText(document, "subject", e.Subject, e.Subject != "")
	if node := top.child("time"); node != noNode && !e.Time.IsZero() {
		n := len(t.arena)
		t.arena = e.Time.AppendFormat(t.arena, time.RFC3339Nano)
		t.field(document, node)
		t.addString(node, t.keep(n))
	}
	if node := top.child("headers"); node != noNode && len(e.Headers) > 0 {
		t.field(document, node)
		t.addMap(node, e.Headers)
	}
}

func (t *tape) readText(document int32, name, s string, there bool) {
	if node := t.paths.nodes[documentNode].child(name); node != noNode && there {
		t.field(document, node)
		t.addString(node, s)
	}
}

// addString is addScalar without making an interface of the string, which would be allocated.
func (t *tape) addString(node int32, s string) {
	if t.paths.nodes[node].leaf {
		t.addText(node, s)
	} else {
		t.open(node, other)
	}
}

// addAny adds an attribute's or header's value, as event.Document shows it.
func (t *tape) addAny(node int32, v any, inList bool) {
	switch v := v.(type) {
	case map[string]any:
		t.addMap(node, v)
	case []any:
		t.addList(node, v, inList)
	default:
		t.addScalar(node, v)
	}
}

func (t *tape) addMap(node int32, m map[string]any) {
	at := t.enter(node, object)
	n := &t.paths.nodes[node]
	if len(m) < len(n.names) {
		for name, v := range m {
			if child := n.child(name); child != noNode {
				t.field(at, child)
				t.addAny(child, v, false)
			}
		}
	} else {
		for i, name := range n.names {
			if v, ok := m[name]; ok {
				t.field(at, n.inside[i])
				t.addAny(n.inside[i], v, false)
			}
		}
	}
	t.leave(at)
}

func (t *tape) addList(node int32, elements []any, inList bool) {
	if inList {
		if len(elements) == 0 {
			t.addNothing(node)
		}
		for _, v := range elements {
			t.addAny(node, v, true)
		}
		return
	}
	at := t.enter(node, list)
	for _, v := range elements {
		t.addAny(node, v, true)
	}
	t.leave(at)
}

// addNothing adds an element that has no fields and is no leaf.
func (t *tape) addNothing(node int32) {
	if len(t.paths.nodes[node].names) > 0 {
		t.open(node, object)
	}
}

func (t *tape) addScalar(node int32, v any) {
	if !t.paths.nodes[node].leaf {
		t.open(node, other)
		return
	}
	switch v := v.(type) {
	case nil:
		t.open(node, null)
	case string:
		t.addText(node, v)
	case []byte:
		t.addText(node, alias(v))
	case bool:
		t.addBool(node, v)
	case json.Number:
		t.addJSONNumber(node, v.String())
	case int64:
		t.addInt(node, v)
	case int32:
		t.addInt(node, int64(v))
	default:
		switch plain := event.Plain(v).(type) {
		case json.Number:
			t.addJSONNumber(node, plain.String())
		case string:
			t.addText(node, plain)
		default:
			t.open(node, null)
		}
	}
}

func (t *tape) addInt(node int32, i int64) {
	n := len(t.arena)
	t.arena = strconv.AppendInt(t.arena, i, 10)
	t.addNumber(node, t.keep(n))
}

// addJSONNumber adds what came as a json.Number, which is not always a number.
func (t *tape) addJSONNumber(node int32, s string) {
	if isNumber(s) {
		t.addNumber(node, s)
		return
	}
	t.open(node, strange)
}

func isNumber(s string) bool {
	end, ok := jsonscan.Number([]byte(s), 0)
	return ok && end == len(s)
}
