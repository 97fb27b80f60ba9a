package amqp

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// dialTimeout is for one address: the connection and the handshake each.
const dialTimeout = 10 * time.Second

// closeTimeout is for the closing handshake of a connection.
const closeTimeout = 2 * time.Second

// link keeps one connection to the broker: it dials, and dials again when the connection is lost.
type link struct {
	role      string
	endpoints []endpoint
	options   *Options
	setup     func(context.Context, *session) error // before a session is given out; may be nil
	patience  patience

	mu      sync.Mutex
	current *session      // nil while there is none
	err     error         // why there is none
	changed chan struct{} // closed at the next change of current
}

// session is one connection, from its dial to its end.
type session struct {
	conn *amqp091.Connection
	raw  *bufferedConn
	url  string        // without its password
	over chan struct{} // closed when the connection is lost

	patience   *patience             // of the link
	unanswered atomic.Pointer[error] // what the broker had not answered, when the connection was given up for that
}

func newLink(role string, endpoints []endpoint, o *Options, setup func(context.Context, *session) error) *link {
	return &link{role: role, endpoints: endpoints, options: o, setup: setup, patience: patienceWith(len(endpoints)), err: errors.New("not dialled yet"), changed: make(chan struct{})}
}

// run dials until ctx is over. Several URLs are tried in turn, beginning with any of them.
func (l *link) run(ctx context.Context) {
	defer l.set(nil, errors.New("closed"))
	backoff := backoff{least: l.options.MinBackoff, most: l.options.MaxBackoff}
	for at := rand.IntN(len(l.endpoints)); ctx.Err() == nil; at++ {
		began := time.Now()
		err := l.connect(ctx, &l.endpoints[at%len(l.endpoints)])
		if ctx.Err() != nil {
			return
		}
		l.set(nil, err)
		if hook := l.options.Hooks.Disconnected; hook != nil {
			hook(l.role, err)
		}
		lasted := time.Since(began)
		if lasted > l.options.MaxBackoff {
			backoff.reset()
		}
		if lasted > patienceAfter {
			l.patience.reset()
		}
		backoff.wait(ctx)
	}
}

// connect dials one URL and stays with the connection until it is lost or ctx is over.
func (l *link) connect(ctx context.Context, e *endpoint) error {
	s, err := l.dial(ctx, e)
	if err != nil {
		return fmt.Errorf("%s: %w", e.redacted, err)
	}
	defer s.close()
	closed := s.conn.NotifyClose(make(chan *amqp091.Error, 1))
	if l.setup != nil {
		if err := l.prepare(ctx, s, closed); err != nil {
			return fmt.Errorf("%s: %w", e.redacted, s.explain(err))
		}
	}
	if hook := l.options.Hooks.Connected; hook != nil {
		hook(l.role, e.redacted)
	}
	l.set(s, nil)
	select {
	case <-ctx.Done():
		return nil
	case reason := <-closed:
		err := fmt.Errorf("%s: connection lost: %w", e.redacted, s.explain(closeReason(reason)))
		l.set(nil, err) // before the close, which takes its time
		return err
	}
}

// prepare runs the setup, and ends it when ctx is over.
func (l *link) prepare(ctx context.Context, s *session, closed <-chan *amqp091.Error) error {
	stop := context.AfterFunc(ctx, s.raw.abort)
	defer stop()
	err := l.setup(ctx, s)
	if err == nil {
		return nil
	}
	select {
	case reason := <-closed:
		return fmt.Errorf("connection lost: %w", closeReason(reason))
	default:
		return err
	}
}

// explain says why a connection was given up that the broker did not answer on.
func (s *session) explain(err error) error {
	if unanswered := s.unanswered.Load(); unanswered != nil {
		return *unanswered
	}
	return err
}

func closeReason(e *amqp091.Error) error {
	if e == nil {
		return errors.New("closed")
	}
	return e
}

func (l *link) dial(ctx context.Context, e *endpoint) (*session, error) {
	s := &session{url: e.redacted, over: make(chan struct{}), patience: &l.patience}
	config := e.config
	config.Properties = amqp091.NewConnectionProperties()
	config.Properties.SetClientConnectionName(l.options.Name + " " + l.role)
	dialer := net.Dialer{Timeout: dialTimeout}
	config.Dial = func(network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		s.raw = newBufferedConn(c, l.options.Heartbeat*2)
		return s.raw, s.raw.SetDeadline(time.Now().Add(dialTimeout))
	}
	conn, err := amqp091.DialConfig(e.url, config)
	if err != nil {
		if s.raw != nil {
			s.raw.abort()
		}
		return nil, dialError(err)
	}
	s.conn = conn
	return s, nil
}

// dialError says in plain words what the client library says in AMQP's.
func dialError(err error) error {
	switch {
	case errors.Is(err, amqp091.ErrCredentials):
		return errors.New("the broker refused the user name or password")
	case errors.Is(err, amqp091.ErrSASL):
		return errors.New("the broker offers no way to log in that we know")
	}
	if e, ok := errors.AsType[*amqp091.Error](err); ok && e.Code == amqp091.NotAllowed && strings.Contains(e.Reason, "vhost") {
		return fmt.Errorf("the virtual host is not there, or this user may not use it: %w", e)
	}
	return err
}

// close ends the connection, properly if the broker answers.
func (s *session) close() {
	_ = s.conn.CloseDeadline(time.Now().Add(closeTimeout)) // what fails here is lost with the connection anyway
	s.raw.abort()
	close(s.over)
}

// bound has the connection cut off if the calls that are made until stop last much longer than ctx. Not at once: others work on the connection as well,
// and finish what they have in hand when a service ends.
func (s *session) bound(ctx context.Context) (stop func()) {
	done := make(chan struct{})
	forget := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(closeTimeout)
		defer timer.Stop()
		select {
		case <-done:
		case <-timer.C:
			s.raw.abort()
		}
	})
	return sync.OnceFunc(func() {
		forget()
		close(done)
	})
}

// set makes s the current session; nil with the reason when there is none.
func (l *link) set(s *session, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current, l.err = s, err
	close(l.changed)
	l.changed = make(chan struct{})
}

// session returns the connection, and waits for one if there is none.
func (l *link) session(ctx context.Context) (*session, error) {
	for {
		l.mu.Lock()
		s, err, changed := l.current, l.err, l.changed
		l.mu.Unlock()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("no connection to the broker: %w (%w)", err, context.Cause(ctx))
		}
	}
}

// state is nil while the link is connected.
func (l *link) state() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.current == nil {
		return fmt.Errorf("no connection to %s: %w", l.role, l.err)
	}
	return nil
}

// backoff waits longer and longer between attempts, with jitter, so that many clients of a broker that comes back do not
// all come at once.
type backoff struct {
	least, most time.Duration
	next        time.Duration
}

func (b *backoff) reset() { b.next = 0 }

func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(b.next*2, b.least), b.most)
	timer := time.NewTimer(b.next/2 + rand.N(b.next/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
