package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

// liveRun is `run` beside the test.
type liveRun struct {
	*session
	t     *testing.T
	rules string
	url   string // of the broker
	http  string
	wait  func() int
	end   func()
}

// startRun runs the rules on a broker, or on the embedded one where url is empty, until it is ready.
func startRun(t *testing.T, rules, url string, env map[string]string, more ...string) *liveRun {
	t.Helper()
	r := &liveRun{session: newSession(nil, env), t: t, rules: rules, url: url}
	args := []string{"run", "--rules", rules, "--http", "127.0.0.1:0", "--log-format", "json"}
	if url != "" {
		args = append(args, "--broker", url)
	} else {
		args = append(args, "--embedded-listen", "127.0.0.1:0")
	}
	wait, stop := r.start(t, append(args, more...)...)
	r.wait, r.end = wait, func() { stop(interrupted{syscall.SIGTERM}) }
	r.err.waitFor(t, `"msg":"running"`)
	for line := range strings.SplitSeq(r.err.String(), "\n") {
		var l struct{ Msg, HTTP, URL string }
		if json.Unmarshal([]byte(line), &l) != nil {
			continue
		}
		switch {
		case l.Msg == "running":
			r.http = l.HTTP
		case l.URL != "" && r.url == "":
			r.url = l.URL
		}
	}
	return r
}

// do runs another command on the same rules and broker.
func (r *liveRun) do(in string, args ...string) (code int, out, errs string) {
	r.t.Helper()
	return eventrouterIn(r.t, in, append(args, "--rules", r.rules, "--broker", r.url)...)
}

func (r *liveRun) must(in string, args ...string) string {
	r.t.Helper()
	code, out, errs := r.do(in, args...)
	if code != exitOK {
		r.t.Fatalf("%v: exit code %d, %s%s", args, code, out, errs)
	}
	return out
}

const live = `version: 1
name: live
pipelines:
  hook: {retry: {attempts: 2, delays: [5ms]}, steps: [{webhook: {url: "${RECEIVER}"}}]}
  archive: {steps: [{file: {path: "${ARCHIVE}"}}]}
rules:
  - {name: orders, type: order.#, pipelines: [archive]}
  - {name: large, type: order.*, match: {data: {total: [{numeric: [">", 100]}]}}, pipelines: [hook]}
`

