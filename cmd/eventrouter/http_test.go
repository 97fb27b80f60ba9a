package main

import (
	"bufio"
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
