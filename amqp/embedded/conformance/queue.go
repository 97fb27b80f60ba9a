package conformance

import (
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

func overflowDropHead(t *testing.T, s *probe.Session) {
	for name, args := range map[string]amqp091.Table{
		"length":        {"x-max-length": int32(2)},
		"bytes":         {"x-max-length-bytes": int32(2)},
		"quorum length": {"x-max-length": int32(2), "x-queue-type": "quorum"},
		"named":         {"x-max-length": int32(2), "x-overflow": "drop-head"},
	} {
		q := s.Queue(args)
		s.Send(q, "1", "2", "3", "4")
		probe.Within(t, name+" to hold two", func() bool { return s.Depth(q) == 2 })
		probe.Equal(t, name+": kept", s.Texts(q), []string{"3", "4"})
	}
}

func messageTTL(t *testing.T, s *probe.Session) {
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
		q := s.Queue(c.args)
		s.Publish("", q, amqp091.Publishing{Expiration: c.expiration})
		probe.Within(t, name+" to expire", func() bool { return s.Depth(q) == 0 })
	}
}

func ttlZeroIsDeliveredToWhoWaits(t *testing.T, s *probe.Session) {
	for _, q := range []string{s.Queue(amqp091.Table{"x-message-ttl": int32(0)}), s.Queue(nil)} {
		deliveries := s.Consume(s.Channel(), q, nil)
		s.Publish("", q, amqp091.Publishing{Expiration: "0", Body: []byte("now")})
		probe.Equal(t, "delivered", string(probe.Next(t, deliveries).Body), "now")
	}
}

