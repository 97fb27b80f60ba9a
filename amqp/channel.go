package amqp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
)

// publication is a message on its way to its confirm.
type publication struct {
	message  router.Message
	ctx      context.Context
	done     func(error)
	release  func()    // gives its place in the window back
	began    time.Time // handed to Publish
	sent     time.Time // to the broker
	confirm  *amqp091.DeferredConfirmation
	size     int64
	headers  int  // bytes of the frame that has them
	body     int  // bytes, as it was sent
	answered bool // done was called; the place is held until the broker answers too
}

// channel is one AMQP channel in confirm mode. Confirms are told in the order of publishing, so that what is pending is a queue.
type channel struct {
	session  *session
	amqp     *amqp091.Channel
	confirms chan amqp091.Confirmation
	returns  chan amqp091.Return
	closes   chan *amqp091.Error

	mu       sync.Mutex
	pending  []*publication // from head on
	head     int
	over     bool
	returned map[returnKey]int
	reasons  map[returnKey]string
}

// returnKey is what basic.return says of a message.
type returnKey struct{ id, exchange, key string }

func newChannel(s *session, window int) (*channel, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	// No more than the window is unconfirmed at a time, so that the client library never waits for us, and drops nothing.
	c := &channel{
		session:  s,
		amqp:     ch,
		confirms: ch.NotifyPublish(make(chan amqp091.Confirmation, window+1)),
		returns:  ch.NotifyReturn(make(chan amqp091.Return, window+1)),
		closes:   ch.NotifyClose(make(chan *amqp091.Error, 1)),
		returned: map[returnKey]int{},
		reasons:  map[returnKey]string{},
	}
	return c, ch.Confirm(false)
}

// send publishes. amqp091.ErrClosed means that nothing was written; after any other error the message is not pending either.
func (c *channel) send(pub *publication, encoded *amqp091.Publishing) error {
	m := &pub.message
	if err := checkHeaders(m, pub.headers, c.session.conn.Config.FrameSize); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return amqp091.ErrClosed
	}
	var err error
	if pub.confirm, err = c.amqp.PublishWithDeferredConfirmWithContext(context.Background(), m.Exchange, m.Key, m.Mandatory, false, *encoded); err != nil {
		if errors.Is(err, amqp091.ErrClosed) {
			return amqp091.ErrClosed
		}
		return fmt.Errorf("%w: %w", errOutcome, err)
	}
	pub.sent, pub.body = time.Now(), len(encoded.Body)
	c.pending = append(c.pending, pub)
	return nil
}

// follow answers publishes as their confirms come, and returns why the channel was closed when it is.
func (c *channel) follow() *amqp091.Error {
	for range c.confirms {
		c.gatherReturns()
		c.settle()
	}
	select {
	case reason := <-c.closes:
		return reason
	default:
		return nil
	}
}

// gatherReturns notes the messages that came back. The client library hands a basic.return on before the confirm that
// follows it, so what has not come by now does not concern that confirm.
func (c *channel) gatherReturns() {
	for {
		select {
		case r, ok := <-c.returns:
			if !ok {
				return
			}
			key := returnKey{r.MessageId, r.Exchange, r.RoutingKey}
			c.mu.Lock()
			c.returned[key]++
			c.reasons[key] = r.ReplyText
			c.mu.Unlock()
		default:
			return
		}
	}
}

// settle answers the oldest publication.
func (c *channel) settle() {
	c.mu.Lock()
	if c.head == len(c.pending) {
		c.mu.Unlock()
		return
	}
	pub := c.pending[c.head]
	c.pending[c.head] = nil
	c.head++
	if c.head == len(c.pending) {
		c.pending, c.head = c.pending[:0], 0
	} else if c.head > 4096 && c.head > len(c.pending)/2 {
		c.pending = append(c.pending[:0], c.pending[c.head:]...)
		c.head = 0
	}
	err := c.verdict(pub)
	answered := pub.answered
	pub.answered = true
	c.mu.Unlock()

	pub.release()
	if !answered {
		pub.done(err)
	}
}

