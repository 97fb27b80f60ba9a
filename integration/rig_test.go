package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/network"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

const rigRules = `
pipelines:
  all: {workers: 4, steps: [{webhook: {url: "${RECEIVER}/all"}}]}
  large: {workers: 4, timeout: 20s, retry: {delays: [100ms]}, steps: [{webhook: {url: "${RECEIVER}/large"}}]}
  fragile: {workers: 4, retry: {attempts: 2, delays: [100ms]}, steps: [{webhook: {url: "${RECEIVER}/fragile"}}]}
rules:
  - {name: all, type: "order.#", pipelines: [all]}
  - {name: large, type: "order.*", match: {data: {total: [{numeric: [">=", 500]}]}}, pipelines: [large]}
  - {name: german, type: "order.*", match: {data: {country: [DE]}}, pipelines: [large, fragile]}
`

// rig is `eventrouter run` under load by every way in - AMQP, HTTP, and the replay of dead letters - with books.
type rig struct {
	t        *testing.T
	server   *rabbit.Server
	network  *network.Proxy // between eventrouter and the broker; nil: none
	url      string         // of the broker, for eventrouter
	plan     *plan.Plan
	exchange string
	book     *ledger.Book
	outside  *amqp.Broker // of a publisher that is another program
	declared time.Time    // when the last of its queues was there at the latest
	rules    string       // file
	env      []string
	events   sync.Map // by id

	stops []context.CancelFunc // of the load, by way in; the last is that of the replays
	load  sync.WaitGroup
	gate  sync.RWMutex // held by who sends

	mu      sync.Mutex
	process *process              // another after a kill
	hang    func(r *http.Request) // what the receiver does first; may be nil
	mended  bool                  // the receiver takes everything
}

// newRig starts eventrouter, and the load, with a network between them and the server that can be broken. user is name:password for eventrouter's
// connections, or "" for the server's own.
func newRig(t *testing.T, s *rabbit.Server, user string) *rig {
	t.Helper()
	url := s.URL
	if user != "" {
		url = strings.Replace(url, "guest:guest", user, 1)
	}
	between := network.NewProxy(t, url)
	return startRig(t, &rig{server: s, network: between, url: between.URL}, s.URL)
}

// startRig starts eventrouter, and the load, whose publishers go to the broker at outside.
func startRig(t *testing.T, r *rig, outside string) *rig {
	t.Helper()
	r.t, r.book = t, ledger.New()
	hooks := receiver(t, r.book, r.answer)
	rules, p := writeRules(t, newName(), rigRules)
	t.Cleanup(func() { cleanUp(t, outside, p) })
	r.plan, r.rules = p, rules
	r.exchange, _ = p.Source("")
	r.env = []string{"RECEIVER=" + hooks.URL}
	r.process = startProcess(t, r.url, rules, r.env...)
	r.declared = time.Now()
	r.outside = connect(t, outside, nil, amqp.Options{MaxBackoff: 200 * time.Millisecond})
	for range 2 {
		r.sending("amqp", func(ctx context.Context, e *event.Event) error { return send(ctx, r.outside, r.exchange, e) })
		r.sending("http", r.post)
	}
	r.way(r.replay)
	return r
}

// answer is the receiver. One in five events of the pipeline fragile comes back at first, one in twenty dies.
func (r *rig) answer(w http.ResponseWriter, req *http.Request, _ []byte) {
	r.mu.Lock()
	hang, mended := r.hang, r.mended
	r.mu.Unlock()
	if hang != nil {
		hang(req)
	}
	pipeline, id := strings.TrimPrefix(req.URL.Path, "/"), req.Header.Get("ce-id")
	if pipeline == "fragile" && !mended {
		switch n := rand.IntN(20); {
		case n == 0:
			r.book.Note(id, "dies at fragile")
			http.Error(w, "it never will", http.StatusUnprocessableEntity)
			return
		case n < 5:
			r.book.Note(id, "failed at fragile")
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
	}
	r.book.Seen(pipeline, id)
}

// way keeps work going until the load ends.
func (r *rig) way(work func(ctx context.Context)) {
	ctx, stop := context.WithCancel(r.t.Context())
	r.stops = append(r.stops, stop)
	r.load.Go(func() { work(ctx) })
}

// sending sends one event after another, and enters those that are confirmed.
func (r *rig) sending(way string, send func(context.Context, *event.Event) error) {
	number := len(r.stops)
	r.way(func(ctx context.Context) {
		pace := time.NewTicker(5 * time.Millisecond)
		defer pace.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			<-pace.C
			e := r.order(fmt.Sprintf("%s%d-%d", way, number, i), i)
			r.gate.RLock()
			err := send(ctx, e)
			r.gate.RUnlock()
			if err == nil {
				r.book.Confirmed(e.ID)
			}
		}
	})
}

func (r *rig) order(id string, i int) *event.Event {
	e := order(id, i*7)
	r.events.Store(id, e)
	return e
}

// post sends over HTTP. An answer that is not 202, or none, confirms nothing.
func (r *rig) post(ctx context.Context, e *event.Event) error {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	status, err := p.post(ctx, e)
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		<-time.After(10 * time.Millisecond) // it may be dead for a while
	}
	return err
}

