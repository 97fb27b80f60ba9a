package rules

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// jsonNodes reads a text that is JSON as the nodes that YAML would make of it; nil if it is no JSON. The YAML library takes most of JSON, but
// not all: no pairs of \u escapes, no \/, no colon on a line of its own, no long keys.
func jsonNodes(text []byte) *yaml.Node {
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if begin := bytes.TrimLeft(text, " \t\r\n"); len(begin) == 0 || begin[0] != '{' || !utf8.Valid(text) || !json.Valid(text) {
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	r := &jsonReader{text: text, dec: dec, line: 1, column: 1}
	return r.value()
}

// jsonReader walks over a text that is known to be JSON.
type jsonReader struct {
	text         []byte
	dec          *json.Decoder
	at           int // line and column are those of this byte
	line, column int
}

// token reads the next token, and gives a node at its place.
func (r *jsonReader) token() (json.Token, *yaml.Node) {
	for at := r.at; ; at++ {
		if !strings.ContainsRune(" \t\r\n,:", rune(r.text[at])) {
			r.walk(at)
			break
		}
	}
	t, err := r.dec.Token()
	if err != nil {
		panic(err) // the text is known to be JSON; the caller tells it as a syntax error
	}
	n := &yaml.Node{Line: r.line, Column: r.column}
	r.walk(int(r.dec.InputOffset()))
	return t, n
}

// walk moves on to a byte, counting lines as [lines] does.
func (r *jsonReader) walk(to int) {
	for r.at < to {
		c, size := utf8.DecodeRune(r.text[r.at:])
		r.at += size
		r.column++
		if c == '\n' || c == '\u0085' || c == '\u2028' || c == '\u2029' || c == '\r' && !bytes.HasPrefix(r.text[r.at:], []byte("\n")) {
			r.line, r.column = r.line+1, 1
		}
	}
}

func (r *jsonReader) value() *yaml.Node {
	t, n := r.token()
	switch t := t.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		n.Style = yaml.FlowStyle
		for r.dec.More() {
			n.Content = append(n.Content, r.value())
		}
		r.token()
	case string:
		n.Kind, n.Tag, n.Style, n.Value = yaml.ScalarNode, "!!str", yaml.DoubleQuotedStyle, t
	case json.Number:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!float", t.String()
		if !strings.ContainsAny(n.Value, ".eE") {
			n.Tag = "!!int"
		}
	case bool:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!bool", "false"
		if t {
			n.Value = "true"
		}
	default:
		n.Kind, n.Tag, n.Value = yaml.ScalarNode, "!!null", "null"
	}
	return n
}
