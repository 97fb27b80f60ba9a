// Package amqp connects the router to RabbitMQ, or to anything else that speaks AMQP 0-9-1 as RabbitMQ does.
//
// A [Broker] keeps two connections, one for publishing and one for consuming, so that a broker that has blocked publishers
// goes on delivering. Each is redialled when it is lost; channels belong to one connection and are never
// carried over, so that an acknowledgement can never settle a delivery of another connection.
package amqp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/eventrouter/eventrouter/router"
)

// Broker implements [router.Broker]. Its methods are safe for concurrent use, and work while Run does.
type Broker struct {
	options   Options
	publisher *publisher
	topology  *declarer
	publish   *link
	consume   *link
	changing  sync.Mutex // held by the one Lock of this process
}

var (
	_ router.Broker  = (*Broker)(nil)
	_ router.Changer = (*Broker)(nil)
)

// New makes a broker of one or several URLs, separated by commas, of the nodes of one cluster:
// amqp://user:password@host:5672/vhost or amqps://… . Nothing is dialled before Run. An error never shows a password.
func New(urls string, o Options) (*Broker, error) {
	o.defaults()
	endpoints, err := parseURLs(urls, &o)
	if err != nil {
		return nil, err
	}
	b := &Broker{options: o, topology: &declarer{problem: o.Hooks.Problem}}
	b.publisher = newPublisher(&b.options, b.topology)
	b.publish = newLink("publish", endpoints, &b.options, b.openPublisher)
	b.consume = newLink("consume", endpoints, &b.options, nil)
	return b, nil
}

// openPublisher brings the topology onto a new connection, and publishes through it until it is lost.
func (b *Broker) openPublisher(ctx context.Context, s *session) error {
	if err := b.topology.bring(ctx, s); err != nil {
		return err
	}
	return b.publisher.open(s)
}

// Run dials and redials until ctx is over, then closes both connections. It is called once. Before ctx ends, whoever
// consumes or publishes has to be done: what is not settled or confirmed by then comes again, or has to be published again.
func (b *Broker) Run(ctx context.Context) error {
	var g errgroup.Group
	g.Go(func() error { b.publish.run(ctx); return nil })
	g.Go(func() error { b.consume.run(ctx); return nil })
	g.Go(func() error { b.publisher.sweep(ctx); return nil })
	err := g.Wait()
	b.publisher.close()
	b.publisher.serving.Wait()
	return err
}

// Connect waits until both connections are up. When ctx is over before that, the error says why they are not.
func (b *Broker) Connect(ctx context.Context) error {
	for _, l := range []*link{b.publish, b.consume} {
		if _, err := l.session(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Connected is nil while both connections are up and publishes are taken, and says otherwise what is the matter.
func (b *Broker) Connected() error {
	var errs []error
	for _, l := range []*link{b.publish, b.consume} {
		if err := l.state(); err != nil {
			errs = append(errs, err)
		}
	}
	if reason := b.publisher.blockedFor(); reason != "" {
		errs = append(errs, fmt.Errorf("the broker has blocked publishers: %s", reason))
	}
	return errors.Join(errs...)
}
