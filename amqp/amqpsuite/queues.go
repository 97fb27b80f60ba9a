package amqpsuite

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

func prefetchBounds(t *testing.T, c *client) {
	c.declare(quorum())
	c.fill(200)
	var mu sync.Mutex
	var ids []string
	held := make(chan *router.Delivery, 1000)
	stop := c.consume(router.Subscription{Prefetch: 7}, func(d *router.Delivery) {
		mu.Lock()
		ids = append(ids, d.Event.ID)
		mu.Unlock()
		held <- d
	})
	waitUntil(t, func() bool { return len(held) == 7 }, func() string { return fmt.Sprintf("%d held, want 7", len(held)) })
	c.depth(193)
	if len(held) > 7 {
		t.Errorf("%d are out, the prefetch is 7", len(held))
	}
	for range 200 {
		if err := (<-held).Ack(); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	c.depth(0)
	for i, id := range ids {
		if id != fmt.Sprint(i) {
			t.Fatalf("event %d is %q: out of order", i, id)
		}
	}
}

func requeueKeepsPlace(t *testing.T, c *client) {
	c.declare(quorum())
	c.fill(6)
	first := make(chan *router.Delivery, 100)
	stop := c.consume(router.Subscription{Prefetch: 4, Drain: 10 * time.Millisecond}, func(d *router.Delivery) { first <- d })
	var held []*router.Delivery
	for range 4 {
		held = append(held, <-first)
	}
	stop()
	c.depth(6)
	var ids []string
	if err := c.Browse(c.ctx, c.name, nil, func(d *router.Delivery) bool { ids = append(ids, d.Event.ID); return true }, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"0", "1", "2", "3", "4", "5"}; !slices.Equal(ids, want) {
		t.Errorf("the queue holds %v, want %v", ids, want)
	}
	if err := held[0].Ack(); err == nil {
		t.Error("a delivery of a channel that is gone could be acknowledged")
	}
}

func acknowledgeInAnyOrder(t *testing.T, c *client) {
	c.declare(quorum())
	const n = 500
	c.fill(n)
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	acked := 0
	work := make(chan *router.Delivery, n)
	for range 16 {
		wg.Go(func() {
			for d := range work {
				mu.Lock()
				seen[d.Event.ID]++
				again := seen[d.Event.ID] == 1 && len(seen)%10 == 0
				if !again {
					acked++
				}
				mu.Unlock()
				if again {
					_ = d.Requeue()
					continue
				}
				_ = d.Ack()
			}
		})
	}
	stop := c.consume(router.Subscription{Prefetch: 64}, func(d *router.Delivery) { work <- d })
	waitUntil(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return acked == n
	}, func() string { return fmt.Sprintf("%d of %d events were acknowledged", acked, n) })
	stop()
	close(work)
	wg.Wait()
	c.depth(0)
}

func drainLeavesTheRest(t *testing.T, c *client) {
	c.declare(quorum())
	c.fill(50)
	held := make(chan *router.Delivery, 100)
	stop := c.consume(router.Subscription{Prefetch: 5}, func(d *router.Delivery) { held <- d })
	waitUntil(t, func() bool { return len(held) == 5 }, func() string { return "the prefetch is not out" })
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	for range 5 {
		select {
		case <-stopped:
			t.Fatal("ended with events in hand")
		case d := <-held:
			if err := d.Ack(); err != nil {
				t.Error(err)
			}
		}
	}
	<-stopped
	c.depth(45)
}

