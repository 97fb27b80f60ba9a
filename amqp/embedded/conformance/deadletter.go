package conformance

import (
	"fmt"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// grave is a queue that gets what is dead-lettered to an exchange of its own.
func grave(s *probe.Session) (exchange, queue string) {
	exchange, queue = s.Exchange("fanout", nil), s.Queue(nil)
	s.Bind(queue, "", exchange, nil)
	return exchange, queue
}

func reasonsOfDeath(t *testing.T, s *probe.Session) {
	for _, c := range []struct {
		reason string
		args   amqp091.Table
		kill   func(s *probe.Session, q string)
	}{
		{"expired", amqp091.Table{"x-message-ttl": int32(20)}, func(*probe.Session, string) {}},
		{"maxlen", amqp091.Table{"x-max-length": int32(1)}, func(s *probe.Session, q string) { s.Send(q, "another") }},
		{"rejected", nil, func(s *probe.Session, q string) {
			d, _, err := s.Ch.Get(q, false)
			if err != nil {
				s.T.Fatal(err)
			}
			nack(s.T, d, false, false)
		}},
		{"delivery_limit", amqp091.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(2)}, func(s *probe.Session, q string) {
			deliveries := s.Consume(s.Channel(), q, nil)
			for range 3 {
				nack(s.T, probe.Next(s.T, deliveries), false, true)
			}
		}},
	} {
		each(t, s, c.reason, func(t *testing.T, s *probe.Session) {
			dlx, dead := grave(s)
			args := amqp091.Table{"x-dead-letter-exchange": dlx}
			for name, v := range c.args {
				args[name] = v
			}
			q, x := s.Queue(args), s.Exchange("topic", nil)
			s.Bind(q, "#", x, nil)
			began := time.Now().Add(-time.Second).Truncate(time.Second)
			s.Publish(x, "the.key", amqp091.Publishing{Body: []byte("body"), Headers: amqp091.Table{"own": "kept"}})
			c.kill(s, q)
			d := s.Take(dead)
			probe.Equal(t, "body, own header, exchange, key", []any{string(d.Body), d.Headers["own"], d.Exchange, d.RoutingKey}, []any{"body", "kept", dlx, "the.key"})
			for _, which := range []string{"first", "last"} {
				for field, want := range map[string]string{"reason": c.reason, "queue": q, "exchange": x} {
					name := "x-" + which + "-death-" + field
					probe.Equal(t, name, d.Headers[name], any(want))
				}
			}
			deaths := d.Headers["x-death"].([]any)
			probe.Equal(t, "deaths", len(deaths), 1)
			death := deaths[0].(amqp091.Table)
			at, _ := death["time"].(time.Time)
			if at.Before(began) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("time of death %v", at)
			}
			delete(death, "time")
			probe.Equal(t, "death", death, amqp091.Table{"count": int64(1), "reason": c.reason, "queue": q, "exchange": x, "routing-keys": []any{"the.key"}})
		})
	}
}

func deadLettersLoseTheirExpiration(t *testing.T, s *probe.Session) {
	dlx, dead := grave(s)
	q := s.Queue(amqp091.Table{"x-dead-letter-exchange": dlx})
	s.Publish("", q, amqp091.Publishing{Expiration: "10"})
	d := s.Take(dead)
	probe.Equal(t, "expiration", d.Expiration, "")
	probe.Equal(t, "original", d.Headers["x-death"].([]any)[0].(amqp091.Table)["original-expiration"], any("10"))
}

// Without a key of its own a queue's dead letters keep theirs, and go to the keys of CC again and to those of BCC, which no header shows.
func deadLetterRoutingKey(t *testing.T, s *probe.Session) {
	dlx := s.Exchange("direct", nil)
	dead, cc, bcc := s.Queue(nil), s.Queue(nil), s.Queue(nil)
	for _, q := range []string{dead, cc, bcc} {
		s.Bind(q, q, dlx, nil)
	}
	publish := func(q string) {
		s.Publish("", q, amqp091.Publishing{Headers: amqp091.Table{"CC": []any{"cc", cc}, "BCC": []any{bcc}}})
		probe.Equal(t, "copies", []int{s.Depth(cc), s.Depth(bcc)}, []int{1, 1})
		s.Take(cc)
		s.Take(bcc)
	}
	keyed := s.Queue(amqp091.Table{"x-dead-letter-exchange": dlx, "x-message-ttl": int32(50), "x-dead-letter-routing-key": dead})
	publish(keyed)
	d := s.Take(dead)
	probe.Equal(t, "key and CC", []any{d.RoutingKey, d.Headers["CC"]}, []any{dead, []any{"cc", cc}})
	probe.Equal(t, "keys it died with", d.Headers["x-death"].([]any)[0].(amqp091.Table)["routing-keys"], any([]any{keyed, "cc", cc}))
	probe.Equal(t, "other dead letters", []int{s.Depth(cc), s.Depth(bcc)}, []int{0, 0})

	plain := s.Queue(amqp091.Table{"x-dead-letter-exchange": dlx, "x-message-ttl": int32(50)})
	s.Bind(dead, plain, dlx, nil)
	publish(plain)
	d = s.Take(dead)
	probe.Equal(t, "key and CC", []any{d.RoutingKey, d.Headers["CC"]}, []any{plain, []any{"cc", cc}})
	s.Take(cc)
	settled(t, s.Ch)
	probe.Equal(t, "dead letters to BCC", s.Depth(bcc), 1)
}

