package embedded

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

const (
	frameMax         = 131072
	channelMax       = 2047
	heartbeat        = 60 * time.Second // proposed to the client, who says what it wants
	handshakeTimeout = 10 * time.Second
	maxMessage       = 16 << 20
)

// connection is a client's connection. One goroutine reads and obeys, another writes.
type connection struct {
	broker *Broker
	net    net.Conn
	in     *wire.Reader
	out    *output
	gone   chan struct{} // closed when the client is to be left, or has left

	// What the handshake found.
	user          User
	vhost         *vhost
	cancelNotify  bool
	blockedNotify bool
	frameMax      int
	channelMax    int
	silence       time.Duration // after which the client counts as gone; 0: never
	leaveBy       time.Time     // set once the client was told to go

	// For deliveries that have to be settled in time: when to look for those that were not. Only the reader touches them.
	nextLook  time.Time
	lookEvery time.Duration

	abortOnce sync.Once
	mu        sync.Mutex
	channels  map[uint16]*channel
	closing   bool // a connection.close is sent
	dirty     []*channel
	blocked   bool // the client was told that it is
}

func newConnection(b *Broker, c net.Conn) *connection {
	conn := &connection{broker: b, net: c, gone: make(chan struct{}), channels: map[uint16]*channel{}, frameMax: frameMax, channelMax: channelMax}
	conn.in = wire.NewReader(deadlineReader{conn})
	conn.out = newOutput(c, conn.drained, b.journal.wait)
	return conn
}

// run serves the client until it is gone.
func (c *connection) run() {
	var writing sync.WaitGroup
	writing.Go(c.out.run)
	err := c.serve()
	c.end()
	if fault, ok := errors.AsType[*wire.Error](err); ok {
		c.broker.logf("%s: %v", c.net.RemoteAddr(), fault)
	} else if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		c.broker.logf("%s: %v", c.net.RemoteAddr(), err)
	}
	c.out.close()
	writing.Wait()
	c.net.Close()
}

// abort cuts the client off.
func (c *connection) abort() {
	c.abortOnce.Do(func() { close(c.gone) })
	c.out.abort()
}

// dismiss tells the client that the broker ends, and leaves it when that is written.
func (c *connection) dismiss() {
	c.abortOnce.Do(func() { close(c.gone) })
	fault := wire.Errorf(wire.ConnectionForced, "broker forced connection closure with reason 'shutdown'")
	c.send(wire.ConnectionClose, func(b []byte) []byte { return appendClose(b, fault, 0) })
	c.out.close()
	_ = c.net.SetReadDeadline(time.Unix(1, 0)) // an error is that of a connection that is gone
}

// end gives back all that the client held.
func (c *connection) end() {
	c.mu.Lock()
	channels := c.channels
	c.channels = map[uint16]*channel{}
	c.mu.Unlock()
	for _, ch := range channels {
		ch.end()
	}
	if c.vhost != nil {
		c.vhost.closeConnection(c)
	}
}

// drained has the queues deliver again.
func (c *connection) drained() {
	c.mu.Lock()
	var queues []*queue
	for _, ch := range c.channels {
		queues = append(queues, ch.consumed()...)
	}
	c.mu.Unlock()
	for _, q := range queues {
		q.kick()
	}
}

func (c *connection) serve() error {
	if err := c.net.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return err
	}
	if err := c.greet(); err != nil {
		return err
	}
	if err := c.net.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	var f wire.Frame
	for {
		c.out.waitForRoom()
		if err := c.in.Read(&f); err != nil {
			if errors.Is(err, wire.ErrFrame) {
				c.fail(wire.Errorf(wire.FrameError, "%v", err), 0)
			}
			return err
		}
		done, err := c.obey(&f)
		if done || err != nil {
			return err
		}
	}
}

// greet does the handshake when it is the connection's turn.
func (c *connection) greet() error {
	select {
	case c.broker.greeted <- struct{}{}:
		defer func() { <-c.broker.greeted }()
	case <-time.After(handshakeTimeout):
		return handshakeErrorf("its turn has not come for %s: %d others are in theirs", handshakeTimeout, maxGreeted)
	case <-c.gone:
		return net.ErrClosed
	}
	c.in = wire.NewReader(deadlineReader{c})
	return c.handshake()
}

// obey does what a frame says; done is that the connection is closed in order.
func (c *connection) obey(f *wire.Frame) (done bool, err error) {
	if f.Type == wire.FrameHeartbeat {
		return false, nil
	}
	if f.Channel == 0 {
		return c.obeyConnection(f)
	}
	if c.closing {
		return false, nil
	}
	fault, on := c.obeyChannel(f)
	switch {
	case fault == nil:
	case fault.Hard:
		c.fail(fault, on)
	default:
		c.channel(f.Channel).fail(fault, on)
	}
	return false, nil
}

func (c *connection) channel(number uint16) *channel {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.channels[number]
}

