package integration

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// TestFaults needs a server of its own, as what is done to it would reach others' connections.
func TestFaults(t *testing.T) {
	t.Parallel()
	s := rabbit.NewOwn(t, rabbit.V4)
	t.Run("the broker closes every connection", func(t *testing.T) { connectionsClosed(t, s) })
	t.Run("the broker is blocked and HTTP clients go on", func(t *testing.T) { blocked(t, s) })
	t.Run("the steps of a pipeline hang", func(t *testing.T) { hanging(t, s) })
}

func control(t *testing.T, s *rabbit.Server, args ...string) {
	t.Helper()
	if err := s.Control(t.Context(), args...); err != nil {
		t.Fatalf("rabbitmqctl %v: %v", args, err)
	}
}

// connectionsClosed has the broker close all connections again and again under load, and keeps books.
func connectionsClosed(t *testing.T, s *rabbit.Server) {
	_, p := compile(t, newName(), crashRules)
	exchange, _ := p.Source("")
	book := ledger.New()
	var lost sync.Map // counts by role
	b := connect(t, s.URL, p, amqp.Options{MaxBackoff: 100 * time.Millisecond, Hooks: router.Hooks{Disconnected: func(role string, _ error) {
		n, _ := lost.LoadOrStore(role, new(atomic.Int64))
		n.(*atomic.Int64).Add(1)
	}}})
	handlers := map[string]pipelines.Handler{}
	for i := range p.Pipelines {
		name := p.Pipelines[i].Name
		handlers[name] = func(_ context.Context, e event.Event) error {
			book.Seen(name, e.ID)
			return nil
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served, ready := make(chan error, 1), make(chan struct{})
	service := &pipelines.Service{Plan: p, Broker: b, Ready: func() { close(ready) }, Handlers: handlers}
	go func() { served <- service.Run(ctx) }()
	<-ready
	loading, endLoad := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var events sync.Map
	for publisher := range 4 {
		load.Go(func() {
			for i := 0; loading.Err() == nil; i++ {
				e := order(fmt.Sprintf("%d-%d", publisher, i), i)
				events.Store(e.ID, e)
				if send(loading, b, exchange, e) == nil {
					book.Confirmed(e.ID)
				}
			}
		})
	}
	for range 5 {
		confirmed, handled := book.Total(), book.At("all")
		waitFor(t, func() bool { return book.Total() > confirmed+100 && book.At("all") > handled+100 }, func() string { return "nothing goes on" })
		control(t, s, "close_all_connections", "tried in a test")
	}
	endLoad()
	load.Wait()
	settled(t, b, p)
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
	audit(t, b, p, book)
	book.BalanceExactly(t, func(id string) [][]string {
		e, _ := events.Load(id)
		return belongs(p, exchange, e.(*event.Event))
	})
	for _, role := range []string{"publish", "consume"} {
		if n, ok := lost.Load(role); !ok || n.(*atomic.Int64).Load() < 5 {
			t.Errorf("the connection to %s was not lost five times", role)
		}
	}
}

// peak is the most memory that the process has had, in MiB. It is not what the kernel says of an ended process, which counts the
// memory of the one that started it.
func (p *process) peak() int {
	p.t.Helper()
	n, err := peakOf(p.cmd.Process.Pid)
	if err != nil && runtime.GOOS != "linux" {
		p.t.Log("the memory of a process is measured on Linux only")
		return 0
	}
	if err != nil {
		p.t.Fatalf("reading the memory of eventrouter: %v", err)
	}
	return n
}

func peakOf(pid int) (int, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kilobytes int
	_, err = fmt.Sscan(rest, &kilobytes)
	return kilobytes >> 10, err
}

// blocked floods the process over HTTP with more than it may hold, has the broker refuse to take anything, and take it again.
func blocked(t *testing.T, s *rabbit.Server) {
	const (
		clients = 300
		size    = 100_000
		limit   = 300  // MiB
		least   = 5000 // events, 500 MB
	)
	path, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	book := ledger.New()
	r := receiver(t, book, nil)
	rules, p := writeRules(t, newName(), "pipelines: {all: {workers: 8, prefetch: 20, steps: [{webhook: {url: \"${RECEIVER}/all\"}}]}}\nrules: [{name: all, pipelines: [all]}]\n")
	defer cleanUp(t, s.URL, p)
	run := startBinary(t, path, s.URL, rules, "RECEIVER="+r.URL)
	var refused atomic.Int64
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	body := `{"text": "` + strings.Repeat("x", size) + `"}`
	flooding, end := context.WithCancel(t.Context())
	defer end()
	var flood sync.WaitGroup
	for c := range clients {
		flood.Go(func() {
			for i := 0; flooding.Err() == nil; {
				id := fmt.Sprintf("%d-%d", c, i)
				status, err := postBody(t.Context(), client, run.http, id, body)
				switch {
				case status == http.StatusAccepted:
					book.Confirmed(id)
					i++
				case err != nil || status == http.StatusServiceUnavailable: // an answer before the request is read whole may close the connection under it
					refused.Add(1)
					<-time.After(100 * time.Millisecond) // sooner than it is told to come again
				default:
					t.Errorf("event %s: status %d", id, status)
					return
				}
			}
		})
	}
	waitFor(t, func() bool { return book.Total() > 100 }, func() string { return "nothing is confirmed:\n" + run.said() })
	control(t, s, "set_vm_memory_high_watermark", "absolute", "1000")
	defer control(t, s, "set_vm_memory_high_watermark", "0.6") // for the tests after this one, if it fails
	before := refused.Load()
	waitFor(t, func() bool { return refused.Load() > before+clients/2 }, func() string { return "a blocked broker is not told to HTTP clients" })
	control(t, s, "set_vm_memory_high_watermark", "0.6")
	confirmed := book.Total()
	waitFor(t, func() bool { return book.Total() > max(least, confirmed+clients) }, func() string { return "it does not go on:\n" + run.said() })
	end()
	flood.Wait()
	b := connect(t, s.URL, nil, amqp.Options{})
	settled(t, b, p)
	peak := run.peak()
	run.terminate()
	audit(t, b, p, book)
	book.BalanceExactly(t, func(string) [][]string { return [][]string{{"all"}} })
	if peak > limit {
		t.Errorf("eventrouter had %d MiB of memory; %d MiB are allowed for", peak, limit)
	} else {
		t.Logf("eventrouter had %d MiB of memory, while %d MB of events were pressed on it and %d requests were told to come again", peak, book.Total()*size/1_000_000, refused.Load())
	}
}

func postBody(ctx context.Context, client *http.Client, url, id, body string) (int, error) {
	return postTyped(ctx, client, url, id, "mail.sent", body)
}

func postTyped(ctx context.Context, client *http.Client, url, id, kind, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/events", bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, err
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "ce-specversion": "1.0", "ce-id": id, "ce-type": kind, "ce-source": "/test"} {
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// hanging has a pipeline with steps that do not come back, and far more events for it than there may be in memory.
func hanging(t *testing.T, s *rabbit.Server) {
	const (
		count = 2000
		size  = 100_000 // in all 200 MB
		limit = 150     // MiB
	)
	path, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	book := ledger.New()
	release, arrived := make(chan struct{}), make(chan struct{}, count)
	r := receiver(t, book, func(_ http.ResponseWriter, r *http.Request, _ []byte) {
		arrived <- struct{}{}
		<-release
		book.Seen("all", r.Header.Get("ce-id"))
	})
	rules, p := writeRules(t, newName(), `
pipelines: {all: {workers: 8, timeout: 10m, steps: [{webhook: {url: "${RECEIVER}/all", timeout: 10m}}]}}
rules: [{name: all, match: {data: {n: [{exists: true}]}}, pipelines: [all]}]
`)
	defer cleanUp(t, s.URL, p)
	run := startBinary(t, path, s.URL, rules, "RECEIVER="+r.URL)
	exchange, _ := p.Source("")
	b := connect(t, s.URL, nil, amqp.Options{})
	filler := strings.Repeat("x", size)
	var load sync.WaitGroup
	for publisher := range 8 {
		load.Go(func() {
			for i := publisher; i < count; i += 8 {
				e := &event.Event{ID: fmt.Sprint(i), Type: "mail.sent", Data: fmt.Appendf(nil, `{"n": %d, "text": %q}`, i, filler)}
				if err := send(t.Context(), b, exchange, e); err != nil {
					t.Error(err)
					return
				}
				book.Confirmed(e.ID)
			}
		})
	}
	load.Wait()
	for range 8 {
		<-arrived
	}
	// All that is not in hand waits at the broker, and nothing waits in front of the pipeline.
	waitFor(t, func() bool {
		waiting, err := b.Depth(t.Context(), p.Pipelines[0].QueueName)
		unmatched, err2 := b.Depth(t.Context(), p.Match)
		return err == nil && err2 == nil && unmatched == 0 && waiting > count-500
	}, func() string { return "the router does not go on while a pipeline hangs" })
	peak := run.peak()
	if err := run.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	close(release)
	if err := run.wait(); err != nil {
		t.Errorf("ended with %v:\n%s", err, run.said())
	}
	audit(t, b, p, book)
	book.BalanceExactly(t, func(string) [][]string { return [][]string{{"all", p.Pipelines[0].QueueName}} })
	if peak > limit {
		t.Errorf("eventrouter had %d MiB of memory; %d MiB are allowed for", peak, limit)
	} else {
		t.Logf("eventrouter had %d MiB of memory, with %d MB of events behind steps that hang", peak, count*size/1_000_000)
	}
}