func TestRunOnTheEmbeddedBrokerFromPublishToReplay(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	broken.Store(true)
	got := make(chan string, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			http.Error(w, "out of order", http.StatusInternalServerError)
			return
		}
		got <- r.Header.Get("ce-id")
	}))
	defer receiver.Close()
	archive := filepath.Join(t.TempDir(), "archive.ndjson")
	rules := write(t, "rules.yaml", live)
	r := startRun(t, rules, "", map[string]string{"RECEIVER": receiver.URL, "ARCHIVE": archive})

	in := `{"id":"1","type":"order.a","data":{"total":500}}` + "\n" + `{"id":"2","type":"order.b","data":{"total":5}}` + "\n" + `{"id":"3","type":"stray"}` + "\n"
	if out := r.must(in, "publish"); out != "confirmed: 3 events; failed: 0\n" {
		t.Errorf("publish printed %q", out)
	}
	if out := r.must("", "publish", "--type", "order.c", "--id", "4", "--data", `{"total":1}`, "-o", "json"); !strings.Contains(out, `"confirmed": 1`) {
		t.Errorf("publish printed %q", out)
	}
	res, err := http.Post(r.http+"/events", "application/cloudevents+json", strings.NewReader(`{"specversion":"1.0","id":"5","source":"/t","type":"order.d"}`))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		t.Errorf("POST: %s", res.Status)
	}
	r.err.waitFor(t, "given up: kept as a dead letter")
	waitUntil(t, func() bool { text, _ := os.ReadFile(archive); return strings.Count(string(text), "\n") == 4 })

	list := r.must("", "dead", "list")
	for _, want := range []string{"ID", "1", "order.a", "hook", "out of order"} {
		if !strings.Contains(list, want) {
			t.Errorf("dead list has no %q:\n%s", want, list)
		}
	}
	if show := r.must("", "dead", "show", "--id", "1"); !strings.Contains(show, `"total": 500`) || !strings.Contains(show, `"attempts": 2`) || !strings.Contains(show, `"large"`) {
		t.Errorf("dead show printed %s", show)
	}
	if out := r.must("", "dead", "list", "archive"); out != "no dead letters\n" {
		t.Errorf("dead list archive printed %q", out)
	}
	if out := r.must("", "dead", "replay", "--error", "other", "--dry-run"); out != "would be replayed: no dead letters\n" && out != "would be replayed: 0 dead letters\n" {
		t.Errorf("a filter that nothing fulfils: %q", out)
	}
	broken.Store(false)
	for _, verb := range []string{"show", "replay", "drop"} {
		if code, _, errs := r.do("", "dead", verb, "--id", "nobody"); code != exitFailed || errs != "eventrouter: there is no such dead letter\n" {
			t.Errorf("dead %s of what is not there: exit code %d, %q", verb, code, errs)
		}
	}
	if out := r.must("", "dead", "replay", "hook", "--all"); out != "replayed: 1 dead letter\n" {
		t.Errorf("replay printed %q", out)
	}
	if id := <-got; id != "1" {
		t.Errorf("the receiver got %q", id)
	}
	if out := r.must("", "unrouted", "list"); !strings.Contains(out, "stray") || !strings.Contains(out, "no rule has its type") {
		t.Errorf("unrouted list printed %s", out)
	}
	if out := r.must("", "unrouted", "drop", "--id", "3"); out != "dropped: 1 unrouted event\n" {
		t.Errorf("drop printed %q", out)
	}
	if body := get(t, r.http+"/metrics"); !strings.Contains(body, `eventrouter_dead_total{pipeline="hook"} 1`) {
		t.Error("the dead letter is not in the metrics")
	}
	if body := get(t, r.http+"/readyz"); body != "ready\n" {
		t.Errorf("readyz: %q", body)
	}
	r.end()
	if code := r.wait(); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, r.err)
	}
	if !strings.Contains(r.err.String(), `"because":"terminated"`) {
		t.Error("does not say why it ended")
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func waitUntil(t *testing.T, ok func() bool) {
	t.Helper()
	for range 24_000 {
		if ok() {
			return
		}
		pause(t)
	}
	t.Fatal("waited two minutes")
}

func TestCommandsWithoutABrokerSayWhatToDo(t *testing.T) {
	t.Parallel()
	gone := amqptest.Broker(t)
	url := gone.URL()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	rules := write(t, "rules.yaml", shop)
	for _, args := range [][]string{
		{"publish", "--type", "order.x"}, {"dead", "list"}, {"unrouted", "list"}, {"apply"},
		{"run", "--http", "", "--connect-timeout", "100ms"},
	} {
		s := newSession(strings.NewReader(""), nil)
		wait, stop := s.start(t, append(args, "--rules", rules, "--broker", url)...)
		if args[0] != "run" {
			s.cancelWhenTried(t, stop)
		}
		code := wait()
		if code != exitFailed || !strings.Contains(s.err.String(), "no connection to the broker") || strings.Contains(s.err.String(), "guest:guest") {
			t.Errorf("%v: exit code %d, %s", args, code, s.err)
		}
	}
}

// cancelWhenTried has a command that waits for its broker end early, as Ctrl-C does.
func (s *session) cancelWhenTried(t *testing.T, stop func(error)) {
	t.Helper()
	pause(t)
	stop(interrupted{os.Interrupt})
}

func TestRunRefusesWhatItCannotDo(t *testing.T) {
	t.Parallel()
	broker := amqptest.Broker(t)
	busy := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(busy.Close)
	tests := []struct {
		name, rules, want string
		args              []string
	}{
		{"variables that are not set", live, `variable "RECEIVER" is not set`, nil},
		{"both of them", live, `variable "ARCHIVE" is not set`, nil},
		{"an address in use", shop, "address already in use", []string{"--http", strings.TrimPrefix(busy.URL, "http://")}},
		{"rules with a problem", strings.Replace(shop, "[billing]", "[biling]", 1), `unknown pipeline "biling"`, nil},
		{"a folder that is not there", strings.Replace(shop, "log: {}", "file: {path: /nowhere/at/all}", 1), "/nowhere/at/all", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"run", "--rules", write(t, "rules.yaml", tt.rules), "--broker", broker.URL(), "--http", "127.0.0.1:0"}, tt.args...)
			code, _, errs := eventrouter(t, args...)
			if code != exitFailed || !strings.Contains(errs, tt.want) {
				t.Errorf("exit code %d, %s", code, errs)
			}
		})
	}
}

