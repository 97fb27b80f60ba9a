package embedded_test

import (
	"fmt"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// grave is a queue that gets what is dead-lettered to an exchange of its own.
func grave(s *session) (exchange, queue string) {
	exchange, queue = s.exchange("fanout", nil), s.queue(nil)
	s.bind(queue, "", exchange, nil)
	return exchange, queue
}

func TestReasonsOfDeath(t *testing.T) {
	for _, c := range []struct {
		reason string
		args   amqp091.Table
		kill   func(s *session, q string)
	}{
		{"expired", amqp091.Table{"x-message-ttl": int32(20)}, func(*session, string) {}},
		{"maxlen", amqp091.Table{"x-max-length": int32(1)}, func(s *session, q string) { s.send(q, "another") }},
		{"rejected", nil, func(s *session, q string) {
			d, _, err := s.ch.Get(q, false)
			if err != nil {
				s.t.Fatal(err)
			}
			nack(s.t, d, false, false)
		}},
		{"delivery_limit", amqp091.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(2)}, func(s *session, q string) {
			deliveries := s.consume(s.channel(), q, nil)
			for range 3 {
				nack(s.t, next(s.t, deliveries), false, true)
			}
		}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			onEach(t, func(t *testing.T, s *session) {
				dlx, dead := grave(s)
				args := amqp091.Table{"x-dead-letter-exchange": dlx}
				for name, v := range c.args {
					args[name] = v
				}
				q, x := s.queue(args), s.exchange("topic", nil)
				s.bind(q, "#", x, nil)
				began := time.Now().Add(-time.Second).Truncate(time.Second)
				s.publish(x, "the.key", amqp091.Publishing{Body: []byte("body"), Headers: amqp091.Table{"own": "kept", "x-death": "forged"}})
				c.kill(s, q)
				d := s.take(dead)
				equal(t, "body, own header, exchange, key", []any{string(d.Body), d.Headers["own"], d.Exchange, d.RoutingKey}, []any{"body", "kept", dlx, "the.key"})
				for _, which := range []string{"first", "last"} {
					for field, want := range map[string]string{"reason": c.reason, "queue": q, "exchange": x} {
						name := "x-" + which + "-death-" + field
						equal(t, name, d.Headers[name], any(want))
					}
				}
				deaths := d.Headers["x-death"].([]any)
				equal(t, "deaths", len(deaths), 1)
				death := deaths[0].(amqp091.Table)
				at, _ := death["time"].(time.Time)
				if at.Before(began) || at.After(time.Now().Add(time.Second)) {
					t.Errorf("time of death %v", at)
				}
				delete(death, "time")
				equal(t, "death", death, amqp091.Table{"count": int64(1), "reason": c.reason, "queue": q, "exchange": x, "routing-keys": []any{"the.key"}})
			})
		})
	}
}

func TestDeadLettersLoseTheirExpiration(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		dlx, dead := grave(s)
		q := s.queue(amqp091.Table{"x-dead-letter-exchange": dlx})
		s.publish("", q, amqp091.Publishing{Expiration: "10"})
		d := s.take(dead)
		equal(t, "expiration", d.Expiration, "")
		equal(t, "original", d.Headers["x-death"].([]any)[0].(amqp091.Table)["original-expiration"], any("10"))
	})
}

// Without a key of its own a queue's dead letters keep theirs, and go to the keys of CC again and to those of BCC, which no header shows.
func TestDeadLetterRoutingKey(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		dlx := s.exchange("direct", nil)
		dead, cc, bcc := s.queue(nil), s.queue(nil), s.queue(nil)
		for _, q := range []string{dead, cc, bcc} {
			s.bind(q, q, dlx, nil)
		}
		publish := func(q string) {
			s.publish("", q, amqp091.Publishing{Headers: amqp091.Table{"CC": []any{"cc", cc}, "BCC": []any{bcc}}})
			equal(t, "copies", []int{s.depth(cc), s.depth(bcc)}, []int{1, 1})
			s.take(cc)
			s.take(bcc)
		}
		keyed := s.queue(amqp091.Table{"x-dead-letter-exchange": dlx, "x-message-ttl": int32(50), "x-dead-letter-routing-key": dead})
		publish(keyed)
		d := s.take(dead)
		equal(t, "key and CC", []any{d.RoutingKey, d.Headers["CC"]}, []any{dead, []any{"cc", cc}})
		equal(t, "keys it died with", d.Headers["x-death"].([]any)[0].(amqp091.Table)["routing-keys"], any([]any{keyed, "cc", cc}))
		equal(t, "other dead letters", []int{s.depth(cc), s.depth(bcc)}, []int{0, 0})

		plain := s.queue(amqp091.Table{"x-dead-letter-exchange": dlx, "x-message-ttl": int32(50)})
		s.bind(dead, plain, dlx, nil)
		publish(plain)
		d = s.take(dead)
		equal(t, "key and CC", []any{d.RoutingKey, d.Headers["CC"]}, []any{plain, []any{"cc", cc}})
		s.take(cc)
		settled(t, s.ch)
		equal(t, "dead letters to BCC", s.depth(bcc), 1)
	})
}

