package amqpsuite

import (
	"errors"
	"fmt"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
)

// handsAreSeen has a consumer end with events in hand. Whoever would delete its queue has to see that, until the last of them is settled: by the consumers of the queue, or by those of the queue that
// tells of it, which may be refused.
func handsAreSeen(t *testing.T, c *client) {
	for _, kind := range []string{"quorum", "classic"} {
		for _, refused := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, refused %t", kind, refused), func(t *testing.T) {
				c := newClient(t, c.url)
				c.declare(map[string]any{"x-queue-type": kind})
				c.fill(6)
				l := &looker{t: t, conn: dial(t, c.url)}
				defer l.conn.Close()
				told := c.name + ".a"
				if refused {
					l.own(told)
				}
				taken := make(chan *router.Delivery, 6)
				stop := c.consume(router.Subscription{Prefetch: 4, Held: told}, func(d *router.Delivery) { taken <- d })
				waitUntil(t, func() bool { return len(taken) == 4 }, func() string { return "the prefetch is not out" })
				stopped := make(chan struct{})
				go func() { stop(); close(stopped) }()
				inHand := func() bool { return l.consumers(c.name) > 0 || !refused && l.consumers(told) > 0 }
				if !refused {
					waitUntil(t, func() bool { return l.consumers(told) > 0 }, func() string { return "the consumer does not end" })
				}
				for at := range 4 {
					for range 25 {
						if !inHand() {
							t.Fatalf("with %d events in hand the queue looks free", 4-at)
						}
					}
					d := <-taken
					if at == 2 {
						_ = d.Ack()
					} else {
						_ = d.Requeue()
					}
				}
				<-stopped
				c.depth(5)
				waitUntil(t, func() bool { return !inHand() }, func() string { return "it never looks free" })
				if !refused {
					waitUntil(t, func() bool { return l.consumers(told) == -1 }, func() string { return "the queue that told of it stays" })
				}
			})
		}
	}
}

// returnsBeforeFree has a consumer end that cannot settle what it has: when the queue looks free, all is back.
func returnsBeforeFree(t *testing.T, c *client) {
	for _, kind := range []string{"quorum", "classic"} {
		t.Run(kind, func(t *testing.T) {
			c := newClient(t, c.url)
			c.declare(map[string]any{"x-queue-type": kind})
			c.fill(6)
			l := &looker{t: t, conn: dial(t, c.url)}
			defer l.conn.Close()
			taken := make(chan *router.Delivery, 6)
			stop := c.consume(router.Subscription{Prefetch: 4, Held: c.name + ".a", Drain: 300 * time.Millisecond}, func(d *router.Delivery) { taken <- d })
			waitUntil(t, func() bool { return len(taken) == 4 }, func() string { return "the prefetch is not out" })
			stopped := make(chan struct{})
			go func() { stop(); close(stopped) }()
			waitUntil(t, func() bool { return l.consumers(c.name) == 0 && l.consumers(c.name+".a") < 1 }, func() string { return "it never looks free" })
			if n, err := c.Depth(c.ctx, c.name); err != nil || n != 6 {
				t.Errorf("when the queue looks free it has %d events, %v", n, err)
			}
			<-stopped
		})
	}
}

// looker looks at queues as whoever is about to delete them does.
type looker struct {
	t    *testing.T
	conn *amqp091.Connection
	ch   *amqp091.Channel
}

// own has the looker's connection declare a queue that nobody else may use.
func (l *looker) own(queue string) {
	l.t.Helper()
	ch, err := l.conn.Channel()
	if err == nil {
		_, err = ch.QueueDeclare(queue, false, false, true, false, nil)
	}
	if err != nil {
		l.t.Fatal(err)
	}
}

// consumers is how many a queue has; -1 where there is no such queue.
func (l *looker) consumers(queue string) int {
	l.t.Helper()
	var err error
	if l.ch == nil {
		if l.ch, err = l.conn.Channel(); err != nil {
			l.t.Fatal(err)
		}
	}
	q, err := l.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if e, ok := errors.AsType[*amqp091.Error](err); ok && e.Code == amqp091.NotFound {
		l.ch = nil // the broker has closed it
		return -1
	}
	if err != nil {
		l.t.Fatal(err)
	}
	return q.Consumers
}
