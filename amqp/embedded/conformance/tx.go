package conformance

import (
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// transactional opens a channel in tx mode.
func transactional(t *testing.T, s *probe.Session) *amqp091.Channel {
	t.Helper()
	ch := s.Channel()
	if err := ch.Tx(); err != nil {
		t.Fatal(err)
	}
	return ch
}

func commit(t *testing.T, ch *amqp091.Channel) {
	t.Helper()
	if err := ch.TxCommit(); err != nil {
		t.Fatal(err)
	}
}

func rollback(t *testing.T, ch *amqp091.Channel) {
	t.Helper()
	if err := ch.TxRollback(); err != nil {
		t.Fatal(err)
	}
}

// put publishes a text to a queue without waiting.
func put(t *testing.T, ch *amqp091.Channel, queue, text string, mandatory bool) {
	t.Helper()
	if err := ch.Publish("", queue, mandatory, false, amqp091.Publishing{Body: []byte(text)}); err != nil {
		t.Fatal(err)
	}
}

func publishesWaitForTheCommit(t *testing.T, s *probe.Session) {
	q, ch := s.Queue(nil), transactional(t, s)
	put(t, ch, q, "1", false)
	put(t, ch, q, "2", false)
	settled(t, ch)
	probe.Equal(t, "before the commit", s.Depth(q), 0)
	commit(t, ch)
	probe.Equal(t, "after it", s.Texts(q), []string{"1", "2"})
	put(t, ch, q, "3", false)
	rollback(t, ch)
	commit(t, ch)
	probe.Equal(t, "after a rollback", s.Depth(q), 0)
	put(t, ch, q, "4", false)
	ch.Close()
	probe.Equal(t, "of a channel that is closed", s.Depth(q), 0)
}

func acksWaitForTheCommit(t *testing.T, s *probe.Session) {
	q, ch := s.Queue(nil), transactional(t, s)
	s.Send(q, numbers(1, 4)...)
	var held []amqp091.Delivery
	for range 4 {
		d, _, err := ch.Get(q, false)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, d)
	}
	ack(t, held[0], false)
	nack(t, held[1], false, true)
	settled(t, ch)
	probe.Equal(t, "back before the commit", s.Depth(q), 0)
	commit(t, ch)
	probe.Equal(t, "back after it", s.Texts(q), []string{"2"})
	ack(t, held[3], true) // the third too
	rollback(t, ch)
	ack(t, held[2], false) // it can be settled again
	commit(t, ch)
	ack(t, held[3], false)
	ch.Close() // and what was not committed comes back
	probe.Within(t, "the last to be back", func() bool { return s.Depth(q) == 1 })
	probe.Equal(t, "left", s.Texts(q), []string{"4"})
}

func prefetchIsHeldUntilTheCommit(t *testing.T, s *probe.Session) {
	q, ch := s.Queue(nil), transactional(t, s)
	s.Send(q, "1", "2")
	deliveries := s.Consume(qos(t, ch, 1, false), q, nil)
	ack(t, probe.Next(t, deliveries), false)
	settled(t, ch)
	probe.Equal(t, "before the commit", len(deliveries), 0)
	commit(t, ch)
	probe.Equal(t, "after it", string(probe.Next(t, deliveries).Body), "2")
}

func mandatoryComesBackWithTheCommit(t *testing.T, s *probe.Session) {
	ch := transactional(t, s)
	returns := ch.NotifyReturn(make(chan amqp091.Return, 1))
	put(t, ch, "conformance.none", "x", true)
	settled(t, ch)
	probe.Equal(t, "before the commit", len(returns), 0)
	commit(t, ch)
	probe.Equal(t, "after it", string((<-returns).Body), "x")
}

func commitFailsWhereAQueueIsFull(t *testing.T, s *probe.Session) {
	q := s.Queue(amqp091.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
	text, alive := s.Fault(func(ch *amqp091.Channel) error {
		if err := ch.Tx(); err != nil {
			return err
		}
		for range 3 {
			put(t, ch, q, "x", false)
		}
		return ch.TxCommit()
	})
	probe.Equal(t, "text", text, "PRECONDITION_FAILED - partial tx completion")
	probe.Equal(t, "alive", alive, true)
}
