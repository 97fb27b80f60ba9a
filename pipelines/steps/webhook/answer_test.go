package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
)

func readable(s string) io.ReadCloser { return io.NopCloser(strings.NewReader(s)) }

func wantPermanent(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !pipelines.IsPermanent(err) {
		t.Errorf("error is not permanent: %v", err)
	}
	wantError(t, err, parts...)
}

func wantRetry(t *testing.T, err error, parts ...string) {
	t.Helper()
	if err == nil || pipelines.IsPermanent(err) {
		t.Errorf("error is not one to try again: %v", err)
	}
	wantError(t, err, parts...)
}

func wantError(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err != nil && !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

func TestWhatStatusesMean(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		codes []int
		check func(t *testing.T, err error, parts ...string)
	}{
		{[]int{200, 201, 202, 204, 299}, func(t *testing.T, err error, _ ...string) {
			if err != nil {
				t.Error(err)
			}
		}},
		{[]int{408, 429, 500, 502, 503, 504, 599}, wantRetry},
		{[]int{300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 409, 410, 413, 422, 499}, wantPermanent},
	} {
		for _, code := range tt.codes {
			t.Run(fmt.Sprint(code), func(t *testing.T) {
				t.Parallel()
				at, got := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", "/elsewhere")
					w.WriteHeader(code)
				})
				err := made(t, Options{URL: at + "/hook"})(t.Context(), order())
				tt.check(t, err, at+": ", fmt.Sprint(code))
				if len(got) != 1 {
					t.Errorf("%d requests were made", len(got))
				}
			})
		}
	}
}

func TestRedirectToNowhereIsPermanentToo(t *testing.T) {
	t.Parallel()
	at, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "http://[broken")
		w.WriteHeader(http.StatusFound)
	})
	wantPermanent(t, made(t, Options{URL: at})(t.Context(), order()), "302 Found")
}

func TestAnswerInTheError(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, answer, want string }{
		{"none", "", "400 Bad Request"},
		{"short", " no such\r\n\tcustomer\x1b[31m\n", "400 Bad Request: no such   customer [31m"},
		{"long", strings.Repeat("a", 300), "400 Bad Request: " + strings.Repeat("a", 200) + "…"},
		{"cut within a character", strings.Repeat("ä", 99) + "aäb", "400 Bad Request: " + strings.Repeat("ä", 99) + "a…"},
		{"no text", "\xff\xfe!", "400 Bad Request: \uFFFD!"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at, _ := receiver(t, answering(400, tt.answer))
			err := made(t, Options{URL: at})(t.Context(), order())
			if err == nil || err.Error() != at+": "+tt.want {
				t.Errorf("got %q", err)
			}
		})
	}
}

// An endless answer ends the request, not the step.
func TestAnswerIsReadUpToALimit(t *testing.T) {
	t.Parallel()
	for code, done := range map[int]bool{200: true, 500: false} {
		at, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(code)
			for line := strings.Repeat("a", 1<<10); ; {
				if _, err := io.WriteString(w, line); err != nil || r.Context().Err() != nil {
					return
				}
			}
		})
		err := made(t, Options{URL: at, Timeout: time.Minute})(t.Context(), order())
		if (err == nil) != done {
			t.Errorf("%d: %v", code, err)
		}
	}
}

func TestNoSecretIsInAnError(t *testing.T) {
	t.Parallel()
	secrets := []string{"hidden-user", "hidden pass", "hidden%20pass", "hidden-key", "hidden-bearer", "aGlkZGVu"}
	options := func(at string) Options {
		u, err := url.Parse(at)
		if err != nil {
			t.Fatal(err)
		}
		u.User, u.Path, u.RawQuery = url.UserPassword("hidden-user", "hidden pass"), "/hook", "key=hidden-key&v=1"
		return Options{URL: u.String(), Headers: map[string]string{"X-Token": "hidden-bearer"}}
	}
	check := func(name string, err error, parts ...string) {
		if err == nil {
			t.Errorf("%s: no error", name)
			return
		}
		for _, s := range secrets {
			if strings.Contains(err.Error(), s) {
				t.Errorf("%s: error %q holds %q", name, err, s)
			}
		}
		wantError(t, err, parts...)
	}
	at, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(404)
		name, password, _ := r.BasicAuth()
		fmt.Fprintf(w, "no %s for %s %s, %s, %s", r.RequestURI, name, password, r.Header.Get("Authorization"), r.Header.Get("X-Token"))
	})
	check("echo", made(t, options(at))(t.Context(), order()), at+": 404", "no /hook?*** for *** ***, Basic ***, ***")
	closed := "http://" + closedPort(t)
	check("network", made(t, options(closed))(t.Context(), order()), closed+": ", "refused")

	_, _, err := New(Options{URL: "http://hidden-user:hidden%20pass@ho st/?key=hidden-key"})
	check("url", err)
	_, _, err = New(Options{URL: "http://h", Secret: "whsec_hidden-key!"})
	check("secret", err)
	_, _, err = New(Options{URL: "http://h", Headers: map[string]string{"X-A": "hidden-bearer\n"}})
	check("header", err, `"X-A"`)
}