func messageTTLWaitsBehindTheHead(t *testing.T, s *probe.Session) {
	dead := s.Queue(nil)
	q := s.Queue(amqp091.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
	s.Publish("", q, amqp091.Publishing{Body: []byte("long"), Expiration: "300"})
	s.Publish("", q, amqp091.Publishing{Body: []byte("short"), Expiration: "1"})
	probe.Equal(t, "first to die", string(s.Take(dead).Body), "long")
	probe.Equal(t, "second to die", string(s.Take(dead).Body), "short")
}

func queueExpires(t *testing.T, s *probe.Session) {
	q := s.Queue(amqp091.Table{"x-expires": int32(200)})
	deliveries := s.Consume(s.Channel(), q, nil)
	used := s.Queue(amqp091.Table{"x-message-ttl": int32(400), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": q})
	s.Send(used, "later") // comes when the queue would be gone, had it no consumer
	if err := probe.Next(t, deliveries).Ack(false); err != nil {
		t.Fatal(err)
	}
	idle := s.Queue(amqp091.Table{"x-expires": int32(100)})
	gone(s, idle)
}

// To ask for a queue, without declaring it, is to use it.
func queueDoesNotExpireWhileItIsAskedFor(t *testing.T, s *probe.Session) {
	q := s.Queue(amqp091.Table{"x-expires": int32(500)})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(1500 * time.Millisecond); time.Now().Before(end); <-tick.C {
		s.Depth(q)
	}
}

// gone waits until there is no such queue: what is published to it comes back. (To ask for the queue would be to use it.)
func gone(s *probe.Session, queue string) {
	s.T.Helper()
	ch := s.Channel()
	if err := ch.Confirm(false); err != nil {
		s.T.Fatal(err)
	}
	returns := ch.NotifyReturn(make(chan amqp091.Return, 1))
	probe.Within(s.T, queue+" to be gone", func() bool {
		confirm, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp091.Publishing{})
		if err != nil {
			s.T.Fatal(err)
		}
		confirm.Wait()
		return len(returns) > 0
	})
}

func serverNamedQueue(t *testing.T, s *probe.Session) {
	one, err := s.Ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, err := s.Ch.QueueDeclare("", false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(one.Name, "amq.gen-") || one.Name == other.Name {
		t.Errorf("names %q and %q", one.Name, other.Name)
	}
}

// The empty name is the queue that the channel declared last, and with it an empty key is that queue's name.
func emptyQueueNameIsTheLastDeclared(t *testing.T, s *probe.Session) {
	x := s.Exchange("direct", nil)
	s.Queue(nil)
	q := s.Queue(nil)
	s.Bind("", "", x, nil)
	s.Bind("", "k", x, nil)
	s.Publish(x, q, amqp091.Publishing{})
	s.Publish(x, "k", amqp091.Publishing{})
	deliveries := s.Consume(s.Ch, "", nil)
	probe.Next(t, deliveries)
	probe.Next(t, deliveries)
	if n, err := s.Ch.QueuePurge("", false); err != nil || n != 0 {
		t.Errorf("purged %d, %v", n, err)
	}
	if _, err := s.Ch.QueueDelete("", false, false, false); err != nil {
		t.Error(err)
	}
	gone(s, q)
	_, err := s.Channel().QueuePurge("", false)
	probe.Equal(t, "without a declaration", err, &amqp091.Error{Code: 404, Reason: "NOT_FOUND - no previously declared queue", Server: true, Recover: true})
}

func exclusiveQueueGoesWithItsConnection(t *testing.T, s *probe.Session) {
	owner := probe.New(t, s.URL)
	q := s.Name()
	for range 2 { // again is fine
		if _, err := owner.Ch.QueueDeclare(q, false, false, true, false, nil); err != nil {
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
		if err := use(s.Channel()); err == nil || !strings.Contains(err.Error(), "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '"+q+"' in vhost '/'.") {
			t.Errorf("%s from another connection: %v", what, err)
		}
	}
	s.Publish("", q, amqp091.Publishing{}) // publishing to it is open to all
	owner.Conn.Close()
	gone(s, q)
}

func autoDeleteQueueGoesWithItsLastConsumer(t *testing.T, s *probe.Session) {
	q := s.Name()
	if _, err := s.Ch.QueueDeclare(q, false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	one, other := s.Channel(), s.Channel()
	s.Consume(one, q, nil)
	s.Consume(other, q, nil)
	one.Close()
	if _, err := s.Ch.QueueDeclarePassive(q, false, true, false, false, nil); err != nil {
		t.Fatalf("with a consumer left: %v", err)
	}
	other.Close()
	gone(s, q)
}

func purgeAndDeleteCount(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	s.Send(q, "1", "2", "3")
	if n, err := s.Ch.QueuePurge(q, false); err != nil || n != 3 {
		t.Errorf("purged %d, %v", n, err)
	}
	s.Send(q, "4", "5")
	if n, err := s.Ch.QueueDelete(q, false, false, false); err != nil || n != 2 {
		t.Errorf("deleted with %d, %v", n, err)
	}
	if n, err := s.Ch.QueueDelete(q, false, false, false); err != nil || n != 0 {
		t.Errorf("deleted again with %d, %v", n, err)
	}
}

func unknownArgumentsAreTaken(t *testing.T, s *probe.Session) {
	q := s.Queue(amqp091.Table{"x-unheard-of": "a", "x-consumer-timeout": int32(60000), "other": int32(1)})
	s.Declare(q, nil)
	s.Declare(q, amqp091.Table{"x-unheard-of": "b", "x-consumer-timeout": int32(70000)})
}

func singleActiveConsumer(t *testing.T, s *probe.Session) {
	for _, kind := range []string{"classic", "quorum"} {
		q := s.Queue(amqp091.Table{"x-single-active-consumer": true, "x-queue-type": kind})
		one, other := s.Channel(), s.Channel()
		first, second := s.Consume(one, q, nil), s.Consume(other, q, nil)
		s.Send(q, "1", "2")
		probe.Equal(t, kind+": the first's", []string{string(probe.Next(t, first).Body), string(probe.Next(t, first).Body)}, []string{"1", "2"})
		probe.Equal(t, kind+": the second's", len(second), 0)
		one.Close()
		probe.Equal(t, kind+": the next in line's", []string{string(probe.Next(t, second).Body), string(probe.Next(t, second).Body)}, []string{"1", "2"})
	}
}

// When its channel is closed, what the single active consumer had in hand goes to the next before anything newer.
func singleActiveConsumerClosed(t *testing.T, s *probe.Session) {
	takesOver(t, s, (*amqp091.Channel).Close, "1", "2", "3", "4")
}

// When it is only cancelled, what is newer goes to the next at once, though it has still something in hand.
func singleActiveConsumerCancelled(t *testing.T, s *probe.Session) {
	takesOver(t, s, func(ch *amqp091.Channel) error { return ch.Cancel("one", false) }, "3", "4")
}

// takesOver ends a single active consumer with two of four messages in hand.
func takesOver(t *testing.T, s *probe.Session, end func(*amqp091.Channel) error, want ...string) {
	t.Helper()
	for _, kind := range []string{"classic", "quorum"} {
		q := s.Queue(amqp091.Table{"x-single-active-consumer": true, "x-queue-type": kind})
		one := s.Channel()
		if err := one.Qos(2, 0, false); err != nil {
			t.Fatal(err)
		}
		first, err := one.Consume(q, "one", false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		second := s.Consume(s.Channel(), q, nil)
		s.Send(q, "1", "2", "3", "4")
		probe.Next(t, first)
		probe.Next(t, first)
		if err := end(one); err != nil {
			t.Fatal(err)
		}
		var got []string
		for range want {
			got = append(got, string(probe.Next(t, second).Body))
		}
		probe.Equal(t, kind+": the next in line's", got, want)
	}
}

// A consumer of higher priority takes over the single active consumer's part on quorum queues, and not on classic ones.
func singleActiveConsumerAndPriority(t *testing.T, s *probe.Session) {
	for _, kind := range []string{"classic", "quorum"} {
		q := s.Queue(amqp091.Table{"x-single-active-consumer": true, "x-queue-type": kind})
		low := s.Consume(s.Channel(), q, amqp091.Table{"x-priority": int32(1)})
		high := s.Consume(s.Channel(), q, amqp091.Table{"x-priority": int32(5)})
		s.Send(q, "1")
		active := map[string]<-chan amqp091.Delivery{"classic": low, "quorum": high}[kind]
		probe.Equal(t, kind, string(probe.Next(t, active).Body), "1")
	}
}
