package webhook

import (
	"net/http"
	"strings"
	"testing"
)

// Answers repeat what they were sent, and in their own writing; errors go to logs and dead letters.
func TestSecretsThatAnAnswerRepeatsAreHidden(t *testing.T) {
	t.Parallel()
	const token = "T0k3n-aBc"
	bearer := Options{Headers: map[string]string{"Authorization": "Bearer " + token}}
	quoted := Options{Headers: map[string]string{"X-Key": `a"b\c<d>/e&f`}}
	const slack = "/services/T0000/B0000/XXXXXXXXXXXXXXXXXXXXXXXX"
	for _, tt := range []struct {
		name         string
		o            Options // its URL is what comes after the host
		answer, want string
	}{
		{"the token after Bearer", bearer, "invalid token " + token, "invalid token ***"},
		{"the whole header", bearer, "Authorization: Bearer " + token, "Authorization: ***"},
		{"no scheme's name", bearer, "Bearer is not known", "Bearer is not known"},
		{"credentials after Basic", Options{Headers: map[string]string{"Authorization": "Basic bmFtZTpwYXNzd29yZA=="}}, "no bmFtZTpwYXNzd29yZA==: name password", "no ***: *** ***"},
		{"a part of several", Options{Headers: map[string]string{"Cookie": `session=abcdef123; id="k1"`}}, "no session abcdef123 of k1", "no *** *** of k1"},
		{"in JSON", quoted, `{"key": "a\"b\\c\u003cd\u003e/e\u0026f"}`, `{"key": "***"}`},
		{"in JSON of others", quoted, `{"key": "a\"b\\c<d>\/e&f"}`, `{"key": "***"}`},
		{"in HTML", quoted, `<p>a&#34;b\c&lt;d&gt;/e&amp;f`, "<p>***"},
		{"in a URL", quoted, "/?key=a%22b%5Cc%3Cd%3E%2Fe%26f", "/?key=***"},
		{"a variable's value", Options{URL: "/" + token + "/hook", Hide: []string{token, "on", ""}}, "no POST of /" + token + "/hook on this", "no POST of /***/hook on this"},
		{"a variable with the URL", Options{URL: "/s3cret/hook", Hide: []string{"HOST/s3cret/hook"}}, "no /s3cret/hook at HOST", "no /***/hook at HOST"},
		{"a long part of the path", Options{URL: slack}, "Cannot POST " + slack, "Cannot POST /services/T0000/B0000/***"},
		{"a secret that signs", Options{Secret: "signed-with"}, "the signature is not by signed-with", "the signature is not by ***"},
		{"what is none", bearer, "no such customer", "no such customer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			answer := ""
			at, got := receiver(t, func(w http.ResponseWriter, r *http.Request) { answering(400, answer)(w, r) })
			answer = strings.ReplaceAll(tt.answer, "HOST", at)
			for i := range tt.o.Hide {
				tt.o.Hide[i] = strings.ReplaceAll(tt.o.Hide[i], "HOST", at)
			}
			tt.o.URL = at + tt.o.URL
			err := made(t, tt.o)(t.Context(), order())
			if want := at + ": 400 Bad Request: " + strings.ReplaceAll(tt.want, "HOST", at); err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if sent := <-got; at+sent.RequestURI != tt.o.URL && at+sent.RequestURI != tt.o.URL+"/" {
				t.Errorf("sent to %s", sent.RequestURI)
			}
		})
	}
}