// A message that comes back to a queue only by expiring there goes round for ever: it is dropped.
func cyclesOfExpiryAreCut(t *testing.T, s *probe.Session) {
	a, b := s.Name(), s.Name()
	s.Declare(a, amqp091.Table{"x-message-ttl": int32(10), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": b})
	s.Declare(b, amqp091.Table{"x-message-ttl": int32(10), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": a})
	s.Send(a, "x")
	witness := s.Queue(amqp091.Table{"x-message-ttl": int32(300), "x-dead-letter-exchange": "amq.direct", "x-dead-letter-routing-key": a + "-late"})
	late := s.Queue(nil)
	s.Bind(late, a+"-late", "amq.direct", nil)
	s.Send(witness, "enough time for many rounds")
	s.Take(late)
	probe.Equal(t, "left", []int{s.Depth(a), s.Depth(b)}, []int{0, 0})
}

// With somebody's reject in it, a cycle is a retry, and is counted.
func retryThroughTTLQueue(t *testing.T, s *probe.Session) {
	work, wait := s.Name(), s.Name()
	s.Declare(work, amqp091.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait})
	s.Declare(wait, amqp091.Table{"x-message-ttl": int32(10), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": work})
	s.Send(work, "x")
	deliveries := s.Consume(s.Channel(), work, nil)
	for range 3 {
		nack(t, probe.Next(t, deliveries), false, false)
	}
	d := probe.Next(t, deliveries)
	var got []string
	for _, v := range d.Headers["x-death"].([]any) {
		death := v.(amqp091.Table)
		got = append(got, fmt.Sprintf("%v %v %v", death["queue"] == work, death["reason"], death["count"]))
	}
	probe.Equal(t, "deaths, newest first", got, []string{"false expired 3", "true rejected 3"})
	probe.Equal(t, "first and last", []any{d.Headers["x-first-death-queue"], d.Headers["x-first-death-reason"], d.Headers["x-last-death-queue"], d.Headers["x-last-death-reason"]},
		[]any{work, "rejected", wait, "expired"})
}

func defaultDeliveryLimit(t *testing.T, s *probe.Session) {
	dlx, dead := grave(s)
	q := s.Queue(amqp091.Table{"x-queue-type": "quorum", "x-dead-letter-exchange": dlx})
	s.Send(q, "x")
	deliveries := s.Consume(s.Channel(), q, nil)
	for i := range 21 {
		d := probe.Next(t, deliveries)
		var want any
		if i > 0 {
			want = int64(i)
		}
		probe.Equal(t, "x-delivery-count", d.Headers["x-delivery-count"], want)
		probe.Equal(t, "redelivered", d.Redelivered, i > 0)
		if err := d.Reject(true); err != nil {
			t.Fatal(err)
		}
	}
	d := s.Take(dead)
	probe.Equal(t, "reason", d.Headers["x-first-death-reason"], any("delivery_limit"))
}

func negativeDeliveryLimitIsNone(t *testing.T, s *probe.Session) {
	for _, limit := range []int32{-1, -2} {
		q := s.Queue(amqp091.Table{"x-queue-type": "quorum", "x-delivery-limit": limit})
		s.Send(q, "x")
		deliveries := s.Consume(s.Channel(), q, nil)
		for range 30 {
			nack(t, probe.Next(t, deliveries), false, true)
		}
	}
}

// Dead letters keep their order whoever finds them dead: the clock, a publisher who exceeds the limit, or a consumer who looks.
func deadLettersKeepTheirOrder(t *testing.T, s *probe.Session) {
	const n = 5000
	dlx, dead := grave(s)
	q := s.Queue(amqp091.Table{"x-dead-letter-exchange": dlx, "x-message-ttl": int32(1), "x-max-length": int32(100)})
	for i := range n {
		if err := s.Ch.Publish("", q, false, false, amqp091.Publishing{Body: fmt.Append(nil, i)}); err != nil {
			t.Fatal(err)
		}
	}
	deliveries := s.Consume(qos(t, s.Channel(), n, false), dead, nil)
	for i := range n {
		if got := string(probe.Next(t, deliveries).Body); got != fmt.Sprint(i) {
			t.Fatalf("dead letter %d is %s", i, got)
		}
	}
}

func droppedAtOnceComesLastFirst(t *testing.T, s *probe.Session) {
	for kind, want := range map[string][]string{"classic": {"1", "2", "3"}, "quorum": {"3", "2", "1"}} {
		dlx, dead := grave(s)
		q := s.Queue(amqp091.Table{"x-queue-type": kind, "x-dead-letter-exchange": dlx, "x-max-length-bytes": int32(3)})
		s.Send(q, "1", "2", "3", "456")
		probe.Equal(t, kind, []string{string(s.Take(dead).Body), string(s.Take(dead).Body), string(s.Take(dead).Body)}, want)
	}
}

// An entry of x-death keeps the exchange of the first death of its kind; x-last-death-exchange is that of the last.
func lastDeathTellsTheLastExchange(t *testing.T, s *probe.Session) {
	x, dlx := s.Exchange("fanout", nil), s.Exchange("fanout", nil)
	q := s.Queue(amqp091.Table{"x-dead-letter-exchange": dlx})
	s.Bind(q, "", x, nil)
	s.Bind(q, "", dlx, nil)
	s.Publish(x, "", amqp091.Publishing{})
	for range 2 {
		nack(t, s.Fetch(q), false, false)
	}
	d := s.Take(q)
	entry := d.Headers["x-death"].([]any)[0].(amqp091.Table)
	probe.Equal(t, "exchanges", []any{entry["exchange"], d.Headers["x-first-death-exchange"], d.Headers["x-last-death-exchange"]}, []any{x, x, dlx})
}

// A message that goes to two queues is in the second before what it pushes out of the first.
func pushedOutComesLater(t *testing.T, s *probe.Session) {
	x := s.Exchange("fanout", nil)
	first, second := s.Name(), s.Queue(nil)
	s.Declare(first, amqp091.Table{"x-queue-type": "quorum", "x-max-length": int32(1), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": second})
	s.Send(first, "old")
	s.Bind(first, "", x, nil)
	s.Bind(second, "", x, nil)
	s.Publish(x, "", amqp091.Publishing{Body: []byte("new")})
	probe.Equal(t, "in the second", []string{string(s.Take(second).Body), string(s.Take(second).Body)}, []string{"new", "old"})
}

// The rejections of a message in quorum queues are its x-delivery-count in the next of them, as long as it has not come back to that one itself, which
// then tells its own count. Returns count in their own queue only.
func rejectionsAreCountedOn(t *testing.T, s *probe.Session) {
	third := s.Queue(amqp091.Table{"x-queue-type": "quorum"})
	second := s.Queue(amqp091.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(3), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": third})
	classic := s.Queue(amqp091.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": second})
	first := s.Queue(amqp091.Table{"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": classic})
	s.Send(first, "x")
	for _, step := range []struct {
		queue   string
		count   any
		again   bool
		requeue bool
	}{
		{first, nil, false, true},
		{first, int64(1), true, true},
		{first, int64(2), true, false},
		{classic, nil, false, false},
		{second, int64(1), true, true},
		{second, int64(1), true, true},
		{second, int64(2), true, true},
		{second, int64(3), true, true}, // once too often
		{third, int64(1), true, true},
		{third, int64(1), true, false},
	} {
		d := s.Fetch(step.queue)
		probe.Equal(t, "x-delivery-count, redelivered", []any{d.Headers["x-delivery-count"], d.Redelivered}, []any{step.count, step.again})
		nack(t, d, false, step.requeue)
	}
}

func clientsDeathsAreNotBelieved(t *testing.T, s *probe.Session) {
	dlx, dead := grave(s)
	q := s.Queue(amqp091.Table{"x-dead-letter-exchange": dlx, "x-message-ttl": int32(1)})
	forged := []any{amqp091.Table{"queue": q, "reason": "expired", "count": int64(7)}}
	s.Publish("", q, amqp091.Publishing{Headers: amqp091.Table{"x-death": forged, "x-first-death-queue": "forged"}})
	d := s.Take(dead)
	deaths := d.Headers["x-death"].([]any)
	probe.Equal(t, "deaths", len(deaths), 1)
	probe.Equal(t, "count", deaths[0].(amqp091.Table)["count"], any(int64(1)))
	probe.Equal(t, "first queue", d.Headers["x-first-death-queue"], any(q))
}
