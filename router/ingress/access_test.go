package ingress

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

func TestWhoMaySendEventsAndReadMetrics(t *testing.T) {
	t.Parallel()
	tokens, users := []string{"first-token", "second-token"}, map[string]string{"shop": "pass:word"}
	for _, tt := range []struct {
		name          string
		tokens        []string
		users         map[string]string
		authorization string
		want          int
	}{
		{"nothing asked, nothing given", nil, nil, "", 202},
		{"nothing asked, something given", nil, nil, "Bearer x", 202},
		{"nothing given", tokens, users, "", 401},
		{"a token", tokens, users, "Bearer first-token", 202},
		{"another token, another case", tokens, nil, "bearer second-token", 202},
		{"a wrong token", tokens, users, "Bearer first-tokem", 401},
		{"a token's beginning", tokens, users, "Bearer first", 401},
		{"no token", tokens, users, "Bearer", 401},
		{"no token where an empty one is known", []string{""}, nil, "Bearer ", 401},
		{"a user", tokens, users, "Basic c2hvcDpwYXNzOndvcmQ=", 202},
		{"a wrong password", tokens, users, "Basic c2hvcDpwYXNz", 401},
		{"a user where tokens are asked for", tokens, nil, "Basic c2hvcDpwYXNzOndvcmQ=", 401},
		{"a token where users are asked for", nil, users, "Bearer shop:pass:word", 401},
		{"another scheme", tokens, users, "Digest first-token", 401},
	} {
		b := &broker{}
		metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
		h := newDoor(b, func(o *Options) { o.Tokens, o.Users, o.Metrics = tt.tokens, tt.users, metrics })
		headers := binary
		if tt.authorization != "" {
			headers = append([]string{"Authorization: " + tt.authorization}, binary...)
		}
		for _, r := range []*http.Request{
			request("POST", "/events", "{}", headers...), request("POST", "/events/other", "{}", headers...), request("GET", "/metrics", "", headers...),
		} {
			w, p := do(h, r)
			if w.Code != tt.want {
				t.Errorf("%s: %s %s: %d, want %d", tt.name, r.Method, r.URL, w.Code, tt.want)
			}
			if w.Code == 401 && (w.Header().Get("WWW-Authenticate") == "" || p.Status != 401) {
				t.Errorf("%s: %s: an answer without what is asked for: %v %s", tt.name, r.URL, w.Header(), w.Body)
			}
			for _, secret := range []string{"first-token", "second-token", "pass:word"} {
				if strings.Contains(w.Body.String(), secret) {
					t.Errorf("%s: the answer tells a secret: %s", tt.name, w.Body)
				}
			}
		}
		if w, _ := do(h, request("GET", "/readyz", "")); w.Code != 200 {
			t.Errorf("%s: /readyz: %d", tt.name, w.Code)
		}
		if n := len(b.messages()); tt.want == 401 && n != 0 {
			t.Errorf("%s: %d events were published", tt.name, n)
		}
	}
}

func TestWhyItIsNotReadyIsToldToThoseWhoKnowASecret(t *testing.T) {
	t.Parallel()
	down := errors.New("amqp://shop@rabbit-1.internal: connection refused")
	for _, tt := range []struct {
		name          string
		tokens        []string
		authorization string
		want          string
	}{
		{"no secrets", nil, "", "not ready"},
		{"no secrets, one given", nil, "Bearer token", "not ready"},
		{"nothing given", []string{"token"}, "", "not ready"},
		{"a wrong token", []string{"token"}, "Bearer t", "not ready"},
		{"the token", []string{"token"}, "Bearer token", down.Error()},
	} {
		h := newDoor(&broker{}, func(o *Options) { o.Tokens, o.Ready = tt.tokens, func() error { return down } })
		if w, p := do(h, request("GET", "/readyz", "", "Authorization: "+tt.authorization)); w.Code != 503 || p.Detail != tt.want || p.Detail == "not ready" && strings.Contains(w.Body.String(), "rabbit") {
			t.Errorf("%s: %d %s", tt.name, w.Code, w.Body)
		}
	}
}

func TestMoreEventsThanTheRateAreToldToComeAgain(t *testing.T) {
	t.Parallel()
	b := &broker{}
	h := newDoor(b, func(o *Options) { o.Rate, o.MaxBatch = 0.01, 3 })
	batch := `[{"type":"a"},{"type":"a"},{"type":"a"}]`
	w, _ := do(h, request("POST", "/events", batch, "content-type: "+"application/cloudevents-batch+json"))
	if w.Code != 202 {
		t.Fatalf("the first batch: %d %s", w.Code, w.Body)
	}
	w, p := do(h, request("POST", "/events", "{}", binary...))
	if wait, err := strconv.Atoi(w.Header().Get("Retry-After")); err != nil || wait < 1 || wait > 100 || w.Code != 429 || p.Status != 429 {
		t.Errorf("one more: %d, retry after %q, %s", w.Code, w.Header().Get("Retry-After"), w.Body)
	}
	if n := len(b.messages()); n != 3 {
		t.Errorf("%d events were published", n)
	}
}