// orderOutlivesConsumer has a single active consumer drain, and give some of what it has in hand back, while another waits for its turn.
func orderOutlivesConsumer(t *testing.T, c *client) {
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			c := newClient(t, c.url)
			c.declare(map[string]any{"x-queue-type": kind, "x-single-active-consumer": true})
			c.fill(20)
			held := make(chan *router.Delivery, 20)
			stop := c.consume(router.Subscription{Prefetch: 5, InOrder: true}, func(d *router.Delivery) { held <- d })
			waitUntil(t, func() bool { return len(held) == 5 }, func() string { return "the prefetch is not out" })
			next := make(chan string, 100)
			defer c.consume(router.Subscription{Prefetch: 5, InOrder: true}, func(d *router.Delivery) { next <- d.Event.ID; _ = d.Ack() })()
			stopped := make(chan struct{})
			go func() { stop(); close(stopped) }()
			for i := range 5 {
				d := <-held
				select {
				case id := <-next:
					t.Fatalf("event %s is with the next consumer before this one has settled %s", id, d.Event.ID)
				case <-stopped:
					t.Fatal("ended with events in hand")
				default:
				}
				if d.Lost() {
					t.Error("an event in hand counts as lost")
				}
				if i == 0 || i == 2 {
					_ = d.Ack()
				} else {
					_ = d.Requeue()
				}
				if i == 4 {
					<-stopped
					if !d.Lost() {
						t.Error("an event whose channel is closed does not count as lost")
					}
				}
			}
			want := []string{"1", "3", "4"}
			for i := 5; i < 20; i++ {
				want = append(want, fmt.Sprint(i))
			}
			var got []string
			for range want {
				got = append(got, <-next)
			}
			if !slices.Equal(got, want) {
				t.Errorf("the next consumer got %v, want %v", got, want)
			}
		})
	}
}

func deletedQueueComesBack(t *testing.T, c *client) {
	c.declare(quorum())
	got := make(chan string, 100)
	stop := c.consume(router.Subscription{}, func(d *router.Delivery) { _ = d.Ack(); got <- d.Event.ID })
	defer stop()
	c.fill(1)
	<-got
	c.direct(func(ch *amqp091.Channel) error { _, err := ch.QueueDelete(c.name, false, false, false); return err })
	waitUntil(t, func() bool { return c.send(c.message("after")) == nil }, func() string { return "nothing can be published" })
	if id := <-got; id != "after" {
		t.Errorf("got %q", id)
	}
}

func mismatchIsNamed(t *testing.T, c *client) {
	c.declare(quorum())
	c.direct(func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclare(c.name+".a", true, false, false, false, amqp091.Table{"x-message-ttl": int32(1000)})
		return err
	})
	c.direct(func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclare(c.name+".c", true, false, false, false, amqp091.Table{"x-queue-type": "quorum"})
		return err
	})
	err := c.Declare(c.ctx, plan.Topology{Queues: []plan.Queue{
		{Name: c.name + ".c", Arguments: map[string]any{"x-queue-type": "quorum", "x-single-active-consumer": true}},
		{Name: c.name, Arguments: map[string]any{"x-queue-type": "quorum", "x-delivery-limit": int64(7)}},
		{Name: c.name + ".a", Arguments: map[string]any{"x-message-ttl": int64(2000)}},
		{Name: c.name + ".b"},
	}})
	if err == nil {
		t.Fatal("declared")
	}
	for _, want := range []string{
		fmt.Sprintf("queue %q is on the broker with x-delivery-limit 1000000000, and the rules want 7", c.name),
		fmt.Sprintf("queue %q is on the broker with x-message-ttl 1000, and the rules want 2000", c.name+".a"),
		fmt.Sprintf("queue %q is on the broker with x-single-active-consumer none, and the rules want true", c.name+".c"),
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("does not say %s:\n%v", want, err)
		}
	}
}

func passiveIsChecked(t *testing.T, c *client) {
	err := c.Declare(c.ctx, plan.Topology{Queues: []plan.Queue{{Name: c.name, Passive: true}}})
	if err == nil || !strings.Contains(err.Error(), "is not on the broker") {
		t.Errorf("a queue that is not there: %v", err)
	}
	err = c.Declare(c.ctx, plan.Topology{Exchanges: []plan.Exchange{{Name: c.name, Kind: "topic", Passive: true}}})
	if err == nil || !strings.Contains(err.Error(), "is not on the broker") {
		t.Errorf("an exchange that is not there: %v", err)
	}
	c.declare(quorum())
	err = c.Declare(c.ctx, plan.Topology{
		Exchanges: []plan.Exchange{{Name: c.name, Kind: "topic", Passive: true}}, Queues: []plan.Queue{{Name: c.name, Passive: true}},
	})
	if err != nil {
		t.Error(err)
	}
}

