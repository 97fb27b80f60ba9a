package embedded_test

import (
	"fmt"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

func qos(t *testing.T, ch *amqp091.Channel, count int, global bool) *amqp091.Channel {
	t.Helper()
	if err := ch.Qos(count, 0, global); err != nil {
		t.Fatal(err)
	}
	return ch
}

// settled waits until the broker has obeyed all that was sent on the channel before.
func settled(t *testing.T, ch *amqp091.Channel) {
	t.Helper()
	if err := ch.ExchangeDeclarePassive("amq.topic", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
}

func ack(t *testing.T, d amqp091.Delivery, multiple bool) {
	t.Helper()
	if err := d.Ack(multiple); err != nil {
		t.Fatal(err)
	}
}

func nack(t *testing.T, d amqp091.Delivery, multiple, requeue bool) {
	t.Helper()
	if err := d.Nack(multiple, requeue); err != nil {
		t.Fatal(err)
	}
}

// bodies are the next n deliveries' texts.
func bodies(t *testing.T, deliveries <-chan amqp091.Delivery, n int) []string {
	t.Helper()
	var out []string
	for range n {
		out = append(out, string(next(t, deliveries).Body))
	}
	return out
}

func numbers(from, to int) []string {
	var out []string
	for i := from; i <= to; i++ {
		out = append(out, fmt.Sprint(i))
	}
	return out
}

func TestPrefetchIsPerConsumer(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		ch := qos(t, s.channel(), 2, false)
		deliveries := s.consume(ch, q, nil)
		s.send(q, numbers(1, 5)...)
		next(t, deliveries)
		second := next(t, deliveries)
		settled(t, ch)
		equal(t, "over the prefetch", len(deliveries), 0)
		equal(t, "left in the queue", s.depth(q), 3)
		ack(t, second, false)
		equal(t, "after one ack", string(next(t, deliveries).Body), "3")
		other := s.consume(ch, q, nil)
		equal(t, "the other consumer's", bodies(t, other, 2), []string{"4", "5"})
	})
}

func TestGlobalPrefetchIsForTheChannel(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		a, b := s.queue(nil), s.queue(nil)
		s.send(a, "1", "2")
		s.send(b, "1", "2")
		ch := qos(t, s.channel(), 2, true)
		if _, ok, err := ch.Get(a, false); !ok || err != nil { // what was fetched does not count
			t.Fatal(ok, err)
		}
		one := s.consume(ch, a, nil)
		first := next(t, one)
		two := s.consume(ch, b, nil)
		next(t, two)
		settled(t, ch)
		equal(t, "over the limit", len(two), 0)
		ack(t, first, false)
		equal(t, "after one ack", string(next(t, two).Body), "2")
	})
}

func TestPrefetchDoesNotHoldBackNoAck(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		deliveries, err := qos(t, s.channel(), 1, false).Consume(q, "", true, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.send(q, numbers(1, 5)...)
		equal(t, "came", bodies(t, deliveries, 5), numbers(1, 5))
	})
}

func TestConsumersTakeTurns(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		var consumers []<-chan amqp091.Delivery
		for range 3 {
			consumers = append(consumers, s.consume(s.channel(), q, nil))
		}
		s.send(q, numbers(1, 9)...)
		for i, c := range consumers {
			got := bodies(t, c, 3)
			first := got[0]
			want := map[string][]string{"1": {"1", "4", "7"}, "2": {"2", "5", "8"}, "3": {"3", "6", "9"}}[first]
			equal(t, fmt.Sprintf("consumer %d", i), got, want)
		}
	})
}

func TestConsumerPriority(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		low := s.consume(s.channel(), q, nil)
		high := s.consume(qos(t, s.channel(), 2, false), q, amqp091.Table{"x-priority": int32(10)})
		s.send(q, "1", "2", "3")
		equal(t, "the first's", bodies(t, high, 2), []string{"1", "2"})
		equal(t, "what it has no room for", string(next(t, low).Body), "3")
	})
}

func TestRequeuedMessagesComeBackToTheirPlaces(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		s.send(q, numbers(1, 6)...)
		ch := qos(t, s.channel(), 4, false)
		deliveries, err := ch.Consume(q, "tag", false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		var held []amqp091.Delivery
		for range 4 {
			held = append(held, next(t, deliveries))
		}
		if err := ch.Cancel("tag", false); err != nil {
			t.Fatal(err)
		}
		ack(t, held[1], false)
		if err := held[2].Reject(true); err != nil {
			t.Fatal(err)
		}
		nack(t, held[0], false, true)
		nack(t, held[3], false, true)
		settled(t, ch)
		want := []struct {
			text        string
			redelivered bool
		}{{"1", true}, {"3", true}, {"4", true}, {"5", false}, {"6", false}}
		for _, w := range want {
			d := s.take(q)
			equal(t, "message and its flag", []any{string(d.Body), d.Redelivered}, []any{w.text, w.redelivered})
		}
	})
}

func TestWhatAClientHeldComesBackWhenItGoes(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for how, leave := range map[string]func(*session, *amqp091.Channel){
			"channel closed":    func(_ *session, ch *amqp091.Channel) { ch.Close() },
			"connection closed": func(s *session, _ *amqp091.Channel) { s.conn.Close() },
			"connection cut":    func(s *session, _ *amqp091.Channel) { s.raw.Close() },
			"channel failed": func(_ *session, ch *amqp091.Channel) {
				_, _ = ch.QueueDeclarePassive("there-is-no-such-queue", false, false, false, false, nil) // the error is the point
			},
		} {
			q := s.queue(nil)
			s.send(q, "1", "2", "3")
			client := newSession(t, s.url)
			ch := client.channel()
			ack(t, next(t, s.consumeOn(client, ch, q)), false)
			leave(client, ch)
			within(t, how+": to have two back", func() bool { return s.depth(q) == 2 })
			d := s.take(q)
			equal(t, how+": the first", []any{string(d.Body), d.Redelivered}, []any{"2", true})
		}
	})
}

