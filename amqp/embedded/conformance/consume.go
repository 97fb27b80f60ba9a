package conformance

import (
	"fmt"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
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
		out = append(out, string(probe.Next(t, deliveries).Body))
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

func prefetchIsPerConsumer(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	ch := qos(t, s.Channel(), 2, false)
	deliveries := s.Consume(ch, q, nil)
	s.Send(q, numbers(1, 5)...)
	probe.Next(t, deliveries)
	second := probe.Next(t, deliveries)
	settled(t, ch)
	probe.Equal(t, "over the prefetch", len(deliveries), 0)
	probe.Equal(t, "left in the queue", s.Depth(q), 3)
	ack(t, second, false)
	probe.Equal(t, "after one ack", string(probe.Next(t, deliveries).Body), "3")
	other := s.Consume(ch, q, nil)
	probe.Equal(t, "the other consumer's", bodies(t, other, 2), []string{"4", "5"})
}

func globalPrefetchIsForTheChannel(t *testing.T, s *probe.Session) {
	a, b := s.Queue(nil), s.Queue(nil)
	s.Send(a, "1", "2")
	s.Send(b, "1", "2")
	ch := qos(t, s.Channel(), 2, true)
	if _, ok, err := ch.Get(a, false); !ok || err != nil { // what was fetched does not count
		t.Fatal(ok, err)
	}
	one := s.Consume(ch, a, nil)
	first := probe.Next(t, one)
	two := s.Consume(ch, b, nil)
	probe.Next(t, two)
	settled(t, ch)
	probe.Equal(t, "over the limit", len(two), 0)
	ack(t, first, false)
	probe.Equal(t, "after one ack", string(probe.Next(t, two).Body), "2")
}

func prefetchDoesNotHoldBackNoAck(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	deliveries, err := qos(t, s.Channel(), 1, false).Consume(q, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Send(q, numbers(1, 5)...)
	probe.Equal(t, "came", bodies(t, deliveries, 5), numbers(1, 5))
}

func consumersTakeTurns(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	var consumers []<-chan amqp091.Delivery
	for range 3 {
		consumers = append(consumers, s.Consume(s.Channel(), q, nil))
	}
	s.Send(q, numbers(1, 9)...)
	for i, c := range consumers {
		got := bodies(t, c, 3)
		first := got[0]
		want := map[string][]string{"1": {"1", "4", "7"}, "2": {"2", "5", "8"}, "3": {"3", "6", "9"}}[first]
		probe.Equal(t, fmt.Sprintf("consumer %d", i), got, want)
	}
}

func consumerPriority(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	low := s.Consume(s.Channel(), q, nil)
	high := s.Consume(qos(t, s.Channel(), 2, false), q, amqp091.Table{"x-priority": int32(10)})
	s.Send(q, "1", "2", "3")
	probe.Equal(t, "the first's", bodies(t, high, 2), []string{"1", "2"})
	probe.Equal(t, "what it has no room for", string(probe.Next(t, low).Body), "3")
}

func requeuedMessagesComeBackToTheirPlaces(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	s.Send(q, numbers(1, 6)...)
	ch := qos(t, s.Channel(), 4, false)
	deliveries, err := ch.Consume(q, "tag", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	var held []amqp091.Delivery
	for range 4 {
		held = append(held, probe.Next(t, deliveries))
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
		d := s.Take(q)
		probe.Equal(t, "message and its flag", []any{string(d.Body), d.Redelivered}, []any{w.text, w.redelivered})
	}
}

func whatAClientHeldComesBackWhenItGoes(t *testing.T, s *probe.Session) {
	for how, leave := range map[string]func(*probe.Session, *amqp091.Channel){
		"channel closed":    func(_ *probe.Session, ch *amqp091.Channel) { ch.Close() },
		"connection closed": func(s *probe.Session, _ *amqp091.Channel) { s.Conn.Close() },
		"connection cut":    func(s *probe.Session, _ *amqp091.Channel) { s.Net.Close() },
		"channel failed": func(_ *probe.Session, ch *amqp091.Channel) {
			_, _ = ch.QueueDeclarePassive("there-is-no-such-queue", false, false, false, false, nil) // the error is the point
		},
	} {
		q := s.Queue(nil)
		s.Send(q, "1", "2", "3")
		client := probe.New(t, s.URL)
		ch := client.Channel()
		ack(t, probe.Next(t, client.Consume(ch, q, nil)), false)
		settled(t, ch) // a connection that is cut takes with it what is not read yet
		leave(client, ch)
		probe.Within(t, how+": to have two back", func() bool { return s.Depth(q) == 2 })
		d := s.Take(q)
		probe.Equal(t, how+": the first", []any{string(d.Body), d.Redelivered}, []any{"2", true})
	}
}

// What comes back at once is too much for the queue, which drops it from the head. Were it to come back one by one, the consumer would have some of it again.
func multipleRequeueIsOne(t *testing.T, s *probe.Session) {
	q, ch := s.Queue(amqp091.Table{"x-max-length": int32(2)}), qos(t, s.Channel(), 2, false)
	deliveries := s.Consume(ch, q, nil)
	s.Send(q, numbers(1, 4)...)
	probe.Next(t, deliveries)
	nack(t, probe.Next(t, deliveries), false, true) // it comes again, with a tag behind a gap
	nack(t, probe.Next(t, deliveries), true, true)
	probe.Equal(t, "delivered then", bodies(t, deliveries, 2), []string{"3", "4"})
}

// Each of the consumers has what it had again.
func multipleRequeueIsOneForEachConsumer(t *testing.T, s *probe.Session) {
	for _, kind := range []string{"classic", "quorum"} {
		q, ch := s.Queue(amqp091.Table{"x-queue-type": kind}), s.Channel()
		one := consumeAs(t, qos(t, ch, 2, false), "1", q)
		other := consumeAs(t, qos(t, ch, 1, false), "2", q)
		s.Send(q, numbers(1, 3)...)
		held := [][]string{bodies(t, one, 2), bodies(t, other, 1)}
		if err := ch.Nack(0, true, true); err != nil {
			t.Fatal(err)
		}
		probe.Equal(t, kind, [][]string{bodies(t, one, 2), bodies(t, other, 1)}, held)
	}
}

func consumeAs(t *testing.T, ch *amqp091.Channel, tag, queue string) <-chan amqp091.Delivery {
	t.Helper()
	deliveries, err := ch.Consume(queue, tag, false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return deliveries
}

func multipleAcks(t *testing.T, s *probe.Session) {
	for what, c := range map[string]struct {
		settle func(*amqp091.Channel, []amqp091.Delivery) error
		left   []string
	}{
		"up to the third":  {func(_ *amqp091.Channel, d []amqp091.Delivery) error { return d[2].Ack(true) }, []string{"4", "5"}},
		"all":              {func(ch *amqp091.Channel, _ []amqp091.Delivery) error { return ch.Ack(0, true) }, []string{}},
		"rejected up to 3": {func(_ *amqp091.Channel, d []amqp091.Delivery) error { return d[2].Nack(true, false) }, []string{"4", "5"}},
		"requeued all":     {func(ch *amqp091.Channel, _ []amqp091.Delivery) error { return ch.Nack(0, true, true) }, numbers(1, 5)},
	} {
		q, ch := s.Queue(nil), s.Channel()
		s.Send(q, numbers(1, 5)...)
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
		probe.Within(t, what+": to have back what was held", func() bool { return s.Depth(q) == len(c.left) })
		probe.Equal(t, what+": left", s.Texts(q), c.left)
	}
}

func getFetchesOne(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	if _, ok, err := s.Ch.Get(q, false); ok || err != nil {
		t.Fatalf("of an empty queue: %v, %v", ok, err)
	}
	s.Send(q, "1", "2", "3")
	d, ok, err := s.Ch.Get(q, false)
	if !ok || err != nil {
		t.Fatal(ok, err)
	}
	probe.Equal(t, "message", []any{string(d.Body), d.MessageCount, d.Exchange, d.RoutingKey, d.Redelivered}, []any{"1", uint32(2), "", q, false})
	probe.Equal(t, "ready", s.Depth(q), 2)
	nack(t, d, false, true)
	probe.Equal(t, "again", s.Take(q).Redelivered, true)
}

func cancelKeepsWhatIsOut(t *testing.T, s *probe.Session) {
	q, ch := s.Queue(nil), s.Channel()
	deliveries, err := ch.Consume(q, "tag", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Send(q, "1")
	d := probe.Next(t, deliveries)
	if err := ch.Cancel("tag", false); err != nil {
		t.Fatal(err)
	}
	s.Send(q, "2")
	if _, open := <-deliveries; open {
		t.Error("a delivery after the consumer was cancelled")
	}
	ack(t, d, false) // what it had is still its channel's
	settled(t, ch)
	probe.Equal(t, "left", s.Texts(q), []string{"2"})
	if err := ch.Cancel("never-heard-of", false); err != nil {
		t.Errorf("an unknown tag: %v", err)
	}
}

func cancelledConsumersAreCounted(t *testing.T, s *probe.Session) {
	for kind, want := range map[string]int{"quorum": 1, "classic": 0} {
		q, ch := s.Queue(amqp091.Table{"x-queue-type": kind}), s.Channel()
		consumers := func() int {
			info, err := ch.QueueDeclarePassive(q, true, false, false, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			return info.Consumers
		}
		deliveries, err := ch.Consume(q, "tag", false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(q, "1")
		s.Send(q, "2")
		first, second := probe.Next(t, deliveries), probe.Next(t, deliveries)
		if err := ch.Cancel("tag", false); err != nil {
			t.Fatal(err)
		}
		probe.Equal(t, kind+": while both are out", consumers(), want)
		ack(t, first, false)
		settled(t, ch)
		probe.Equal(t, kind+": while one is out", consumers(), want)
		if err := second.Nack(false, true); err != nil {
			t.Fatal(err)
		}
		probe.Within(t, kind+": none is out, and it counts no consumer", func() bool { return consumers() == 0 })
	}
}

func consumersAreToldWhenTheirQueueGoes(t *testing.T, s *probe.Session) {
	for _, kind := range []string{"classic", "quorum"} {
		q, ch := s.Queue(amqp091.Table{"x-queue-type": kind}), s.Channel()
		cancelled := ch.NotifyCancel(make(chan string, 1))
		deliveries, err := ch.Consume(q, "tag", false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.Send(q, "1")
		d := probe.Next(t, deliveries)
		if _, err := s.Ch.QueueDelete(q, false, false, false); err != nil {
			t.Fatal(err)
		}
		probe.Equal(t, "cancelled", <-cancelled, "tag")
		ack(t, d, false) // of a message that is gone: no fault
		settled(t, ch)
	}
}

func recoverGivesAllBack(t *testing.T, s *probe.Session) {
	q, ch := s.Queue(nil), s.Channel()
	s.Send(q, "1", "2")
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
	probe.Equal(t, "back", s.Texts(q), []string{"1", "2"})
}

func exclusiveConsumer(t *testing.T, s *probe.Session) {
	q, ch := s.Queue(nil), s.Channel()
	if _, err := ch.Consume(q, "", false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.Channel().Consume(q, "", false, false, false, false, nil)
	probe.Equal(t, "another", fmt.Sprint(err), `Exception (403) Reason: "ACCESS_REFUSED - queue '`+q+`' in vhost '/' in exclusive use"`)
	ch.Close()
	s.Consume(s.Channel(), q, nil)
}

// Several channels of one connection have their own tags, and their own unsettled deliveries.
func channelsAreApart(t *testing.T, s *probe.Session) {
	q, one, other := s.Queue(nil), s.Channel(), s.Channel()
	s.Send(q, "1", "2")
	a, _, err := one.Get(q, false)
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := other.Get(q, false)
	if err != nil {
		t.Fatal(err)
	}
	probe.Equal(t, "tags", []uint64{a.DeliveryTag, b.DeliveryTag}, []uint64{1, 1})
	if err := other.Ack(1, false); err != nil {
		t.Fatal(err)
	}
	settled(t, other)
	one.Close()
	probe.Within(t, "to have back what was held", func() bool { return s.Depth(q) == 1 })
	probe.Equal(t, "left", s.Texts(q), []string{"1"})
}
