package steps_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/pipelines/steps"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// outcome is what became of one attempt at an event.
type outcome struct {
	acked   bool
	retried time.Duration // 0: it is not tried again
	dead    error
	said    error // the step's error
}

// attempted lets a pipeline's runner make one attempt at an event that has had some before.
func attempted(t *testing.T, before int, step rules.Step) outcome {
	t.Helper()
	pipeline := rules.Pipeline{
		Name: "billing", Workers: 1, Timeout: time.Minute, Retry: rules.Retry{Attempts: 5, Delays: []time.Duration{time.Second, time.Hour}}, Steps: []rules.Step{step},
		Queue: rules.Queue{Declare: true, Type: rules.Quorum},
	}
	p, err := plan.Compile(&rules.File{
		Name: "shop", Exchanges: []rules.Exchange{{Key: "shop", Declare: true}}, Pipelines: []rules.Pipeline{pipeline},
		Rules: []rules.Rule{{Name: "all", Type: "#", Pipelines: []string{"billing"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var out outcome
	runner := &pipelines.Runner{
		Plan: p, Pipeline: p.Pipeline("billing"), Handler: built(t, steps.Needs{}, step),
		Broker: &broker{out: &out, before: before},
		Hooks: router.Hooks{
			Handled: func(_ string, _ *router.Event, _ int, _ time.Duration, err error) { out.said = err },
			Retried: func(_ string, _ *router.Event, _ int, delay time.Duration, _ error) { out.retried = delay },
			Dead:    func(_ string, _ *router.Event, _ int, err error) { out.dead = err },
			Problem: func(where string, err error) { t.Errorf("%s: %v", where, err) },
		},
	}
	if err := runner.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out
}

// broker hands out one event, confirms all that is published, and has nothing else.
type broker struct {
	router.Broker
	out     *outcome
	before  int
	settled chan struct{}
}

func (b *broker) Consume(_ context.Context, _ router.Subscription, handle func(*router.Delivery)) error {
	b.settled = make(chan struct{})
	e := order()
	handle(&router.Delivery{Event: &e, Exchange: "shop", Trail: router.Trail{Attempts: b.before}, Settler: b})
	<-b.settled
	return nil
}

func (b *broker) Publish(_ context.Context, _ router.Message, done func(error)) { done(nil) }

func (b *broker) Ack() error     { b.out.acked = true; close(b.settled); return nil }
func (b *broker) Lost() bool     { return false }
func (b *broker) Requeue() error { close(b.settled); return nil }
func (b *broker) Reject() error  { close(b.settled); return nil }

func TestWebhookTellsItsAttempt(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("eventrouter-attempt") }))
	defer receiver.Close()
	out := attempted(t, 2, rules.Step{Webhook: &rules.Webhook{URL: rules.Text(receiver.URL)}})
	if attempt := <-got; attempt != "3" || !out.acked || out.said != nil || out.retried != 0 || out.dead != nil {
		t.Errorf("attempt %q: %+v", attempt, out)
	}
}

func TestRetryAfterOfAReceiver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name        string
		code        int
		after       string
		least, most time.Duration // of the delay
	}{
		{"none", 503, "", time.Second, time.Second},
		{"sooner than the delay", 503, "0", time.Second, time.Second},
		{"seconds", 429, "120", 2 * time.Minute, 2 * time.Minute},
		{"date", 503, time.Now().Add(10 * time.Minute).UTC().Format(http.TimeFormat), 9 * time.Minute, 10 * time.Minute},
		{"too long", 503, "9999999999999999999999", 24 * time.Hour, 24 * time.Hour},
		{"permanent all the same", 404, "120", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", tt.after)
				w.WriteHeader(tt.code)
			}))
			defer receiver.Close()
			out := attempted(t, 0, rules.Step{Webhook: &rules.Webhook{URL: rules.Text(receiver.URL)}})
			if out.retried < tt.least || out.retried > tt.most || (out.dead != nil) != (tt.most == 0) {
				t.Errorf("retried after %s, dead %v", out.retried, out.dead)
			}
			if out.said == nil || !strings.HasPrefix(out.said.Error(), "step 1 (webhook): "+receiver.URL) {
				t.Errorf("error %v", out.said)
			}
		})
	}
}

func TestExecTellsItsAttemptAndPipeline(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "said")
	out := attempted(t, 1, rules.Step{Exec: &rules.Exec{
		Command: []rules.Text{rules.Text(self), rules.Text(to)}, Env: map[string]rules.Text{"STEPS_TEST_RECORD": "hello"},
	}})
	text, err := os.ReadFile(to)
	if err != nil || !strings.HasPrefix(string(text), `hello 2 billing {"specversion"`) || !out.acked {
		t.Errorf("%q, %v: %+v", text, err, out)
	}
}
