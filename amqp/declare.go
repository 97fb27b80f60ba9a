package amqp

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// lanes is how many channels declare side by side. A broker works on each channel's declarations one after another.
const lanes = 32

// declarer remembers the topology and brings it onto connections.
type declarer struct {
	problem func(where string, err error) // may be nil

	mu       sync.Mutex
	topology *plan.Topology // nil before the first Declare
	record   *kept          // under which the topology was applied; nil where it was only declared
	busy     sync.Mutex     // held while the topology is mended
}

// Declare implements [router.Declarer]. A later Declare takes the place of what was remembered before.
// Objects that are there in another shape are all reported, each in one line of the error.
func (b *Broker) Declare(ctx context.Context, t plan.Topology) error {
	s, err := b.publish.session(ctx)
	if err != nil {
		return err
	}
	stop := s.bound(ctx)
	defer stop()
	if err := declare(s.conn, &t); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("declaring: %w", context.Cause(ctx))
		}
		return err
	}
	b.topology.remember(&t, nil)
	return nil
}

// Redeclare implements [router.Declarer].
func (b *Broker) Redeclare(ctx context.Context) error {
	s, err := b.publish.session(ctx)
	if err != nil {
		return err
	}
	b.topology.busy.Lock()
	defer b.topology.busy.Unlock()
	return b.topology.again(ctx, s, true)
}

func (d *declarer) remember(t *plan.Topology, r *kept) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.topology, d.record = t, r
}

func (d *declarer) remembered() *plan.Topology {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.topology
}

// again declares once more what was declared or applied before. Where other rules have been applied since, that is an error if strict, and else a problem.
// Queues that are there in another shape are bound nevertheless, and are an error that [shapesOnly] knows.
func (d *declarer) again(ctx context.Context, s *session, strict bool) error {
	d.mu.Lock()
	t, r := d.topology, d.record
	d.mu.Unlock()
	if t == nil {
		return nil
	}
	if r != nil {
		mine, err := r.holds(ctx, s)
		if err != nil {
			return err
		}
		if !mine {
			return d.superseded(strict)
		}
	}
	if err := declareExchanges(s.conn, t.Exchanges); err != nil {
		return err
	}
	shapes := declareQueues(s.conn, t.Queues)
	if !shapesOnly(shapes) {
		return shapes
	}
	return errors.Join(shapes, bind(s.conn, t.Bindings))
}

// bring has a new connection begin with what was declared before. A queue that somebody has made anew in another shape gets its events, and holds up no other
// pipeline: that it differs is a problem. Anything else that cannot be declared is an error, as events published now might miss it.
func (d *declarer) bring(ctx context.Context, s *session) error {
	err := d.again(ctx, s, false)
	if err != nil && shapesOnly(err) {
		d.tell(err)
		return nil
	}
	return err
}

// mend declares again after something was found missing, and reports whether all is there now.
func (d *declarer) mend(s *session) bool {
	d.busy.Lock()
	defer d.busy.Unlock()
	err := d.again(context.Background(), s, true)
	if err != nil && !s.conn.IsClosed() {
		d.tell(err)
	}
	return shapesOnly(err)
}

func (d *declarer) tell(err error) {
	if d.problem != nil {
		d.problem("declare again", err)
	}
}

// shapesOnly reports whether all that an error says is that queues are there in another shape. An exchange in another shape may route otherwise: that is no
// matter of its own.
func shapesOnly(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(), func(e error) bool { return !shapesOnly(e) })
	}
	shape, ok := errors.AsType[*router.ShapeError](err)
	return ok && shape.Kind == "queue" || err == nil
}

// superseded tells that the topology that is remembered is not in force any more.
func (d *declarer) superseded(strict bool) error {
	if strict {
		return router.ErrSuperseded
	}
	d.tell(router.ErrSuperseded)
	return nil
}

// exchangeIn finds the exchange of ours that the broker's "no exchange 'x' in vhost" is about.
func (d *declarer) exchangeIn(reason string) string {
	t := d.remembered()
	if t == nil {
		return ""
	}
	for _, x := range t.Exchanges {
		if !x.Passive && strings.Contains(reason, fmt.Sprintf("no exchange '%s' in", x.Name)) {
			return x.Name
		}
	}
	return ""
}

