package metrics

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

func TestWhatHappensIsCounted(t *testing.T) {
	t.Parallel()
	m := New()
	h := m.Hooks()
	e := &router.Event{ID: "secret-id", Type: "secret.type"}
	failed := errors.New("secret text")
	h.Connected("publish", "amqp://u:secret@x")
	h.Connected("consume", "amqp://x")
	h.Disconnected("consume", failed)
	h.Blocked("secret disk")
	for _, err := range []error{nil, router.ErrRefused, router.ErrUnroutable, router.ErrTooLarge, failed} {
		h.Published(router.Message{Event: e}, time.Millisecond, err)
	}
	h.Routed(e, []string{"large"}, []string{"billing", "archive"}, time.Millisecond)
	h.Unrouted(e, "secret")
	h.NotEvaluated(e, "large", failed)
	h.Started("billing", e, 1)
	h.Started("billing", e, 1)
	h.Handled("billing", e, 1, time.Second, nil)
	h.Started("archive", e, 2)
	h.Handled("archive", e, 2, time.Second, failed)
	h.Retried("archive", e, 2, time.Second, failed)
	h.Dead("archive", e, 3, failed)
	h.Duplicate("archive", e)
	h.Problem("secret", failed)

	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	text := w.Body.String()
	for _, want := range []string{
		`eventrouter_broker_connected{role="publish"} 1`, `eventrouter_broker_connected{role="consume"} 0`,
		`eventrouter_broker_disconnects_total{role="consume"} 1`, "eventrouter_broker_blocked 1",
		`eventrouter_published_total{result="confirmed"} 1`, `eventrouter_published_total{result="refused"} 1`,
		`eventrouter_published_total{result="unroutable"} 1`, `eventrouter_published_total{result="invalid"} 1`, `eventrouter_published_total{result="unknown"} 1`,
		"eventrouter_publish_seconds_count 5", "eventrouter_routed_total 1", `eventrouter_rule_held_total{rule="large"} 1`,
		`eventrouter_pipeline_routed_total{pipeline="archive"} 1`, "eventrouter_unrouted_total 1",
		`eventrouter_handled_total{pipeline="billing",result="ok"} 1`, `eventrouter_handled_total{pipeline="archive",result="error"} 1`,
		`eventrouter_in_hand{pipeline="billing"} 1`, `eventrouter_in_hand{pipeline="archive"} 0`, `eventrouter_handle_seconds_count{pipeline="billing"} 1`,
		`eventrouter_retried_total{pipeline="archive"} 1`, `eventrouter_dead_total{pipeline="archive"} 1`, `eventrouter_duplicates_total{pipeline="archive"} 1`, "eventrouter_problems_total 1", `eventrouter_where_errors_total{rule="large"} 1`,
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("not there: %s", want)
		}
	}
	if strings.Contains(text, "secret") {
		t.Error("what events and errors say is in the metrics")
	}
	h.Blocked("")
	w = httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if !strings.Contains(w.Body.String(), "eventrouter_broker_blocked 0\n") {
		t.Error("still blocked")
	}
}
