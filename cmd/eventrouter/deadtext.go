package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/eventrouter/eventrouter/pipelines/dead"
	"github.com/eventrouter/eventrouter/router"
)

// printable is a text as a terminal may have it, besides the characters to keep: what would move the cursor, colour or hide what is written, or turn it around, is
// escaped as in Go. Whoever publishes an event chooses its id, and much of the rest.
func printable(s, keep string) string {
	var b strings.Builder
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && n == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case unicode.IsGraphic(r) || strings.ContainsRune(keep, r):
			b.WriteString(s[:n])
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[n:]
	}
	return b.String()
}

// showText writes a letter whole, for people: as a JSON document, and behind it data that JSON could only show as base64, though it is text.
func showText(w io.Writer, l *dead.Letter) error {
	s := shownOf(l)
	s.Event = l.Event
	if !isOtherText(l.Event) {
		return writeJSON(w, s)
	}
	without := *l.Event
	without.Data = nil
	s.Event = &without
	if err := writeJSON(w, s); err != nil {
		return err
	}
	what := "without a content type"
	if kind := l.Event.ContentType; kind != "" {
		what = fmt.Sprintf("that is not JSON, though its content type is %s", printable(kind, ""))
	}
	text := strings.TrimSuffix(printable(string(l.Event.Data), "\n\t"), "\n")
	_, err := fmt.Fprintf(w, "data, %s of text %s:\n%s\n", count(len(l.Event.Data), "byte"), what, text)
	return err
}

// isOtherText reports whether an event's data may be JSON by its content type, and is text of another kind. Text has no NUL.
func isOtherText(e *router.Event) bool {
	return len(e.Data) > 0 && e.ClaimsJSON() && utf8.Valid(e.Data) && bytes.IndexByte(e.Data, 0) < 0 && !json.Valid(e.Data)
}
