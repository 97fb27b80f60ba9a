package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router/event"
)

const webhooks = `
pipelines:
  large: {workers: 4, steps: [{webhook: {url: "${RECEIVER}/large", secret: "${SECRET}"}}]}
  all: {workers: 4, steps: [{webhook: {url: "${RECEIVER}/all"}}]}
rules:
  - {name: all, type: "order.#", pipelines: [all]}
  - {name: large, type: "order.*", match: {data: {total: [{numeric: [">=", 500]}]}}, where: "data.total < 900", pipelines: [large]}
`

const secret = "whsec_c2VjcmV0LW9mLXRoZS10ZXN0LW9ubHk="

func TestFromTheRulesFileToTheWebhookByEveryWayIn(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			everyWayIn(t, server(t, v))
		})
	}
}

func everyWayIn(t *testing.T, s *rabbit.Server) {
	book := ledger.New()
	verifier, err := standardwebhooks.NewWebhook(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := receiver(t, book, func(w http.ResponseWriter, r *http.Request, body []byte) {
		if r.URL.Path == "/large" {
			if err := verifier.Verify(body, r.Header); err != nil {
				t.Errorf("signature: %v", err)
			}
		}
		book.Seen(strings.TrimPrefix(r.URL.Path, "/"), r.Header.Get("ce-id"))
	})
	rules, p := writeRules(t, newName(), webhooks)
	defer cleanUp(t, s.URL, p)
	run := startProcess(t, s.URL, rules, "RECEIVER="+r.URL, "SECRET="+secret)
	exchange, _ := p.Source("")

	var lines strings.Builder
	events := map[string]*event.Event{}
	add := func(way string, i int) *event.Event {
		e := order(fmt.Sprintf("%s-%d", way, i), i*37)
		events[e.ID] = e
		return e
	}
	conn, err := amqp091.Dial(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		e := add("cli", i)
		line, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		lines.Write(append(line, '\n'))

		e = add("http", i)
		if status, err := run.post(t.Context(), e); err != nil || status != http.StatusAccepted {
			t.Fatalf("POST: %d, %v", status, err)
		}
		book.Confirmed(e.ID)

		e = add("amqp", i) // any AMQP client: the routing key is the type
		confirm, err := ch.PublishWithDeferredConfirm(exchange, e.Type, false, false, amqp091.Publishing{MessageId: e.ID, ContentType: "application/json", Body: e.Data})
		if err != nil || !confirm.Wait() {
			t.Fatalf("not confirmed: %v", err)
		}
		book.Confirmed(e.ID)
	}
	if out := run.eventrouter(lines.String(), "publish"); !strings.Contains(out, "confirmed: 60 events; failed: 0") {
		t.Errorf("publish printed %q", out)
	}
	for i := range 60 {
		book.Confirmed(fmt.Sprintf("cli-%d", i))
	}
	b := connect(t, s.URL, nil, amqp.Options{})
	settled(t, b, p)
	run.terminate()
	audit(t, b, p, book)
	want := map[string]int{}
	book.BalanceExactly(t, func(id string) [][]string {
		places := belongs(p, exchange, events[id])
		for _, place := range places {
			want[place[0]]++
		}
		return places
	})
	if book.At("all") != want["all"] || book.At("large") != want["large"] || want["large"] == 0 {
		t.Errorf("all got %d of %d, large got %d of %d", book.At("all"), want["all"], book.At("large"), want["large"])
	}
}

func TestAThousandWebhooksAtOnce(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	book := ledger.New()
	r := receiver(t, book, nil)
	rules, p := writeRules(t, newName(), webhooks)
	defer cleanUp(t, s.URL, p)
	run := startProcess(t, s.URL, rules, "RECEIVER="+r.URL, "SECRET="+secret)
	exchange, _ := p.Source("")
	begin := make(chan struct{})
	events := map[string]*event.Event{}
	var senders sync.WaitGroup
	for i := range 1000 {
		e := order(fmt.Sprint(i), i)
		events[e.ID] = e
		senders.Go(func() {
			<-begin
			status, err := run.post(t.Context(), e)
			if err != nil || status != http.StatusAccepted {
				t.Errorf("event %s: %d, %v", e.ID, status, err)
				return
			}
			book.Confirmed(e.ID)
		})
	}
	began := time.Now()
	close(begin)
	senders.Wait()
	t.Logf("1000 simultaneous events were confirmed within %s", time.Since(began).Round(time.Millisecond))
	b := connect(t, s.URL, nil, amqp.Options{})
	settled(t, b, p)
	run.terminate()
	audit(t, b, p, book)
	book.BalanceExactly(t, func(id string) [][]string { return belongs(p, exchange, events[id]) })
	if book.Total() != 1000 || book.At("all") != 1000 {
		t.Errorf("%d were confirmed and %d handled, of 1000", book.Total(), book.At("all"))
	}
}

func TestSIGTERMWithEventsInHand(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	book := ledger.New()
	arrived, release := make(chan struct{}, 1000), make(chan struct{})
	r := receiver(t, book, func(_ http.ResponseWriter, r *http.Request, _ []byte) {
		if r.URL.Path == "/all" {
			arrived <- struct{}{}
		}
		<-release
		book.Seen(strings.TrimPrefix(r.URL.Path, "/"), r.Header.Get("ce-id"))
	})
	defer r.Close()
	// However slow the machine is, no request is given up while the events are sent.
	const patient = `
pipelines:
  large: {workers: 4, timeout: 10m, steps: [{webhook: {url: "${RECEIVER}/large", timeout: 10m}}]}
  all: {workers: 4, timeout: 10m, steps: [{webhook: {url: "${RECEIVER}/all", timeout: 10m}}]}
rules:
  - {name: all, type: "order.#", pipelines: [all]}
  - {name: large, type: "order.*", match: {data: {total: [{numeric: [">=", 500]}]}}, where: "data.total < 900", pipelines: [large]}
`
	rules, p := writeRules(t, newName(), patient)
	defer cleanUp(t, s.URL, p)
	run := startProcess(t, s.URL, rules, "RECEIVER="+r.URL)
	exchange, _ := p.Source("")
	b := connect(t, s.URL, nil, amqp.Options{})
	events := map[string]*event.Event{}
	for i := range 100 {
		e := order(fmt.Sprint(i), i*10)
		events[e.ID] = e
		if err := send(t.Context(), b, exchange, e); err != nil {
			t.Fatal(err)
		}
		book.Confirmed(e.ID)
	}
	for range 4 {
		<-arrived
	}
	if err := run.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// Nothing new is begun: all but the events in hand go back at once.
	waitFor(t, func() bool { n, err := b.Depth(t.Context(), p.Pipeline("all").QueueName); return err == nil && n == 96 },
		func() string { return "the events that were not begun do not come back:\n" + run.said() })
	close(release)
	if err := run.wait(); err != nil {
		t.Errorf("ended with %v:\n%s", err, run.said())
	}
	if n := book.At("all"); n != 4 {
		t.Errorf("%d events were handled; 4 were in hand", n)
	}
	audit(t, b, p, book)
	book.BalanceExactly(t, func(id string) [][]string {
		places := belongs(p, exchange, events[id])
		for i := range places {
			places[i] = append(places[i], p.Pipeline(places[i][0]).QueueName, p.Match)
		}
		return places
	})
}

func TestDeadLettersAreReplayedToTheirOwnPipeline(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	book := ledger.New()
	var mended sync.Map
	r := receiver(t, book, func(w http.ResponseWriter, r *http.Request, _ []byte) {
		if _, ok := mended.Load("yes"); !ok && r.URL.Path == "/large" {
			http.Error(w, "no such customer", http.StatusUnprocessableEntity)
			return
		}
		book.Seen(strings.TrimPrefix(r.URL.Path, "/"), r.Header.Get("ce-id"))
	})
	name := newName()
	rules, p := writeRules(t, name, webhooks)
	defer cleanUp(t, s.URL, p)
	run := startProcess(t, s.URL, rules, "RECEIVER="+r.URL, "SECRET="+secret)
	exchange, _ := p.Source("")
	b := connect(t, s.URL, nil, amqp.Options{})
	for i := range 20 {
		e := order(fmt.Sprint(i), 600+i)
		if err := send(t.Context(), b, exchange, e); err != nil {
			t.Fatal(err)
		}
		book.Confirmed(e.ID)
	}
	if err := send(t.Context(), b, exchange, &event.Event{ID: "stray", Type: "nothing.like.it"}); err != nil {
		t.Fatal(err)
	}
	depth := func(queue string, want int) {
		t.Helper()
		waitFor(t, func() bool { n, err := b.Depth(t.Context(), queue); return err == nil && n == want },
			func() string { n, err := b.Depth(t.Context(), queue); return fmt.Sprint(queue, " holds ", n, err) })
	}
	depth(name+".large.dead", 20)
	depth(name+".unrouted", 1)
	if out := run.eventrouter("", "dead", "list", "-o", "json"); strings.Count(out, "no such customer") != 20 || !strings.Contains(out, `"large"`) {
		t.Errorf("dead list printed %s", out)
	}
	if out := run.eventrouter("", "unrouted", "show", "--id", "stray"); !strings.Contains(out, "nothing.like.it") {
		t.Errorf("unrouted show printed %s", out)
	}
	before := book.At("all")
	mended.Store("yes", true)
	if out := run.eventrouter("", "dead", "replay", "large", "--id", "3,4", "--dry-run"); !strings.Contains(out, "would be replayed: 2 dead letters") {
		t.Errorf("dry run printed %s", out)
	}
	if out := run.eventrouter("", "dead", "replay", "large", "--all"); !strings.Contains(out, "replayed: 20 dead letters") {
		t.Errorf("replay printed %s", out)
	}
	waitFor(t, func() bool { return book.At("large") == 20 }, func() string { return fmt.Sprintf("%d of 20 came", book.At("large")) })
	depth(name+".large.dead", 0)
	if out := run.eventrouter("", "unrouted", "drop", "--all"); !strings.Contains(out, "dropped: 1 unrouted event") {
		t.Errorf("drop printed %s", out)
	}
	run.terminate()
	if book.At("all") != before {
		t.Errorf("the replay reached another pipeline: %d events, before %d", book.At("all"), before)
	}
	book.BalanceExactly(t, func(string) [][]string { return [][]string{{"all"}, {"large"}} })
}

// TestNothingIsLostWhenEventrouterIsKilled kills the process again and again at any moment under load, and keeps books.
func TestNothingIsLostWhenEventrouterIsKilled(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	book := ledger.New()
	r := receiver(t, book, nil)
	rules, p := writeRules(t, newName(), webhooks)
	defer cleanUp(t, s.URL, p)
	exchange, _ := p.Source("")
	env := []string{"RECEIVER=" + r.URL, "SECRET=" + secret}
	run := startProcess(t, s.URL, rules, env...)
	b := connect(t, s.URL, nil, amqp.Options{})
	loading, endLoad := context.WithCancel(t.Context())
	var mu sync.Mutex
	events := map[string]*event.Event{}
	var load sync.WaitGroup
	for publisher := range 4 {
		load.Go(func() {
			pace := time.NewTicker(10 * time.Millisecond) // it is the kills that are to be tried, not how much it takes
			defer pace.Stop()
			for i := 0; loading.Err() == nil; i++ {
				<-pace.C
				e := order(fmt.Sprintf("%d-%d", publisher, i), publisher*1_000_000+i)
				mu.Lock()
				events[e.ID] = e
				mu.Unlock()
				if send(loading, b, exchange, e) == nil {
					book.Confirmed(e.ID)
				}
			}
		})
	}
	for range 5 {
		before := book.At("all")
		waitFor(t, func() bool { return book.At("all") > before+50 }, func() string { return "nothing is handled any more:\n" + run.said() })
		<-time.After(rand.N(200 * time.Millisecond)) // at any moment, and not right after an event is done
		if err := run.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = run.wait() // it says that it was killed
		run = startProcess(t, s.URL, rules, env...)
	}
	endLoad()
	load.Wait()
	settled(t, b, p)
	run.terminate()
	audit(t, b, p, book)
	book.BalanceExactly(t, func(id string) [][]string {
		mu.Lock()
		defer mu.Unlock()
		return belongs(p, exchange, events[id])
	})
}