// A message that comes back to a queue only by expiring there goes round for ever: it is dropped.
func TestCyclesOfExpiryAreCut(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		a, b := s.name(), s.name()
		s.declare(a, amqp091.Table{"x-message-ttl": int32(10), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": b})
		s.declare(b, amqp091.Table{"x-message-ttl": int32(10), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": a})
		s.send(a, "x")
		witness := s.queue(amqp091.Table{"x-message-ttl": int32(300), "x-dead-letter-exchange": "amq.direct", "x-dead-letter-routing-key": a + "-late"})
		late := s.queue(nil)
		s.bind(late, a+"-late", "amq.direct", nil)
		s.send(witness, "enough time for many rounds")
		s.take(late)
		equal(t, "left", []int{s.depth(a), s.depth(b)}, []int{0, 0})
	})
}

// With somebody's reject in it, a cycle is a retry, and is counted.
func TestRetryThroughATTLQueue(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		work, wait := s.name(), s.name()
		s.declare(work, amqp091.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait})
		s.declare(wait, amqp091.Table{"x-message-ttl": int32(10), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": work})
		s.send(work, "x")
		deliveries := s.consume(s.channel(), work, nil)
		for range 3 {
			nack(t, next(t, deliveries), false, false)
		}
		d := next(t, deliveries)
		var got []string
		for _, v := range d.Headers["x-death"].([]any) {
			death := v.(amqp091.Table)
			got = append(got, fmt.Sprintf("%v %v %v", death["queue"] == work, death["reason"], death["count"]))
		}
		equal(t, "deaths, newest first", got, []string{"false expired 3", "true rejected 3"})
		equal(t, "first and last", []any{d.Headers["x-first-death-queue"], d.Headers["x-first-death-reason"], d.Headers["x-last-death-queue"], d.Headers["x-last-death-reason"]},
			[]any{work, "rejected", wait, "expired"})
	})
}

func TestDefaultDeliveryLimit(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		dlx, dead := grave(s)
		q := s.queue(amqp091.Table{"x-queue-type": "quorum", "x-dead-letter-exchange": dlx})
		s.send(q, "x")
		deliveries := s.consume(s.channel(), q, nil)
		for i := range 21 {
			d := next(t, deliveries)
			var want any
			if i > 0 {
				want = int64(i)
			}
			equal(t, "x-delivery-count", d.Headers["x-delivery-count"], want)
			equal(t, "redelivered", d.Redelivered, i > 0)
			if err := d.Reject(true); err != nil {
				t.Fatal(err)
			}
		}
		d := s.take(dead)
		equal(t, "reason", d.Headers["x-first-death-reason"], any("delivery_limit"))
	})
}

func TestNegativeDeliveryLimitIsNone(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for _, limit := range []int32{-1, -2} {
			q := s.queue(amqp091.Table{"x-queue-type": "quorum", "x-delivery-limit": limit})
			s.send(q, "x")
			deliveries := s.consume(s.channel(), q, nil)
			for range 30 {
				nack(t, next(t, deliveries), false, true)
			}
		}
	})
}

// Dead letters keep their order whoever finds them dead: the clock, a publisher who exceeds the limit, or a consumer who looks.
func TestDeadLettersKeepTheirOrder(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		const n = 5000
		dlx, dead := grave(s)
		q := s.queue(amqp091.Table{"x-dead-letter-exchange": dlx, "x-message-ttl": int32(1), "x-max-length": int32(100)})
		for i := range n {
			if err := s.ch.Publish("", q, false, false, amqp091.Publishing{Body: fmt.Append(nil, i)}); err != nil {
				t.Fatal(err)
			}
		}
		deliveries := s.consume(qos(t, s.channel(), n, false), dead, nil)
		for i := range n {
			if got := string(next(t, deliveries).Body); got != fmt.Sprint(i) {
				t.Fatalf("dead letter %d is %s", i, got)
			}
		}
	})
}

// At least once: what its dead-letter queue does not take waits, and no other queue gets it twice meanwhile.
// (RabbitMQ tries again after three minutes only, which is too long for a test.)
func TestDeadLetterAtLeastOnce(t *testing.T) {
	t.Parallel()
	s := embeddedSession(t)
	dlx, dead := grave(s)
	full := s.queue(amqp091.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
	s.send(full, "in the way")
	s.bind(full, "", dlx, nil)
	q := s.queue(amqp091.Table{
		"x-queue-type": "quorum", "x-message-ttl": int32(10), "x-overflow": "reject-publish", "x-max-length": int32(1),
		"x-dead-letter-exchange": dlx, "x-dead-letter-strategy": "at-least-once",
	})
	s.send(q, "x")
	equal(t, "the open queue's", string(s.take(dead).Body), "x")
	equal(t, "taken while a dead letter waits", s.publish("", q, amqp091.Publishing{}), false)
	equal(t, "the full queue's", s.texts(full), []string{"in the way"})
	equal(t, "the full queue's in the end", string(s.take(full).Body), "x")
	equal(t, "again in the open queue", s.depth(dead), 0)
}
