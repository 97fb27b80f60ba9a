package rules

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// child gives the values of an object inside; those of an empty one if it is not there.
func (v values) child(name string) values {
	n, f, ok := v.has(name)
	if !ok {
		return values{w: v.w, object: f.object, node: v.node, keys: map[string]*yaml.Node{}, nodes: map[string]*yaml.Node{}}
	}
	return v.w.object(n, f.object)
}

func (v values) durations(name string) []time.Duration {
	n, f, ok := v.has(name)
	if !ok {
		var out []time.Duration
		for _, s := range strings.Split(strings.Trim(f.def, "[]"), ", ") {
			d, _ := time.ParseDuration(s)
			out = append(out, d)
		}
		return out
	}
	var out []time.Duration
	for _, c := range v.w.items(n, name) {
		out = append(out, v.w.duration(c, "a delay"))
	}
	if n.Kind == yaml.SequenceNode && len(out) == 0 {
		v.w.errorf(n, "%s is empty", name)
	}
	return out
}

func (v values) text(name string) Text {
	n, f, ok := v.has(name)
	if !ok {
		return Text(f.def)
	}
	return v.w.text(n, f)
}

func (w *walker) text(n *yaml.Node, f *field) Text {
	t := Text(w.string(n, f))
	if _, err := t.Expand(func(string) (string, bool) { return "", true }); err != nil {
		w.error(n, fmt.Sprintf("%s: %v", f.name, err), "${NAME} is a variable of the environment, $${ is a literal ${")
	}
	return t
}

func (v values) texts(name string) []Text {
	n, f, ok := v.has(name)
	if !ok {
		return nil
	}
	item := *f
	item.name = "an entry of " + name
	var out []Text
	for _, c := range v.w.items(n, name) {
		out = append(out, v.w.text(c, &item))
	}
	return out
}

func (v values) textMap(name string) map[string]Text {
	n, f, ok := v.has(name)
	if !ok {
		return nil
	}
	out := map[string]Text{}
	for _, e := range v.w.entries(n, name) {
		item := *f
		item.name = e.key.Value
		out[e.key.Value] = v.w.text(v.w.follow(e.value), &item)
	}
	return out
}

func (v values) steps() []Step {
	n, _, ok := v.has("steps")
	if !ok {
		return nil
	}
	var out []Step
	for _, item := range v.w.items(n, "steps") {
		s := v.w.object(item, stepObject)
		if len(s.nodes) > 1 {
			v.w.error(item, "a step does one thing, and this one has several keys", "write each as a step of its own: - key: …")
			continue
		}
		if item.Kind == yaml.MappingNode && len(item.Content) == 0 || isNull(item) {
			v.w.error(item, "a step is empty", "one of "+strings.Join(stepObject.names(), ", "))
			continue
		}
		for name := range s.nodes {
			out = append(out, s.step(name))
		}
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		v.w.error(n, "steps is empty", "leave it out if the handler is a Go function or another program's consumer")
	}
	return out
}

func (v values) step(name string) Step {
	o := v.child(name)
	if isNull(v.nodes[name]) {
		o = v.w.object(v.nodes[name], v.object.field(name).object)
	}
	at := v.w.pos(v.keys[name])
	s := Step{Pos: at, line: v.w.line(at.Line)}
	switch name {
	case "webhook":
		s.Webhook = &Webhook{URL: o.text("url"), Mode: o.string("mode"), Secret: o.text("secret"), Headers: o.textMap("headers"), Timeout: o.duration("timeout")}
		o.checkWebhook(s.Webhook)
	case "exec":
		s.Exec = &Exec{Command: o.texts("command"), Env: o.textMap("env"), Dir: o.text("dir"), Permanent: o.bool("permanent")}
		if n, _, ok := o.has("command"); ok && len(s.Exec.Command) == 0 {
			v.w.errorf(n, "command is empty")
		}
	case "file":
		s.Append = &Append{Path: o.text("path"), Sync: o.bool("sync")}
	case "log":
		s.Log = &Log{Level: o.string("level"), Data: o.bool("data")}
	case "forward":
		s.Forward = &Forward{Exchange: o.text("exchange"), Key: o.text("key")}
	}
	return s
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

func (v values) checkWebhook(h *Webhook) {
	if n, _, ok := v.has("url"); ok && len(h.URL.Variables()) == 0 {
		u, err := url.Parse(string(h.URL))
		switch {
		case err != nil:
			v.w.errorf(n, "url %q cannot be parsed", shorten(string(h.URL)))
		case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
			v.w.error(n, fmt.Sprintf("url %q is not an http or https URL", shorten(string(h.URL))), "such as https://example.com/hook")
		}
	}
	if n, _, ok := v.has("secret"); ok && len(h.Secret.Variables()) == 0 {
		if _, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(string(h.Secret), "whsec_")); err != nil {
			v.w.errorf(n, "secret is not a Standard Webhooks secret: whsec_ and base64")
		}
		v.w.warn(n, "the secret stands in the file", "secret: \"${NAME}\" takes it from the environment")
	}
	if n, _, ok := v.has("headers"); ok {
		for _, e := range v.w.entries(n, "headers") {
			if !headerName.MatchString(e.key.Value) {
				v.w.errorf(e.key, "header name %q is not one", shorten(e.key.Value))
			}
			if value := v.w.follow(e.value); strings.ContainsAny(value.Value, "\r\n\x00") {
				v.w.errorf(value, "header %q has a line break in its value", shorten(e.key.Value))
			}
		}
	}
}