// closedPort is an address at which nothing listens.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestNetworkErrorsAreTriedAgain(t *testing.T) {
	t.Parallel()
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		at := "http://" + closedPort(t)
		wantRetry(t, made(t, Options{URL: at})(t.Context(), order()), at)
	})
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	t.Run("timeout", func(t *testing.T) {
		t.Parallel()
		at, _ := receiver(t, hang)
		err := made(t, Options{URL: at, Timeout: 20 * time.Millisecond})(t.Context(), order())
		wantRetry(t, err, at)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("context", func(t *testing.T) {
		t.Parallel()
		at, got := receiver(t, hang)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-got; cancel() }()
		err := made(t, Options{URL: at})(ctx, order())
		wantRetry(t, err, at)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("broken off", func(t *testing.T) {
		t.Parallel()
		at, _ := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "10")
			w.WriteHeader(503)
			_, _ = io.WriteString(w, "abc")
		})
		wantRetry(t, made(t, Options{URL: at})(t.Context(), order()), "503", "abc", "broke off")
	})
}

func TestRetryAfterValues(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "1.5": 0, "soon": 0, "86401": 24 * time.Hour, "99999999999999999999999": 24 * time.Hour,
		"Sat, 31 Jan 2026 12:01:30 GMT": 90 * time.Second, "Sat, 31 Jan 2026 11:00:00 GMT": 0, "Sat, 31 Jan 2099 12:00:00 GMT": 24 * time.Hour,
		"Saturday, 31-Jan-26 12:00:05 GMT": 5 * time.Second,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	with := func(name, value string) Options {
		return Options{URL: "http://h", Headers: map[string]string{name: value}}
	}
	structured := with("content-type", "text/plain")
	structured.Structured = true
	for name, o := range map[string]Options{
		"no url": {}, "no host": {URL: "http://"}, "only a port": {URL: "http://:80"}, "another scheme": {URL: "ftp://h"}, "no scheme": {URL: "h/x"},
		"secret": {URL: "http://h", Secret: "whsec_%%"}, "empty secret": {URL: "http://h", Secret: "whsec_"},
		"name": with("X A", "1"), "empty name": with("", "1"), "line break": with("X-A", "1\r\nX-B: 2"), "attempt": with("eventrouter-attempt", "1"),
		"attribute": with("ce-id", "1"), "signature": with("webhook-id", "1"), "length": with("content-length", "1"), "content type": structured,
	} {
		if _, _, err := New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// All workers' connections are kept, and used again for the next events.
func TestConnectionsAreUsedAgain(t *testing.T) {
	t.Parallel()
	const workers, rounds = 8, 5
	var mu sync.Mutex
	remotes := map[string]bool{}
	var together *sync.WaitGroup
	at, _ := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		remotes[r.RemoteAddr] = true
		mu.Unlock()
		together.Done()
		together.Wait() // all at once, so that each needs a connection of its own
		answering(200, "thanks")(w, r)
	})
	h := made(t, Options{URL: at, Workers: workers})
	for range rounds {
		together = &sync.WaitGroup{}
		together.Add(workers)
		var done sync.WaitGroup
		for range workers {
			done.Go(func() {
				if err := h(t.Context(), order()); err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
	}
	if len(remotes) > workers+2 {
		t.Errorf("%d connections for %d workers", len(remotes), workers)
	}
}
