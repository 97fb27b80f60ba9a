package embedded_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

// patience is how long a test waits for what has to happen.
const patience = 10 * time.Second

// onEach runs a test of behaviour on the embedded broker and, where EVENTROUTER_TEST_AMQP_URL names a RabbitMQ 4, on that too: what is
// asserted of the one has to be so on the other.
func onEach(t *testing.T, test func(t *testing.T, s *session)) {
	t.Helper()
	t.Parallel()
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, newSession(t, amqptest.Broker(t).URL()))
	})
	url := os.Getenv("EVENTROUTER_TEST_AMQP_URL")
	if url == "" || !strings.HasPrefix(version(t, url), "4.") {
		return
	}
	t.Run("rabbitmq", func(t *testing.T) {
		t.Parallel()
		test(t, newSession(t, url))
	})
}

func version(t *testing.T, url string) string {
	t.Helper()
	conn := dial(t, url)
	v, _ := conn.Properties["version"].(string)
	return v
}

func dial(t testing.TB, url string) *amqp091.Connection {
	t.Helper()
	return dialWith(t, url, amqp091.Config{})
}

func dialWith(t testing.TB, url string, config amqp091.Config) *amqp091.Connection {
	t.Helper()
	conn, err := amqp091.DialConfig(url, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() }) // it may be closed already
	return conn
}

// session is a client with a channel in confirm mode, and names that no other test has.
type session struct {
	t    *testing.T
	url  string
	raw  net.Conn // under conn
	conn *amqp091.Connection
	ch   *amqp091.Channel
	id   string
	made int
}

var sessions atomic.Int64

func newSession(t *testing.T, url string) *session {
	t.Helper()
	s := &session{t: t, url: url}
	s.conn = dialWith(t, url, amqp091.Config{Dial: func(network, addr string) (net.Conn, error) {
		var err error
		s.raw, err = amqp091.DefaultDial(patience)(network, addr)
		return s.raw, err
	}})
	s.id = fmt.Sprintf("embedded-test-%d-%d", os.Getpid(), sessions.Add(1))
	s.ch = s.channel()
	if err := s.ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return s
}

// channel opens another channel.
func (s *session) channel() *amqp091.Channel {
	s.t.Helper()
	ch, err := s.conn.Channel()
	if err != nil {
		s.t.Fatal(err)
	}
	return ch
}

// name makes a name that is free. The queue or exchange that gets it is deleted when the test ends.
func (s *session) name() string {
	s.made++
	name := fmt.Sprintf("%s-%d", s.id, s.made)
	s.t.Cleanup(func() { sweep(s.url, name) })
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

// queue declares a durable queue, and exchange a durable exchange.
func (s *session) queue(args amqp091.Table) string {
	s.t.Helper()
	name := s.name()
	s.declare(name, args)
	return name
}

func (s *session) declare(name string, args amqp091.Table) {
	s.t.Helper()
	if _, err := s.ch.QueueDeclare(name, true, false, false, false, args); err != nil {
		s.t.Fatal(err)
	}
}

func (s *session) exchange(kind string, args amqp091.Table) string {
	s.t.Helper()
	name := s.name()
	if err := s.ch.ExchangeDeclare(name, kind, true, false, false, false, args); err != nil {
		s.t.Fatal(err)
	}
	return name
}

func (s *session) bind(queue, key, exchange string, args amqp091.Table) {
	s.t.Helper()
	if err := s.ch.QueueBind(queue, key, exchange, false, args); err != nil {
		s.t.Fatal(err)
	}
}

// publish publishes and waits for the confirm, which it returns.
func (s *session) publish(exchange, key string, m amqp091.Publishing) bool {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	confirm, err := s.ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, m)
	if err != nil {
		s.t.Fatal(err)
	}
	taken, err := confirm.WaitContext(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	return taken
}

// send publishes texts to a queue, one after another.
func (s *session) send(queue string, texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if !s.publish("", queue, amqp091.Publishing{Body: []byte(text)}) {
			s.t.Fatalf("%q was refused", text)
		}
	}
}

// take waits for a message in the queue and acknowledges it.
func (s *session) take(queue string) amqp091.Delivery {
	s.t.Helper()
	var d amqp091.Delivery
	within(s.t, "a message in "+queue, func() bool {
		var ok bool
		var err error
		if d, ok, err = s.ch.Get(queue, true); err != nil {
			s.t.Fatal(err)
		}
		return ok
	})
	return d
}

// texts takes all that is in the queue now.
func (s *session) texts(queue string) []string {
	s.t.Helper()
	out := []string{}
	for {
		d, ok, err := s.ch.Get(queue, true)
		if err != nil {
			s.t.Fatal(err)
		}
		if !ok {
			return out
		}
		out = append(out, string(d.Body))
	}
}

// depth is how many messages the queue has ready.
func (s *session) depth(queue string) int {
	s.t.Helper()
	q, err := s.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return q.Messages
}

func (s *session) consume(ch *amqp091.Channel, queue string, args amqp091.Table) <-chan amqp091.Delivery {
	s.t.Helper()
	deliveries, err := ch.Consume(queue, "", false, false, false, false, args)
	if err != nil {
		s.t.Fatal(err)
	}
	return deliveries
}

// next is the next delivery.
func next(t *testing.T, deliveries <-chan amqp091.Delivery) amqp091.Delivery {
	t.Helper()
	select {
	case d, ok := <-deliveries:
		if !ok {
			t.Fatal("the consumer has ended")
		}
		return d
	case <-time.After(patience):
		t.Fatal("no delivery came")
	}
	return amqp091.Delivery{}
}

// within waits until something is so.
func within(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !so(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// equal compares by what is printed, which is enough for strings, numbers and lists of them.
func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// embeddedSession is a session on an embedded broker of its own.
func embeddedSession(t *testing.T) *session {
	t.Helper()
	return newSession(t, amqptest.Broker(t).URL())
}