func browsingLeavesAll(t *testing.T, c *client) {
	c.declare(quorum())
	c.fill(30)
	for range 25 { // a broker that counts looks as deliveries would have dropped them by now
		n := 0
		if err := c.Browse(c.ctx, c.name, nil, func(d *router.Delivery) bool {
			if d.Event.ID != fmt.Sprint(n) {
				t.Fatalf("event %d is %q", n, d.Event.ID)
			}
			n++
			return n < 10
		}, nil); err != nil {
			t.Fatal(err)
		}
		c.depth(30)
	}
	for _, few := range []int{30, 3, 30} { // what comes back goes behind what came back before
		n := 0
		if err := c.Browse(c.ctx, c.name, nil, func(d *router.Delivery) bool {
			if d.Event.ID != fmt.Sprint(n) {
				t.Errorf("event %d is %q", n, d.Event.ID)
			}
			n++
			return n < few
		}, nil); err != nil {
			t.Fatal(err)
		}
		c.depth(30)
	}
	ended := false
	if err := c.Browse(c.ctx, c.name, nil, func(d *router.Delivery) bool {
		if d.Event.ID == "5" {
			_ = d.Ack()
		}
		return true
	}, func() { ended = true }); err != nil || !ended {
		t.Fatalf("%v, ended: %v", err, ended)
	}
	c.depth(29)
	if _, err := c.Depth(c.ctx, c.name+".none"); !errors.Is(err, router.ErrNoQueue) {
		t.Errorf("depth of no queue: %v", err)
	}
}

// confirmsAreTold publishes to a full queue and to others in turn. The refusals of the one come before the confirms of the others, which then stand for all messages so far that
// were not spoken of yet.
func confirmsAreTold(t *testing.T, c *client) {
	full, free := c.name+".a", c.name+".b"
	if err := c.Declare(c.ctx, plan.Topology{Queues: []plan.Queue{
		{Name: full, Arguments: quorum("x-max-length", int64(10), "x-overflow", "reject-publish")}, {Name: free, Arguments: quorum()},
	}}); err != nil {
		t.Fatal(err)
	}
	const n = 3000
	var pending sync.WaitGroup
	var mu sync.Mutex
	taken := map[string]int{}
	for i := range n {
		m := c.message(fmt.Sprint(i))
		m.Exchange, m.Key = "", []string{full, free}[i%2]
		pending.Add(1)
		c.Publish(c.ctx, m, func(err error) {
			defer pending.Done()
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				taken[m.Key]++
			}
		})
	}
	pending.Wait()
	for _, queue := range []string{full, free} {
		var holds int
		waitUntil(t, func() bool {
			var err error
			holds, err = c.Depth(c.ctx, queue)
			return err == nil && holds == taken[queue]
		}, func() string {
			return fmt.Sprintf("%d were confirmed, and the queue %s holds %d", taken[queue], queue, holds)
		})
	}
	if taken[free] != n/2 || taken[full] == n/2 {
		t.Errorf("of %d each, the full queue took %d and the other %d", n/2, taken[full], taken[free])
	}
}

func trailIsOurs(t *testing.T, c *client) {
	c.declare(quorum())
	m := c.message("1")
	m.Trail = router.Trail{Type: "other", Attempts: 9, Exchange: "other"}
	if err := c.send(m); err != nil {
		t.Fatal(err)
	}
	err := c.Browse(c.ctx, c.name, []string{c.name}, func(d *router.Delivery) bool {
		if d.Trail.Attempts != 0 || d.Event.Type != "t.1" || d.Exchange != c.name {
			t.Errorf("believed: %+v, type %q, exchange %q", d.Trail, d.Event.Type, d.Exchange)
		}
		return true
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
}
