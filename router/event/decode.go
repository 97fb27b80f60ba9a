package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/eventrouter/eventrouter/router/event/jsonscan"
)

// UnmarshalJSON reads CloudEvents' JSON format. type is needed; an id that is missing is left empty, and specversion
// may be left out. Unknown keys are extension attributes. Of keys that are there twice, the last counts. An error names the field.
func (e *Event) UnmarshalJSON(src []byte) error {
	if !utf8.Valid(src) {
		return errors.New("the event is not UTF-8")
	}
	var m members
	if !m.read(src) {
		var any map[string]json.RawMessage
		if err := json.Unmarshal(src, &any); err != nil {
			return fmt.Errorf("an event is a JSON object: %w", err)
		}
		return errors.New("an event is a JSON object, not null")
	}
	*e = Event{}
	for _, f := range [...]struct {
		name string
		raw  []byte
		to   *string
	}{
		{"id", m.id, &e.ID}, {"type", m.typ, &e.Type}, {"source", m.source, &e.Source},
		{"subject", m.subject, &e.Subject}, {"datacontenttype", m.contentType, &e.ContentType},
	} {
		var ok bool
		if *f.to, ok = text(f.raw); !ok {
			return fmt.Errorf("%q is a string, not %s", f.name, cut(f.raw))
		}
	}
	if err := e.readTime(m.time); err != nil {
		return err
	}
	if v := m.specversion; v != nil && string(v) != `"1.0"` {
		return fmt.Errorf(`"specversion" is "1.0", not %s`, cut(v))
	}
	if err := e.readHeaders(m.headers); err != nil {
		return err
	}
	if err := e.readAttributes(m.others); err != nil {
		return err
	}
	if err := e.readData(m.data, m.dataBase64); err != nil {
		return err
	}
	return e.Check()
}

// members are the values of an event in CloudEvents' JSON format as they are written; nil where there is none.
type members struct {
	specversion, id, typ, source, subject, time, contentType, data, dataBase64, headers []byte

	others []member // extension attributes
}

type member struct {
	name string
	raw  []byte
}

// read finds the members of an object; false if src is not one.
func (m *members) read(src []byte) bool {
	i := jsonscan.Space(src, 0)
	if i >= len(src) || src[i] != '{' {
		return false
	}
	if i = jsonscan.Space(src, i+1); i < len(src) && src[i] == '}' {
		return jsonscan.End(src, i+1)
	}
	for {
		colon, ok := jsonscan.Key(src, i)
		if !ok {
			return false
		}
		begin := jsonscan.Space(src, colon)
		end, ok := jsonscan.Value(src, begin, 1)
		if !ok {
			return false
		}
		m.put(bytes.TrimRight(src[i:colon-1], " \t\r\n"), src[begin:end])
		if i = jsonscan.Space(src, end); i >= len(src) {
			return false
		}
		if src[i] != ',' {
			m.last()
			return src[i] == '}' && jsonscan.End(src, i+1)
		}
		i = jsonscan.Space(src, i+1)
	}
}

// put notes a member by its key, which is in quotes.
func (m *members) put(key, raw []byte) {
	if bytes.IndexByte(key, '\\') >= 0 {
		key = jsonscan.AppendString(nil, key)
	}
	switch key = key[1 : len(key)-1]; string(key) {
	case "specversion":
		m.specversion = raw
	case "id":
		m.id = raw
	case "type":
		m.typ = raw
	case "source":
		m.source = raw
	case "subject":
		m.subject = raw
	case "time":
		m.time = raw
	case "datacontenttype":
		m.contentType = raw
	case "data":
		m.data = raw
	case "data_base64":
		m.dataBase64 = raw
	case "headers":
		m.headers = raw
	default:
		m.others = append(m.others, member{string(key), raw})
	}
}

// last leaves, of others with the same name, the last.
func (m *members) last() {
	if len(m.others) < 2 {
		return
	}
	slices.SortStableFunc(m.others, func(a, b member) int { return strings.Compare(a.name, b.name) })
	n := 0
	for i, o := range m.others {
		if i+1 == len(m.others) || m.others[i+1].name != o.name {
			m.others[n] = o
			n++
		}
	}
	m.others = m.others[:n]
}

