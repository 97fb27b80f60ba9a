package embedded_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// kills is how often the broker is killed: EMBEDDED_TEST_KILLS, or a few times.
func kills(t *testing.T) int {
	t.Helper()
	if text := os.Getenv("EMBEDDED_TEST_KILLS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("EMBEDDED_TEST_KILLS is %q", text)
		}
		return n
	}
	if testing.Short() {
		return 5
	}
	return 25
}

// books are what clients know of the messages of a broker that is killed again and again.
type books struct {
	mu        sync.Mutex
	confirmed map[string]map[string]bool // by queue, then by text
	handled   map[string]bool            // acknowledged, whether the broker heard it or not
	next      map[string]int             // by publisher
	refused   int
	emptied   map[string][]string // by the look at what is there
}

// The queues of the test: what is rejected in one of the first two goes to dead.
var booked = []string{"classic", "quorum", "fan-1", "fan-2"}

func topology(ch *amqp091.Channel) error {
	dead := amqp091.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}
	quorum := amqp091.Table{
		"x-queue-type": "quorum", "x-delivery-limit": int32(1_000_000), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead",
		"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish",
	}
	for name, args := range map[string]amqp091.Table{"classic": dead, "quorum": quorum, "fan-1": nil, "fan-2": nil, "dead": nil} {
		if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
			return err
		}
	}
	if err := ch.ExchangeDeclare("fan", "fanout", true, false, false, false, nil); err != nil {
		return err
	}
	for _, q := range []string{"fan-1", "fan-2"} {
		if err := ch.QueueBind(q, "", "fan", false, nil); err != nil {
			return err
		}
	}
	return nil
}

// A broker with a data folder is killed at random moments while clients publish, acknowledge and reject. Each time, all that was confirmed and
// not acknowledged is there after the start, once, in its order.
func TestKilledBrokerLosesNothingConfirmed(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	b := &books{confirmed: map[string]map[string]bool{}, handled: map[string]bool{}, next: map[string]int{}, emptied: map[string][]string{}}
	for _, q := range booked {
		b.confirmed[q] = map[string]bool{}
	}
	again, twice := 0, 0
	least := kills(t)
	rounds := 0
	for ; rounds < least || b.count() < 20*least && rounds < 10*least; rounds++ { // on a busy machine little is confirmed between two kills
		round := rounds
		p := startProcess(t, parent)
		if round == 0 {
			conn := probe.Dial(t, p.url)
			ch, err := conn.Channel()
			if err != nil {
				t.Fatal(err)
			}
			if err := topology(ch); err != nil {
				t.Fatal(err)
			}
		} else {
			a, w := b.balance(t, p.url)
			again, twice = again+a, twice+w
		}
		if t.Failed() {
			t.Fatalf("after %d kills", round)
		}
		b.work(p)
	}
	p := startProcess(t, parent)
	a, w := b.balance(t, p.url)
	confirmed := b.count()
	t.Logf("%d kills, %d messages confirmed, %d acknowledged; %d acknowledgements lost to kills, %d dead letters doubled",
		rounds, confirmed, len(b.handled), again+a, twice+w)
	if confirmed < 20*least {
		t.Errorf("only %d messages were confirmed: nothing is proved", confirmed)
	}
}

// count is the number of messages confirmed, in each queue that they went to.
func (b *books) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, q := range booked {
		n += len(b.confirmed[q])
	}
	return n
}

// work has clients at work until the broker is killed under them.
func (b *books) work(p *process) {
	var clients sync.WaitGroup
	for i := range 3 {
		clients.Go(func() { b.publisher(p.url, fmt.Sprintf("p%d", i)) })
	}
	for _, q := range append([]string{"dead"}, booked...) {
		clients.Go(func() { b.consumer(p.url, q) })
	}
	time.AfterFunc(20*time.Millisecond+rand.N(150*time.Millisecond), p.kill)
	clients.Wait()
}

// publisher publishes to all queues and notes what is confirmed, until the connection is lost.
func (b *books) publisher(url, name string) {
	conn, err := amqp091.Dial(url)
	if err != nil {
		return
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil || ch.Confirm(false) != nil {
		return
	}
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, 1000))
	type sent struct{ to, text string }
	pending := make(chan sent, 200)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := range pending {
			c, ok := <-confirms
			if !ok {
				return
			}
			b.mu.Lock()
			switch {
			case !c.Ack:
				b.refused++
			case s.to == "fan":
				b.confirmed["fan-1"][s.text], b.confirmed["fan-2"][s.text] = true, true
			default:
				b.confirmed[s.to][s.text] = true
			}
			b.mu.Unlock()
		}
	}()
	defer func() {
		close(pending)
		conn.Close() // which ends the confirms
		<-done
	}()
	for {
		s := sent{[]string{"classic", "quorum", "fan"}[rand.IntN(3)], b.text(name)}
		exchange, key := "", s.to
		if s.to == "fan" {
			exchange, key = "fan", ""
		}
		body := append([]byte(s.text+" "), make([]byte, rand.IntN(2000))...)
		if ch.Publish(exchange, key, false, false, amqp091.Publishing{DeliveryMode: 2, Body: body}) != nil {
			return
		}
		select {
		case pending <- s:
		case <-done:
			return
		}
	}
}

