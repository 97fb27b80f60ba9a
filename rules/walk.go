package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"gopkg.in/yaml.v3"
)

// maxAliases bounds how often aliases are followed in one file, so that a few lines cannot unfold into millions.
const maxAliases = 10_000

// walker reads one file's nodes by the description.
type walker struct {
	file     string
	lines    []string
	problems Problems
	aliases  int
	forms    map[string]*regexp.Regexp
	envs     map[string]*cel.Env // of where, by the extension attributes in it
}

func (w *walker) pos(n *yaml.Node) Pos { return Pos{File: w.file, Line: n.Line, Column: n.Column} }

func (w *walker) note(s Severity, n *yaml.Node, message, hint string) {
	w.problems = append(w.problems, w.problem(s, w.pos(n), message, hint))
}

func (w *walker) problem(s Severity, at Pos, message, hint string) Problem {
	at.Line = min(at.Line, len(w.lines)) // what is missing at the end of a text is noticed one line further
	return Problem{Pos: at, Severity: s, Message: message, Hint: hint, Source: w.line(at.Line)}
}

func (w *walker) error(n *yaml.Node, message, hint string) { w.note(Error, n, message, hint) }
func (w *walker) warn(n *yaml.Node, message, hint string)  { w.note(Warning, n, message, hint) }

func (w *walker) errorf(n *yaml.Node, format string, args ...any) {
	w.error(n, fmt.Sprintf(format, args...), "")
}

// follow resolves an alias.
func (w *walker) follow(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		if w.aliases++; w.aliases > maxAliases {
			if w.aliases == maxAliases+1 {
				w.errorf(n, "more than %d aliases are followed", maxAliases)
			}
			return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: n.Line, Column: n.Column}
		}
		n = n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// what names a node's type for messages.
func what(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	if isNumber(n) {
		return "the number " + shorten(n.Value)
	}
	switch n.ShortTag() {
	case "!!str":
		return fmt.Sprintf("the string %s", strconv.Quote(shorten(n.Value)))
	case "!!bool":
		return "the boolean " + n.Value
	case "!!null":
		return "nothing"
	}
	return strings.TrimPrefix(n.ShortTag(), "!!") + " " + shorten(n.Value)
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}

// entry is one key of a mapping with its value.
type entry struct{ key, value *yaml.Node }

// entries lists a mapping's keys with merge keys (<<) resolved: what is written in the mapping itself wins.
// Keys that are no strings or stand twice are problems. label names the mapping in messages.
func (w *walker) entries(n *yaml.Node, label string) []entry {
	n = w.follow(n)
	if n.Kind != yaml.MappingNode {
		w.errorf(n, "%s is a mapping, not %s", label, what(n))
		return nil
	}
	var own, merged []entry
	seen := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		if k.Kind == yaml.ScalarNode && k.ShortTag() == "!!merge" {
			merged = append(merged, w.merge(v, label)...)
			continue
		}
		if k = w.follow(k); k.Kind != yaml.ScalarNode || isNull(k) {
			w.errorf(k, "a key is a string, not %s", what(k))
			continue
		}
		if first := seen[k.Value]; first != nil {
			w.errorf(k, "key %q stands twice; the first is in line %d", shorten(k.Value), first.Line)
			continue
		}
		seen[k.Value] = k
		own = append(own, entry{k, v})
	}
	for _, e := range merged {
		if seen[e.key.Value] == nil {
			seen[e.key.Value] = e.key
			own = append(own, e)
		}
	}
	return own
}

func (w *walker) merge(v *yaml.Node, label string) []entry {
	switch v = w.follow(v); v.Kind {
	case yaml.MappingNode:
		return w.entries(v, label)
	case yaml.SequenceNode:
		var all []entry
		for _, m := range v.Content {
			all = append(all, w.entries(m, label)...)
		}
		return all
	}
	w.errorf(v, "<< takes a mapping or a list of mappings, not %s", what(v))
	return nil
}

// items lists a sequence's nodes.
func (w *walker) items(n *yaml.Node, label string) []*yaml.Node {
	n = w.follow(n)
	if n.Kind != yaml.SequenceNode {
		hint := ""
		if n.Kind == yaml.ScalarNode && !isNull(n) {
			hint = fmt.Sprintf("write [%s]", shorten(n.Value))
		}
		w.error(n, fmt.Sprintf("%s is a list, not %s", label, what(n)), hint)
		return nil
	}
	out := make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out[i] = w.follow(c)
	}
	return out
}

// values are the checked keys of an object. Its getters fill in the description's defaults, and note what is wrong.
type values struct {
	w      *walker
	object *object
	node   *yaml.Node
	keys   map[string]*yaml.Node
	nodes  map[string]*yaml.Node
}

// object checks a mapping's keys against the description. Null stands for an empty mapping.
func (w *walker) object(n *yaml.Node, o *object) values {
	n = w.follow(n)
	v := values{w: w, object: o, node: n, keys: map[string]*yaml.Node{}, nodes: map[string]*yaml.Node{}}
	if isNull(n) {
		v.required()
		return v
	}
	for _, e := range w.entries(n, o.name) {
		if o.field(e.key.Value) == nil {
			w.error(e.key, fmt.Sprintf("%s has no key %q", o.name, shorten(e.key.Value)), didYouMean(e.key.Value, o.names()))
			continue
		}
		v.keys[e.key.Value] = e.key
		v.nodes[e.key.Value] = w.follow(e.value)
	}
	if n.Kind == yaml.MappingNode {
		v.required()
	}
	return v
}

