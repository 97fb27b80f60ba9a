package webhook

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/eventrouter/eventrouter/router"
)

// binaryHeaders writes an event's attributes as headers, by CloudEvents' HTTP binding (1.0.2, section 3.1).
func binaryHeaders(h http.Header, e *router.Event) {
	h.Set("Ce-Specversion", "1.0")
	set := func(name, value string) {
		if value != "" {
			h.Set("Ce-"+name, headerText(value))
		}
	}
	set("Id", e.ID)
	set("Type", e.Type)
	source := e.Source
	if source == "" {
		source = "/" // a receiver may insist on one
	}
	set("Source", source)
	set("Subject", e.Subject)
	if !e.Time.IsZero() {
		set("Time", e.Time.Format(time.RFC3339Nano))
	}
	for name, v := range e.Attributes {
		text := attributeText(v)
		set(name, text)
		if name == "traceparent" || name == "tracestate" {
			h.Set(name, headerText(text))
		}
	}
	if e.ContentType != "" {
		h.Set("Content-Type", headerText(e.ContentType))
	}
}

// attributeText is an attribute's canonical text (CloudEvents 1.0.2, section 2.2).
func attributeText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return base64.StdEncoding.EncodeToString(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	case nil:
		return ""
	}
	return fmt.Sprint(v)
}

// headerText percent-encodes what may not stand in a header: all but printable ASCII, and space, quote and percent. Whatever an event says, it
// stays in its header.
func headerText(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = isPlain(s[i])
	}
	if plain {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && isPlain(byte(r)) {
			b.WriteByte(byte(r))
			continue
		}
		for _, c := range []byte(string(r)) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

func isPlain(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
