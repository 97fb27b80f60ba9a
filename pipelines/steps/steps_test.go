package steps_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/pipelines/steps"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/rules"
)

type publisher func(m router.Message) error

func (p publisher) Publish(_ context.Context, m router.Message, done func(error)) { done(p(m)) }

// variables are an environment.
type variables map[string]string

func (v variables) lookup(name string) (string, bool) {
	value, ok := v[name]
	return value, ok
}

func built(t *testing.T, n steps.Needs, list ...rules.Step) pipelines.Handler {
	t.Helper()
	h, closeSteps, err := steps.Build(rules.Pipeline{Name: "billing", Workers: 2, Steps: list}, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := closeSteps(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func order() router.Event {
	return router.Event{ID: "17", Type: "order.placed", ContentType: "application/json", Data: []byte(`{"total":1}`)}
}

func forward(exchange rules.Text) rules.Step {
	return rules.Step{Forward: &rules.Forward{Exchange: exchange}}
}

// A file of rules with every step, its options all from the environment.
const everyStep = `
version: 1
name: shop
exchanges: {shop: {}}
pipelines:
  billing:
    steps:
      - webhook: {url: "${URL}/hook", secret: "${SECRET}", headers: {X-Shop: "${SHOP}"}}
      - exec: {command: ["${SELF}", "${TO}"], env: {STEPS_TEST_RECORD: "${SHOP}"}, dir: "${DIR}"}
      - file: {path: "${DIR}/events.ndjson"}
      - log: {level: warn, data: true}
      - forward: {exchange: "${SHOP}.others", key: "$${${SHOP}"}
rules:
  - {name: all, pipelines: [billing]}
`

func TestEveryStepWithOptionsFromTheEnvironment(t *testing.T) {
	t.Parallel()
	requests := make(chan http.Header, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { requests <- r.Header }))
	defer receiver.Close()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	env := variables{"URL": receiver.URL, "SECRET": "s3cret", "SHOP": "north", "SELF": self, "DIR": dir, "TO": "recorded"}
	var logged, published string
	n := steps.Needs{
		Lookup: env.lookup, UserAgent: "eventrouter/1",
		Publisher: publisher(func(m router.Message) error { published = m.Exchange + " " + m.Key; return nil }),
		Log: func(level, pipeline string, e *router.Event, data string) {
			logged = fmt.Sprint(level, " ", pipeline, " ", e.ID, " ", data)
		},
	}
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte(everyStep)})
	if len(problems.Errors()) > 0 {
		t.Fatal(problems)
	}
	h, closeSteps, err := steps.Build(file.Pipelines[0], n)
	if err != nil {
		t.Fatal(err)
	}
	if err := h(t.Context(), order()); err != nil {
		t.Fatal(err)
	}
	got := <-requests
	if got.Get("X-Shop") != "north" || got.Get("User-Agent") != "eventrouter/1" || got.Get("Webhook-Signature") == "" || got.Get("Ce-Id") != "17" {
		t.Errorf("the webhook got %v", got)
	}
	for name, want := range map[string]string{"recorded": "north ", "events.ndjson": `{"specversion":"1.0","id":"17"`} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.HasPrefix(string(text), want) {
			t.Errorf("%s holds %q, %v", name, text, err)
		}
	}
	if logged != `warn billing 17 {"total":1}` {
		t.Errorf("logged %q", logged)
	}
	if published != "north.others ${north" {
		t.Errorf("published to %q", published)
	}
	if err := closeSteps(); err != nil {
		t.Fatal(err)
	}
	if err := h(t.Context(), order()); err == nil || !strings.HasPrefix(err.Error(), "step 3 (file): ") {
		t.Errorf("after the end: %v", err)
	}
}

func TestBuildNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	pos := rules.Pos{File: "rules.yaml", Line: 7, Column: 9}
	p := rules.Pipeline{Name: "billing", Steps: []rules.Step{
		{Pos: pos, Webhook: &rules.Webhook{URL: "${URL}", Secret: "${SECRET}"}},
		{Webhook: &rules.Webhook{URL: "ftp://h"}},
		{Exec: &rules.Exec{Command: []rules.Text{"no-such-tool"}}},
		{Exec: &rules.Exec{Command: []rules.Text{"tool", "${ARG}"}, Env: map[string]rules.Text{"A": "${ENV}"}}},
		{Append: &rules.Append{Path: "${PATH_OF_FILE}"}},
		{Append: &rules.Append{Path: ""}},
		{Log: &rules.Log{}},
		forward("others"),
		{},
		{Forward: &rules.Forward{Exchange: "${not a name}"}},
	}}
	for name, n := range map[string]steps.Needs{"no environment": {}, "empty environment": {Lookup: variables{}.lookup}} {
		h, closeSteps, err := steps.Build(p, n)
		if h != nil || closeSteps != nil || err == nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, want := range []string{
			`rules.yaml:7:9: step 1 (webhook) of pipeline "billing": variable "URL" is not set`,
			`rules.yaml:7:9: step 1 (webhook) of pipeline "billing": variable "SECRET" is not set`,
			`step 2 (webhook) of pipeline "billing": url is not one of http or https`,
			`step 3 (exec) of pipeline "billing": command "no-such-tool": executable file not found in $PATH`,
			`step 4 (exec) of pipeline "billing": variable "ARG" is not set`,
			`step 4 (exec) of pipeline "billing": variable "ENV" is not set`,
			`step 5 (file) of pipeline "billing": variable "PATH_OF_FILE" is not set`,
			`step 6 (file) of pipeline "billing": path is empty`,
			`step 7 (log) of pipeline "billing": there is no log for it`,
			`step 8 (forward) of pipeline "billing": there is no publisher for it`,
			`step 9 (?) of pipeline "billing": a step of an unknown kind`,
		} {
			if !slices.Contains(strings.Split(err.Error(), "\n"), want) {
				t.Errorf("%s: no line %s in\n%v", name, want, err)
			}
		}
	}
	if _, _, err := steps.Build(rules.Pipeline{Name: "empty"}, steps.Needs{}); err == nil || err.Error() != `pipeline "empty" has no steps` {
		t.Errorf("no steps: %v", err)
	}
}

// A step must not do something else, and that without a word, because a variable is empty: publish to the queue that an event names, sign nothing.
func TestBuildRefusesOptionsOfWhichNothingIsLeft(t *testing.T) {
	t.Parallel()
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte(`
version: 1
name: shop
pipelines:
  billing:
    steps:
      - forward: {exchange: "${NONE}"}
      - forward: {exchange: others, key: "${NONE}${NONE}"}
      - webhook: {url: "${NONE}", secret: "${NONE}"}
      - exec: {command: ["${NONE}", "${NONE}"], dir: "${NONE}", env: {A: "${NONE}"}}
      - file: {path: "${NONE}"}
rules:
  - {name: all, pipelines: [billing]}
`)})
	if len(problems.Errors()) > 0 {
		t.Fatal(problems)
	}
	published := false
	n := steps.Needs{Lookup: variables{"NONE": ""}.lookup, Publisher: publisher(func(router.Message) error { published = true; return nil })}
	_, _, err := steps.Build(file.Pipelines[0], n)
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		`rules.yaml:7:9: step 1 (forward) of pipeline "billing": exchange is empty, as is the value of ${NONE}`,
		`rules.yaml:8:9: step 2 (forward) of pipeline "billing": key is empty, as is the value of ${NONE}${NONE}`,
		`rules.yaml:9:9: step 3 (webhook) of pipeline "billing": url is empty, as is the value of ${NONE}`,
		`rules.yaml:9:9: step 3 (webhook) of pipeline "billing": secret is empty, as is the value of ${NONE}`,
		`rules.yaml:10:9: step 4 (exec) of pipeline "billing": command is empty, as is the value of ${NONE}`,
		`rules.yaml:10:9: step 4 (exec) of pipeline "billing": dir is empty, as is the value of ${NONE}`,
		`rules.yaml:11:9: step 5 (file) of pipeline "billing": path is empty, as is the value of ${NONE}`,
	}
	if got := strings.Split(err.Error(), "\n"); !slices.Equal(got, want) || published {
		t.Errorf("got\n%s\nwant\n%s", err, strings.Join(want, "\n"))
	}
	for _, step := range []rules.Step{{Forward: &rules.Forward{}}, {Exec: &rules.Exec{}}} { // as made in Go
		if _, _, err := steps.Build(rules.Pipeline{Name: "billing", Steps: []rules.Step{step}}, n); err == nil || !strings.Contains(err.Error(), " is empty") {
			t.Errorf("got %v", err)
		}
	}
}

