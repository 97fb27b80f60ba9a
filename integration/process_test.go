package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// process is `eventrouter run` in a process of its own.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	rules string // file
	url   string // of the broker
	http  string // http://…
	ended chan error

	mu  sync.Mutex
	log bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// forget has said begin anew.
func (p *process) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.Reset()
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// writeRules writes a rules file of the name and returns its path and plan.
func writeRules(t *testing.T, name, text string) (string, *plan.Plan) {
	t.Helper()
	_, p := compile(t, name, text)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte("version: 1\nname: "+name+"\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, p
}

// startProcess runs eventrouter until it is ready.
func startProcess(t *testing.T, url, rules string, env ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return startBinary(t, path, url, rules, env...)
}

func startBinary(t *testing.T, path, url, rules string, env ...string) *process {
	t.Helper()
	p := launch(t, path, url, rules, env...)
	waitFor(t, func() bool {
		for line := range strings.SplitSeq(p.said(), "\n") {
			var l struct{ Msg, HTTP string }
			if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "running" {
				p.http = l.HTTP
				return true
			}
		}
		return false
	}, func() string { return "eventrouter does not start:\n" + p.said() })
	return p
}

// launch runs eventrouter, and does not wait for it.
func launch(t *testing.T, path, url, rules string, env ...string) *process {
	t.Helper()
	p := &process{t: t, rules: rules, url: url, ended: make(chan error, 1)}
	p.cmd = exec.Command(path, "run", "--rules", rules, "--http", "127.0.0.1:0", "--log-format", "json", "--drain", "5m")
	p.cmd.Env = append(append(os.Environ(), "EVENTROUTER_BROKER="+url), env...)
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.ended <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() }) // where the test has not ended it
	return p
}

// terminate asks it to end, and waits.
func (p *process) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.wait(); err != nil {
		p.t.Errorf("ended with %v:\n%s", err, p.said())
	}
}

func (p *process) wait() error {
	p.t.Helper()
	select {
	case err := <-p.ended:
		return err
	case <-time.After(patience):
		p.t.Fatalf("eventrouter does not end:\n%s", p.said())
		return nil
	}
}

// eventrouter runs another command with the same rules and broker, and returns what it printed.
func (p *process) eventrouter(in string, args ...string) string {
	p.t.Helper()
	path, err := binary()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(path, append(args, "--rules", p.rules)...)
	cmd.Env = append(os.Environ(), "EVENTROUTER_BROKER="+p.url)
	cmd.Stdin = strings.NewReader(in)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		p.t.Fatalf("eventrouter %v: %v\n%s%s", args, err, out, complaint.String())
	}
	return string(out)
}

// post sends an event over HTTP, again and again while it is told to come again, and returns the last status.
func (p *process) post(ctx context.Context, e *event.Event) (int, error) {
	body, err := e.MarshalJSON()
	if err != nil {
		return 0, err
	}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.http+"/events", bytes.NewReader(body))
		if err != nil {
			return 0, err
		}
		req.Header.Set("Content-Type", "application/cloudevents+json")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusServiceUnavailable {
			return res.StatusCode, err
		}
	}
}

// receiver takes webhooks and notes them under the last part of their path.
func receiver(t *testing.T, book *ledger.Book, answer func(w http.ResponseWriter, r *http.Request, body []byte)) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the caller was killed
		}
		if answer != nil {
			answer(w, r, body)
			return
		}
		book.Seen(strings.TrimPrefix(r.URL.Path, "/"), r.Header.Get("ce-id"))
	}))
	t.Cleanup(s.Close)
	return s
}
