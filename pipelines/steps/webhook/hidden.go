package webhook

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// How long a text is, in bytes, before it is taken out of answers: a "1" is no secret, and an answer without its short words says nothing.
const (
	leastSecret  = 4  // what is there to be one, such as a password
	leastWord    = 6  // a part of a header's value or of a variable's
	leastSegment = 16 // a part of the URL's path, where most are plain words
)

// schemes are no secrets, though they stand in headers together with them (RFC 9110, section 11.1).
var schemes = []string{"basic", "bearer", "digest"}

// hidden takes out of a text what the options hold and others are not to see, however an answer writes it.
func hidden(u *url.URL, o *Options) *strings.Replacer {
	h := &secrets{shown: shown(u)}
	h.add(leastSecret, u.RawQuery, o.Secret)
	for _, values := range u.Query() {
		h.add(leastSecret, values...)
	}
	for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
		h.add(leastSegment, segment)
	}
	if u.User != nil {
		name := u.User.Username()
		password, _ := u.User.Password()
		basic := base64.StdEncoding.EncodeToString([]byte(name + ":" + password))
		h.add(leastSecret, u.User.String(), name, password, url.UserPassword("", password).String()[1:], basic)
	}
	for _, value := range o.Headers {
		h.add(leastSecret, value)
		_, credentials, _ := strings.Cut(value, " ")
		h.add(leastWord, credentials)
		h.words(value, " \t,;=\"'")
		name, password, _ := (&http.Request{Header: http.Header{"Authorization": {value}}}).BasicAuth()
		h.add(leastSecret, name, password)
	}
	for _, value := range o.Hide {
		if !strings.Contains(h.shown, value) {
			h.add(leastWord, value)
			h.words(value, " \t,;=\"'/?&")
		}
	}
	return h.replacer()
}

// secrets are gathered for a replacer.
type secrets struct {
	shown string // by errors, and so no secret
	texts []string
}

func (s *secrets) add(least int, texts ...string) {
	for _, text := range texts {
		if len(text) >= least {
			s.texts = append(s.texts, text)
		}
	}
}

// words adds the parts of a value, such as the token after Bearer: a receiver may repeat it alone.
func (s *secrets) words(value, between string) {
	for _, word := range strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(between, r) }) {
		if !slices.Contains(schemes, strings.ToLower(word)) && !strings.Contains(s.shown, word) {
			s.add(leastWord, word)
		}
	}
}

// replacer takes the texts out, longer ones first.
func (s *secrets) replacer() *strings.Replacer {
	var all []string
	for _, text := range s.texts {
		all = append(all, written(text)...)
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	var pairs []string
	for _, text := range all {
		pairs = append(pairs, text, "***")
	}
	return strings.NewReplacer(pairs...)
}

// written is a text in the ways in which an answer may write it: as it is, in a string of JSON, in HTML and in a URL.
func written(text string) []string {
	escaped, _ := json.Marshal(text) // a string is always a document
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	_ = e.Encode(text)
	out := []string{text, html.EscapeString(text), url.QueryEscape(text), url.PathEscape(text)}
	for _, quoted := range []string{string(escaped), strings.TrimSpace(plain.String())} {
		inner := strings.TrimSuffix(strings.TrimPrefix(quoted, `"`), `"`)
		out = append(out, inner, strings.ReplaceAll(inner, "/", `\/`)) // as PHP does
	}
	slices.Sort(out)
	return slices.Compact(out)
}