// text is what a string means; nothing and null are the empty string.
func text(raw []byte) (string, bool) {
	switch {
	case raw == nil || isNull(raw):
		return "", true
	case raw[0] != '"':
		return "", false
	}
	inside := raw[1 : len(raw)-1]
	if bytes.IndexByte(inside, '\\') < 0 {
		return string(inside), true
	}
	return string(jsonscan.AppendString(make([]byte, 0, len(inside)), inside)), true
}

func isNull(raw []byte) bool { return string(raw) == "null" }

func cut(raw []byte) string {
	if len(raw) > 60 {
		return strings.ToValidUTF8(string(raw[:60]), "") + "…"
	}
	return string(raw)
}

func (e *Event) readTime(raw []byte) error {
	if raw == nil || isNull(raw) {
		return nil
	}
	if s, ok := text(raw); ok {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			e.Time = t
			return nil
		}
	}
	return fmt.Errorf(`"time" is an RFC 3339 time such as "2026-01-31T12:00:00Z", not %s`, cut(raw))
}

func (e *Event) readHeaders(raw []byte) error {
	if raw == nil || isNull(raw) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&e.Headers) != nil {
		return fmt.Errorf(`"headers" is an object, not %s`, cut(raw))
	}
	for name, v := range e.Headers {
		if len(name) > MaxType {
			return fmt.Errorf("header %q is over %d bytes long", cut([]byte(name)), MaxType)
		}
		e.Headers[name] = wire(v)
	}
	return nil
}

// wire turns JSON's numbers into those of AMQP's headers.
func wire(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64()
		return f
	case map[string]any:
		for name, inner := range v {
			v[name] = wire(inner)
		}
	case []any:
		for i, inner := range v {
			v[i] = wire(inner)
		}
	}
	return v
}

func (e *Event) readAttributes(others []member) error {
	for _, o := range others {
		if isNull(o.raw) {
			continue
		}
		if err := CheckAttribute(o.name); err != nil {
			return err
		}
		v, err := readAttribute(o.raw)
		if err != nil {
			return fmt.Errorf("attribute %q %w", o.name, err)
		}
		if e.Attributes == nil {
			e.Attributes = make(map[string]any, len(others))
		}
		e.Attributes[o.name] = v
	}
	return nil
}

func readAttribute(raw []byte) (any, error) {
	switch raw[0] {
	case '"':
		s, _ := text(raw)
		return s, nil
	case 't', 'f':
		return raw[0] == 't', nil
	case '{', '[':
		return nil, fmt.Errorf("is a string, a boolean or a whole number, not %s", cut(raw))
	}
	i, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || int64(int32(i)) != i {
		return nil, fmt.Errorf("is a whole number of 32 bits, not %s", cut(raw))
	}
	return int32(i), nil
}

func (e *Event) readData(data, encoded []byte) error {
	switch {
	case data != nil && encoded != nil:
		return errors.New(`"data" and "data_base64" cannot both be there`)
	case encoded != nil:
		s, ok := text(encoded)
		if !ok {
			return fmt.Errorf(`"data_base64" is a string, not %s`, cut(encoded))
		}
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return fmt.Errorf(`"data_base64": %w`, err)
		}
		e.Data = raw
	case data != nil && !e.ClaimsJSON():
		s, ok := text(data)
		if !ok {
			e.Data = slices.Clone(data)
			return nil
		}
		e.Data = []byte(s)
	case data != nil:
		e.Data = slices.Clone(data)
		if e.ContentType == "" {
			e.ContentType = "application/json"
		}
	}
	return nil
}

// FromDocument makes an event of a document as a rules file's tests have it. What is missing stays empty.
func FromDocument(doc map[string]any) (Event, error) {
	var e Event
	src, err := json.Marshal(doc)
	if err != nil {
		return e, err
	}
	return e, e.UnmarshalJSON(src)
}
