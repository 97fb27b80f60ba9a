package webhook

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// received is a request as a receiver got it.
type received struct {
	*http.Request
	body string
}

// receiver answers each request by answer (nil: 200), and hands on what it got.
func receiver(t *testing.T, answer http.HandlerFunc) (url string, got <-chan received) {
	t.Helper()
	requests := make(chan received, 100)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading a request: %v", err)
		}
		requests <- received{r, string(body)}
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, requests
}

func answering(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	}
}

func made(t *testing.T, o Options) pipelines.Handler {
	t.Helper()
	h, closeIdle, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(closeIdle)
	return h
}

// sent makes one request of e, which has to be taken.
func sent(t *testing.T, o Options, e router.Event) received {
	t.Helper()
	url, got := receiver(t, nil)
	o.URL = url + o.URL
	if err := made(t, o)(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	return <-got
}

func order() router.Event {
	return router.Event{
		ID: "order-17", Type: "order.placed", Source: "/shop", Subject: "17", Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		ContentType: "application/json", Data: []byte(`{"total": 1}`),
	}
}
