package embedded

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// deadlineReader gives up on a client that says nothing for too long. Since it is asked only when all that came before is obeyed, it is
// also the place to send the confirms of that, and to look for deliveries that are overdue.
type deadlineReader struct{ c *connection }

func (r deadlineReader) Read(p []byte) (int, error) {
	for {
		r.c.flushConfirms()
		r.c.failOverdue()
		last := r.c.lastMoment()
		deadline := last
		if look := r.c.nextLook; !look.IsZero() && (last.IsZero() || look.Before(last)) {
			deadline = look
		}
		if !deadline.IsZero() {
			if err := r.c.net.SetReadDeadline(deadline); err != nil {
				return 0, err
			}
		}
		select {
		case <-r.c.gone: // whose deadline may just have been overwritten
			return 0, net.ErrClosed
		default:
		}
		n, err := r.c.net.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) || deadline.Equal(last) {
			return n, err
		}
	}
}

// lastMoment is when a client that says nothing is given up; zero: never, or as the handshake has set it.
func (c *connection) lastMoment() time.Time {
	if c.leaveBy.IsZero() && c.silence > 0 {
		return time.Now().Add(c.silence)
	}
	return c.leaveBy
}

// watch has the connection looked at for deliveries that were not settled in time; 0 asks for nothing.
func (c *connection) watch(timeout time.Duration) {
	if timeout == 0 {
		return
	}
	every := min(max(timeout/4, time.Millisecond), time.Minute)
	if c.lookEvery == 0 || every < c.lookEvery {
		c.lookEvery, c.nextLook = every, time.Now().Add(every)
	}
}

// failOverdue closes the channels whose client holds a delivery for longer than its queue allows (x-consumer-timeout).
func (c *connection) failOverdue() {
	if c.nextLook.IsZero() || c.closing {
		return
	}
	now := time.Now()
	if now.Before(c.nextLook) {
		return
	}
	c.nextLook = now.Add(c.lookEvery)
	c.mu.Lock()
	overdue := map[*channel]time.Duration{}
	for _, ch := range c.channels {
		if limit := ch.overdue(now); limit > 0 {
			overdue[ch] = limit
		}
	}
	c.mu.Unlock()
	for ch, limit := range overdue {
		ch.fail(wire.Errorf(wire.PreconditionFailed, "delivery acknowledgement on channel %d timed out. Timeout value used: %d ms. "+
			"This timeout value can be configured, see consumers doc guide to learn more", ch.number, limit.Milliseconds()), 0)
	}
}

// overdue is the limit that a delivery of the channel has exceeded; 0: none.
func (ch *channel) overdue(now time.Time) time.Duration {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	for _, d := range ch.unacked {
		if d.item != nil && d.due > 0 && now.UnixNano() >= d.due {
			return d.queue.ackTimeout
		}
	}
	return 0
}
