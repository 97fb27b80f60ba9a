// Package probe is a client for tests that put questions to a broker: the embedded one or a RabbitMQ.
package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// Patience is how long a test waits for what has to happen.
const Patience = 2 * time.Minute

// Dial connects for as long as the test lasts.
func Dial(t testing.TB, url string) *amqp091.Connection {
	t.Helper()
	return DialWith(t, url, amqp091.Config{})
}

// Version is what the broker at a URL says of itself, such as "4.0.5".
func Version(t testing.TB, url string) string {
	t.Helper()
	v, _ := Dial(t, url).Properties["version"].(string)
	return v
}

// DialWith is Dial with what amqp091 can be told.
func DialWith(t testing.TB, url string, config amqp091.Config) *amqp091.Connection {
	t.Helper()
	conn, err := amqp091.DialConfig(url, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) // it may be closed already
	return conn
}

// Session is a client with a channel in confirm mode, and names that no other test has. What goes wrong ends its test.
type Session struct {
	T    *testing.T
	URL  string
	Net  net.Conn // under Conn
	Conn *amqp091.Connection
	Ch   *amqp091.Channel
	id   string
	made int
}

var sessions atomic.Int64

// New connects to the broker at a URL.
func New(t *testing.T, url string) *Session {
	t.Helper()
	s := &Session{T: t, URL: url}
	s.Conn = DialWith(t, url, amqp091.Config{Dial: func(network, addr string) (net.Conn, error) {
		var err error
		s.Net, err = amqp091.DefaultDial(Patience)(network, addr)
		return s.Net, err
	}})
	s.id = fmt.Sprintf("conformance-%d-%d", os.Getpid(), sessions.Add(1))
	s.Ch = s.Channel()
	if err := s.Ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return s
}

// Channel opens another channel.
func (s *Session) Channel() *amqp091.Channel {
	s.T.Helper()
	ch, err := s.Conn.Channel()
	if err != nil {
		s.T.Fatal(err)
	}
	return ch
}

// Name makes a name that is free. The queue or exchange that gets it is deleted when the test ends.
func (s *Session) Name() string {
	s.made++
	name := fmt.Sprintf("%s-%d", s.id, s.made)
	s.T.Cleanup(func() { sweep(s.URL, name) })
	return name
}

// sweep deletes what a test left on a broker that lives longer.
func sweep(url, name string) {
	conn, err := amqp091.Dial(url)
	if err != nil {
		return // the embedded broker has ended with its test
	}
	defer conn.Close()
	for _, remove := range []func(*amqp091.Channel) error{
		func(ch *amqp091.Channel) error { _, err := ch.QueueDelete(name, false, false, false); return err },
		func(ch *amqp091.Channel) error { return ch.ExchangeDelete(name, false, false) },
	} {
		if ch, err := conn.Channel(); err == nil {
			_ = remove(ch) // of the two only one is there
		}
	}
}

// Queue declares a durable queue with a name of its own.
func (s *Session) Queue(args amqp091.Table) string {
	s.T.Helper()
	name := s.Name()
	s.Declare(name, args)
	return name
}

// Declare declares a durable queue.
func (s *Session) Declare(name string, args amqp091.Table) {
	s.T.Helper()
	if _, err := s.Ch.QueueDeclare(name, true, false, false, false, args); err != nil {
		s.T.Fatal(err)
	}
}

// Exchange declares a durable exchange with a name of its own.
func (s *Session) Exchange(kind string, args amqp091.Table) string {
	s.T.Helper()
	name := s.Name()
	if err := s.Ch.ExchangeDeclare(name, kind, true, false, false, false, args); err != nil {
		s.T.Fatal(err)
	}
	return name
}

// Bind binds a queue to an exchange.
func (s *Session) Bind(queue, key, exchange string, args amqp091.Table) {
	s.T.Helper()
	if err := s.Ch.QueueBind(queue, key, exchange, false, args); err != nil {
		s.T.Fatal(err)
	}
}

