package amqp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// lock implements [router.Lock]: an exclusive queue, which lives no longer than the connection that all is done on.
type lock struct {
	broker  *Broker
	session *session
	queue   string
	unlock  func()
	records [][]byte // what was read last, or written
}

// Lock implements [router.Changer].
func (b *Broker) Lock(ctx context.Context, queue string) (router.Lock, error) {
	s, err := b.publish.session(ctx)
	if err != nil {
		return nil, err
	}
	if !b.changing.TryLock() { // the broker lets one connection declare an exclusive queue twice
		return nil, router.ErrLocked
	}
	l := &lock{broker: b, session: s, queue: queue, unlock: sync.OnceFunc(b.changing.Unlock)}
	err = l.call(ctx, func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclare(queue, false, true, true, false, nil)
		return err
	})
	if err == nil {
		return l, nil
	}
	l.unlock()
	if hasCode(err, amqp091.ResourceLocked) {
		return nil, fmt.Errorf("%w: it holds the queue %q", router.ErrLocked, queue)
	}
	return nil, fmt.Errorf("lock queue %q: %w", queue, err)
}

// Unlock implements [router.Lock].
func (l *lock) Unlock() error {
	defer l.unlock()
	err := l.call(context.Background(), func(ch *amqp091.Channel) error {
		_, err := ch.QueueDelete(l.queue, false, false, false)
		return err
	})
	if errors.Is(err, amqp091.ErrClosed) {
		return nil // the broker has freed it with the connection
	}
	return err
}

