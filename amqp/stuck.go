package amqp

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// watchdog looks after a consumer that the broker may have forgotten. After a network partition a quorum queue of RabbitMQ may count events as with a
// consumer that never got them, or has acknowledged them, and sends it no more; that lasts until the consumer's channel is closed
// (rabbitmq-server issue 15473; in part mended by its pull request 14589).
type watchdog struct {
	session *session
	acker   *acker
	queue   string
	every   time.Duration // between two looks
	waits   bool          // until it has got its first event, the consumer may wait for another to end

	taken  atomic.Int64 // deliveries so far
	stuck  chan struct{}
	events int // that were ready when stuck was closed
}

// run closes stuck when the consumer had nothing in hand and got nothing between two looks, at both of which the queue had events. It ends then, or when ctx is over.
func (w *watchdog) run(ctx context.Context) {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	seen, idle := int64(-1), false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		taken := w.taken.Load()
		if taken != seen || w.acker.busy() || w.waits && taken == 0 {
			seen, idle = taken, false
			continue
		}
		events := w.look()
		switch {
		case events == 0 || w.taken.Load() != taken:
			idle = false
		case idle:
			w.events = events
			close(w.stuck)
			return
		default:
			idle = true
		}
	}
}

// look counts the events that are ready. It has a channel of its own, as that of the consumer would be closed with a queue that is gone, and with it what is in hand.
func (w *watchdog) look() int {
	ch, err := w.session.conn.Channel()
	if err != nil {
		return 0 // the connection is lost, which the consumer notices
	}
	defer ch.Close()
	q, err := ch.QueueDeclarePassive(w.queue, true, false, false, false, nil)
	if err != nil {
		return 0
	}
	return q.Messages
}

// err is why the consumer was given up, if it was.
func (w *watchdog) err() error {
	select {
	case <-w.stuck:
		return fmt.Errorf("the broker has sent nothing for %s, though %d events are ready: they are asked for anew", 2*w.every, w.events)
	default:
		return nil
	}
}
