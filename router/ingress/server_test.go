package ingress

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

// pipes is a listener whose connections are in memory, so that their time is the bubble's: what one side writes the other has to read.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	close(p.closed)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// serveIn serves h as the door is served, in a bubble. dial makes a connection of a client; stop fails where a client keeps the server from ending.
func serveIn(t *testing.T, h http.Handler) (dial func() net.Conn, stop func()) {
	t.Helper()
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	s := Server(h)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(p) }()
	dial = func() net.Conn {
		client, server := net.Pipe()
		p.conns <- server
		_ = client.SetDeadline(time.Now().Add(time.Hour)) // so that a server that waits for ever fails the test
		return client
	}
	return dial, func() {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("a client keeps the server from ending: %v", err)
			_ = s.Close()
		}
		<-ended
	}
}

func TestABodyThatDoesNotComeHoldsNoConnectionForEver(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		request string
		headers string
		want    int
	}{
		"nothing is known of the client": {"POST /events", "", 401},
		"no such exchange":               {"POST /events/none", "Authorization: Bearer token\r\n", 404},
		"no such path":                   {"POST /elsewhere", "", 404},
		"another method":                 {"PUT /events", "Authorization: Bearer token\r\n", 405},
		"another format":                 {"POST /events", "Authorization: Bearer token\r\nContent-Type: application/cloudevents+xml\r\n", 415},
		"health":                         {"GET /healthz", "", 200},
		"readiness":                      {"GET /readyz", "", 200},
		"metrics":                        {"GET /metrics", "Authorization: Bearer token\r\n", 200},
		"an event":                       {"POST /events", "Authorization: Bearer token\r\nCe-Type: t\r\n", 400},
	} {
		for _, length := range []string{"Content-Length: 10\r\n", "Transfer-Encoding: chunked\r\n"} {
			t.Run(name+", "+strings.TrimSpace(length), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					dial, stop := serveIn(t, newDoor(&broker{}, func(o *Options) {
						o.Tokens = []string{"token"}
						o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "metrics") })
					}))
					c := dial()
					defer c.Close()
					began := time.Now()
					fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: door\r\n%s%s\r\n", tt.request, tt.headers, length)
					answer, err := io.ReadAll(c)
					if took := time.Since(began); err != nil || took > clientTime+time.Second {
						t.Errorf("after %s the connection is open: %v", took, err)
					}
					if want := fmt.Sprintf("HTTP/1.1 %d ", tt.want); !strings.HasPrefix(string(answer), want) {
						t.Errorf("answered with %q, want %q", answer, want)
					}
					stop()
				})
			})
		}
	}
}

func TestTheTimeForABodyIsNotThatForConfirmsNorForTheNextRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := publisherFunc(func(_ context.Context, _ router.Message, done func(error)) {
			time.AfterFunc(2*clientTime, func() { done(nil) })
		})
		dial, stop := serveIn(t, newDoor(slow, func(o *Options) { o.Timeout = time.Hour }))
		c := dial()
		defer c.Close()
		answers := bufio.NewReader(c)
		for _, length := range []string{"Content-Length: 2\r\n\r\n{}", "Content-Length: 0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"} {
			fmt.Fprint(c, "POST /events HTTP/1.1\r\nHost: door\r\nCe-Type: t\r\n"+length)
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("%q: %v", length, err)
			}
			if _, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusAccepted {
				t.Errorf("%q: %d, %v", length, res.StatusCode, err)
			}
			time.Sleep(clientTime + time.Minute) // the client's rest between two requests
		}
		stop()
	})
}

func TestAClientThatDoesNotReadItsAnswerHoldsNoSlotForEver(t *testing.T) {
	t.Parallel()
	events := make([]string, 1000)
	for i := range events {
		events[i] = fmt.Sprintf(`{"type":"t","id":"%0255d"}`, i)
	}
	for name, tt := range map[string]struct {
		answer func(router.Message) error
		batch  string
	}{
		"taken":   {nil, strings.Join(events, ",")},
		"refused": {func(router.Message) error { return router.ErrUnroutable }, strings.Join(events, ",")},
		"wrong":   {nil, strings.Repeat("0,", 999) + "0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dial, stop := serveIn(t, newDoor(&broker{answer: tt.answer}, func(o *Options) { o.MaxInFlight = 1 }))
				deaf := dial()
				defer deaf.Close()
				fmt.Fprintf(deaf, "POST /events HTTP/1.1\r\nHost: door\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n[%s]", batch, len(tt.batch)+2, tt.batch)
				time.Sleep(answerTime + time.Second) // it reads nothing all the while
				c := dial()
				defer c.Close()
				fmt.Fprint(c, "POST /events HTTP/1.1\r\nHost: door\r\nConnection: close\r\nCe-Type: t\r\nContent-Length: 2\r\n\r\n{}")
				if answer, err := io.ReadAll(c); err != nil || strings.HasPrefix(string(answer), "HTTP/1.1 503 ") {
					t.Errorf("another client: %q, %v", answer, err)
				}
				stop()
			})
		})
	}
}

func TestAClientThatReadsNoAnswerAtAllKeepsNoServerFromEnding(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1<<20)
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/events", "//events", "/none"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				dial, stop := serveIn(t, newDoor(&broker{}, func(o *Options) {
					o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, long) })
				}))
				c := dial()
				defer c.Close()
				fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: door\r\n\r\n", path)
				synctest.Wait() // until the answer is being written
				stop()
			})
		})
	}
}
