package amqp_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/network"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const queue = "faults"

var topology = plan.Topology{
	Exchanges: []plan.Exchange{{Name: queue, Kind: "fanout"}},
	Queues:    []plan.Queue{{Name: queue, Arguments: map[string]any{"x-queue-type": "quorum"}}},
	Bindings:  []plan.Binding{{Exchange: queue, Queue: queue}},
}

// connect runs a broker client for the test.
func connect(t *testing.T, url string, o amqp.Options) *amqp.Broker {
	t.Helper()
	b := start(t, url, o)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := b.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Declare(ctx, topology); err != nil {
		t.Fatal(err)
	}
	return b
}

func start(t *testing.T, url string, o amqp.Options) *amqp.Broker {
	t.Helper()
	o.MinBackoff, o.MaxBackoff = time.Millisecond, 50*time.Millisecond
	b, err := amqp.New(url, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return b
}

func message(id string) router.Message {
	return router.Message{Event: &event.Event{ID: id, Type: "t", Data: []byte("data of " + id)}, Exchange: queue, Key: "t", Mandatory: true}
}

func send(ctx context.Context, b *amqp.Broker, m router.Message) error {
	done := make(chan error, 1)
	b.Publish(ctx, m, func(err error) { done <- err })
	return <-done
}

// waitFor looks again and again, for two minutes.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited two minutes: %s", what)
		}
	}
}

func TestWhatWasConfirmedIsThereAfterLostConnections(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	b := connect(t, server.URL(), amqp.Options{Window: 64})
	var mu sync.Mutex
	confirmed, handled := map[string]bool{}, map[string]int{}
	consuming, stopConsuming := context.WithCancel(t.Context())
	consumed := make(chan error, 1)
	go func() {
		consumed <- b.Consume(consuming, router.Subscription{Queue: queue, Prefetch: 20}, func(d *router.Delivery) {
			mu.Lock()
			handled[d.Event.ID]++
			mu.Unlock()
			_ = d.Ack() // a lost connection hands it out again
		})
	}()
	var publishers sync.WaitGroup
	var sent atomic.Int64
	for p := range 4 {
		publishers.Go(func() {
			for i := range 500 {
				id := fmt.Sprintf("%d-%d", p, i)
				for {
					err := send(t.Context(), b, message(id))
					if err == nil {
						break
					}
					if errors.Is(err, router.ErrInvalid) {
						t.Errorf("publishing: %v", err)
					}
				}
				mu.Lock()
				confirmed[id] = true
				mu.Unlock()
				sent.Add(1)
			}
		})
	}
	for n := int64(200); n <= 1800; n += 200 {
		waitFor(t, "no more is published", func() bool { return sent.Load() >= n })
		server.DropConnections()
	}
	publishers.Wait()
	waitFor(t, "confirmed events are missing", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(handled) == len(confirmed) && len(confirmed) == 2000
	})
	stopConsuming()
	if err := <-consumed; err != nil {
		t.Error(err)
	}
}

func TestPublishesEndInTimeWhileTheBrokerIsBlocked(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	reasons := make(chan string, 10)
	b := connect(t, server.URL(), amqp.Options{ConfirmTimeout: 300 * time.Millisecond, Hooks: router.Hooks{
		Blocked:      func(reason string) { reasons <- reason },
		Disconnected: func(role string, err error) { t.Errorf("%s disconnected: %v", role, err) },
	}})
	server.Block("low on disk")
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := send(short, b, message("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the publish that is blocked: %v", err)
	}
	if reason := <-reasons; reason != "low on disk" {
		t.Errorf("reason %q", reason)
	}
	if err := b.Connected(); err == nil || !strings.Contains(err.Error(), "low on disk") {
		t.Errorf("state: %v", err)
	}
	short, cancel = context.WithTimeout(t.Context(), 600*time.Millisecond) // longer than a confirm may take
	defer cancel()
	if err := send(short, b, message("2")); err == nil || !strings.Contains(err.Error(), "low on disk") {
		t.Errorf("the next publish: %v", err)
	}
	server.Unblock()
	if reason := <-reasons; reason != "" {
		t.Errorf("then blocked for %q", reason)
	}
	if err := send(t.Context(), b, message("3")); err != nil {
		t.Errorf("after it: %v", err)
	}
}