// replay sends dead letters back, again and again. While a fault lasts it fails, or is cut short, and that loses nothing either.
func (r *rig) replay(ctx context.Context) {
	path, err := plainBinary()
	if err != nil {
		r.t.Error(err)
		return
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		cmd := exec.CommandContext(ctx, path, "dead", "replay", "fragile", "--all", "--rules", r.rules)
		cmd.Env = append(os.Environ(), "EVENTROUTER_BROKER="+r.url)
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 20 * time.Second
		r.gate.RLock()
		_ = cmd.Run()
		r.gate.RUnlock()
	}
}

// pause holds the load back and waits until all queues are empty, but for those of what is kept. resume lets it go on.
//
// A queue is not empty before the broker has given up connections that are silent: what it has sent on them is counted nowhere.
func (r *rig) pause() {
	r.t.Helper()
	waitFor(r.t, func() bool { return r.network.Unnoticed() == 0 }, func() string { return "the broker does not notice that a connection is silent" })
	r.gate.Lock()
	settled(r.t, r.outside, r.plan)
}

func (r *rig) resume() { r.gate.Unlock() }

// remake has an operator delete a queue, which is empty then, and declare it as another, before eventrouter can: it stands still meanwhile.
func (r *rig) remake(queue plan.Queue) {
	r.t.Helper()
	r.pause()
	defer r.resume()
	if err := r.process.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		r.t.Fatal(err)
	}
	direct(r.t, r.server.URL, func(ch *amqp091.Channel) error {
		if _, err := ch.QueueDelete(queue.Name, false, false, false); err != nil {
			return err
		}
		_, err := ch.QueueDeclare(queue.Name, true, false, false, false, amqp091.Table(queue.Arguments))
		return err
	})
	if err := r.process.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		r.t.Fatal(err)
	}
	waitFor(r.t, func() bool { return consumers(r.t, r.server.URL, queue.Name) > 0 }, func() string { return "the queue is not consumed:\n" + r.process.said() })
	r.declared = time.Now()
}

// setHang has the receiver do something before it takes an event; nil is nothing.
func (r *rig) setHang(hang func(*http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hang = hang
}

// goesOn waits until n more events are confirmed, and handled.
func (r *rig) goesOn(n int) {
	r.t.Helper()
	confirmed, handled := r.book.Total(), r.book.At("all")
	waitFor(r.t, func() bool { return r.book.Total() > confirmed+n && r.book.At("all") > handled+n },
		func() string { return "nothing goes on:\n" + r.process.said() })
}

// flows waits until an event is confirmed that was made since, and both a pipeline that the broker feeds and one that the router feeds have handled more than
// they can have had in hand, and says how long that took.
func (r *rig) flows() {
	r.t.Helper()
	const (
		underWay = 4  // senders, each with one event on its way
		inHand   = 32 // the prefetch of each pipeline
	)
	began := time.Now()
	confirmed, all, large := r.book.Total()+underWay, r.book.At("all")+inHand, r.book.At("large")+inHand
	waitFor(r.t, func() bool { return r.book.Total() > confirmed && r.book.At("all") > all && r.book.At("large") > large },
		func() string { return "nothing flows:\n" + r.process.said() })
	took := time.Since(began)
	r.t.Logf("events flow again after %s", took.Round(10*time.Millisecond))
	if took > 2*time.Second { // longer than promised where the machine is not busy
		r.t.Logf("eventrouter said, up to then:\n%s", r.process.said())
	}
}

// control runs rabbitmqctl, and enters it into all histories.
func (r *rig) control(args ...string) {
	r.t.Helper()
	r.book.Mark("rabbitmqctl " + strings.Join(args, " "))
	control(r.t, r.server, args...)
	r.book.Mark("rabbitmqctl is done")
}

// kill ends eventrouter as kill -9 does, and starts it again.
func (r *rig) kill() {
	r.t.Helper()
	r.book.Mark("eventrouter is killed")
	if err := r.process.cmd.Process.Kill(); err != nil {
		r.t.Fatal(err)
	}
	_ = r.process.wait() // it says that it was killed
	r.restart()
}

// restart starts eventrouter again after it has ended.
func (r *rig) restart() {
	r.t.Helper()
	p := startProcess(r.t, r.url, r.rules, r.env...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.process = p
}

// balance ends the load, waits until all has arrived, the last dead letters too, and balances the books.
func (r *rig) balance() {
	r.t.Helper()
	last := len(r.stops) - 1
	for _, stop := range r.stops[:last] {
		stop()
	}
	r.mu.Lock()
	r.mended = true
	r.mu.Unlock()
	places := func(id string) [][]string {
		e, _ := r.events.Load(id)
		handled := belongs(r.plan, r.exchange, e.(*event.Event))
		for i, at := range handled {
			handled[i] = at[:1] // what was a dead letter was replayed
		}
		return handled
	}
	arrived(r.t, r.book, places, r.saidOf)
	r.stops[last]()
	r.load.Wait()
	settled(r.t, r.outside, r.plan)
	r.process.terminate()
	audit(r.t, r.outside, r.plan, r.book)
	r.book.BalanceExactly(r.t, places)
}

// saidOf are the lines of eventrouter's log about an event.
func (r *rig) saidOf(id string) string {
	var out strings.Builder
	for line := range strings.Lines(r.process.said()) {
		if strings.Contains(line, `"`+id+`"`) {
			out.WriteString(line)
		}
	}
	return out.String()
}
