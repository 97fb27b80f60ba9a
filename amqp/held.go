package amqp

import (
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// hold is the word to whoever is to delete a queue that events of it are in hand here, of a consumer that ends: a broker tells who asks how many
// consumers a queue has, but not whose they are, nor how many events are unsettled. (A quorum queue of RabbitMQ counts a cancelled consumer until what it had is settled, tried on 3.10 and
// 4.0; a classic one does not.) It is a consumer of another queue, which holds nothing and goes with its last consumer; see [plan.Plan.HeldName].
type hold struct {
	session *session
	queue   string           // "": nobody wants to know
	ch      *amqp091.Channel // of its own, as the broker closes it where the queue may not be declared; nil: nothing is held
}

const (
	// holdWait bounds the wait for the broker's answer.
	holdWait = 2 * time.Second
	// holdExpires is when the queue goes, in milliseconds, if it never had a consumer or lost it in a crash.
	holdExpires = 60_000
	// holdTries is how often it is declared: it may go, with the consumer of somebody else, before it is consumed here.
	holdTries = 3
)

// begin reports whether the word was given, or nobody wants it.
func (h *hold) begin() bool {
	if h.queue == "" {
		return true
	}
	given, late := make(chan *amqp091.Channel), make(chan struct{})
	defer close(late)
	go func() {
		ch := h.open()
		select {
		case given <- ch:
		case <-late:
			if ch != nil {
				_ = ch.Close() // an error is that of a connection that is gone
			}
		}
	}()
	timer := time.NewTimer(holdWait)
	defer timer.Stop()
	select {
	case h.ch = <-given:
	case <-timer.C:
	case <-h.session.over:
	}
	return h.ch != nil
}

// open is the channel of the consumer; nil where the broker does not let it.
func (h *hold) open() *amqp091.Channel {
	for range holdTries {
		ch, err := h.session.conn.Channel()
		if err != nil {
			return nil
		}
		_, err = ch.QueueDeclare(h.queue, true, true, false, false, amqp091.Table{"x-queue-type": "classic", "x-expires": int32(holdExpires)})
		if err == nil {
			_, err = ch.Consume(h.queue, consumerTag, true, false, false, false, nil)
		}
		if err == nil {
			return ch
		}
		_ = ch.Close() // the broker has closed it
		if !hasCode(err, amqp091.NotFound) {
			return nil
		}
	}
	return nil
}

// end takes the word back. What went back to the queue with its channel, or shortly before, is there a moment later.
func (h *hold) end(a *acker) {
	if h.ch == nil {
		return
	}
	if a.returns() {
		linger(h.session)
	}
	_ = h.ch.Close() // an error is that of a connection that is gone, and the word with it
}
