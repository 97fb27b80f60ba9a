package embedded

import (
	"reflect"
	"slices"
	"strings"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
	"github.com/eventrouter/eventrouter/rules/topic"
)

// exchange is an exchange of a vhost. The vhost's lock guards it: routing reads, declaring and binding writes.
type exchange struct {
	name       string
	id         uint64 // in the data folder; 0: not there
	kind       string
	durable    bool
	autoDelete bool
	internal   bool
	arguments  wire.Table
	alternate  string

	bindings map[bindingKey][]*binding // those with equal keys differ in their arguments
	count    int
	direct   map[string][]destination
	topics   topic.Index[destination]
	fanout   []destination
	headers  []*binding
	bound    bool // something was bound once: an auto-delete exchange goes when nothing is any more
	incoming map[*binding]struct{}
}

// destination is where a binding leads: a queue or an exchange.
type destination struct {
	queue    *queue
	exchange *exchange
}

type bindingKey struct {
	destination
	key string
}

type binding struct {
	bindingKey
	source    *exchange
	arguments wire.Table
	match     *headerMatch
	id        uint64 // in the data folder; 0: not there
}

func newExchange(name, kind string) *exchange {
	return &exchange{
		name: name, kind: kind, bindings: map[bindingKey][]*binding{}, direct: map[string][]destination{}, incoming: map[*binding]struct{}{},
	}
}

// bind binds; binding the same twice is once, of which the second makes nothing.
func (x *exchange) bind(to destination, key string, arguments wire.Table) (*binding, *wire.Error) {
	var match *headerMatch
	if x.kind == "headers" {
		var fault *wire.Error
		if match, fault = newHeaderMatch(arguments); fault != nil {
			return nil, fault
		}
	}
	return x.add(to, key, arguments, match), nil
}

func (x *exchange) add(to destination, key string, arguments wire.Table, match *headerMatch) *binding {
	k := bindingKey{to, key}
	for _, b := range x.bindings[k] {
		if sameArguments(b.arguments, arguments) {
			return nil
		}
	}
	b := &binding{bindingKey: k, source: x, arguments: arguments, match: match}
	first := len(x.bindings[k]) == 0
	x.bindings[k] = append(x.bindings[k], b)
	x.count++
	x.bound = true
	switch {
	case x.kind == "headers":
		x.headers = append(x.headers, b)
	case x.kind == "fanout":
		x.fanout = append(x.fanout, to)
	case !first: // it routes by the key, and is there
	case x.kind == "direct":
		x.direct[key] = append(x.direct[key], to)
	case x.kind == "topic":
		x.topics.Add(key, to)
	}
	return b
}

// remove takes a binding away; nil if there is none like it.
func (x *exchange) remove(to destination, key string, arguments wire.Table) *binding {
	k := bindingKey{to, key}
	i := slices.IndexFunc(x.bindings[k], func(b *binding) bool { return sameArguments(b.arguments, arguments) })
	if i < 0 {
		return nil
	}
	b := x.bindings[k][i]
	x.bindings[k] = slices.Delete(x.bindings[k], i, i+1)
	last := len(x.bindings[k]) == 0
	if last {
		delete(x.bindings, k)
	}
	x.count--
	switch {
	case x.kind == "headers":
		x.headers = slices.DeleteFunc(x.headers, func(other *binding) bool { return other == b })
	case x.kind == "fanout":
		i := slices.Index(x.fanout, to)
		x.fanout = slices.Delete(x.fanout, i, i+1)
	case !last:
	case x.kind == "direct":
		x.direct[key] = slices.DeleteFunc(x.direct[key], func(other destination) bool { return other == to })
		if len(x.direct[key]) == 0 {
			delete(x.direct, key)
		}
	case x.kind == "topic":
		x.topics.Remove(key, to)
	}
	return b
}

// sameArguments compares tables, of which an empty one and none are alike.
func sameArguments(a, b wire.Table) bool { return len(a)+len(b) == 0 || reflect.DeepEqual(a, b) }

// match calls visit for the destination of each binding that the message fulfils.
func (x *exchange) match(m *message, visit func(destination)) {
	switch x.kind {
	case "direct":
		for i := range m.keyCount() {
			for _, to := range x.direct[m.keyAt(i)] {
				visit(to)
			}
		}
	case "topic":
		for i := range m.keyCount() {
			x.topics.Walk(m.keyAt(i), func(to destination) bool { visit(to); return true })
		}
	case "fanout":
		for _, to := range x.fanout {
			visit(to)
		}
	case "headers":
		headers := m.properties().Headers
		for _, b := range x.headers {
			if b.match.holds(headers) {
				visit(b.destination)
			}
		}
	}
}

// headerMatch is the condition of a binding to a headers exchange.
type headerMatch struct {
	all    bool
	fields wire.Table
}

func newHeaderMatch(arguments wire.Table) (*headerMatch, *wire.Error) {
	m := &headerMatch{all: true, fields: wire.Table{}}
	withX := false
	if v, there := arguments["x-match"]; there {
		switch v {
		case "all":
		case "any":
			m.all = false
		case "all-with-x":
			withX = true
		case "any-with-x":
			m.all, withX = false, true
		default:
			text, ok := v.(string)
			if !ok {
				return nil, wire.Errorf(wire.PreconditionFailed, "Invalid x-match field type %s (value %v); expected longstr", typeName(v), v)
			}
			return nil, wire.Errorf(wire.PreconditionFailed, "Invalid x-match field value <<%q>>; expected all, any, all-with-x, or any-with-x", text)
		}
	}
	for name, v := range arguments {
		if name != "x-match" && (withX || !strings.HasPrefix(name, "x-")) {
			m.fields[name] = v
		}
	}
	return m, nil
}

// holds compares as RabbitMQ does: a field without a value (void) only has to be there.
func (m *headerMatch) holds(headers wire.Table) bool {
	for name, want := range m.fields {
		have, there := headers[name]
		ok := there && (want == nil || sameValue(want, have))
		if ok != m.all {
			return ok
		}
	}
	return m.all
}

// sameValue compares values by their numbers whatever the integer type, as RabbitMQ keeps them.
func sameValue(a, b any) bool {
	x, isInt := integer(a)
	y, isInt2 := integer(b)
	if isInt && isInt2 {
		return x == y
	}
	return reflect.DeepEqual(a, b)
}
