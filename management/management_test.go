package management_test

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/management"
	"github.com/eventrouter/eventrouter/router/plan"
)

func TestErrorsNameTheURLWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{http.StatusUnauthorized, "{}", `user "ann" is refused`},
		{http.StatusNotFound, "{}", "404 Not Found"},
		{http.StatusOK, "<html>", "the answer cannot be read"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}))
		defer server.Close()
		told(t, strings.Replace(server.URL, "://", "://ann:secret@", 1), server.URL+"/api/exchanges/a%2Fb", c.want)
	}
	told(t, "http://ann:secret@127.0.0.1:1", "http://127.0.0.1:1/api/exchanges/a%2Fb", "connection refused")
}

// told looks through the API at url, and checks what its error says.
func told(t *testing.T, url string, wants ...string) {
	t.Helper()
	client, err := management.New(url, "a/b", management.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Look(t.Context())
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is in %q", err)
	}
}

func TestAWrongURLIsRefusedWithoutItsPassword(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"amqp://ann:secret@host", "host:15672", "http://ann:secret@ho st:1", "", "ann:secret@host:15672", "http:ann:secret@host", "http://ann:1/secret@host", "http://ann:1?secret@host",
		"http://ann:1#secret@host",
	} {
		if _, err := management.New(url, "/", management.Options{}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A port that speaks AMQP is told from one that speaks HTTP.
func TestTheWrongPortIsNamed(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 8))
			_, _ = io.WriteString(c, "AMQP\x00\x00\x09\x01")
			_ = c.Close()
		}
	}()
	told(t, "http://"+l.Addr().String(), "another port than AMQP")
}

func TestWhatSignsTheCertificate(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "[]") }))
	defer server.Close()
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	file := func(name string, text []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right := file("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	client, err := management.New(server.URL, "/", management.Options{CAFile: right})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Look(t.Context()); err != nil {
		t.Errorf("by its own certificate: %v", err)
	}
	told(t, strings.Replace(server.URL, "://", "://ann:secret@", 1), "certificate signed by unknown authority")
	for _, c := range []struct{ url, path, want string }{
		{server.URL, "nowhere.pem", "nowhere.pem: no such file"},
		{server.URL, file("empty.pem", []byte("x")), "no certificate in PEM in"},
		{"http://ann:secret@host", right, "certificates are for https://, and the URL is http://"},
	} {
		if _, err := management.New(c.url, "/", management.Options{CAFile: c.path}); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: want %q, got %v", c.path, c.want, err)
		}
	}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	applied := &plan.Topology{
		Exchanges: []plan.Exchange{{Name: "events", Kind: "topic"}, {Name: "theirs", Kind: "topic", Passive: true}},
		Queues:    []plan.Queue{{Name: "a", Arguments: map[string]any{"x-message-ttl": int64(420000)}}, {Name: "b"}},
		Bindings:  []plan.Binding{{Exchange: "events", Queue: "a", Key: "x"}, {Exchange: "events", Queue: "a", Key: "y"}},
	}
	kept := &plan.Topology{Bindings: []plan.Binding{{Exchange: "events", Queue: "a", Key: "old"}}}
	found := &management.Found{
		Exchanges: []management.Exchange{{Name: "events", Kind: "topic", Durable: true, Policy: "p"}},
		Queues: []management.Queue{
			{Name: "a", Durable: true, Arguments: map[string]any{"x-message-ttl": float64(420000), "x-consumer-timeout": float64(5)},
				Policy: "p", OperatorPolicy: "o", Effective: management.Definition{"max-length": float64(3), "dead-letter-exchange": "x"}},
			{Name: "their queue"},
		},
		Bindings: []management.Binding{
			{Destination: "a", Kind: "queue", Key: "a"},
			{Source: "events", Destination: "a", Kind: "queue", Key: "x"},
			{Source: "events", Destination: "a", Kind: "queue", Key: "old"},
			{Source: "events", Destination: "a", Kind: "queue", Key: "hand"},
			{Source: "events", Destination: "their queue", Kind: "queue", Key: "#"},
		},
	}
	want := []management.Difference{
		{Kind: "exchange", Name: "events", Detail: `policy "p" is in force`},
		{Kind: "queue", Name: "a", Detail: "x-consumer-timeout: none → 5"},
		{Kind: "queue", Name: "a", Detail: `policy "p" and operator policy "o" are in force: dead-letter-exchange "x", max-length 3`},
		{Kind: "queue", Name: "b", Detail: "applied, and not on the broker"},
		{Kind: "binding", Name: `events → a with "y"`, Detail: "applied, and not on the broker"},
		{Kind: "binding", Name: `events → a with "hand"`, Detail: "on the broker, and not applied"},
	}
	got := management.Drift(applied, kept, found)
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("told was\n%v\nand not\n%v", got, want)
		}
	}
}
