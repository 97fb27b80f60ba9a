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

// anyEvents begins the content types of structured and batch mode, in any case of letters: by it alone receivers tell the modes apart (section 3).
const anyEvents = "application/cloudevents"

// binaryHeaders writes an event's attributes as headers, by CloudEvents' HTTP binding (1.0.2, section 3.1). Data that is an event itself has no such
// form: a receiver would take it for the event, with a type that no rule has seen.
func binaryHeaders(h http.Header, e *router.Event) error {
	if media := strings.TrimSpace(e.ContentType); len(media) >= len(anyEvents) && strings.EqualFold(media[:len(anyEvents)], anyEvents) {
		return fmt.Errorf("the event's content type is %q, which says in binary mode that its data is the event; mode structured can send it", e.ContentType)
	}
	for name, v := range e.Attributes {
		if v == nil {
			continue
		}
		if !isToken(name) {
			return fmt.Errorf("attribute %q cannot be the name of a header", name)
		}
		text := attributeText(v)
		h.Set("Ce-"+name, headerText(text))
		if name == "traceparent" || name == "tracestate" {
			h.Set(name, encode(text, isValue)) // where tracers look for them
		}
	}
	set := func(name, value string) {
		if value != "" {
			h.Set("Ce-"+name, headerText(value))
		}
	}
	set("Specversion", "1.0")
	set("Id", e.ID)
	set("Type", e.Type)
	set("Source", e.Source)
	set("Subject", e.Subject)
	if !e.Time.IsZero() {
		set("Time", e.Time.Format(time.RFC3339Nano))
	}
	if e.ContentType != "" {
		h.Set("Content-Type", encode(e.ContentType, isValue))
	}
	return nil
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
	}
	return fmt.Sprint(v)
}

// headerText is an attribute as a header holds it (section 3.1.3.2): all but printable ASCII is percent-encoded, and so are
// space, quote and percent. Whatever an event says, it stays in its header.
func headerText(s string) string { return encode(s, isPlain) }

// encode percent-encodes the characters of which keep does not hold.
func encode(s string, keep func(c byte) bool) string {
	kept := 0
	for kept < len(s) && keep(s[kept]) {
		kept++
	}
	if kept == len(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf && keep(byte(r)) {
			b.WriteByte(byte(r))
			continue
		}
		for _, c := range []byte(string(r)) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// isPlain holds of what an attribute's header shows as it is.
func isPlain(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }

// isValue holds of what may stand in any header.
func isValue(c byte) bool { return c >= ' ' && c < 0x7f || c == '\t' }

// isToken holds of a header's name (RFC 9110, section 5.6.2).
func isToken(name string) bool {
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != ""
}
