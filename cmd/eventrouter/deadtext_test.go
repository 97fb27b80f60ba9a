package main

import (
	"encoding/json"
	"strings"
	"testing"
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
	k := &kept{name: "dead"}
	for _, cell := range k.cells(shownLetter{ID: "\x1b]0;x\a", Type: "a\x7f", Reason: "exit status 1: \x1b[2Jgone\rhere \xff"}) {
		if text, ok := cell.(string); ok && strings.ContainsAny(text, "\x1b\a\x7f\r\xff") {
			t.Errorf("dead list would print %q", text)
		}
	}
}
