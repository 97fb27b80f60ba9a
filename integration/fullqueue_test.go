package integration

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// TestFullQueuesSlowEverythingDown has two pipelines hang whose queues have a limit, one fed by the broker and one by the router, while publishers go on: what the limits mean for
// them and for other pipelines is in docs/reliability.md.
func TestFullQueuesSlowEverythingDown(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			fullQueues(t, server(t, v))
		})
	}
}

const fullRules = `
pipelines:
  billing: {workers: 2, timeout: 10m, queue: {max_length: 50}, steps: [{webhook: {url: "${RECEIVER}/billing"}}]}
  ledger: {workers: 2, timeout: 10m, queue: {max_length: 50}, steps: [{webhook: {url: "${RECEIVER}/ledger"}}]}
  archive: {workers: 4, steps: [{webhook: {url: "${RECEIVER}/archive"}}]}
  mail: {workers: 4, steps: [{webhook: {url: "${RECEIVER}/mail"}}]}
rules:
  - {name: orders, type: "order.#", pipelines: [billing, archive]}
  - {name: invoices, type: "invoice.#", match: {data: {n: [{exists: true}]}}, pipelines: [ledger]}
  - {name: mails, type: "mail.#", pipelines: [mail]}
`

// TestAFullMatchQueueSlowsPublishersDown has a pipeline hang that the router feeds, and whose queue has a limit, as the match queue has: publishers are
// refused when both are full, over AMQP and HTTP, and go on by themselves when there is room.
func TestAFullMatchQueueSlowsPublishersDown(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	p := &pressed{t: t, book: ledger.New(), over: make(chan struct{})}
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	r := receiver(t, p.book, func(_ http.ResponseWriter, r *http.Request, _ []byte) {
		pipeline := strings.TrimPrefix(r.URL.Path, "/")
		if pipeline == "ledger" {
			<-release
		}
		p.book.Seen(pipeline, r.Header.Get("ce-id"))
	})
	defer letGo()
	rules, compiled := writeRules(t, newName(), "match_queue: {max_length: 100}\n"+fullRules)
	defer cleanUp(t, s.URL, compiled)
	p.plan = compiled
	p.exchange, _ = compiled.Source("")
	p.run = startProcess(t, s.URL, rules, "RECEIVER="+r.URL)
	p.outside = connect(t, s.URL, nil, amqp.Options{})
	for i := range 20 {
		p.load.Go(func() { p.overAMQP(fmt.Sprintf("amqp%d", i), "invoice.sent") })
		p.load.Go(func() { p.overHTTP(fmt.Sprintf("http%d", i), "invoice.sent") })
	}
	waitFor(t, func() bool { return p.nacked.Load() > 100 && p.held.Load() > 100 },
		func() string {
			return fmt.Sprintf("refused: %d over AMQP, %d over HTTP", p.nacked.Load(), p.held.Load())
		})
	if n, err := p.outside.Depth(t.Context(), compiled.Match); err != nil || n > 500 {
		t.Errorf("the match queue holds %d events, %v", n, err)
	}
	taken := p.book.Total()
	letGo()
	waitFor(t, func() bool { return p.book.At("ledger") > taken+200 },
		func() string {
			return fmt.Sprintf("it does not go on by itself: %d at ledger, %d taken before", p.book.At("ledger"), taken)
		})
	close(p.over)
	p.load.Wait()
	// What the router has in hand, and tries again, is in no queue's count.
	waitFor(t, func() bool { return p.book.At("ledger") >= p.book.Total() },
		func() string {
			return fmt.Sprintf("%d of %d events came to the ledger", p.book.At("ledger"), p.book.Total())
		})
	settled(t, p.outside, compiled)
	p.run.terminate()
	audit(t, p.outside, compiled, p.book)
	p.book.BalanceExactly(t, func(string) [][]string { return [][]string{{"ledger"}} })
}

// pressed is a router whose queues are full, and what presses on it.
type pressed struct {
	t        *testing.T
	run      *process
	plan     *plan.Plan
	exchange string
	book     *ledger.Book
	outside  *amqp.Broker // of publishers that are another program
	filler   string
	over     chan struct{}
	load     sync.WaitGroup

	refused sync.Map     // how often the broker refused an event of a publisher over AMQP, by id
	nacked  atomic.Int64 // the sum of those
	held    atomic.Int64 // 503 over HTTP
}