func TestPublishTellsWhichEventsAreNotConfirmed(t *testing.T) {
	t.Parallel()
	broker := amqptest.Broker(t)
	in := `{"id":"1","type":"a"}` + "\nnonsense\n" + `{"id":"3","type":"a"}` + "\n"
	args := []string{"publish", "--broker", broker.URL(), "--exchange", "amq.topic"}
	code, out, errs := eventrouterIn(t, in, args...)
	if code != exitFailed || out != "confirmed: 0 events; failed: 2\n" || !strings.Contains(errs, `line 1: event "1" of type "a"`) || !strings.Contains(errs, "line 2") || strings.Contains(errs, "line 3:") {
		t.Errorf("exit code %d, %q, %s", code, out, errs)
	}
	code, out, errs = eventrouterIn(t, in, append(args, "--skip-invalid")...)
	if code != exitFailed || out != "confirmed: 0 events; failed: 3\n" || !strings.Contains(errs, "line 3") {
		t.Errorf("exit code %d, %q, %s", code, out, errs)
	}
}

func TestBrokerCommandServesAnyClient(t *testing.T) {
	t.Parallel()
	s := newSession(nil, nil)
	wait, stop := s.start(t, "broker", "--listen", "127.0.0.1:0")
	s.out.waitFor(t, "listening on amqp://guest:***@")
	addr, _, _ := strings.Cut(strings.TrimPrefix(s.out.String(), "listening on amqp://guest:***@"), " ")
	rules := write(t, "rules.yaml", shop)
	code, out, errs := eventrouter(t, "apply", "--rules", rules, "--broker", "amqp://guest:guest@"+addr)
	if code != exitOK || !strings.HasPrefix(out, fmt.Sprintf("applied: %d exchanges, %d queues, %d bindings; ", 8, 10, 11)) {
		t.Errorf("apply: exit code %d, %q, %s", code, out, errs)
	}
	stop(interrupted{os.Interrupt})
	if code := wait(); code != exitOK {
		t.Errorf("broker: exit code %d, %s", code, s.err)
	}
	if code, _, errs := eventrouter(t, "broker", "--listen", "0.0.0.0:0"); code != exitFailed || !strings.Contains(errs, "password") {
		t.Errorf("open to all without a password: exit code %d, %s", code, errs)
	}
}

func TestBrokerCommandRefusesHalfATLS(t *testing.T) {
	t.Parallel()
	nothing := write(t, "nothing.pem", "")
	for _, args := range [][]string{{"--tls-cert", nothing}, {"--tls-ca", nothing}, {"--tls-cert", nothing, "--tls-key", nothing}} {
		if code, _, errs := eventrouter(t, append([]string{"broker", "--listen", "127.0.0.1:0"}, args...)...); code != exitFailed || !strings.Contains(errs, "--tls-key") && !strings.Contains(errs, "certificate") {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
}

// What run's own broker keeps in a folder is there after a stop: here the events that a pipeline left, since it did not run.
func TestRunKeepsEventsInAFolder(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	rules := write(t, "rules.yaml", shop)
	r := startRun(t, rules, "", nil, "--data", data, "--no-pipelines")
	if strings.Contains(r.err.String(), "in memory only") {
		t.Errorf("it says that events are lost: %s", r.err)
	}
	if out := r.must("", "publish", "--type", "nobody.wants.this", "--id", "kept", "--data", "{}", "-o", "json"); !strings.Contains(out, `"confirmed": 1`) {
		t.Fatalf("publish: %s", out)
	}
	r.end()
	if code := r.wait(); code != exitOK {
		t.Fatalf("exit code %d, %s", code, r.err)
	}
	r = startRun(t, rules, "", nil, "--data", data, "--no-pipelines")
	if out := r.must("", "unrouted", "list"); !strings.Contains(out, "kept") {
		t.Errorf("unrouted: %q", out)
	}
	r.end()
	r.wait()
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 1), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	defer receiver.Close()
	defer close(release)
	broker := amqptest.Broker(t)
	rules := write(t, "rules.yaml", live)
	s := newSession(nil, map[string]string{"RECEIVER": receiver.URL, "ARCHIVE": filepath.Join(t.TempDir(), "a")})
	signals := make(chan os.Signal, 2)
	code := make(chan int, 1)
	go func() {
		code <- s.runUntilSignal([]string{"run", "--rules", rules, "--broker", broker.URL(), "--http", "", "--log-format", "json", "--drain", "3s"}, signals)
	}()
	s.err.waitFor(t, `"msg":"running"`)
	eventrouter(t, "publish", "--rules", rules, "--broker", broker.URL(), "--type", "order.x", "--data", `{"total": 1000}`)
	<-entered
	signals <- syscall.SIGTERM
	signals <- syscall.SIGTERM
	if n := <-code; n != exitFailed || !strings.Contains(s.err.String(), "terminated again: ended at once") {
		t.Errorf("exit code %d:\n%s", n, s.err)
	}
}
