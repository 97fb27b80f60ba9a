package main

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/eventrouter/eventrouter/router/ingress"
)

// certificate writes the certificate that httptest's clients trust, and its key.
func certificate(t *testing.T) (cert, key string, client *http.Client) {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	s.Close()
	pair := s.TLS.Certificates[0]
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	cert, key = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key, s.Client()
}

const sink = "version: 1\nname: sink\npipelines: {all: {steps: [{log: {}}]}}\nrules: [{name: all, pipelines: [all]}]\n"

func TestHTTPSForThoseWhoKnowASecret(t *testing.T) {
	t.Parallel()
	cert, key, client := certificate(t)
	users := write(t, "users", "shop:in:a:file\n\n")
	r := startRun(t, write(t, "rules.yaml", sink), "", map[string]string{"EVENTROUTER_HTTP_TOKENS": "one-token, another-token"},
		"--http-user-file", users, "--http-cert", cert, "--http-key", key, "--http-rate", "1000000")
	post := func(secret func(*http.Request)) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, r.http+"/events", strings.NewReader(`{"specversion":"1.0","id":"5","source":"/t","type":"a"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		secret(req)
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for name, tt := range map[string]struct {
		secret func(*http.Request)
		want   int
	}{
		"nothing":          {func(*http.Request) {}, 401},
		"a token":          {func(r *http.Request) { r.Header.Set("Authorization", "Bearer another-token") }, 202},
		"a wrong one":      {func(r *http.Request) { r.Header.Set("Authorization", "Bearer one") }, 401},
		"a user":           {func(r *http.Request) { r.SetBasicAuth("shop", "in:a:file") }, 202},
		"a wrong password": {func(r *http.Request) { r.SetBasicAuth("shop", "in") }, 401},
	} {
		if got := post(tt.secret); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
	r.end()
	if code := r.wait(); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, r.err)
	}
	for _, secret := range []string{"one-token", "another-token", "in:a:file"} {
		if strings.Contains(r.err.String(), secret) {
			t.Errorf("the log tells a secret:\n%s", r.err)
		}
	}
}

func TestHTTPThatCannotBeServedIsToldAtTheStart(t *testing.T) {
	t.Parallel()
	rules, empty, users := write(t, "rules.yaml", sink), write(t, "empty", "\n"), write(t, "users", "shop:a\nno colon\n")
	for want, flags := range map[string][]string{
		"--http-token-file: open":                            {"--http-token-file", "none"},
		"is empty: nobody could come in":                     {"--http-token-file", empty},
		"number 2 is not written as name:password":           {"--http-user-file", users},
		"--http-cert and --http-key: open none":              {"--http-cert", "none"},
		"--http: listen tcp: address nonsense: missing port": {"--http", "nonsense"},
	} {
		args := append([]string{"run", "--rules", rules, "--embedded-listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}, flags...)
		code, _, errs := eventrouterIn(t, "", args...)
		if code != exitFailed || !strings.Contains(errs, want) {
			t.Errorf("%v: exit code %d, want %q in:\n%s", flags, code, want, errs)
		}
		if strings.Contains(errs, "no colon") {
			t.Errorf("a secret is told: %s", errs)
		}
	}
}

func TestSecretsThatAreGivenAsNothingOpenNoDoor(t *testing.T) {
	t.Parallel()
	rules := write(t, "rules.yaml", sink)
	for _, tt := range []struct {
		name, value string
		args        []string
		code        int
		want        string
	}{
		{"EVENTROUTER_HTTP_TOKENS", "", nil, exitFailed, "EVENTROUTER_HTTP_TOKENS is set, and nothing is in it: everybody could come in; unset it to have none"},
		{"EVENTROUTER_HTTP_TOKENS", " , ", nil, exitFailed, "EVENTROUTER_HTTP_TOKENS is set, and nothing is in it"},
		{"EVENTROUTER_HTTP_USERS", ",", nil, exitFailed, "EVENTROUTER_HTTP_USERS is set, and nothing is in it"},
		{"EVENTROUTER_HTTP_TOKENS", "", []string{"--http-user-file", write(t, "users", "shop:a\n")}, exitFailed, "EVENTROUTER_HTTP_TOKENS is set, and nothing is in it"},
		{"EVENTROUTER_HTTP_TOKEN_FILE", "", nil, exitUsage, "--http-token-file (EVENTROUTER_HTTP_TOKEN_FILE) is given and empty"},
		{"OTHER", "", []string{"--http-user-file", ""}, exitUsage, "--http-user-file (EVENTROUTER_HTTP_USER_FILE) is given and empty"},
	} {
		s := newSession(nil, map[string]string{tt.name: tt.value})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // a door that opens is no failure to itself
		code := s.execute(ctx, append([]string{"run", "--rules", rules, "--embedded-listen", "127.0.0.1:0", "--http", "127.0.0.1:0"}, tt.args...))
		cancel()
		if code != tt.code || !strings.Contains(s.err.String(), tt.want) {
			t.Errorf("%s=%q %v: exit code %d, want %q in:\n%s", tt.name, tt.value, tt.args, code, tt.want, s.err)
		}
	}
}

func TestADoorThatOthersReachAndThatAsksForNothingIsWarnedOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		addr   net.Addr
		o      ingress.Options
		warned bool
	}{
		{&net.TCPAddr{IP: net.IPv4zero, Port: 8080}, ingress.Options{}, true},
		{&net.TCPAddr{IP: net.IPv6unspecified, Port: 8080}, ingress.Options{}, true},
		{&net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8080}, ingress.Options{}, true},
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 8080}, ingress.Options{}, false},
		{&net.TCPAddr{IP: net.IPv6loopback, Port: 8080}, ingress.Options{}, false},
		{&net.TCPAddr{IP: net.IPv4zero, Port: 8080}, ingress.Options{Tokens: []string{"t"}}, false},
		{&net.TCPAddr{IP: net.IPv4zero, Port: 8080}, ingress.Options{Users: map[string]string{"u": "p"}}, false},
	} {
		core, lines := observer.New(zap.WarnLevel)
		warnOpen(zap.New(core), tt.addr, &tt.o)
		if got := lines.FilterMessageSnippet("anybody can send events").FilterField(zap.String("http", tt.addr.String())).Len(); (got == 1) != tt.warned {
			t.Errorf("%s, %+v: %d warnings", tt.addr, tt.o, got)
		}
	}
	r := startRun(t, write(t, "rules.yaml", sink), "", nil, "--http", "0.0.0.0:0")
	r.err.waitFor(t, "HTTP is open to every machine that reaches it")
	r.end()
	r.wait()
}

func TestARequestThatDoesNotComeToItsEndIsCutOffAfterTheDrain(t *testing.T) {
	t.Parallel()
	r := startRun(t, write(t, "rules.yaml", sink), "", nil, "--drain", "500ms")
	c, err := net.Dial("tcp", strings.TrimPrefix(r.http, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "POST /events HTTP/1.1\r\nHost: door\r\nCe-Type: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(c).ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	r.end()
	if code := r.wait(); code != exitOK || !strings.Contains(r.err.String(), "cut off") {
		t.Errorf("exit code %d:\n%s", code, r.err)
	}
}