func fullQueues(t *testing.T, s *rabbit.Server) {
	const (
		invoices = 2000
		limit    = 150 // MiB
	)
	path, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	p := &pressed{t: t, book: ledger.New(), filler: strings.Repeat("x", 20_000), over: make(chan struct{})}
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	r := receiver(t, p.book, func(_ http.ResponseWriter, r *http.Request, _ []byte) {
		pipeline := strings.TrimPrefix(r.URL.Path, "/")
		if pipeline == "billing" || pipeline == "ledger" {
			<-release
		}
		p.book.Seen(pipeline, r.Header.Get("ce-id"))
	})
	defer letGo()
	rules, compiled := writeRules(t, newName(), fullRules)
	defer cleanUp(t, s.URL, compiled)
	p.plan = compiled
	p.exchange, _ = compiled.Source("")
	p.run = startBinary(t, path, s.URL, rules, "RECEIVER="+r.URL)
	p.outside = connect(t, s.URL, nil, amqp.Options{})
	for i := range invoices {
		e := &event.Event{ID: fmt.Sprintf("invoice-%d", i), Type: "invoice.sent", Data: fmt.Appendf(nil, `{"n": %d, "text": %q}`, i, p.filler)}
		if err := send(t.Context(), p.outside, p.exchange, e); err != nil {
			t.Fatal(err)
		}
		p.book.Confirmed(e.ID)
	}
	for i := range 2 {
		p.load.Go(func() { p.overAMQP(fmt.Sprintf("amqp%d", i), "order.created") })
	}
	for i := range 10 {
		p.load.Go(func() { p.overHTTP(fmt.Sprintf("http%d", i), "order.created") })
	}
	p.load.Go(func() { p.overHTTP("mail", "mail.sent") })
	p.slowedDown()

	peak := p.run.peak()
	letGo()
	before := p.book.At("billing")
	waitFor(t, func() bool {
		return p.book.At("billing") > before+200 && p.book.At("ledger") == invoices
	},
		func() string {
			return fmt.Sprintf("it does not go on by itself: %d at billing, %d at ledger", p.book.At("billing"), p.book.At("ledger"))
		})
	close(p.over)
	p.load.Wait()
	settled(t, p.outside, compiled)
	p.run.terminate()
	audit(t, p.outside, compiled, p.book)
	p.book.BalanceExactly(t, func(id string) [][]string {
		switch {
		case strings.HasPrefix(id, "invoice"):
			return [][]string{{"ledger"}}
		case strings.HasPrefix(id, "mail"):
			return [][]string{{"mail"}}
		}
		return [][]string{{"billing"}, {"archive"}}
	})
	p.doubled()
	if peak > limit {
		t.Errorf("eventrouter had %d MiB of memory; %d MiB are allowed for", peak, limit)
	}
	t.Logf("eventrouter had %d MiB of memory; %d publishes over AMQP were refused, %d requests over HTTP", peak, p.nacked.Load(), p.held.Load())
}