func (v values) required() {
	for _, f := range v.object.fields {
		if f.required && v.nodes[f.name] == nil {
			v.w.errorf(v.node, "%s has no %q, which it needs", v.object.name, f.name)
		}
	}
}

// has gives the node of a key that is there with a value.
func (v values) has(name string) (*yaml.Node, *field, bool) {
	f := v.object.field(name)
	n := v.nodes[name]
	if n == nil {
		return nil, f, false
	}
	if isNull(n) {
		if f.kind != kindObject && f.kind != kindObjectMap {
			v.w.errorf(v.keys[name], "%s has no value", name)
		}
		return n, f, false
	}
	return n, f, true
}

func (v values) string(name string) string {
	n, f, ok := v.has(name)
	if !ok {
		return f.def
	}
	return v.w.string(n, f)
}

// string reads a string by its field.
func (w *walker) string(n *yaml.Node, f *field) string {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
		hint := ""
		if n.Kind == yaml.ScalarNode {
			hint = fmt.Sprintf("write %q", n.Value)
		}
		w.error(n, fmt.Sprintf("%s is a string, not %s", f.name, what(n)), hint)
		return f.def
	}
	if len(f.enum) > 0 && !slices.Contains(f.enum, n.Value) {
		w.error(n, fmt.Sprintf("%s cannot be %q", f.name, shorten(n.Value)), didYouMean(n.Value, f.enum))
		return f.def
	}
	if f.form != "" && !w.form(f.form).MatchString(n.Value) {
		w.errorf(n, "%s %q is not %s", f.name, shorten(n.Value), f.formDoc)
	}
	return n.Value
}

func (w *walker) form(expr string) *regexp.Regexp {
	if w.forms[expr] == nil {
		w.forms[expr] = regexp.MustCompile(expr)
	}
	return w.forms[expr]
}

func (v values) bool(name string) bool {
	n, f, ok := v.has(name)
	if !ok {
		return f.def == "true"
	}
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!bool" {
		return strings.EqualFold(n.Value, "true")
	}
	v.w.error(n, fmt.Sprintf("%s is true or false, not %s", name, what(n)), "")
	return f.def == "true"
}

func (v values) int(name string) int64 {
	n, f, ok := v.has(name)
	if !ok {
		def, _ := strconv.ParseInt(f.def, 10, 64)
		return def
	}
	value, err := strconv.ParseInt(strings.ReplaceAll(n.Value, "_", ""), 0, 64)
	switch {
	case n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil:
		v.w.errorf(n, "%s is a whole number, not %s", name, what(n))
	case value < f.min || f.max > 0 && value > f.max:
		if f.max == 0 {
			v.w.errorf(n, "%s is at least %d, not %d", name, f.min, value)
		} else if f.min == f.max {
			v.w.errorf(n, "%s is %d, not %d", name, f.min, value)
		} else {
			v.w.errorf(n, "%s is from %d to %d, not %d", name, f.min, f.max, value)
		}
	default:
		return value
	}
	return max(f.min, 0)
}

func (v values) duration(name string) time.Duration {
	n, f, ok := v.has(name)
	if !ok {
		def, _ := time.ParseDuration(f.def)
		return def
	}
	return v.w.duration(n, name)
}

// Durations are from 1ms, which is the finest a broker's TTL can say, to 24h.
const (
	minDuration = time.Millisecond
	maxDuration = 24 * time.Hour
)

func (w *walker) duration(n *yaml.Node, label string) time.Duration {
	d, err := time.ParseDuration(n.Value)
	switch {
	case n.Kind != yaml.ScalarNode || err != nil:
		hint := "such as 500ms, 30s or 1h30m"
		if n.Kind == yaml.ScalarNode && (n.ShortTag() == "!!int" || n.ShortTag() == "!!float") {
			hint = fmt.Sprintf("a unit is missing: %ss, %sms?", n.Value, n.Value)
		}
		w.error(n, fmt.Sprintf("%s is a duration, not %s", label, what(n)), hint)
	case d < minDuration || d > maxDuration:
		w.errorf(n, "%s is from 1ms to 24h, not %s", label, n.Value)
	case d%time.Millisecond != 0:
		w.errorf(n, "%s is in whole milliseconds, not %s", label, n.Value)
	default:
		return d
	}
	return time.Second
}

// stringNodes also gives the place of each string. The list is never nil where the key is there.
func (v values) stringNodes(name string) ([]string, []*yaml.Node) {
	n, f, ok := v.has(name)
	if !ok {
		return nil, nil
	}
	out, nodes := []string{}, []*yaml.Node{}
	seen := map[string]bool{}
	item := *f
	item.name = "an entry of " + name
	for _, c := range v.w.items(n, name) {
		if c.Kind != yaml.ScalarNode || c.ShortTag() != "!!str" {
			v.w.string(c, &item)
			continue
		}
		if seen[c.Value] {
			v.w.errorf(c, "%q stands twice in %s", shorten(c.Value), name)
			continue
		}
		seen[c.Value] = true
		out, nodes = append(out, c.Value), append(nodes, c)
	}
	return out, nodes
}
