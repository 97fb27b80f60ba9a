package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

const (
	reloadOld = `version: 1
name: reload
pipelines: {mail: {steps: [{file: {path: "${OUT}/mail"}}]}, all: {steps: [{file: {path: "${OUT}/all"}}]}}
rules:
  - {name: all, pipelines: [all]}
  - {name: mails, type: mail.*, pipelines: [mail]}
`
	reloadNew = `version: 1
name: reload
pipelines: {all: {steps: [{file: {path: "${OUT}/all"}}]}, orders: {steps: [{file: {path: "${OUT}/orders"}}]}}
rules:
  - {name: all, pipelines: [all]}
  - {name: orders, type: order.*, where: data.n > 1, pipelines: [orders]}
`
)

func TestRunReloadsItsRules(t *testing.T) {
	t.Parallel()
	out := t.TempDir()
	rules := write(t, "rules.yaml", reloadOld)
	r := startRun(t, rules, "", map[string]string{"OUT": out})
	good := write(t, "rules.yaml", reloadOld)
	publish := func(id, kind string) {
		t.Helper()
		if code, _, errs := eventrouter(t, "publish", "--id", id, "--type", kind, "--data", `{"n": 5}`, "--rules", good, "--broker", r.url); code != exitOK {
			t.Fatal(errs)
		}
	}
	holds := func(file string, lines int) {
		t.Helper()
		waitUntil(t, func() bool {
			text, _ := os.ReadFile(filepath.Join(out, file))
			return strings.Count(string(text), "\n") == lines
		})
	}
	publish("1", "mail.sent")
	holds("mail", 1)
	holds("all", 1)

	overwrite(t, rules, reloadNew)
	r.err.waitFor(t, "the rules are reloaded")
	publish("2", "order.new")
	holds("orders", 1)
	holds("all", 2)
	publish("3", "mail.sent")
	holds("all", 3)
	holds("mail", 1)

	overwrite(t, rules, strings.Replace(reloadNew, "orders]", "order]", 1))
	r.err.waitFor(t, `unknown pipeline \"order\"`)
	r.err.waitFor(t, "the old ones stay in force")
	publish("4", "order.new")
	holds("orders", 2)

	overwrite(t, rules, reloadOld)
	waitUntil(t, func() bool { return strings.Count(r.err.String(), "the rules are reloaded") == 2 })
	publish("5", "mail.sent")
	holds("mail", 2)
	if code, plan, errs := r.do("", "plan", "--exit-code"); code != exitOK && code != exitChange || strings.Contains(plan, "rule") {
		t.Errorf("plan: exit code %d, %s%s", code, plan, errs)
	}
	r.end()
	if code := r.wait(); code != exitOK {
		t.Errorf("exit code %d, %s", code, r.err)
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestRunFollowsALinkThatIsSwapped does what Kubernetes does to a volume of a ConfigMap.
func TestRunFollowsALinkThatIsSwapped(t *testing.T) {
	t.Parallel()
	out, volume := t.TempDir(), t.TempDir()
	version := func(name, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(volume, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(volume, name, "rules.yaml"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(name, filepath.Join(volume, "..data_tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("..one", reloadOld)
	rules := filepath.Join(volume, "rules.yaml")
	if err := os.Symlink(filepath.Join("..data", "rules.yaml"), rules); err != nil {
		t.Fatal(err)
	}
	r := startRun(t, rules, "", map[string]string{"OUT": out})
	version("..two", reloadNew)
	waitUntil(t, func() bool { return strings.Count(r.err.String(), "the rules are reloaded") == 1 })
	version("..three", reloadOld)
	waitUntil(t, func() bool { return strings.Count(r.err.String(), "the rules are reloaded") == 2 })
	r.end()
	if code := r.wait(); code != exitOK {
		t.Errorf("exit code %d, %s", code, r.err)
	}
}

func TestReloadedRulesChangeExchangesAndNotWhoMaySend(t *testing.T) {
	t.Parallel()
	rules, tokens := write(t, "rules.yaml", sink), write(t, "tokens", "before\n")
	r := startRun(t, rules, "", nil, "--http-token-file", tokens)
	post := func(token string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, r.http+"/events/more", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Ce-Type", "a")
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.StatusCode
	}
	if got := post("before"); got != http.StatusNotFound {
		t.Errorf("an exchange that is not there: %d", got)
	}
	overwrite(t, tokens, "after\n")
	overwrite(t, rules, sink+"exchanges: {events: {}, more: {}}\n")
	r.err.waitFor(t, "the rules are reloaded")
	if got := post("before"); got != http.StatusAccepted {
		t.Errorf("the token of the start: %d", got)
	}
	if got := post("after"); got != http.StatusUnauthorized {
		t.Errorf("a token that was written later: %d", got)
	}
	r.end()
	r.wait()
}

// It is not parallel, as every run in this process reloads when the signal comes, and others count their reloads.
func TestAGuardRefusesRulesThatLoseEvents(t *testing.T) {
	const only = "version: 1\nname: reload\npipelines: {mail: {}}\nrules: [{name: mails, type: 'mail.*', pipelines: [mail]}]\n"
	rules := write(t, "rules.yaml", only)
	events := write(t, "events.ndjson", `{"id":"a","type":"mail.sent"}`+"\n"+`{"id":"b","type":"mail.lost"}`+"\n"+`{"id":"c","type":"other"}`+"\n")
	r := startRun(t, rules, "", nil, "--guard", events)
	overwrite(t, rules, strings.Replace(only, "mail.*", "mail.sent", 1))
	r.err.waitFor(t, "1 event of "+events+" would reach no pipeline any more, such as b (mail.lost)")
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, func() bool { return strings.Count(r.err.String(), "would reach no pipeline any more") == 2 })
	overwrite(t, rules, strings.Replace(only, "mail.*", "#", 1))
	r.err.waitFor(t, "the rules are reloaded")
	r.end()
	r.wait()
}

// A pipeline gets another queue while one of its events is in hand and more wait: its old steps handle them all, and let go of what they hold then.
func TestAMovedPipelinesOldStepsStayUntilTheyAreDone(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 10), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	defer receiver.Close()
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	const text = `version: 1
name: moves
pipelines: {mail: {queue: {name: first}, retry: {attempts: 1}, steps: [{webhook: {url: "${RECEIVER}"}}, {file: {path: "${OUT}"}}]}}
rules: [{name: mails, pipelines: [mail]}]
`
	out := filepath.Join(t.TempDir(), "out")
	rules := write(t, "rules.yaml", text)
	r := startRun(t, rules, "", map[string]string{"RECEIVER": receiver.URL, "OUT": out})
	for range 5 {
		r.must("", "publish", "--type", "mail.sent")
	}
	<-entered // one is in hand from here on
	overwrite(t, rules, strings.Replace(text, "first", "second", 1))
	r.err.waitFor(t, "the rules are reloaded")
	free()
	waitUntil(t, func() bool {
		text, _ := os.ReadFile(out)
		return strings.Count(string(text), "\n") == 5 || strings.Contains(r.err.String(), "given up")
	})
	if log := r.err.String(); strings.Contains(log, "given up") {
		t.Fatalf("an event became a dead letter:\n%s", log)
	}
	onlyOpenOnce(t, out)
	r.must("", "publish", "--type", "mail.sent")
	waitUntil(t, func() bool { text, _ := os.ReadFile(out); return strings.Count(string(text), "\n") == 6 })
	r.end()
	if code := r.wait(); code != exitOK {
		t.Errorf("exit code %d, %s", code, r.err)
	}
}

// onlyOpenOnce waits until this process holds a file open once, where it can be told.
func onlyOpenOnce(t *testing.T, path string) {
	t.Helper()
	const held = "/proc/self/fd"
	if _, err := os.Stat(held); err != nil {
		return
	}
	waitUntil(t, func() bool {
		n := 0
		entries, _ := os.ReadDir(held)
		for _, e := range entries {
			if at, _ := os.Readlink(filepath.Join(held, e.Name())); at == path {
				n++
			}
		}
		return n == 1
	})
}

func TestStepsThatAreTakenAwayAndPutBackRunAgain(t *testing.T) {
	t.Parallel()
	const with = `version: 1
name: back
pipelines: {mail: {steps: [{file: {path: "${OUT}"}}]}}
rules: [{name: mails, pipelines: [mail]}]
`
	out := filepath.Join(t.TempDir(), "out")
	rules := write(t, "rules.yaml", with)
	r := startRun(t, rules, "", map[string]string{"OUT": out})
	holds := func(lines int) {
		t.Helper()
		waitUntil(t, func() bool { text, _ := os.ReadFile(out); return strings.Count(string(text), "\n") == lines })
	}
	r.must("", "publish", "--type", "mail.sent")
	holds(1)
	for i, text := range []string{strings.Replace(with, `steps: [{file: {path: "${OUT}"}}]`, "", 1), with} {
		overwrite(t, rules, text)
		waitUntil(t, func() bool { return strings.Count(r.err.String(), "the rules are reloaded") == i+1 })
		r.must("", "publish", "--type", "mail.sent")
	}
	holds(3)
	onlyOpenOnce(t, out)
	r.end()
	if code := r.wait(); code != exitOK {
		t.Errorf("exit code %d, %s", code, r.err)
	}
}
