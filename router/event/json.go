package event

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// MaxType is the limit on an event's type, which is an AMQP routing key, in bytes.
const MaxType = 255

// NewID makes an id: a UUID of version 7, so that ids sort by time.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// Check reports what is wrong with the event's fields, naming the field.
func (e *Event) Check() error {
	switch {
	case e.Type == "":
		return errors.New(`"type" is missing`)
	case len(e.Type) > MaxType:
		return fmt.Errorf(`"type" is %d bytes long; the limit is %d`, len(e.Type), MaxType)
	case len(e.ID) > MaxType:
		return fmt.Errorf(`"id" is %d bytes long; the limit is %d`, len(e.ID), MaxType)
	case len(e.ContentType) > MaxType:
		return fmt.Errorf(`"datacontenttype" is %d bytes long; the limit is %d`, len(e.ContentType), MaxType)
	}
	for name, v := range map[string]string{"type": e.Type, "id": e.ID, "source": e.Source, "subject": e.Subject} {
		if !utf8.ValidString(v) {
			return fmt.Errorf("%q is not UTF-8", name)
		}
	}
	for name := range e.Attributes {
		if err := CheckAttribute(name); err != nil {
			return err
		}
	}
	return nil
}

// CheckAttribute reports what is wrong with an extension attribute's name: CloudEvents has lower-case letters and digits.
func CheckAttribute(name string) error {
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') {
			return fmt.Errorf("attribute %q is not lower-case letters and digits", name)
		}
	}
	if name == "" || len(name) > 64 {
		return fmt.Errorf("attribute %q is not 1 to 64 characters long", name)
	}
	return nil
}

// The keys of CloudEvents' JSON format that are not extension attributes, and headers, which is ours.
var known = []string{"specversion", "id", "type", "source", "subject", "time", "datacontenttype", "data", "data_base64", "headers"}