// obeyChannel passes a frame to its channel. The error is one to tell the client, with the method that it is about.
func (c *connection) obeyChannel(f *wire.Frame) (*wire.Error, wire.Method) {
	ch := c.channel(f.Channel)
	switch f.Type {
	case wire.FrameMethod:
		d := wire.NewDecoder(f.Payload)
		m := wire.Method(d.Long())
		if d.Err != nil {
			return wire.Errorf(wire.SyntaxError, "a method frame without a method"), 0
		}
		if ch == nil {
			return c.openChannel(f.Channel, m), m
		}
		fault := ch.method(m, d)
		if d.Err != nil { // whatever was made of the half that could be read
			fault = wire.Errorf(wire.SyntaxError, "malformed arguments")
		}
		return fault, m
	case wire.FrameHeader:
		if ch == nil {
			return wire.Errorf(wire.ChannelError, "expected 'channel.open'"), 0
		}
		return ch.header(f.Payload), wire.BasicPublish
	case wire.FrameBody:
		if ch == nil {
			return wire.Errorf(wire.ChannelError, "expected 'channel.open'"), 0
		}
		return ch.bodyPart(f.Payload), wire.BasicPublish
	}
	return wire.Errorf(wire.FrameError, "unknown frame type %d", f.Type), 0
}

func (c *connection) openChannel(number uint16, m wire.Method) *wire.Error {
	if m != wire.ChannelOpen {
		return wire.Errorf(wire.ChannelError, "expected 'channel.open'")
	}
	ch := newChannel(c, number)
	c.mu.Lock()
	open := len(c.channels)
	if open < c.channelMax {
		c.channels[number] = ch
	}
	c.mu.Unlock()
	if open >= c.channelMax {
		return wire.Errorf(wire.NotAllowed, "number of channels opened (%d) has reached the negotiated channel_max (%d)", open, c.channelMax)
	}
	ch.send(wire.ChannelOpenOK, func(b []byte) []byte { return wire.AppendLongString(b, "") })
	return nil
}

func (c *connection) closeChannel(number uint16) {
	c.mu.Lock()
	ch := c.channels[number]
	delete(c.channels, number)
	c.mu.Unlock()
	if ch != nil {
		ch.end()
	}
}

// obeyConnection handles the methods of the connection itself.
func (c *connection) obeyConnection(f *wire.Frame) (done bool, err error) {
	d := wire.NewDecoder(f.Payload)
	m := wire.Method(d.Long())
	switch {
	case f.Type != wire.FrameMethod || d.Err != nil:
		c.fail(wire.Errorf(wire.UnexpectedFrame, "only methods are for channel 0"), 0)
	case m == wire.ConnectionClose:
		c.flushConfirms()
		c.end() // what the client held is back before it knows that it is gone
		c.send(wire.ConnectionCloseOK, nil)
		return true, nil
	case m == wire.ConnectionCloseOK && c.closing:
		return true, nil
	case c.closing:
	default:
		c.fail(wire.Errorf(wire.ChannelError, "unexpected method in connection state running"), m)
	}
	return false, nil
}

// closeTimeout is how long a client that was told to go may take.
const closeTimeout = 5 * time.Second

// fail tells the client that its connection is closed, and why.
func (c *connection) fail(fault *wire.Error, on wire.Method) {
	if c.closing {
		return
	}
	c.flushConfirms()
	c.closing = true
	c.leaveBy = time.Now().Add(closeTimeout)
	c.broker.logf("%s: %v", c.net.RemoteAddr(), fault)
	c.end()
	c.send(wire.ConnectionClose, func(b []byte) []byte { return appendClose(b, fault, on) })
}

func appendClose(b []byte, fault *wire.Error, on wire.Method) []byte {
	b = append(b, byte(fault.Code>>8), byte(fault.Code))
	b = wire.AppendShortString(b, fault.Text)
	return append(b, byte(on.Class()>>8), byte(on.Class()), byte(on.Number()>>8), byte(on.Number()))
}

// send writes a method of the connection itself.
func (c *connection) send(m wire.Method, arguments func([]byte) []byte) { c.sendOn(0, m, arguments) }

func (c *connection) sendOn(number uint16, m wire.Method, arguments func([]byte) []byte) {
	c.sendAfter(0, number, m, arguments)
}

// sendAfter writes a method once the ticket's batch is on disk.
func (c *connection) sendAfter(ticket uint64, number uint16, m wire.Method, arguments func([]byte) []byte) {
	c.out.addAfter(ticket, func(b []byte) []byte {
		b, mark := wire.BeginMethod(b, number, m)
		if arguments != nil {
			b = arguments(b)
		}
		return wire.EndMethod(b, mark)
	})
}

func appendHeartbeat(b []byte) []byte { return wire.AppendFrame(b, wire.FrameHeartbeat, 0, nil) }

// flushConfirms sends the confirms that are due: as many as there are at once, since nothing more is to be read for now.
func (c *connection) flushConfirms() {
	for _, ch := range c.dirty {
		ch.flushConfirms()
	}
	c.dirty = c.dirty[:0]
}

// waitForGate holds a publisher back while the broker takes nothing; false: the connection is gone.
func (c *connection) waitForGate() bool {
	for {
		reason, opened := c.broker.gate.state()
		if reason == "" {
			if c.blocked {
				c.blocked = false
				c.sendIf(c.blockedNotify, wire.ConnectionUnblocked, nil)
			}
			return true
		}
		c.flushConfirms()
		if !c.blocked {
			c.blocked = true
			c.sendIf(c.blockedNotify, wire.ConnectionBlocked, func(b []byte) []byte { return wire.AppendShortString(b, reason) })
		}
		select {
		case <-opened:
		case <-c.gone:
			return false
		}
	}
}

func (c *connection) sendIf(yes bool, m wire.Method, arguments func([]byte) []byte) {
	if yes {
		c.send(m, arguments)
	}
}

var errHandshake = errors.New("handshake")

func handshakeErrorf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errHandshake}, args...)...)
}
