package ingress

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

// broker is a publisher that answers as the test says, by the type of each event; it has seen what it is asked.
type broker struct {
	mu     sync.Mutex
	seen   []router.Message
	answer func(m router.Message) error
}

func (b *broker) Publish(_ context.Context, m router.Message, done func(error)) {
	b.mu.Lock()
	b.seen = append(b.seen, m)
	b.mu.Unlock()
	var err error
	if b.answer != nil {
		err = b.answer(m)
	}
	go done(err)
}

func (b *broker) messages() []router.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

func newDoor(b router.Publisher, change func(*Options)) http.Handler {
	o := Options{Publisher: b, Default: "shop.events", Exchanges: map[string]string{"events": "shop.events", "other": "elsewhere"}}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// request makes one: headers as "name: value".
func request(method, path, body string, headers ...string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func do(h http.Handler, r *http.Request) (*httptest.ResponseRecorder, problem) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var p problem
	_ = json.Unmarshal(w.Body.Bytes(), &p)
	return w, p
}

var binary = []string{"ce-specversion: 1.0", "ce-type: order.created", "ce-id: 1", "ce-source: /shop"}

func TestEventsOfEveryMode(t *testing.T) {
	t.Parallel()
	doc := `{"specversion":"1.0","type":"order.created","id":"1","source":"/shop","data":{"total":1}}`
	tests := []struct {
		name string
		r    *http.Request
		want string // the published event as JSON
	}{
		{"binary", request("POST", "/events", `{"total":1}`, append(binary, "content-type: application/json")...),
			`{"specversion":"1.0","id":"1","type":"order.created","source":"/shop","datacontenttype":"application/json","data":{"total":1}}`},
		{"binary with everything", request("POST", "/events", "x", append(binary, "content-type: text/plain", "ce-time: 2026-11-24T10:00:00Z", "ce-subject: Euro %E2%82%AC", `ce-tenant: "ac\"me"`, "traceparent: 00-a-b-01")...),
			`{"specversion":"1.0","id":"1","type":"order.created","source":"/shop","subject":"Euro €","time":"2026-11-24T10:00:00Z","datacontenttype":"text/plain","tenant":"ac\"me","traceparent":"00-a-b-01","data":"x"}`},
		{"structured", request("POST", "/events", doc, "content-type: application/cloudevents+json; charset=utf-8"),
			`{"specversion":"1.0","id":"1","type":"order.created","source":"/shop","datacontenttype":"application/json","data":{"total":1}}`},
		{"batch", request("POST", "/events", "["+doc+"]", "content-type: application/cloudevents-batch+json"),
			`{"specversion":"1.0","id":"1","type":"order.created","source":"/shop","datacontenttype":"application/json","data":{"total":1}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &broker{}
			w, _ := do(newDoor(b, nil), tt.r)
			if w.Code != http.StatusAccepted || strings.TrimSpace(w.Body.String()) != `{"ids":["1"]}` {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			m := b.messages()[0]
			got, err := m.Event.MarshalJSON()
			if err != nil || string(got) != tt.want {
				t.Errorf("published\n     %s\nwant %s (%v)", got, tt.want, err)
			}
			if m.Exchange != "shop.events" || m.Key != "order.created" || !m.Mandatory {
				t.Errorf("published to %q with %q, mandatory: %v", m.Exchange, m.Key, m.Mandatory)
			}
		})
	}
}

func TestAnIDIsMadeWhereThereIsNone(t *testing.T) {
	t.Parallel()
	b := &broker{}
	w, _ := do(newDoor(b, nil), request("POST", "/events/other", "", "ce-type: t"))
	id := b.messages()[0].Event.ID
	if w.Code != http.StatusAccepted || id == "" || !strings.Contains(w.Body.String(), id) || b.messages()[0].Exchange != "elsewhere" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	t.Parallel()
	structuredType, batchType := "content-type: application/cloudevents+json", "content-type: application/cloudevents-batch+json"
	tests := []struct {
		name   string
		r      *http.Request
		status int
		detail string
	}{
		{"no headers", request("POST", "/events", "{}", "content-type: application/json"), 400, `"ce-type" is missing`},
		{"other version", request("POST", "/events", "", "ce-type: t", "ce-specversion: 0.3"), 400, `"ce-specversion" is 1.0`},
		{"time", request("POST", "/events", "", "ce-type: t", "ce-time: yesterday"), 400, `"ce-time" is an RFC 3339 time`},
		{"attribute name", request("POST", "/events", "", "ce-type: t", "ce-a_b: x"), 400, `"a_b"`},
		{"attribute twice", request("POST", "/events", "", "ce-type: t", "ce-type: u"), 400, "2 times"},
		{"percent-encoding", request("POST", "/events", "", "ce-type: t", "ce-subject: 100%"), 400, "percent-encoding"},
		{"not UTF-8", request("POST", "/events", "", "ce-type: t", "ce-subject: %FF"), 400, "UTF-8"},
		{"data in a header", request("POST", "/events", "", "ce-type: t", "ce-datacontenttype: x"), 400, "datacontenttype"},
		{"type too long", request("POST", "/events", "", "ce-type: "+strings.Repeat("x", 256)), 400, "256 bytes"},
		{"no JSON", request("POST", "/events", "{", structuredType), 400, "JSON object"},
		{"no type", request("POST", "/events", `{"id":"1"}`, structuredType), 400, `"type" is missing`},
		{"no array", request("POST", "/events", `{}`, batchType), 400, "JSON array"},
		{"null batch", request("POST", "/events", `null`, batchType), 400, "JSON array"},
		{"XML", request("POST", "/events", "<a/>", "content-type: application/cloudevents+xml"), 415, "cloudevents+xml"},
		{"content type", request("POST", "/events", "", "content-type: ;", "ce-type: t"), 415, "cannot be read"},
		{"compressed", request("POST", "/events", "x", structuredType, "content-encoding: gzip"), 415, "gzip"},
		{"too large", request("POST", "/events", strings.Repeat("x", 101), "ce-type: t"), 413, "over 100 bytes"},
		{"too many", request("POST", "/events", `[{},{},{}]`, batchType), 413, "3 events"},
		{"no exchange", request("POST", "/events/none", "", "ce-type: t"), 404, `no exchange "none"`},
		{"elsewhere", request("POST", "/event", "", "ce-type: t"), 404, "POST /events"},
		{"method", request("GET", "/events", ""), 405, "POST"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &broker{}
			w, p := do(newDoor(b, func(o *Options) { o.MaxBody, o.MaxBatch = 100, 2 }), tt.r)
			if w.Code != tt.status || p.Status != tt.status || !strings.Contains(p.Detail, tt.detail) || p.Title == "" {
				t.Errorf("%d %s, want %d and %q", w.Code, w.Body, tt.status, tt.detail)
			}
			if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
			if len(b.messages()) > 0 {
				t.Error("published all the same")
			}
		})
	}
}

func TestABatchWithAWrongEventPublishesNothingAndNamesAllThatAreWrong(t *testing.T) {
	t.Parallel()
	b := &broker{}
	w, p := do(newDoor(b, nil), request("POST", "/events", `[{"type":"a"},{"id":"x"},{"type":7}]`, "content-type: application/cloudevents-batch+json"))
	if w.Code != 400 || len(p.Errors) != 2 || p.Errors[0].Index != 1 || p.Errors[1].Index != 2 || len(b.messages()) != 0 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWhatTheBrokerSaysIsPassedOn(t *testing.T) {
	t.Parallel()
	for err, status := range map[error]int{
		router.ErrRefused: 503, router.ErrExchange: 503, errors.New("connection lost"): 503, router.ErrTooLarge: 413, router.ErrInvalid: 400, router.ErrUnroutable: 422,
	} {
		b := &broker{answer: func(router.Message) error { return fmt.Errorf("exchange: %w", err) }}
		w, p := do(newDoor(b, nil), request("POST", "/events", "", "ce-type: t"))
		if w.Code != status || !strings.Contains(p.Detail, err.Error()) || (status == 503) != (w.Header().Get("Retry-After") != "") {
			t.Errorf("%v: %d %s, Retry-After %q", err, w.Code, w.Body, w.Header().Get("Retry-After"))
		}
	}
}

func TestABatchOfWhichOneIsNotConfirmedIsNotAccepted(t *testing.T) {
	t.Parallel()
	b := &broker{answer: func(m router.Message) error {
		if m.Event.ID == "2" {
			return router.ErrRefused
		}
		return nil
	}}
	w, p := do(newDoor(b, nil), request("POST", "/events", `[{"type":"a","id":"1"},{"type":"a","id":"2"},{"type":"a","id":"3"}]`, "content-type: application/cloudevents-batch+json"))
	if w.Code != 503 || len(p.Errors) != 1 || p.Errors[0].ID != "2" || fmt.Sprint(p.Confirmed) != "[1 3]" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// stuck never answers before the context is over.
type stuck struct{ entered chan struct{} }

func (s stuck) Publish(ctx context.Context, _ router.Message, done func(error)) {
	s.entered <- struct{}{}
	context.AfterFunc(ctx, func() { done(context.Cause(ctx)) })
}

func TestABrokerThatDoesNotAnswerIsWaitedForNoLongerThanSaid(t *testing.T) {
	t.Parallel()
	w, p := do(newDoor(stuck{make(chan struct{}, 1)}, func(o *Options) { o.Timeout = 20 * time.Millisecond }), request("POST", "/events", "", "ce-type: t"))
	if w.Code != 503 || !strings.Contains(p.Detail, "no confirm within 20ms") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestNoMoreRequestsAreWorkedOnThanSaid(t *testing.T) {
	t.Parallel()
	s := stuck{make(chan struct{}, 10)}
	h := newDoor(s, func(o *Options) { o.MaxInFlight = 2 })
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { do(h, request("POST", "/events", "", "ce-type: t").WithContext(ctx)) })
		<-s.entered
	}
	w, p := do(h, request("POST", "/events", "", "ce-type: t"))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(p.Detail, "too many requests") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	cancel()
	wg.Wait()
}

func TestAThousandAtOnceAreAllAnsweredAfterTheirConfirms(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var waiting []func(error)
	b := publisherFunc(func(_ context.Context, _ router.Message, done func(error)) {
		mu.Lock()
		defer mu.Unlock()
		waiting = append(waiting, done)
		if len(waiting) == 1000 { // the confirms come in another order than the events
			for i := len(waiting) - 1; i >= 0; i-- {
				go waiting[i](nil)
			}
		}
	})
	server := httptest.NewServer(newDoor(b, nil))
	defer server.Close()
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			r, err := http.NewRequest("POST", server.URL+"/events", bytes.NewReader([]byte("{}")))
			if err != nil {
				t.Error(err)
				return
			}
			r.Header.Set("ce-type", "t")
			r.Header.Set("ce-id", fmt.Sprint(i))
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != 202 || !strings.Contains(string(body), fmt.Sprintf("%q", fmt.Sprint(i))) {
				t.Errorf("event %d: %d %s", i, res.StatusCode, body)
			}
		})
	}
	wg.Wait()
}

type publisherFunc func(context.Context, router.Message, func(error))

func (f publisherFunc) Publish(ctx context.Context, m router.Message, done func(error)) {
	f(ctx, m, done)
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	var down error
	h := newDoor(&broker{}, func(o *Options) {
		o.Ready = func() error { return down }
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metrics") })
	})
	for path, want := range map[string]string{"/healthz": "ok\n", "/readyz": "ready\n", "/metrics": "metrics"} {
		if w, _ := do(h, request("GET", path, "")); w.Code != 200 || w.Body.String() != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	down = errors.New("no connection to publish")
	if w, p := do(h, request("GET", "/readyz", "")); w.Code != 503 || p.Detail != "not ready" {
		t.Errorf("not ready: %d %s", w.Code, w.Body)
	}
	if w, _ := do(h, request("GET", "/healthz", "")); w.Code != 200 {
		t.Errorf("alive all the same: %d", w.Code)
	}
}

// FuzzRequest: whatever a client sends, it is answered, and what is published is an event.
func FuzzRequest(f *testing.F) {
	f.Add("application/json", "order.created", "Euro %E2%82%AC", `{"a":1}`)
	f.Add("application/cloudevents+json", "", "", `{"type":"a","data_base64":"eA=="}`)
	f.Add("application/cloudevents-batch+json", "", "", `[{"type":"a","time":"2026-11-24T10:00:00Z"}]`)
	f.Fuzz(func(t *testing.T, contentType, eventType, subject, body string) {
		b := &broker{}
		r := httptest.NewRequest("POST", "/events", strings.NewReader(body))
		r.Header["Content-Type"], r.Header["Ce-Type"], r.Header["Ce-Subject"] = []string{contentType}, []string{eventType}, []string{subject}
		w, _ := do(newDoor(b, nil), r)
		switch {
		case w.Code == 202:
			for _, m := range b.messages() {
				if err := m.Event.Check(); err != nil || m.Event.ID == "" {
					t.Errorf("published %+v: %v", m.Event, err)
				}
			}
		case w.Code != 400 && w.Code != 413 && w.Code != 415 || len(b.messages()) > 0:
			t.Errorf("%d %s, with %d published", w.Code, w.Body, len(b.messages()))
		}
	})
}
