package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/pipelines/dead"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

func TestDeadLettersGoToAFileAndComeBack(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no such customer", http.StatusNotFound)
	}))
	defer receiver.Close()
	r := startRun(t, write(t, "rules.yaml", live), "", map[string]string{"RECEIVER": receiver.URL, "ARCHIVE": t.TempDir() + "/archive"})
	r.must(`{"id":"1","source":"/shop","type":"order.a","data":{"total":500},"headers":{"n":7}}`+"\n"+
		`{"id":"2","type":"order.b","datacontenttype":"application/octet-stream","data_base64":"AAH/"}`+"\n"+
		`{"id":"3","type":"order.c","tenant":"acme","data":{"total":900}}`+"\n"+`{"id":"4","type":"stray"}`+"\n", "publish")
	waitUntil(t, func() bool { return strings.Count(r.err.String(), "given up: kept as a dead letter") == 2 })

	exported := r.must("", "dead", "export")
	if lines := strings.Split(strings.TrimSpace(exported), "\n"); len(lines) != 2 || !strings.Contains(lines[0], `"id":"1"`) || !strings.Contains(lines[0], "no such customer") {
		t.Fatalf("exported\n%s", exported)
	}
	if one := r.must("", "dead", "export", "--type", "order.c"); strings.Count(one, "\n") != 1 || !strings.Contains(one, `"tenant":"acme"`) {
		t.Errorf("of one type:\n%s", one)
	}
	r.must("", "dead", "drop", "--all")
	if out := r.must(exported, "dead", "import", "--dry-run"); out != "would be imported: 2 dead letters\n" {
		t.Errorf("a dry run printed %q", out)
	}
	if out := r.must("", "dead", "list"); out != "no dead letters\n" {
		t.Errorf("after a dry run: %s", out)
	}
	if out := r.must(exported, "dead", "import"); out != "confirmed: 2 events; failed: 0\n" {
		t.Errorf("import printed %q", out)
	}
	if again := r.must("", "dead", "export"); again != exported {
		t.Errorf("came back as\n%s\nand were\n%s", again, exported)
	}

	stray := r.must("", "unrouted", "export")
	r.must("", "unrouted", "drop", "--all")
	r.must(stray, "unrouted", "import")
	if again := r.must("", "unrouted", "export"); again != stray || strings.Count(stray, "\n") != 1 {
		t.Errorf("the unrouted event came back as\n%s\nand was\n%s", again, stray)
	}
	for in, want := range map[string]string{
		"{\n":                    "line 1: not as export writes it",
		"\n{}\n":                 `line 2: not as export writes it: there is no "event"`,
		stray:                    "line 1: this is an unrouted event",
		`{"event":{"type":"a"}}`: "line 1: the event has no id",
		`{"pipeline":"x","event":{"type":"a","id":"1"}}`: `line 1: pipeline "x" is not in the rules`,
		strings.Repeat("x", event.MaxLine+1):             "line 1 is longer than 32 MiB",
	} {
		if code, _, errs := r.do(in, "dead", "import"); code != exitFailed || !strings.Contains(errs, want) {
			t.Errorf("%s: exit code %d, %s", in, code, errs)
		}
	}
	r.end()
	if code := r.wait(); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, r.err)
	}
}

// FuzzLetters: each line is a letter for its box, or an error that names it and ends the reading.
func FuzzLetters(f *testing.F) {
	f.Add([]byte(`{"pipeline":"all","exchange":"shop","reason":"status 404","attempts":2,"last_failure":"2026-11-26T12:00:00Z","rules":["all"],"event":{"type":"a","id":"1","data":{"n":[1]}}}`))
	f.Add([]byte("\n{\"pipeline\":\"all\",\"event\":{\"type\":\"a\",\"id\":\"1\"}}\n{\"event\":null}\n"))
	boxes := []*dead.Box{{Queue: "shop.all.dead"}} // of unrouted events, so that no pipeline is named
	f.Fuzz(func(t *testing.T, text []byte) {
		last := 0
		n, err := readLetters(bytes.NewReader(text), boxes, func(m router.Message, line int) {
			if m.Event.Check() != nil || m.Event.ID == "" || m.Key != "shop.all.dead" || !m.Mandatory {
				t.Fatalf("line %d: %+v", line, m)
			}
			if line <= last {
				t.Fatalf("line %d comes after line %d", line, last)
			}
			last = line
		})
		if n > last || n == 0 && last > 0 {
			t.Fatalf("%d letters in %d lines", n, last)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "line ") {
			t.Fatalf("no line is named: %v", err)
		}
	})
}