func TestPublishesEndInTimeWhenTheNetworkHangs(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	p := network.NewProxy(t, server.URL())
	lost := make(chan error, 100)
	b := connect(t, p.URL, amqp.Options{ConfirmTimeout: 200 * time.Millisecond, Hooks: router.Hooks{Disconnected: func(role string, err error) {
		if role == "publish" {
			select {
			case lost <- err:
			default:
			}
		}
	}}})
	p.Stop()
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	big := message("1")
	big.Event.Data = make([]byte, 8<<20) // more than the sockets' buffers hold
	if err := send(short, b, big); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
	<-lost // as the confirm is overdue
	p.Resume()
	waitFor(t, "nothing can be published", func() bool { return send(t.Context(), b, message("2")) == nil })
}

func TestAnotherURLIsTried(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	gone := amqptest.Broker(t)
	url := gone.URL()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	b := connect(t, url+","+server.URL(), amqp.Options{})
	waitFor(t, "nothing can be published again", func() bool { return send(t.Context(), b, message("1")) == nil })
}

func TestNoConnectionSaysWhyAndHidesThePassword(t *testing.T) {
	t.Parallel()
	server := amqptest.Start(t, embedded.Options{Password: "right"})
	for name, tt := range map[string]struct{ url, want string }{
		"wrong password": {strings.Replace(server.URL(), "right", "geheim", 1), "refused the user name or password"},
		"no such vhost":  {server.URL() + "nowhere", "virtual host"},
		"nobody there":   {"amqp://guest:geheim@127.0.0.1:1", "refused"},
	} {
		b := start(t, tt.url, amqp.Options{})
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		err := b.Connect(ctx)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTopologyComesBackOnAnEmptyBroker(t *testing.T) {
	t.Parallel()
	first := amqptest.Broker(t)
	addr := first.Addr()
	b := connect(t, first.URL(), amqp.Options{})
	got := make(chan string, 10)
	consuming, stop := context.WithCancel(t.Context())
	consumed := make(chan error, 1)
	go func() {
		consumed <- b.Consume(consuming, router.Subscription{Queue: queue}, func(d *router.Delivery) { _ = d.Ack(); got <- d.Event.ID })
	}()
	if err := send(t.Context(), b, message("1")); err != nil {
		t.Fatal(err)
	}
	<-got
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	amqptest.Start(t, embedded.Options{Addr: addr}) // as a broker that was reinstalled
	waitFor(t, "nothing can be published", func() bool { return send(t.Context(), b, message("2")) == nil })
	if id := <-got; id != "2" {
		t.Errorf("got %q", id)
	}
	stop()
	if err := <-consumed; err != nil {
		t.Error(err)
	}
}

func TestWindowBoundsWhatIsUnconfirmed(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	p := network.NewProxy(t, server.URL())
	b := connect(t, p.URL, amqp.Options{Window: 10, ConfirmTimeout: time.Minute})
	p.Stop()
	ctx, cancel := context.WithCancel(t.Context())
	var entered, answered atomic.Int64
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			b.Publish(ctx, message(fmt.Sprint(i)), func(error) { answered.Add(1) })
			entered.Add(1)
		})
	}
	waitFor(t, "the window does not fill", func() bool { return entered.Load() == 10 })
	cancel()
	wg.Wait()
	waitFor(t, "publishes whose context is over are not answered", func() bool { return answered.Load() == 50 })
}

func TestLittleIsCopiedForANetworkThatTakesNothing(t *testing.T) {
	t.Parallel()
	const size, count = 100_000, 600 // within the window
	server := amqptest.Broker(t)
	p := network.NewProxy(t, server.URL())
	b := connect(t, p.URL, amqp.Options{ConfirmTimeout: time.Minute})
	p.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	var answered sync.WaitGroup
	handed := 0
	for i := range count {
		m := message(fmt.Sprint(i))
		m.Event.Data = make([]byte, size)
		answered.Add(1)
		b.Publish(ctx, m, func(error) { answered.Done() })
		if ctx.Err() == nil {
			handed++
		}
	}
	answered.Wait()
	if handed == 0 || handed > count/2 { // sockets' buffers, the proxy's and ours
		t.Errorf("%d MB were handed over to a network that takes nothing", handed*size/1_000_000)
	}
}

