package embedded_test

import (
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

func TestOverflowDropHead(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for name, args := range map[string]amqp091.Table{
			"length":        {"x-max-length": int32(2)},
			"bytes":         {"x-max-length-bytes": int32(2)},
			"quorum length": {"x-max-length": int32(2), "x-queue-type": "quorum"},
			"named":         {"x-max-length": int32(2), "x-overflow": "drop-head"},
		} {
			q := s.queue(args)
			s.send(q, "1", "2", "3", "4")
			within(t, name+" to hold two", func() bool { return s.depth(q) == 2 })
			equal(t, name+": kept", s.texts(q), []string{"3", "4"})
		}
	})
}

func TestMessageTTL(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for name, c := range map[string]struct {
			args       amqp091.Table
			expiration string
		}{
			"queue":             {amqp091.Table{"x-message-ttl": int32(50)}, ""},
			"message":           {nil, "50"},
			"shorter of queue":  {amqp091.Table{"x-message-ttl": int32(50)}, "60000"},
			"shorter of both":   {amqp091.Table{"x-message-ttl": int32(60000)}, "50"},
			"quorum":            {amqp091.Table{"x-message-ttl": int32(50), "x-queue-type": "quorum"}, ""},
			"at once":           {amqp091.Table{"x-message-ttl": int32(0)}, ""},
			"at once (message)": {nil, "0"},
		} {
			q := s.queue(c.args)
			s.publish("", q, amqp091.Publishing{Expiration: c.expiration})
			within(t, name+" to expire", func() bool { return s.depth(q) == 0 })
		}
	})
}

func TestTTLZeroIsDeliveredToWhoWaits(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for _, q := range []string{s.queue(amqp091.Table{"x-message-ttl": int32(0)}), s.queue(nil)} {
			deliveries := s.consume(s.channel(), q, nil)
			s.publish("", q, amqp091.Publishing{Expiration: "0", Body: []byte("now")})
			equal(t, "delivered", string(next(t, deliveries).Body), "now")
		}
	})
}

func TestMessageTTLWaitsBehindTheHead(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		dead := s.queue(nil)
		q := s.queue(amqp091.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
		s.publish("", q, amqp091.Publishing{Body: []byte("long"), Expiration: "300"})
		s.publish("", q, amqp091.Publishing{Body: []byte("short"), Expiration: "1"})
		equal(t, "first to die", string(s.take(dead).Body), "long")
		equal(t, "second to die", string(s.take(dead).Body), "short")
	})
}

func TestQueueExpires(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(amqp091.Table{"x-expires": int32(200)})
		deliveries := s.consume(s.channel(), q, nil)
		used := s.queue(amqp091.Table{"x-message-ttl": int32(400), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": q})
		s.send(used, "later") // comes when the queue would be gone, had it no consumer
		if err := next(t, deliveries).Ack(false); err != nil {
			t.Fatal(err)
		}
		idle := s.queue(amqp091.Table{"x-expires": int32(100)})
		gone(s, idle)
	})
}

// To ask for a queue, without declaring it, is to use it.
func TestQueueDoesNotExpireWhileItIsAskedFor(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(amqp091.Table{"x-expires": int32(500)})
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); <-tick.C {
			s.depth(q)
		}
	})
}

// gone waits until there is no such queue: what is published to it comes back. (To ask for the queue would be to use it.)
func gone(s *session, queue string) {
	s.t.Helper()
	ch := s.channel()
	if err := ch.Confirm(false); err != nil {
		s.t.Fatal(err)
	}
	returns := ch.NotifyReturn(make(chan amqp091.Return, 1))
	within(s.t, queue+" to be gone", func() bool {
		confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp091.Publishing{})
		if err != nil {
			s.t.Fatal(err)
		}
		confirm.Wait()
		return len(returns) > 0
	})
}

func TestServerNamedQueue(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		one, err := s.ch.QueueDeclare("", false, false, true, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		other, err := s.ch.QueueDeclare("", false, false, true, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(one.Name, "amq.gen-") || one.Name == other.Name {
			t.Errorf("names %q and %q", one.Name, other.Name)
		}
	})
}

// The empty name is the queue that the channel declared last, and with it an empty key is that queue's name.
func TestEmptyQueueNameIsTheLastDeclared(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		x := s.exchange("direct", nil)
		s.queue(nil)
		q := s.queue(nil)
		s.bind("", "", x, nil)
		s.bind("", "k", x, nil)
		s.publish(x, q, amqp091.Publishing{})
		s.publish(x, "k", amqp091.Publishing{})
		deliveries := s.consume(s.ch, "", nil)
		next(t, deliveries)
		next(t, deliveries)
		if n, err := s.ch.QueuePurge("", false); err != nil || n != 0 {
			t.Errorf("purged %d, %v", n, err)
		}
		if _, err := s.ch.QueueDelete("", false, false, false); err != nil {
			t.Error(err)
		}
		gone(s, q)
		_, err := s.channel().QueuePurge("", false)
		equal(t, "without a declaration", err, &amqp091.Error{Code: 404, Reason: "NOT_FOUND - no previously declared queue", Server: true, Recover: true})
	})
}