// call makes calls on a channel of the connection that holds the lock. When ctx is over the connection goes, and the lock with it.
func (l *lock) call(ctx context.Context, f func(*amqp091.Channel) error) error {
	stop := l.session.bound(ctx)
	defer stop()
	d := lane{conn: l.session.conn}
	defer d.close()
	err := d.call(f)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func hasCode(err error, code int) bool {
	e, ok := errors.AsType[*amqp091.Error](err)
	return ok && e.Code == code
}

// Declare implements [router.Lock].
func (l *lock) Declare(ctx context.Context, t plan.Topology) error {
	stop := l.session.bound(ctx)
	defer stop()
	err := declare(l.session.conn, &t)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Unbind implements [router.Lock].
func (l *lock) Unbind(ctx context.Context, bindings []plan.Binding) error {
	stop := l.session.bound(ctx)
	defer stop()
	err := inLanes(l.session.conn, len(bindings), func(d *lane, i int) error {
		b := bindings[i]
		err := d.call(func(ch *amqp091.Channel) error {
			if b.ToExchange {
				return ch.ExchangeUnbind(b.Queue, b.Key, b.Exchange, false, nil)
			}
			return ch.QueueUnbind(b.Queue, b.Key, b.Exchange, nil)
		})
		if err != nil && !hasCode(err, amqp091.NotFound) {
			return fmt.Errorf("unbinding %q from exchange %q with %q: %w", b.Queue, b.Exchange, b.Key, err)
		}
		return nil
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// Count implements [router.Lock].
func (l *lock) Count(ctx context.Context, queue string) (events, consumers int, there bool, err error) {
	err = l.call(ctx, func(ch *amqp091.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		events, consumers = q.Messages, q.Consumers
		return err
	})
	if hasCode(err, amqp091.NotFound) {
		return 0, 0, false, nil
	}
	if err != nil {
		err = fmt.Errorf("queue %q: %w", queue, err)
	}
	return events, consumers, err == nil, err
}

// DeleteQueue implements [router.Lock].
func (l *lock) DeleteQueue(ctx context.Context, name string) error {
	err := l.call(ctx, func(ch *amqp091.Channel) error {
		_, err := ch.QueueDelete(name, false, false, false)
		return err
	})
	if err != nil && !hasCode(err, amqp091.NotFound) {
		return fmt.Errorf("deleting queue %q: %w", name, err)
	}
	return nil
}

// DeleteExchange implements [router.Lock].
func (l *lock) DeleteExchange(ctx context.Context, name string, unused bool) (bool, error) {
	err := l.call(ctx, func(ch *amqp091.Channel) error { return ch.ExchangeDelete(name, unused, false) })
	switch {
	case err == nil || hasCode(err, amqp091.NotFound):
		return true, nil
	case unused && hasCode(err, amqp091.PreconditionFailed):
		return false, nil
	}
	return false, fmt.Errorf("deleting exchange %q: %w", name, err)
}

// Keep implements [router.Lock].
func (l *lock) Keep(t, record plan.Topology, data []byte, ours func([][]byte) bool) {
	l.broker.topology.remember(&t, &kept{topology: record, data: data, ours: ours})
}

// Recorded implements [router.Lock]. It looks twice: what another had for a moment at first is back then.
func (l *lock) Recorded(ctx context.Context, queue string) ([][]byte, error) {
	records, err := recorded(ctx, l.session, queue)
	if err != nil || len(records) == 0 {
		return nil, err
	}
	timer := time.NewTimer(lookAgain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	again, err := recorded(ctx, l.session, queue)
	if err != nil {
		return nil, err
	}
	l.records = append(records, missing(again, records)...)
	return l.records, nil
}

// missing are those records that are not among others.
func missing(records, among [][]byte) (out [][]byte) {
	for _, r := range records {
		if !slices.ContainsFunc(among, func(other []byte) bool { return bytes.Equal(r, other) }) {
			out = append(out, r)
		}
	}
	return out
}

// Write implements [router.Lock].
func (l *lock) Write(ctx context.Context, queue string, data []byte) error {
	err := l.call(ctx, func(ch *amqp091.Channel) error { return write(ctx, ch, queue, l.records, data) })
	if err == nil {
		l.records = [][]byte{data}
	}
	return err
}

// write puts the new record beside the old ones, among which are those that are known, before it takes them away. Whoever is interrupted between leaves two, of which
// the newer one counts.
func write(ctx context.Context, ch *amqp091.Channel, queue string, known [][]byte, data []byte) error {
	if err := ch.Confirm(false); err != nil {
		return fmt.Errorf("queue %q: %w", queue, err)
	}
	old, err := takeKnown(ctx, ch, queue, known)
	if err != nil {
		return err
	}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, queue, "", false, false, amqp091.Publishing{
		ContentType: "application/json", ContentEncoding: "gzip", DeliveryMode: amqp091.Persistent, Body: data,
	})
	if err != nil {
		return fmt.Errorf("recording the plan in %q: %w", queue, err)
	}
	confirmed, err := confirm.WaitContext(ctx)
	if err != nil || !confirmed {
		return errors.Join(fmt.Errorf("recording the plan in %q: not confirmed", queue), err)
	}
	if old > 0 {
		if err := ch.Ack(old, true); err != nil {
			return fmt.Errorf("queue %q: %w", queue, err)
		}
	}
	return nil
}

// take takes all messages of a queue, without settling them; last is the tag of the last.
func take(ch *amqp091.Channel, queue string) (last uint64, bodies [][]byte, err error) {
	for {
		d, ok, err := ch.Get(queue, false)
		if err != nil {
			return 0, nil, fmt.Errorf("queue %q: %w", queue, err)
		}
		if !ok {
			return last, bodies, nil
		}
		last = d.DeliveryTag
		bodies = append(bodies, d.Body)
	}
}

// A record is away while somebody looks at it: a queue that is there and empty is looked at again for a while.
const (
	lookAgain = 20 * time.Millisecond
	lookFor   = 2 * time.Second
	knownFor  = time.Second // less, as others who look find nothing meanwhile
)

// takeKnown takes all messages of a queue, and those that are known to be there too when somebody who looks at them has given them back. One who keeps them for long,
// because his machine is gone, is not waited for.
func takeKnown(ctx context.Context, ch *amqp091.Channel, queue string, known [][]byte) (last uint64, err error) {
	limited, cancel := context.WithTimeout(ctx, knownFor)
	defer cancel()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	for {
		tag, bodies, err := take(ch, queue)
		if err != nil {
			return 0, err
		}
		last = max(last, tag)
		if known = missing(known, bodies); len(known) == 0 {
			return last, nil
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			return last, context.Cause(ctx)
		}
	}
}

// Recorded implements [router.Changer].
func (b *Broker) Recorded(ctx context.Context, queue string) ([][]byte, error) {
	s, err := b.consume.session(ctx)
	if err != nil {
		return nil, err
	}
	return recorded(ctx, s, queue)
}

func recorded(ctx context.Context, s *session, queue string) ([][]byte, error) {
	stop := s.bound(ctx)
	defer stop()
	limited, cancel := context.WithTimeout(ctx, lookFor)
	defer cancel()
	tick := time.NewTicker(lookAgain)
	defer tick.Stop()
	d := lane{conn: s.conn}
	defer d.close()
	for {
		answered := s.ask(queue, "looked at")
		records, err := look(&d, queue)
		answered()
		switch {
		case hasCode(err, amqp091.NotFound):
			return nil, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil || len(records) > 0:
			return records, err
		}
		select {
		case <-tick.C:
		case <-limited.Done():
			return nil, nil
		}
	}
}

// look takes all messages of a queue and gives them back.
func look(d *lane, queue string) (bodies [][]byte, err error) {
	err = d.call(func(ch *amqp091.Channel) error {
		last, all, err := take(ch, queue)
		if err == nil && last > 0 {
			err = ch.Nack(last, true, true)
		}
		bodies = all
		return err
	})
	return bodies, err
}

// kept is what was recorded on the broker of the topology that is declared again.
type kept struct {
	topology plan.Topology // of the record
	data     []byte
	ours     func([][]byte) bool
}

// holds reports whether the record on the broker is still ours. A broker that has lost it gets it again.
func (k *kept) holds(ctx context.Context, s *session) (bool, error) {
	queue := k.topology.Queues[0].Name
	records, err := recorded(ctx, s, queue)
	if err != nil || len(records) > 0 {
		return err == nil && k.ours(records), err
	}
	if err := declare(s.conn, &k.topology); err != nil {
		return false, err
	}
	d := lane{conn: s.conn}
	defer d.close()
	return true, d.call(func(ch *amqp091.Channel) error { return write(ctx, ch, queue, nil, k.data) })
}

// Watch implements [router.Changer].
func (b *Broker) Watch(ctx context.Context, exchange string, heard func([]byte)) error {
	backoff := backoff{least: b.options.MinBackoff, most: b.options.MaxBackoff}
	watched := false // what is refused later may be given back
	for ctx.Err() == nil {
		s, err := b.consume.session(ctx)
		if err != nil {
			return nil // ctx is over
		}
		err = watch(ctx, s, exchange, func(record []byte) {
			watched = true
			heard(record)
		})
		if refused(err) && !watched {
			return err
		}
		backoff.wait(ctx)
	}
	return nil
}

// watch listens with a queue of its own, which is gone with the connection.
func watch(ctx context.Context, s *session, exchange string, heard func([]byte)) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	q, err := ch.QueueDeclare(exchange+".watch."+event.NewID(), false, true, true, false, nil) // a name that the user may be permitted
	if err != nil {
		return fmt.Errorf("watching exchange %q: %w", exchange, err)
	}
	if err := ch.QueueBind(q.Name, "", exchange, false, nil); err != nil {
		return fmt.Errorf("watching exchange %q: %w", exchange, err)
	}
	records, err := ch.Consume(q.Name, consumerTag, true, true, false, false, nil)
	if err != nil {
		return fmt.Errorf("watching exchange %q: %w", exchange, err)
	}
	heard(nil)
	for {
		select {
		case d, open := <-records:
			if !open {
				return fmt.Errorf("watching exchange %q: %w", exchange, amqp091.ErrClosed)
			}
			heard(d.Body)
		case <-ctx.Done():
			return nil
		}
	}
}