// MarshalJSON writes the event in CloudEvents' JSON format, with its headers besides. Data that claims to be JSON and is
// stays as it is; other data that is UTF-8 is a string, and anything else is base64.
func (e *Event) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"specversion":"1.0"`)
	put := func(name string, v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(&b, ",%q:%s", name, text)
		return nil
	}
	text := func(name, value string) error {
		if value == "" {
			return nil
		}
		return put(name, value)
	}
	err := errors.Join(text("id", e.ID), text("type", e.Type), text("source", e.Source), text("subject", e.Subject))
	if !e.Time.IsZero() {
		err = errors.Join(err, put("time", e.Time.Format(time.RFC3339Nano)))
	}
	err = errors.Join(err, text("datacontenttype", e.ContentType))
	for _, name := range slices.Sorted(maps.Keys(e.Attributes)) {
		if bytes, ok := e.Attributes[name].([]byte); ok {
			err = errors.Join(err, put(name, bytes))
		} else {
			err = errors.Join(err, put(name, plain(e.Attributes[name])))
		}
	}
	if len(e.Headers) > 0 {
		err = errors.Join(err, put("headers", plain(e.Headers)))
	}
	switch {
	case len(e.Data) == 0:
	case e.ClaimsJSON() && utf8.Valid(e.Data) && json.Valid(e.Data):
		b.WriteString(`,"data":`)
		err = errors.Join(err, json.Compact(&b, e.Data))
	case utf8.Valid(e.Data) && e.ContentType != "" && !e.ClaimsJSON():
		err = errors.Join(err, put("data", string(e.Data)))
	default:
		err = errors.Join(err, put("data_base64", e.Data))
	}
	b.WriteByte('}')
	return b.Bytes(), err
}

// UnmarshalJSON reads CloudEvents' JSON format. type is needed; an id that is missing is left empty, and specversion
// may be left out. Unknown keys are extension attributes. An error names the field.
func (e *Event) UnmarshalJSON(src []byte) error {
	if !utf8.Valid(src) {
		return errors.New("the event is not UTF-8")
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(src, &fields); err != nil {
		return fmt.Errorf("an event is a JSON object: %w", err)
	}
	if fields == nil {
		return errors.New("an event is a JSON object, not null")
	}
	*e = Event{}
	for name, to := range map[string]*string{"id": &e.ID, "type": &e.Type, "source": &e.Source, "subject": &e.Subject, "datacontenttype": &e.ContentType} {
		if raw, ok := fields[name]; ok && !isNull(raw) {
			if json.Unmarshal(raw, to) != nil {
				return fmt.Errorf("%q is a string, not %s", name, cut(raw))
			}
		}
	}
	if err := e.readTime(fields["time"]); err != nil {
		return err
	}
	if v, ok := fields["specversion"]; ok && string(v) != `"1.0"` {
		return fmt.Errorf(`"specversion" is "1.0", not %s`, cut(v))
	}
	if err := e.readHeaders(fields["headers"]); err != nil {
		return err
	}
	if err := e.readAttributes(fields); err != nil {
		return err
	}
	if err := e.readData(fields); err != nil {
		return err
	}
	return e.Check()
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

func cut(raw []byte) string {
	if len(raw) > 60 {
		return strings.ToValidUTF8(string(raw[:60]), "") + "…"
	}
	return string(raw)
}

func (e *Event) readTime(raw json.RawMessage) error {
	if raw == nil || isNull(raw) {
		return nil
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			e.Time = t
			return nil
		}
	}
	return fmt.Errorf(`"time" is an RFC 3339 time such as "2026-01-31T12:00:00Z", not %s`, cut(raw))
}

func (e *Event) readHeaders(raw json.RawMessage) error {
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

func (e *Event) readAttributes(fields map[string]json.RawMessage) error {
	for name, raw := range fields {
		if slices.Contains(known, name) || isNull(raw) {
			continue
		}
		if err := CheckAttribute(name); err != nil {
			return err
		}
		v, err := readAttribute(raw)
		if err != nil {
			return fmt.Errorf("attribute %q %w", name, err)
		}
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes[name] = v
	}
	return nil
}

func readAttribute(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string, bool:
		return v, nil
	case json.Number:
		i, err := v.Int64()
		if err == nil && int64(int32(i)) == i {
			return int32(i), nil
		}
		return nil, fmt.Errorf("is a whole number of 32 bits, not %s", cut(raw))
	}
	return nil, fmt.Errorf("is a string, a boolean or a whole number, not %s", cut(raw))
}

func (e *Event) readData(fields map[string]json.RawMessage) error {
	data, hasData := fields["data"]
	encoded, hasEncoded := fields["data_base64"]
	switch {
	case hasData && hasEncoded:
		return errors.New(`"data" and "data_base64" cannot both be there`)
	case hasEncoded:
		var s string
		if json.Unmarshal(encoded, &s) != nil {
			return fmt.Errorf(`"data_base64" is a string, not %s`, cut(encoded))
		}
		raw, err := base64.StdEncoding.DecodeString(s)
		if err != nil {
			return fmt.Errorf(`"data_base64": %w`, err)
		}
		e.Data = raw
	case hasData && !e.ClaimsJSON():
		var s string
		if json.Unmarshal(data, &s) != nil {
			e.Data = slices.Clone(data)
			return nil
		}
		e.Data = []byte(s)
	case hasData:
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

// MaxLine bounds a line of NDJSON, in bytes.
const MaxLine = 32 << 20

// Reader reads events as NDJSON, one JSON object a line. Blank lines are passed over. One goroutine may use it.
type Reader struct {
	scanner *bufio.Scanner
	line    int
}

// NewReader reads from r.
func NewReader(r io.Reader) *Reader {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), MaxLine)
	return &Reader{scanner: s}
}

// LineError is a line that is no event. Reading can go on after it.
type LineError struct {
	Line int
	Err  error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }
func (e *LineError) Unwrap() error { return e.Err }

// Line is the number of the line read last, from 1.
func (r *Reader) Line() int { return r.line }

// Next reads the next event into e; io.EOF is the end. A *LineError concerns one line only.
func (r *Reader) Next(e *Event) error {
	for r.scanner.Scan() {
		r.line++
		text := bytes.TrimSpace(r.scanner.Bytes())
		if r.line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if len(text) == 0 {
			continue
		}
		if err := e.UnmarshalJSON(text); err != nil {
			return &LineError{r.line, err}
		}
		return nil
	}
	if err := r.scanner.Err(); err != nil {
		return fmt.Errorf("line %d: %w", r.line+1, err)
	}
	return io.EOF
}