func TestMessagesOverTheWindowOfBytesGoAlone(t *testing.T) {
	t.Parallel()
	b := connect(t, amqptest.Broker(t).URL(), amqp.Options{WindowBytes: 1000})
	var wg sync.WaitGroup
	for i := range 20 {
		m := message(fmt.Sprint(i))
		m.Event.Data = make([]byte, 300*i)
		wg.Add(1)
		b.Publish(t.Context(), m, func(err error) {
			defer wg.Done()
			if err != nil {
				t.Errorf("%d bytes: %v", 300*i, err)
			}
		})
	}
	wg.Wait()
}

func TestURLsThatCannotBe(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"":                                "no broker URL",
		" , ":                             "no broker URL",
		"http://x":                        "begins with amqp:// or amqps://",
		"amqp://u:geheim@x:1:2":           "",
		"amqp://u:geheim@x:99999":         "port",
		"amqp://x,redis://u:geheim@y":     "begins with amqp",
		"u:geheim@x:5672":                 "broker URL: it begins with amqp:// or amqps://",
		"amqp:u:geheim@x":                 "begins with amqp",
		"amqp:/u:geheim@x":                "begins with amqp",
		"amqp://u:1,geheim@x":             "broker URL 2 of 2: it begins with amqp",
		"amqp://u:1?heartbeat=geheim,2@x": "whole numbers",
		"amqp://x/a b":                    "no spaces",
		"amqp://geheim:1,2@x":             "a comma too",
		"amqp://u:1/geheim@x":             "there is an @ after the host",
		"amqp://u:1?geheim@x":             "there is an @ after the host",
		"amqp://u:1#geheim@x":             "there is an @ after the host",
		"amqp://u:a@b/geheim@x":           "there is an @ after the host",
		"amqp://u:1?heartbeat=geheim@x":   "there is an @ after the host",
		"amqp://geheim:99999,2@x":         "broker URL 1 of 2: after the host comes a port",
		"amqp://u:gehe im@x":              "special characters",
	} {
		_, err := amqp.New(url, amqp.Options{})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", url, err)
		}
	}
	for _, url := range []string{"amqp://u:p@x/v%40h", "AMQP://x", "amqp://u:p@s@[::1]:5672", "amqp://u:p%2Cq@x, amqps://y"} {
		if _, err := amqp.New(url, amqp.Options{}); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
	if _, err := amqp.New("amqps://x", amqp.Options{TLS: amqp.TLSOptions{CAFile: "nowhere.pem"}}); err == nil || !strings.Contains(err.Error(), "nowhere.pem") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// What a consumer gives back when it ends was delivered once: given back before the consumer is cancelled, it would be sent to it again, and count again
// towards the queue's delivery limit.
func TestWhatIsGivenBackAtTheEndCountsOnce(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	b := connect(t, server.URL(), amqp.Options{})
	if err := b.Declare(t.Context(), topology); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if err := send(t.Context(), b, message(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	ctx, end := context.WithCancel(t.Context())
	defer end()
	begun, gone := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		gone <- b.Consume(ctx, router.Subscription{Queue: queue, Prefetch: 10}, func(d *router.Delivery) {
			begun <- struct{}{}
			<-ctx.Done()
			if err := d.Requeue(); err != nil {
				t.Error(err)
			}
		})
	}()
	<-begun
	waitFor(t, "not all is sent to the consumer", func() bool { q, _ := server.Queue("/", queue); return q.Unacked == 5 })
	end()
	if err := <-gone; err != nil {
		t.Error(err)
	}
	waitFor(t, "not all is back", func() bool { return len(server.Messages("/", queue)) == 5 })
	for _, m := range server.Messages("/", queue) {
		if m.Headers["x-delivery-count"] != int64(1) {
			t.Errorf("message %s: delivery count %v", m.MessageID, m.Headers["x-delivery-count"])
		}
	}
}

// The heartbeat in the URL counts, and not that of the options, with which it would take 15 s.
func TestSilenceIsNoticedByTheHeartbeatInTheURL(t *testing.T) {
	t.Parallel()
	between := network.NewProxy(t, amqptest.Broker(t).URL())
	var lost atomic.Int64
	b := connect(t, between.URL+"?heartbeat=1", amqp.Options{Hooks: router.Hooks{Disconnected: func(string, error) { lost.Add(1) }}})
	between.Silence()
	began := time.Now()
	waitFor(t, "nobody notices that the broker says nothing", func() bool { return lost.Load() > 0 })
	if took := time.Since(began); took > 12*time.Second {
		t.Errorf("it was noticed after %s", took)
	}
	waitFor(t, "nothing can be published again", func() bool { return send(t.Context(), b, message("1")) == nil })
}