// declare brings a topology onto the broker: exchanges and queues, then the bindings between them.
func declare(conn *amqp091.Connection, t *plan.Topology) error {
	if err := declareExchanges(conn, t.Exchanges); err != nil {
		return err
	}
	if err := declareQueues(conn, t.Queues); err != nil {
		return err
	}
	return bind(conn, t.Bindings)
}

// declareExchanges goes in order, as an alternate exchange stands before those that name it.
func declareExchanges(conn *amqp091.Connection, exchanges []plan.Exchange) error {
	d := lane{conn: conn}
	defer d.close()
	var errs []error
	for _, x := range exchanges {
		errs = append(errs, d.call(func(ch *amqp091.Channel) error {
			if x.Passive {
				return notThere(ch.ExchangeDeclarePassive(x.Name, x.Kind, true, false, false, false, nil), "exchange", x.Name)
			}
			return mismatch(ch.ExchangeDeclare(x.Name, x.Kind, true, false, false, false, x.Arguments), "exchange", x.Name)
		}))
	}
	return errors.Join(errs...)
}

func declareQueues(conn *amqp091.Connection, queues []plan.Queue) error {
	return inLanes(conn, len(queues), func(d *lane, i int) error {
		q := queues[i]
		return d.call(func(ch *amqp091.Channel) error {
			if q.Passive {
				_, err := ch.QueueDeclarePassive(q.Name, true, false, false, false, nil)
				return notThere(err, "queue", q.Name)
			}
			_, err := ch.QueueDeclare(q.Name, true, false, false, false, q.Arguments)
			return mismatch(err, "queue", q.Name)
		})
	})
}

// bind writes bindings without waiting for each answer; the answer to one synchronous call at the end covers them all.
func bind(conn *amqp091.Connection, bindings []plan.Binding) error {
	var g errgroup.Group
	share := (len(bindings) + lanes - 1) / lanes
	for from := 0; from < len(bindings); from += share {
		part := bindings[from:min(from+share, len(bindings))]
		g.Go(func() error {
			d := lane{conn: conn}
			defer d.close()
			return d.call(func(ch *amqp091.Channel) error { return bindAll(ch, part) })
		})
	}
	return g.Wait()
}

// syncEvery bounds how many bindings are on their way without an answer.
const syncEvery = 500

func bindAll(ch *amqp091.Channel, bindings []plan.Binding) error {
	closes := ch.NotifyClose(make(chan *amqp091.Error, 1))
	for i, b := range bindings {
		last := i == len(bindings)-1 || i%syncEvery == syncEvery-1
		toQueueOrExchange := ch.QueueBind
		if b.ToExchange {
			toQueueOrExchange = ch.ExchangeBind
		}
		if err := toQueueOrExchange(b.Queue, b.Key, b.Exchange, !last, nil); err != nil {
			select {
			case reason := <-closes:
				if reason != nil {
					err = reason
				}
			default:
			}
			return fmt.Errorf("binding queue %q to exchange %q with %q, or one of the %d bindings before it: %w", b.Queue, b.Exchange, b.Key, i%syncEvery, err)
		}
	}
	return nil
}

// inLanes calls f for each of n things, on several channels at once, and returns all errors in their order.
func inLanes(conn *amqp091.Connection, n int, f func(d *lane, i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for first := range min(lanes, n) {
		wg.Go(func() {
			d := lane{conn: conn}
			defer d.close()
			for i := first; i < n; i += lanes {
				errs[i] = f(&d, i)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lane is a channel for calls of which each may close it: the next call opens another.
type lane struct {
	conn *amqp091.Connection
	ch   *amqp091.Channel
}

func (d *lane) call(f func(*amqp091.Channel) error) error {
	if d.ch == nil || d.ch.IsClosed() {
		ch, err := d.conn.Channel()
		if err != nil {
			return err
		}
		d.ch = ch
	}
	return f(d.ch)
}

func (d *lane) close() {
	if d.ch != nil {
		_ = d.ch.Close() // it carries nothing any more
	}
}
