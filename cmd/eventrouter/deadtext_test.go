package main

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// keptAside runs a router and publishes events that no rule wants.
func keptAside(t *testing.T, events ...map[string]any) *liveRun {
	t.Helper()
	r := startRun(t, write(t, "rules.yaml", live), "", map[string]string{"RECEIVER": "http://127.0.0.1:1", "ARCHIVE": t.TempDir() + "/archive"})
	var in strings.Builder
	for _, e := range events {
		if err := json.NewEncoder(&in).Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	r.must(in.String(), "publish")
	return r
}

func TestWhatAnEventSaysCannotDriveATerminal(t *testing.T) {
	t.Parallel()
	r := keptAside(t, map[string]any{"id": "1\x1b[31m\nfake row \u202e", "type": "stray\u009b2J"})
	const id, kind = `1\x1b[31m\nfake row \u202e`, `stray\u009b2J`
	list := r.must("", "unrouted", "list")
	if !strings.Contains(list, id) || !strings.Contains(list, kind) || strings.Count(list, "\n") != 2 {
		t.Errorf("unrouted list printed %q", list)
	}
	if out := r.must("", "unrouted", "drop", "--all", "--dry-run"); !strings.HasPrefix(out, id+" "+kind+" \n") {
		t.Errorf("a dry run printed %q", out)
	}
	r.end()
	r.wait()
	rules := write(t, "rules.yaml", "version: 1\nname: shop\npipelines: {p: {}}\nrules: [{name: r, match: {data: {a: [x]}}, pipelines: [p]}]\n")
	event := `{"id": "1\u001b[31m", "type": "a\u009b2J", "data": {"a": "\u009b2J\u007f"}}`
	if code, out, errs := eventrouterIn(t, event, "explain", "--rules", rules); code != exitOK || strings.ContainsAny(out, "\x1b\u009b\x7f") || !strings.Contains(out, `1\x1b[31m, type a\u009b2J`) {
		t.Errorf("explain printed %q, %s", out, errs)
	}
	k := &kept{name: "dead"}
	for _, cell := range k.cells(shownLetter{ID: "\x1b]0;x\a", Type: "a\x7f", Reason: "exit status 1: \x1b[2Jgone\rhere \xff"}) {
		if text, ok := cell.(string); ok && (strings.ContainsAny(text, "\x1b\a\x7f\r") || !utf8.ValidString(text)) {
			t.Errorf("dead list would print %q", text)
		}
	}
}

func TestTextThatIsNoJSONIsShownAsText(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, kind, data, text, json string }{
		{"broken JSON", "application/json", "{\"total\":\t5,\n\"x\x1b[2J", "data, 19 bytes of text that is not JSON, though its content type is application/json:\n{\"total\":\t5,\n\"x\\x1b[2J\n", ""},
		{"no content type", "", "grüße\n", "data, 8 bytes of text without a content type:\ngrüße\n", ""},
		{"JSON", "application/json", `{"total":5}`, "", "\"data\": {\n      \"total\": 5\n    }"},
		{"text", "text/plain", "grüße", "", `"data": "grüße"`},
		{"bytes", "", "\x00\x01", "", `"data_base64": "AAE="`},
		{"bytes that are no UTF-8", "application/json", "\xff\xfe", "", `"data_base64": "//4="`},
	}
	var events []map[string]any
	for _, c := range cases {
		events = append(events, map[string]any{"id": c.name, "type": "stray", "datacontenttype": c.kind, "data_base64": []byte(c.data)})
	}
	r := keptAside(t, events...)
	for _, c := range cases {
		end := "\n}\n" + c.text
		show := r.must("", "unrouted", "show", "--id", c.name)
		if !strings.HasSuffix(show, end) || !strings.Contains(show, c.json) || c.text != "" && strings.Contains(show, "data_base64") {
			t.Errorf("%s: show printed\n%s", c.name, show)
		}
		var whole struct {
			Event struct {
				Data []byte `json:"data_base64"`
			}
		}
		out := r.must("", "unrouted", "show", "--id", c.name, "-o", "json")
		if c.text != "" && (json.Unmarshal([]byte(out), &whole) != nil || string(whole.Event.Data) != c.data) {
			t.Errorf("%s: show -o json printed\n%s", c.name, out)
		}
	}
	r.end()
	r.wait()
}