// documentFields are the fields of an event's document that are not extension attributes.
var documentFields = []string{"type", "id", "source", "subject", "time", "headers", "data"}

var attributeName = regexp.MustCompile(`^[a-z0-9]{1,64}$`)

// path reads a dotted path into an event's document; a segment with dots in it is written in double quotes.
func (v values) path(name string) []string {
	n, _, ok := v.has(name)
	if !ok {
		return nil
	}
	text := v.string(name)
	segments, ok := splitPath(text)
	if !ok {
		v.w.error(n, fmt.Sprintf("%s %q is not a path", name, shorten(text)), `names between dots, such as data.customer.id; a name with dots in double quotes: data."a.b"`)
		return nil
	}
	first := segments[0]
	switch known := knownField(first); {
	case !known && !attributeName.MatchString(first):
		v.w.error(n, fmt.Sprintf("%s begins with %q, which no event has", name, shorten(first)), didYouMean(first, documentFields))
	case !known && closest(first, documentFields) != "":
		v.w.warn(n, fmt.Sprintf("%s begins with %q, taken for an extension attribute", name, first), didYouMean(first, documentFields))
	case len(segments) == 1 && (first == "data" || first == "headers"):
		v.w.error(n, fmt.Sprintf("%s is the whole %s", name, first), "name a field of it: "+first+".id")
	case len(segments) > 1 && first != "data" && first != "headers":
		v.w.errorf(n, "%s: %q has no fields inside", name, first)
	}
	return segments
}

func knownField(name string) bool {
	for _, f := range documentFields {
		if f == name {
			return true
		}
	}
	return false
}

func splitPath(text string) ([]string, bool) {
	var out []string
	for {
		var segment string
		if strings.HasPrefix(text, `"`) {
			end := strings.Index(text[1:], `"`)
			if end < 0 {
				return nil, false
			}
			segment, text = text[1:1+end], text[end+2:]
		} else {
			end := strings.IndexAny(text, `."`)
			if end < 0 {
				end = len(text)
			}
			segment, text = text[:end], text[end:]
		}
		if segment == "" {
			return nil, false
		}
		out = append(out, segment)
		if text == "" {
			return out, true
		}
		if text[0] != '.' {
			return nil, false
		}
		text = text[1:]
	}
}

// document reads an event: a mapping with a type, turned into encoding/json's types.
func (v values) document(name string) map[string]any {
	n, _, ok := v.has(name)
	if !ok {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		v.w.errorf(n, "%s is a mapping, not %s", name, what(n))
		return nil
	}
	doc := map[string]any{}
	for _, e := range v.w.entries(n, "an event") {
		key, value := e.key.Value, v.w.follow(e.value)
		switch {
		case key == "type", key == "id", key == "source", key == "subject", key == "time":
			if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!str" && value.ShortTag() != "!!timestamp" {
				v.w.errorf(value, "an event's %s is a string, not %s", key, what(value))
			}
			doc[key] = value.Value
			if _, err := time.Parse(time.RFC3339Nano, value.Value); key == "time" && err != nil {
				v.w.error(value, fmt.Sprintf("time %q is not RFC 3339", shorten(value.Value)), "such as 2026-01-31T12:00:00Z")
			}
		case key == "headers" && value.Kind != yaml.MappingNode:
			v.w.errorf(value, "an event's headers are a mapping, not %s", what(value))
		case !knownField(key) && !attributeName.MatchString(key):
			v.w.errorf(e.key, "%q is no name of an extension attribute: lower-case letters and digits", shorten(key))
		default:
			doc[key] = v.w.json(value, 0)
		}
	}
	if t, ok := doc["type"].(string); !ok || t == "" {
		v.w.errorf(n, `an event has no "type", which it needs`)
	} else if len(t) > maxKey {
		v.w.errorf(n, "type is %d bytes long, and a routing key has at most %d", len(t), maxKey)
	}
	return doc
}

// maxDepth bounds the nesting of an event in a rules file.
const maxDepth = 1000

var jsonNumber = regexp.MustCompile(`^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$`)

// isNumber reports whether a scalar is a number. YAML's library takes those beyond a double for strings.
func isNumber(n *yaml.Node) bool {
	switch n.ShortTag() {
	case "!!int", "!!float":
		return true
	case "!!str":
		const said = yaml.TaggedStyle | yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
		return n.Style&said == 0 && n.Value != "" && strings.Contains("-0123456789", n.Value[:1]) && jsonNumber.MatchString(n.Value)
	}
	return false
}

// json turns a node into encoding/json's types, with numbers as they are written.
func (w *walker) json(n *yaml.Node, depth int) any {
	n = w.follow(n)
	if depth > maxDepth {
		w.errorf(n, "nested deeper than %d levels", maxDepth)
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for _, e := range w.entries(n, "an object") {
			out[e.key.Value] = w.json(e.value, depth+1)
		}
		return out
	case yaml.SequenceNode:
		out := make([]any, len(n.Content))
		for i, c := range n.Content {
			out[i] = w.json(c, depth+1)
		}
		return out
	}
	if isNumber(n) {
		if !jsonNumber.MatchString(n.Value) {
			w.error(n, fmt.Sprintf("%s is no number of JSON", n.Value), "digits as JSON has them, or a string in quotes")
		}
		return json.Number(n.Value)
	}
	switch n.ShortTag() {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!str", "!!timestamp":
		if !utf8.ValidString(n.Value) {
			w.errorf(n, "the string is not UTF-8")
		}
		return n.Value
	}
	w.errorf(n, "JSON has no %s", strings.TrimPrefix(n.ShortTag(), "!!"))
	return nil
}