// overAMQP sends one event after another, each until it is taken, ten times a second.
func (p *pressed) overAMQP(name, kind string) {
	for i := 0; !p.ended(); i++ {
		e := &event.Event{ID: fmt.Sprintf("%s-%d", name, i), Type: kind, ContentType: "application/json", Data: []byte(`{"n": 1}`)}
		for {
			done := make(chan error, 1)
			p.outside.Publish(p.t.Context(), router.Message{Event: e, Exchange: p.exchange, Key: e.Type, Mandatory: true}, func(err error) { done <- err })
			err := <-done
			if err == nil {
				p.book.Confirmed(e.ID)
				break
			}
			if !errors.Is(err, router.ErrRefused) {
				p.t.Errorf("event %s: %v", e.ID, err)
				return
			}
			n, _ := p.refused.LoadOrStore(e.ID, new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
			p.nacked.Add(1)
			<-time.After(100 * time.Millisecond)
		}
		<-time.After(pressPace)
	}
}

// overHTTP does the same over HTTP, and sooner than it is told to.
func (p *pressed) overHTTP(name, kind string) {
	for i := 0; !p.ended(); i++ {
		id := fmt.Sprintf("%s-%d", name, i)
		for {
			status, err := postTyped(p.t.Context(), http.DefaultClient, p.run.http, id, kind, `{"n": 1, "text": "`+p.filler+`"}`)
			if err == nil && status == http.StatusAccepted {
				p.book.Confirmed(id)
				break
			}
			if err != nil || status != http.StatusServiceUnavailable || kind == "mail.sent" {
				p.t.Errorf("event %s: status %d, %v", id, status, err)
				return
			}
			p.held.Add(1)
			<-time.After(20 * time.Millisecond)
		}
		<-time.After(pressPace)
	}
}

// pressPace is how long each publisher waits after an event that was taken.
const pressPace = 50 * time.Millisecond

func (p *pressed) ended() bool {
	select {
	case <-p.over:
		return true
	default:
		return false
	}
}

// slowedDown waits until all that presses on the full queues is held back, and sees that a pipeline without them goes on.
func (p *pressed) slowedDown() {
	p.t.Helper()
	waitFor(p.t, func() bool { return p.nacked.Load() > 20 && p.held.Load() > 1000 },
		func() string {
			return fmt.Sprintf("refused: %d over AMQP, %d over HTTP", p.nacked.Load(), p.held.Load())
		})
	var ready, waiting int
	waitFor(p.t, func() bool {
		var err, err2 error
		ready, err = p.outside.Depth(p.t.Context(), p.plan.Pipeline("ledger").QueueName)
		waiting, err2 = p.outside.Depth(p.t.Context(), p.plan.Match)
		return err == nil && err2 == nil && waiting > 1000 && ready < 200
	}, func() string {
		return fmt.Sprintf("%d events are in the pipeline's queue, %d wait for the router", ready, waiting)
	})
	mails := p.book.At("mail")
	waitFor(p.t, func() bool { return p.book.At("mail") > mails+50 }, func() string { return "another pipeline is held up" })
}

// doubled counts what other queues got more than once, as the full one refused it.
func (p *pressed) doubled() {
	p.t.Helper()
	overHTTP := 0
	for _, id := range p.book.IDs() {
		times := p.book.Times("archive", id)
		var refused int
		if n, ok := p.refused.Load(id); ok {
			refused = int(n.(*atomic.Int64).Load())
		}
		switch {
		case strings.HasPrefix(id, "amqp") && times != 1+refused:
			p.t.Errorf("event %s was refused %d times, and came to the other pipeline %d times", id, refused, times)
		case strings.HasPrefix(id, "http"):
			overHTTP += times - 1
		}
	}
	// A few requests at a time find out that there is no room, and not each of those that are sent again.
	p.t.Logf("%d events over HTTP came to the other pipeline once more, of %d requests that were refused", overHTTP, p.held.Load())
	if most := int(p.held.Load() / 5); overHTTP > most {
		p.t.Errorf("%d events over HTTP were doubled, with %d requests that were refused", overHTTP, p.held.Load())
	}
}

// TestAFullQueueHoldsUpNoRetriesOfOthers has a pipeline hang whose queue is full while events of it wait for another attempt: events of another pipeline with
// the same delay come back in time.
func TestAFullQueueHoldsUpNoRetriesOfOthers(t *testing.T) {
	t.Parallel()
	const failing = 60 // RabbitMQ moves 32 at a time
	s := server(t, rabbit.V4)
	book := ledger.New()
	release := make(chan struct{})
	letGo := sync.OnceFunc(func() { close(release) })
	var failed atomic.Int64 // events of the limited pipeline; when there are enough, it hangs
	r := receiver(t, book, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		pipeline, id := strings.TrimPrefix(r.URL.Path, "/"), r.Header.Get("ce-id")
		first := book.Times(pipeline+" tried", id) == 0
		book.Seen(pipeline+" tried", id)
		if first && pipeline == "limited" {
			failed.Add(1)
		}
		switch {
		case pipeline == "limited" && failed.Load() > failing:
			<-release
		case pipeline == "limited", first:
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		book.Seen(pipeline, id)
	})
	defer letGo()
	rules, p := writeRules(t, newName(), `
pipelines:
  limited: {timeout: 10m, queue: {max_length: 5}, retry: {attempts: 1000, delays: [2s]}, steps: [{webhook: {url: "${RECEIVER}/limited", timeout: 10m}}]}
  other: {retry: {delays: [2s]}, steps: [{webhook: {url: "${RECEIVER}/other"}}]}
rules:
  - {name: limited, type: "order.#", pipelines: [limited]}
  - {name: other, type: "mail.#", pipelines: [other]}
`)
	defer cleanUp(t, s.URL, p)
	run := startProcess(t, s.URL, rules, "RECEIVER="+r.URL)
	exchange, _ := p.Source("")
	b := connect(t, s.URL, nil, amqp.Options{})
	publish := func(id, kind string) error {
		done := make(chan error, 1)
		e := &event.Event{ID: id, Type: kind, Data: []byte("{}")}
		b.Publish(t.Context(), router.Message{Event: e, Exchange: exchange, Key: e.Type, Mandatory: true}, func(err error) { done <- err })
		return <-done
	}
	for i := 0; ; i++ { // until the pipeline hangs and its queue is full
		id := fmt.Sprint("order-", i)
		switch err := publish(id, "order.created"); {
		case err == nil:
			book.Confirmed(id)
			continue
		case !errors.Is(err, router.ErrRefused):
			t.Fatal(err)
		}
		if failed.Load() > failing {
			break
		}
		<-time.After(10 * time.Millisecond)
	}
	retry := p.Pipeline("limited").Delays[0].Exchange
	// What the broker's worker has in hand is in no queue's count.
	waitFor(t, func() bool { n, err := b.Depth(t.Context(), retry); return err == nil && n == 0 }, func() string { return "the wait for another attempt does not end" })
	if err := publish("mail", "mail.sent"); err != nil {
		t.Fatal(err)
	}
	book.Confirmed("mail")
	waitFor(t, func() bool { return book.At("other") == 1 }, func() string { return "the other pipeline's event does not come back:\n" + run.said() })
	if n := book.At("limited"); n > 0 {
		t.Errorf("the other pipeline's event came back when %d events had found room in the full queue", n)
	}
	letGo()
	waitFor(t, func() bool { return book.At("limited") == book.Total()-1 },
		func() string {
			return fmt.Sprintf("%d of %d events came back to the queue that was full", book.At("limited"), book.Total()-1)
		})
	settled(t, b, p)
	run.terminate()
	audit(t, b, p, book)
	book.BalanceExactly(t, func(id string) [][]string {
		if id == "mail" {
			return [][]string{{"other"}}
		}
		return [][]string{{"limited"}}
	})
}