// Publish publishes and waits for the confirm, which it returns.
func (s *Session) Publish(exchange, key string, m amqp091.Publishing) bool {
	s.T.Helper()
	ctx, cancel := context.WithTimeout(s.T.Context(), Patience)
	defer cancel()
	confirm, err := s.Ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, m)
	if err != nil {
		s.T.Fatal(err)
	}
	taken, err := confirm.WaitContext(ctx)
	if err != nil {
		s.T.Fatal(err)
	}
	return taken
}

// Send publishes texts to a queue, one after another.
func (s *Session) Send(queue string, texts ...string) {
	s.T.Helper()
	for _, text := range texts {
		if !s.Publish("", queue, amqp091.Publishing{Body: []byte(text)}) {
			s.T.Fatalf("%q was refused", text)
		}
	}
}

// Take waits for a message in the queue and acknowledges it.
func (s *Session) Take(queue string) amqp091.Delivery {
	s.T.Helper()
	return s.get(queue, true)
}

// Fetch waits for a message in the queue and holds it.
func (s *Session) Fetch(queue string) amqp091.Delivery {
	s.T.Helper()
	return s.get(queue, false)
}

func (s *Session) get(queue string, noAck bool) amqp091.Delivery {
	s.T.Helper()
	var d amqp091.Delivery
	Within(s.T, "a message in "+queue, func() bool {
		var ok bool
		var err error
		if d, ok, err = s.Ch.Get(queue, noAck); err != nil {
			s.T.Fatal(err)
		}
		return ok
	})
	return d
}

// Texts takes all that is in the queue now.
func (s *Session) Texts(queue string) []string {
	s.T.Helper()
	out := []string{}
	for {
		d, ok, err := s.Ch.Get(queue, true)
		if err != nil {
			s.T.Fatal(err)
		}
		if !ok {
			return out
		}
		out = append(out, string(d.Body))
	}
}

// Depth is how many messages the queue has ready.
func (s *Session) Depth(queue string) int {
	s.T.Helper()
	q, err := s.Ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		s.T.Fatal(err)
	}
	return q.Messages
}

// Consume consumes from a queue, with acknowledgements.
func (s *Session) Consume(ch *amqp091.Channel, queue string, args amqp091.Table) <-chan amqp091.Delivery {
	s.T.Helper()
	deliveries, err := ch.Consume(queue, "", false, false, false, false, args)
	if err != nil {
		s.T.Fatal(err)
	}
	return deliveries
}

// Next is the next delivery.
func Next(t *testing.T, deliveries <-chan amqp091.Delivery) amqp091.Delivery {
	t.Helper()
	select {
	case d, ok := <-deliveries:
		if !ok {
			t.Fatal("the consumer has ended")
		}
		return d
	case <-time.After(Patience):
		t.Fatal("no delivery came")
	}
	return amqp091.Delivery{}
}

// Within waits until something is so.
func Within(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(Patience); !so(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", Patience, what)
		}
	}
}

// Equal compares by what is printed, which is enough for strings, numbers and lists of them.
func Equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// Fault does something wrong on a channel of its own, and is what the broker says to it, with names replaced by others, in pairs. alive is whether the connection outlives it.
func (s *Session) Fault(do func(ch *amqp091.Channel) error, names ...string) (text string, alive bool) {
	s.T.Helper()
	client := New(s.T, s.URL)
	ch := client.Channel()
	told := ch.NotifyClose(make(chan *amqp091.Error, 1))
	err := do(ch)
	var e *amqp091.Error
	if !errors.As(err, &e) {
		if err != nil {
			return err.Error(), true
		}
		select {
		case e = <-told:
		case <-time.After(Patience):
			s.T.Fatal("nothing was said")
		}
	}
	_, err = client.Conn.Channel()
	return strings.NewReplacer(names...).Replace(e.Reason), err == nil
}
