package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/eventrouter/eventrouter/router/event/jsonscan"
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
	for _, f := range [...]struct{ name, value string }{{"type", e.Type}, {"id", e.ID}, {"source", e.Source}, {"subject", e.Subject}} {
		if !utf8.ValidString(f.value) {
			return fmt.Errorf("%q is not UTF-8", f.name)
		}
	}
	for name := range e.Attributes {
		if err := CheckAttribute(name); err != nil {
			return err
		}
	}
	return nil
}

// CheckAttribute reports what is wrong with an extension attribute's name: CloudEvents has lower-case letters and digits, and some names mean something else in an event.
func CheckAttribute(name string) error {
	switch name {
	case "specversion", "id", "type", "source", "subject", "time", "datacontenttype", "data", "data_base64", "headers":
		return fmt.Errorf("%q is no name for an extension attribute: an event has something else of that name", name)
	}
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

// around is how many arrays and objects there may be around an event's data, the event's own among them: deeper documents cannot be read.
const around = 8

// MarshalJSON writes the event in CloudEvents' JSON format, with its headers besides. Data that claims to be JSON and is
// stays as it is but for space; other data that is UTF-8 is a string, and anything else is base64, JSON that nests too deep to stand in a document among it.
// Bytes of names and texts that are not UTF-8 become question marks.
func (e *Event) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"specversion":"1.0"`)
	put := func(name string, v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		key, _ := json.Marshal(name) // a string has no error
		b.WriteByte(',')
		b.Write(key)
		b.WriteByte(':')
		b.Write(text)
		return nil
	}
	text := func(name, value string) error {
		if value == "" {
			return nil
		}
		return put(name, strings.ToValidUTF8(value, "?")) // no longer than it was, as there are limits
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
			err = errors.Join(err, put(name, Plain(e.Attributes[name])))
		}
	}
	if len(e.Headers) > 0 {
		headers := make(map[string]any, len(e.Headers))
		for name, v := range e.Headers {
			headers[strings.ToValidUTF8(name, "?")] = Plain(v)
		}
		err = errors.Join(err, put("headers", headers))
	}
	switch {
	case len(e.Data) == 0:
	case e.ClaimsJSON() && utf8.Valid(e.Data) && isValue(e.Data):
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

// isValue reports whether data is one value of JSON that can stand in an event's document.
func isValue(data []byte) bool {
	end, ok := jsonscan.Value(data, 0, around)
	return ok && jsonscan.End(data, end)
}