func TestValuesOfAWebhooksVariablesAreNotInItsErrors(t *testing.T) {
	t.Parallel()
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "no "+strings.TrimPrefix(r.Header.Get("Authorization"), "Token:")+" for "+r.URL.Path, http.StatusForbidden)
	}))
	defer receiver.Close()
	env := variables{"HOOK": receiver.URL + "/hidden-path", "T": "hidden-token"}
	step := rules.Step{Webhook: &rules.Webhook{URL: "${HOOK}", Headers: map[string]rules.Text{"Authorization": "Token:${T}"}}}
	err := built(t, steps.Needs{Lookup: env.lookup}, step)(t.Context(), order())
	if want := "step 1 (webhook): " + receiver.URL + ": 403 Forbidden: no *** for /***"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFirstFailureStopsAndIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		answer    error
		permanent bool
	}{{router.ErrUnroutable, true}, {router.ErrRefused, false}} {
		var got []string
		n := steps.Needs{Publisher: publisher(func(m router.Message) error {
			got = append(got, m.Exchange)
			if m.Exchange == "second" {
				return tt.answer
			}
			return nil
		})}
		err := built(t, n, forward("first"), forward("second"), forward("third"))(t.Context(), order())
		if !errors.Is(err, tt.answer) || pipelines.IsPermanent(err) != tt.permanent || !strings.HasPrefix(err.Error(), "step 2 (forward): ") {
			t.Errorf("permanent %v: %v", pipelines.IsPermanent(err), err)
		}
		if !slices.Equal(got, []string{"first", "second"}) {
			t.Errorf("published to %q", got)
		}
	}
}

func TestLog(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 4<<10-1)
	for _, tt := range []struct {
		name       string
		data       []byte
		show       bool
		want       string
		wantLength int
	}{
		{"not asked for", []byte("x"), false, "", 0},
		{"as it is", []byte(`{"total":1}`), true, `{"total":1}`, 11},
		{"just fits", []byte(long + "b"), true, long + "b", 4 << 10},
		{"too long", []byte(long + "bc"), true, long + "b…", 4<<10 + 3},
		{"cut within a character", []byte(long + "ä"), true, long + "…", 4<<10 + 2},
		{"no text", []byte{0xff, 0}, true, "2 bytes that are no text", 24},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			n := steps.Needs{Log: func(level, pipeline string, e *router.Event, data string) {
				calls++
				if level != "debug" || pipeline != "billing" || e.ID != "17" || data != tt.want || len(data) != tt.wantLength {
					t.Errorf("%s %s %s: %d bytes %.40q", level, pipeline, e.ID, len(data), data)
				}
			}}
			e := order()
			e.Data = tt.data
			if err := built(t, n, rules.Step{Log: &rules.Log{Level: "debug", Data: tt.show}})(t.Context(), e); err != nil || calls != 1 {
				t.Errorf("%d calls, %v", calls, err)
			}
		})
	}
}

func TestMain(m *testing.M) {
	if text := os.Getenv("STEPS_TEST_RECORD"); text != "" { // the command of the exec steps here
		input, _ := io.ReadAll(os.Stdin)
		said := fmt.Sprintf("%s %s %s %s", text, os.Getenv("EVENTROUTER_ATTEMPT"), os.Getenv("EVENTROUTER_PIPELINE"), input)
		if os.WriteFile(os.Args[1], []byte(said), 0o600) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
