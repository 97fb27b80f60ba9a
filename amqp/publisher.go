package amqp

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/semaphore"

	"github.com/eventrouter/eventrouter/router"
)

// publisher publishes with confirms through the current channel, and waits for one where there is none.
type publisher struct {
	options  *Options
	topology *declarer
	count    *semaphore.Weighted // messages in the window
	bytes    *semaphore.Weighted // of their bodies
	serving  sync.WaitGroup      // goroutines of connections

	mu        sync.Mutex
	current   *channel      // nil while there is none
	blocked   string        // why the broker takes nothing for now
	unblocked time.Time     // since when it takes messages again
	changed   chan struct{} // closed at the next change of current or blocked
	closed    bool
}

// errOutcome: the message may be on the broker or not.
var errOutcome = errors.New("the connection was lost before the confirm")

// errClosed: the broker's Run is over.
var errClosed = errors.New("the connection to the broker is closed")

func newPublisher(o *Options, t *declarer) *publisher {
	return &publisher{
		options:  o,
		topology: t,
		count:    semaphore.NewWeighted(int64(o.Window)),
		bytes:    semaphore.NewWeighted(int64(o.WindowBytes)),
		changed:  make(chan struct{}),
	}
}

// Publish implements [router.Publisher].
func (b *Broker) Publish(ctx context.Context, m router.Message, done func(error)) {
	p := b.publisher
	pub := &publication{message: m, ctx: ctx, done: done, began: time.Now(), size: int64(min(len(m.Event.Data), p.options.WindowBytes))}
	if hook := p.options.Hooks.Published; hook != nil {
		pub.done = func(err error) {
			hook(m, time.Since(pub.began), err)
			done(err)
		}
	}
	if err := check(&m); err != nil {
		pub.done(err)
		return
	}
	if err := p.enter(pub); err != nil {
		pub.done(fmt.Errorf("publishing to %s: %w", target(&m), err))
	}
}

// target names where a message goes, for errors.
func target(m *router.Message) string {
	if m.Exchange == "" {
		return fmt.Sprintf("queue %q", m.Key)
	}
	return fmt.Sprintf("exchange %q", m.Exchange)
}

// enter waits for room in the window and for a channel, and hands the message over. After an error it is not handed over.
func (p *publisher) enter(pub *publication) error {
	if err := p.count.Acquire(pub.ctx, 1); err != nil {
		return fmt.Errorf("waiting for the broker's confirms: %w", context.Cause(pub.ctx))
	}
	if err := p.bytes.Acquire(pub.ctx, pub.size); err != nil {
		p.count.Release(1)
		return fmt.Errorf("waiting for the broker's confirms: %w", context.Cause(pub.ctx))
	}
	pub.release = func() {
		p.bytes.Release(pub.size)
		p.count.Release(1)
	}
	encoded := encode(&pub.message)
	pub.headers = headerFrame(&encoded)
	for {
		c, err := p.channel(pub.ctx)
		if err == nil {
			if err = c.session.raw.room(pub.ctx); err != nil {
				err = fmt.Errorf("the network takes nothing: %w", err)
			}
		}
		if err == nil {
			if limit := c.session.conn.Config.FrameSize; isCrowded(&pub.message, pub.headers, limit) {
				if whole, err := encodeWhole(&pub.message); err == nil {
					encoded, pub.headers = whole, headerFrame(&whole)
				}
			}
			err = c.send(pub, &encoded)
			if errors.Is(err, amqp091.ErrClosed) {
				p.drop(c)
				continue // nothing was written
			}
		}
		if err != nil {
			pub.release()
		}
		return err
	}
}

// channel returns the channel to publish through, when there is one and the broker takes messages.
func (p *publisher) channel(ctx context.Context) (*channel, error) {
	for {
		p.mu.Lock()
		c, blocked, changed, closed := p.current, p.blocked, p.changed, p.closed
		p.mu.Unlock()
		switch {
		case closed:
			return nil, errClosed
		case c != nil && blocked == "" && ctx.Err() == nil:
			return c, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			why := "no connection"
			if blocked != "" {
				why = "the broker has blocked publishers: " + blocked
			}
			return nil, fmt.Errorf("%s: %w", why, context.Cause(ctx))
		}
	}
}

// open begins to publish through a new connection.
func (p *publisher) open(s *session) error {
	blockings := s.conn.NotifyBlocked(make(chan amqp091.Blocking, 16))
	p.serving.Go(func() { p.followBlocking(s, blockings) })
	return p.openChannel(s)
}

// followBlocking ends when the client library closes blockings, with the connection.
func (p *publisher) followBlocking(s *session, blockings <-chan amqp091.Blocking) {
	defer p.setBlocked(s, "")
	for b := range blockings {
		reason := ""
		if b.Active {
			reason = b.Reason
			if reason == "" {
				reason = "it gives no reason"
			}
		}
		p.setBlocked(s, reason)
	}
}

func (p *publisher) setBlocked(s *session, reason string) {
	s.raw.pause(reason != "")
	p.mu.Lock()
	changed := p.blocked != reason
	p.blocked, p.unblocked = reason, time.Now()
	p.signal()
	p.mu.Unlock()
	if hook := p.options.Hooks.Blocked; hook != nil && changed {
		hook(reason)
	}
}

func (p *publisher) openChannel(s *session) error {
	c, err := newChannel(s, p.options.Window)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.current = c
	p.signal()
	p.mu.Unlock()
	p.serving.Go(func() { p.serve(s, c) })
	return nil
}

// serve ends with the channel. One that the broker closed for a fault of a message is followed by another, on the same connection.
func (p *publisher) serve(s *session, c *channel) {
	reason := c.follow()
	p.drop(c)
	missing := p.missing(reason)
	if missing != "" && !p.mend(s, c) {
		missing = "" // it stays away, as where other rules have been applied since
	}
	c.fail(reason, missing)
	if s.conn.IsClosed() {
		return
	}
	if err := p.openChannel(s); err != nil {
		s.raw.abort() // the supervisor dials again
	}
}

// mend declares the topology again, which takes its time, and reports whether all is there now. What is pending on the channel is answered only then, but for
// publishes whose context is over.
func (p *publisher) mend(s *session, c *channel) bool {
	mended := make(chan bool, 1)
	p.serving.Go(func() { mended <- p.topology.mend(s) })
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case ok := <-mended:
			return ok
		case <-tick.C:
			c.expire()
		}
	}
}

// missing is the exchange of the declared topology that was not there when a message was published to it: somebody deleted it.
func (p *publisher) missing(reason *amqp091.Error) string {
	if reason == nil || reason.Code != amqp091.NotFound {
		return ""
	}
	return p.topology.exchangeIn(reason.Reason)
}

// drop takes the channel out of use.
func (p *publisher) drop(c *channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current == c {
		p.current = nil
		p.signal()
	}
}

// signal tells all who wait in channel; p.mu is held.
func (p *publisher) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *publisher) blockedFor() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocked
}

func (p *publisher) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.signal()
}

// sweepEvery is how late the end of a publish's context may be noticed.
const sweepEvery = 50 * time.Millisecond

// sweep gives up on publishes whose context is over, and on connections that owe a confirm for too long, until ctx is over.
func (p *publisher) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			p.mu.Lock()
			c, blocked, since := p.current, p.blocked, p.unblocked
			p.mu.Unlock()
			if c == nil {
				continue
			}
			oldest := c.expire()
			if oldest.After(since) {
				since = oldest
			}
			if blocked == "" && !oldest.IsZero() && now.Sub(since) > p.options.ConfirmTimeout {
				c.session.raw.abort()
			}
		}
	}
}
