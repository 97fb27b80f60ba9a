package event

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Document is what conditions see of an event: type, id, source, subject, time, headers, data and the extension attributes
// by name, in encoding/json's types with numbers as json.Number. What the event does not have is not in it;
// nor is data that is not JSON.
func (e *Event) Document() map[string]any {
	doc := make(map[string]any, 7+len(e.Attributes))
	for name, v := range e.Attributes {
		doc[name] = Plain(v)
	}
	text := func(name, value string) {
		if value != "" {
			doc[name] = value
		}
	}
	doc["type"] = e.Type
	text("id", e.ID)
	text("source", e.Source)
	text("subject", e.Subject)
	if !e.Time.IsZero() {
		doc["time"] = e.Time.Format(time.RFC3339Nano)
	}
	if len(e.Headers) > 0 {
		doc["headers"] = Plain(e.Headers)
	}
	if data, ok := e.JSON(); ok {
		doc["data"] = data
	}
	return doc
}

// ClaimsJSON reports whether Data is JSON by its content type; without one it may be.
func (e *Event) ClaimsJSON() bool {
	media, _, _ := strings.Cut(e.ContentType, ";")
	media = strings.TrimSpace(media)
	return media == "" || strings.EqualFold(media, "application/json") || strings.EqualFold(media, "text/json") ||
		len(media) > 5 && strings.EqualFold(media[len(media)-5:], "+json")
}

// JSON decodes Data, with numbers as json.Number. It reports false where Data is not one whole JSON value.
func (e *Event) JSON() (any, bool) {
	if len(e.Data) == 0 || !e.ClaimsJSON() || !utf8.Valid(e.Data) {
		return nil, false
	}
	d := json.NewDecoder(bytes.NewReader(e.Data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil, false
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, false
	}
	return v, true
}

// Plain turns the value of an attribute or a header into encoding/json's types, as Document shows it. A number that JSON does not
// have is nil.
func Plain(v any) any {
	switch v := v.(type) {
	case nil, string, bool, json.Number:
		return v
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, inner := range v {
			out[name] = Plain(inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = Plain(inner)
		}
		return out
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil // an infinity or NaN, which JSON does not have
	}
	return json.Number(b)
}