// verdict is what the broker says of a message; c.mu is held. It is asked of the message's own confirmation: what the client library (1.16) sends to who listens for all of them is not always
// true. Where the broker refuses a message before it has spoken of earlier ones, and then confirms those with one frame, the library calls the refused one confirmed too.
func (c *channel) verdict(pub *publication) error {
	m := &pub.message
	if len(c.returned) > 0 {
		key := returnKey{m.Event.ID, m.Exchange, m.Key}
		if n := c.returned[key]; n > 0 {
			reason := c.reasons[key]
			if n == 1 {
				delete(c.returned, key)
				delete(c.reasons, key)
			} else {
				c.returned[key] = n - 1
			}
			return fmt.Errorf("%s, routing key %q: %w (%s)", target(m), m.Key, router.ErrUnroutable, strings.ToLower(reason))
		}
	}
	if !pub.confirm.Acked() {
		return fmt.Errorf("%s, routing key %q: %w", target(m), m.Key, router.ErrRefused)
	}
	return nil
}

// expire answers publications whose context is over, and returns when the oldest that is pending was published.
func (c *channel) expire() (oldest time.Time) {
	var expired []*publication
	c.mu.Lock()
	for _, pub := range c.pending[c.head:] {
		if oldest.IsZero() {
			oldest = pub.sent
		}
		if !pub.answered && pub.ctx.Err() != nil {
			pub.answered = true
			expired = append(expired, pub)
		}
	}
	c.mu.Unlock()
	for _, pub := range expired {
		pub.done(fmt.Errorf("publishing to %s: waiting for the confirm: %w", target(&pub.message), context.Cause(pub.ctx)))
	}
	return oldest
}

// fail answers all that is pending when the channel is closed. Where the broker's reason names what is wrong, the messages that it
// concerns were not taken; of all others nobody knows. missing is an exchange that will be there again.
func (c *channel) fail(reason *amqp091.Error, missing string) {
	c.mu.Lock()
	c.over = true
	pending := c.pending[c.head:]
	c.pending, c.head = nil, 0
	c.mu.Unlock()
	for _, pub := range pending {
		pub.release()
		if !pub.answered {
			if missing != "" && pub.message.Exchange == missing {
				pub.done(fmt.Errorf("%w: exchange %q was not there, and is declared again", errOutcome, missing))
				continue
			}
			pub.done(closedError(pub, reason))
		}
	}
}

// closedError is what a closed channel means for one of its unconfirmed messages.
func closedError(pub *publication, reason *amqp091.Error) error {
	m := &pub.message
	if reason == nil {
		return fmt.Errorf("publishing to %s: %w", target(m), errOutcome)
	}
	switch reason.Code {
	case amqp091.NotFound:
		if strings.Contains(reason.Reason, fmt.Sprintf("no exchange '%s' in", m.Exchange)) {
			return fmt.Errorf("%w: %q is not there", router.ErrExchange, m.Exchange)
		}
	case amqp091.AccessRefused:
		if strings.Contains(reason.Reason, fmt.Sprintf("exchange '%s' in", m.Exchange)) {
			return fmt.Errorf("%w: this user may not publish to %q", router.ErrExchange, m.Exchange)
		}
	case amqp091.PreconditionFailed:
		if _, limit, ok := sizeLimit(reason.Reason); ok && pub.body > limit {
			return fmt.Errorf("%w: the body is %d bytes, its limit is %d", router.ErrTooLarge, pub.body, limit)
		}
	}
	return fmt.Errorf("publishing to %s: %w: %w", target(m), errOutcome, reason)
}

// sizeLimit reads "message size 17000000 is larger than configured max size 16777216".
func sizeLimit(reason string) (size, limit int, ok bool) {
	_, rest, found := strings.Cut(reason, "message size ")
	if !found {
		return 0, 0, false
	}
	n, _ := fmt.Sscanf(rest, "%d is larger than configured max size %d", &size, &limit)
	if n < 2 {
		n, _ = fmt.Sscanf(rest, "%d larger than configured max size %d", &size, &limit)
	}
	return size, limit, n == 2
}