func (b *books) text(name string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next[name]++
	return fmt.Sprintf("%s-%d", name, b.next[name])
}

// consumer acknowledges most, rejects some, and leaves some, until the connection is lost.
func (b *books) consumer(url, queue string) {
	conn, err := amqp091.Dial(url)
	if err != nil {
		return
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil || ch.Qos(100, 0, false) != nil {
		return
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return
	}
	for d := range deliveries {
		switch n := rand.IntN(100); {
		case n == 0: // it is left
		case n < 5 && queue != "dead" && !strings.HasPrefix(queue, "fan"):
			err = d.Reject(false)
		case n < 10:
			err = d.Nack(false, true)
		case n < 90:
			b.mu.Lock()
			b.handled[queue+" "+textOf(d.Body)] = true
			b.mu.Unlock()
			err = d.Ack(false)
		}
		if err != nil {
			return
		}
	}
}

func textOf(body []byte) string {
	text, _, _ := strings.Cut(string(body), " ")
	return text
}

// balance looks at all that is in the queues. It returns how many messages are there though they were acknowledged, and how many are in dead
// more often than once.
func (b *books) balance(t *testing.T, url string) (again, twice int) {
	t.Helper()
	there := map[string]map[string]bool{}
	for _, q := range append([]string{"dead"}, booked...) {
		there[q] = map[string]bool{}
		last := map[string]int{}
		for _, text := range b.contents(t, url, q) {
			if there[q][text] {
				if q != "dead" {
					t.Errorf("%s: %q is there twice", q, text)
				}
				twice++
			}
			there[q][text] = true
			if b.handled[q+" "+text] {
				again++
			}
			publisher, number, _ := strings.Cut(text, "-")
			n, _ := strconv.Atoi(number)
			if q != "dead" && n < last[publisher] {
				t.Errorf("%s: %q comes after number %d", q, text, last[publisher])
			}
			last[publisher] = n
		}
	}
	for _, q := range booked {
		for text := range b.confirmed[q] {
			dead := q == "classic" || q == "quorum"
			if !there[q][text] && !b.handled[q+" "+text] && !(dead && (there["dead"][text] || b.handled["dead "+text])) {
				t.Errorf("%s: %q was confirmed and is lost", q, text)
			}
		}
	}
	for q, texts := range b.emptied {
		for _, text := range texts {
			b.handled[q+" "+text] = true
		}
	}
	clear(b.emptied)
	return again, twice
}

// fewEnough is how many messages are left in a queue after it was looked at, so that many rounds do not take ever longer.
const fewEnough = 1000

// contents are the texts in a queue, which is left as it was, or empty if it is long.
func (b *books) contents(t *testing.T, url, queue string) []string {
	t.Helper()
	conn := probe.Dial(t, url)
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	var last amqp091.Delivery
	for range q.Messages {
		last = probe.Next(t, deliveries)
		out = append(out, textOf(last.Body))
	}
	if len(out) > fewEnough {
		if err := last.Ack(true); err != nil {
			t.Fatal(err)
		}
		b.emptied[queue] = out
	}
	return out
}

// A message that kills whoever gets it, and the broker with it, counts each time and is a dead letter in the end.
func TestPoisonReachesItsLimitThroughCrashes(t *testing.T) {
	t.Parallel()
	parent := t.TempDir()
	const limit = 3
	for crash := 0; ; crash++ {
		p := startProcess(t, parent)
		conn := probe.Dial(t, p.url)
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if crash == 0 {
			args := amqp091.Table{
				"x-queue-type": "quorum", "x-delivery-limit": int32(limit), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead",
			}
			for name, args := range map[string]amqp091.Table{"poison": args, "dead": nil} {
				if _, err := ch.QueueDeclare(name, true, false, false, false, args); err != nil {
					t.Fatal(err)
				}
			}
		}
		deliveries, err := ch.Consume("poison", "", false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if crash == 0 { // it is delivered before anybody is told that it is confirmed
			if err := ch.Publish("", "poison", false, false, amqp091.Publishing{DeliveryMode: 2, Body: []byte("poison")}); err != nil {
				t.Fatal(err)
			}
		}
		if crash <= limit {
			d := probe.Next(t, deliveries)
			count, _ := d.Headers["x-delivery-count"].(int64)
			if int(count) != crash || d.Redelivered != (crash > 0) {
				t.Fatalf("after %d crashes: x-delivery-count is %d, redelivered %v", crash, count, d.Redelivered)
			}
			p.kill()
			continue
		}
		dead, err := ch.Consume("dead", "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		d := probe.Next(t, dead)
		if reason := d.Headers["x-first-death-reason"]; reason != "delivery_limit" {
			t.Errorf("it died of %v", reason)
		}
		return
	}
}