func TestExclusiveQueueGoesWithItsConnection(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		owner := newSession(t, s.url)
		q := s.name()
		for range 2 { // again is fine
			if _, err := owner.ch.QueueDeclare(q, false, false, true, false, nil); err != nil {
				t.Fatal(err)
			}
		}
		for what, use := range map[string]func(ch *amqp091.Channel) error{
			"declare": func(ch *amqp091.Channel) error {
				_, err := ch.QueueDeclare(q, false, false, true, false, nil)
				return err
			},
			"passive": func(ch *amqp091.Channel) error {
				_, err := ch.QueueDeclarePassive(q, false, false, true, false, nil)
				return err
			},
			"consume": func(ch *amqp091.Channel) error {
				_, err := ch.Consume(q, "", false, false, false, false, nil)
				return err
			},
			"get":    func(ch *amqp091.Channel) error { _, _, err := ch.Get(q, true); return err },
			"purge":  func(ch *amqp091.Channel) error { _, err := ch.QueuePurge(q, false); return err },
			"delete": func(ch *amqp091.Channel) error { _, err := ch.QueueDelete(q, false, false, false); return err },
			"bind":   func(ch *amqp091.Channel) error { return ch.QueueBind(q, "", "amq.fanout", false, nil) },
		} {
			if err := use(s.channel()); err == nil || !strings.Contains(err.Error(), "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '"+q+"' in vhost '/'.") {
				t.Errorf("%s from another connection: %v", what, err)
			}
		}
		s.publish("", q, amqp091.Publishing{}) // publishing to it is open to all
		owner.conn.Close()
		gone(s, q)
	})
}

func TestAutoDeleteQueueGoesWithItsLastConsumer(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.name()
		if _, err := s.ch.QueueDeclare(q, false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		one, other := s.channel(), s.channel()
		s.consume(one, q, nil)
		s.consume(other, q, nil)
		one.Close()
		if _, err := s.ch.QueueDeclarePassive(q, false, true, false, false, nil); err != nil {
			t.Fatalf("with a consumer left: %v", err)
		}
		other.Close()
		gone(s, q)
	})
}

func TestPurgeAndDeleteCount(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		s.send(q, "1", "2", "3")
		if n, err := s.ch.QueuePurge(q, false); err != nil || n != 3 {
			t.Errorf("purged %d, %v", n, err)
		}
		s.send(q, "4", "5")
		if n, err := s.ch.QueueDelete(q, false, false, false); err != nil || n != 2 {
			t.Errorf("deleted with %d, %v", n, err)
		}
		if n, err := s.ch.QueueDelete(q, false, false, false); err != nil || n != 0 {
			t.Errorf("deleted again with %d, %v", n, err)
		}
	})
}

func TestUnknownArgumentsAreTaken(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(amqp091.Table{"x-unheard-of": "a", "x-consumer-timeout": int32(60000), "other": int32(1)})
		s.declare(q, nil)
		s.declare(q, amqp091.Table{"x-unheard-of": "b", "x-consumer-timeout": int32(70000)})
	})
}

func TestSingleActiveConsumer(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for _, kind := range []string{"classic", "quorum"} {
			q := s.queue(amqp091.Table{"x-single-active-consumer": true, "x-queue-type": kind})
			one, other := s.channel(), s.channel()
			first, second := s.consume(one, q, nil), s.consume(other, q, nil)
			s.send(q, "1", "2")
			equal(t, kind+": the first's", []string{string(next(t, first).Body), string(next(t, first).Body)}, []string{"1", "2"})
			equal(t, kind+": the second's", len(second), 0)
			one.Close()
			equal(t, kind+": the next in line's", []string{string(next(t, second).Body), string(next(t, second).Body)}, []string{"1", "2"})
		}
	})
}

// A consumer of higher priority takes over the single active consumer's part on quorum queues, and not on classic ones.
func TestSingleActiveConsumerAndPriority(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for _, kind := range []string{"classic", "quorum"} {
			q := s.queue(amqp091.Table{"x-single-active-consumer": true, "x-queue-type": kind})
			low := s.consume(s.channel(), q, amqp091.Table{"x-priority": int32(1)})
			high := s.consume(s.channel(), q, amqp091.Table{"x-priority": int32(5)})
			s.send(q, "1")
			active := map[string]<-chan amqp091.Delivery{"classic": low, "quorum": high}[kind]
			equal(t, kind, string(next(t, active).Body), "1")
		}
	})
}

// A queue-level TTL is kept to within milliseconds, whoever looks.
func TestTTLIsOnTime(t *testing.T) {
	t.Parallel()
	s := embeddedSession(t)
	dead := s.queue(nil)
	deliveries := s.consume(s.channel(), dead, nil)
	q := s.queue(amqp091.Table{"x-message-ttl": int32(100), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
	began := time.Now()
	s.send(q, "x")
	next(t, deliveries)
	if took := time.Since(began); took < 100*time.Millisecond || took > 400*time.Millisecond { // generous to a machine under load
		t.Errorf("dead-lettered after %v, want 100ms", took)
	}
}