// consumeOn consumes on a channel of another session.
func (s *session) consumeOn(other *session, ch *amqp091.Channel, queue string) <-chan amqp091.Delivery {
	s.t.Helper()
	return other.consume(ch, queue, nil)
}

func TestMultipleAcks(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for what, c := range map[string]struct {
			settle func(*amqp091.Channel, []amqp091.Delivery) error
			left   []string
		}{
			"up to the third":  {func(_ *amqp091.Channel, d []amqp091.Delivery) error { return d[2].Ack(true) }, []string{"4", "5"}},
			"all":              {func(ch *amqp091.Channel, _ []amqp091.Delivery) error { return ch.Ack(0, true) }, []string{}},
			"rejected up to 3": {func(_ *amqp091.Channel, d []amqp091.Delivery) error { return d[2].Nack(true, false) }, []string{"4", "5"}},
			"requeued all":     {func(ch *amqp091.Channel, _ []amqp091.Delivery) error { return ch.Nack(0, true, true) }, numbers(1, 5)},
		} {
			q, ch := s.queue(nil), s.channel()
			s.send(q, numbers(1, 5)...)
			var held []amqp091.Delivery
			for range 5 {
				d, ok, err := ch.Get(q, false)
				if err != nil || !ok {
					t.Fatal(ok, err)
				}
				held = append(held, d)
			}
			if err := c.settle(ch, held); err != nil {
				t.Fatal(err)
			}
			settled(t, ch)
			ch.Close()
			within(t, what+": to have back what was held", func() bool { return s.depth(q) == len(c.left) })
			equal(t, what+": left", s.texts(q), c.left)
		}
	})
}

func TestGet(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		if _, ok, err := s.ch.Get(q, false); ok || err != nil {
			t.Fatalf("of an empty queue: %v, %v", ok, err)
		}
		s.send(q, "1", "2", "3")
		d, ok, err := s.ch.Get(q, false)
		if !ok || err != nil {
			t.Fatal(ok, err)
		}
		equal(t, "message", []any{string(d.Body), d.MessageCount, d.Exchange, d.RoutingKey, d.Redelivered}, []any{"1", uint32(2), "", q, false})
		equal(t, "ready", s.depth(q), 2)
		nack(t, d, false, true)
		equal(t, "again", s.take(q).Redelivered, true)
	})
}

func TestCancel(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q, ch := s.queue(nil), s.channel()
		deliveries, err := ch.Consume(q, "tag", false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.send(q, "1")
		d := next(t, deliveries)
		if err := ch.Cancel("tag", false); err != nil {
			t.Fatal(err)
		}
		s.send(q, "2")
		if _, open := <-deliveries; open {
			t.Error("a delivery after the consumer was cancelled")
		}
		ack(t, d, false) // what it had is still its channel's
		settled(t, ch)
		equal(t, "left", s.texts(q), []string{"2"})
		if err := ch.Cancel("never-heard-of", false); err != nil {
			t.Errorf("an unknown tag: %v", err)
		}
	})
}

func TestConsumersAreToldWhenTheirQueueGoes(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for _, kind := range []string{"classic", "quorum"} {
			q, ch := s.queue(amqp091.Table{"x-queue-type": kind}), s.channel()
			cancelled := ch.NotifyCancel(make(chan string, 1))
			deliveries, err := ch.Consume(q, "tag", false, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			s.send(q, "1")
			d := next(t, deliveries)
			if _, err := s.ch.QueueDelete(q, false, false, false); err != nil {
				t.Fatal(err)
			}
			equal(t, "cancelled", <-cancelled, "tag")
			ack(t, d, false) // of a message that is gone: no fault
			settled(t, ch)
		}
	})
}

func TestRecover(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q, ch := s.queue(nil), s.channel()
		s.send(q, "1", "2")
		for range 2 {
			if _, ok, err := ch.Get(q, false); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		//lint:ignore SA1019 deprecated or not, brokers have it
		if err := ch.Recover(true); err != nil {
			t.Fatal(err)
		}
		settled(t, ch)
		equal(t, "back", s.texts(q), []string{"1", "2"})
	})
}

func TestExclusiveConsumer(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q, ch := s.queue(nil), s.channel()
		if _, err := ch.Consume(q, "", false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		_, err := s.channel().Consume(q, "", false, false, false, false, nil)
		equal(t, "another", fmt.Sprint(err), `Exception (403) Reason: "ACCESS_REFUSED - queue '`+q+`' in vhost '/' in exclusive use"`)
		ch.Close()
		s.consume(s.channel(), q, nil)
	})
}

// Several channels of one connection have their own tags, and their own unsettled deliveries.
func TestChannelsAreApart(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q, one, other := s.queue(nil), s.channel(), s.channel()
		s.send(q, "1", "2")
		a, _, err := one.Get(q, false)
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := other.Get(q, false)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, "tags", []uint64{a.DeliveryTag, b.DeliveryTag}, []uint64{1, 1})
		if err := other.Ack(1, false); err != nil {
			t.Fatal(err)
		}
		settled(t, other)
		one.Close()
		equal(t, "left", s.texts(q), []string{"1"})
	})
}
