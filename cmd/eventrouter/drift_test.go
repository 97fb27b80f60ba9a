package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

// TestPlanTellsDrift has a management API that knows of nothing: all that was applied is gone.
func TestPlanTellsDrift(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	rules := write(t, "rules.yaml", changeNew)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") }))
	defer api.Close()
	ask := func(code int, args ...string) string {
		t.Helper()
		got, out, errs := eventrouter(t, append([]string{"plan", "--rules", rules, "--broker", url, "--management", api.URL}, args...)...)
		if got != code {
			t.Fatalf("%v: exit code %d, %s%s", args, got, out, errs)
		}
		return out
	}
	if out := ask(exitOK); !strings.Contains(out, "unknown: nothing is recorded") {
		t.Errorf("before anything is applied:\n%s", out)
	}
	if code, _, errs := eventrouter(t, "apply", "--rules", rules, "--broker", url); code != exitOK {
		t.Fatal(errs)
	}
	if out := ask(exitChange, "--exit-code"); !strings.Contains(out, "! queue shop.billing   applied, and not on the broker\n") {
		t.Errorf("with drift:\n%s", out)
	}
	if out := ask(exitOK, "-o", "json"); !strings.Contains(out, `"drift": [`) {
		t.Errorf("in JSON:\n%s", out)
	}
	if code, _, errs := eventrouter(t, "plan", "--rules", rules, "--broker", url, "--management", "amqp://ann:secret@host"); code != exitUsage || strings.Contains(errs, "secret") {
		t.Errorf("a wrong URL: exit code %d, %s", code, errs)
	}
}
