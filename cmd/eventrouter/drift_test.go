package main

import (
	"encoding/pem"
	"io"
	"log"
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
	secure := httptest.NewTLSServer(api.Config.Handler)
	defer secure.Close()
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})))
	if out := ask(exitOK, "--management", secure.URL, "--management-ca", ca); !strings.Contains(out, "! queue shop.billing") {
		t.Errorf("over TLS:\n%s", out)
	}
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{exitFailed, nil, "--management-ca names a file with the certificates that sign it"},
		{exitUsage, []string{"--management-ca", "nowhere.pem"}, "--management-ca: open nowhere.pem"},
	} {
		args := append([]string{"plan", "--rules", rules, "--broker", url, "--management", secure.URL}, c.args...)
		if code, _, errs := eventrouter(t, args...); code != c.code || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exit code %d, %s", c.args, code, errs)
		}
	}
	if code, _, errs := eventrouter(t, "plan", "--rules", rules, "--broker", url, "--management", "amqp://ann:secret@host"); code != exitUsage || strings.Contains(errs, "secret") {
		t.Errorf("a wrong URL: exit code %d, %s", code, errs)
	}
}
