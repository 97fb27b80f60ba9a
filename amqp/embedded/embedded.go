// Package embedded is a message broker inside the process that speaks AMQP 0-9-1 as RabbitMQ 4 does, to any client in any language:
// for trying things with nothing installed, and for tests.
//
//	b, err := embedded.Start(embedded.Options{})
//	...
//	defer b.Close()
//	conn, err := amqp091.Dial(b.URL())
//
// It has direct, fanout, topic and headers exchanges, alternate exchanges, bindings between exchanges, classic and quorum queues
// with TTL, length limits, dead-lettering and delivery limits, publisher confirms, mandatory returns, prefetch, consumer priorities and
// single active consumers. What it does not have it refuses with NOT_IMPLEMENTED (540). It is one node, and keeps everything in
// memory: events are lost when it ends.
package embedded

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options say how a broker is started. The zero value is a broker on a free port of the loopback interface.
type Options struct {
	Addr     string                           // host:port to listen on; default 127.0.0.1:0
	User     string                           // default guest
	Password string                           // default guest; an Addr beyond this machine needs another
	VHosts   []string                         // virtual hosts besides "/"
	Logf     func(format string, args ...any) // told of clients' errors; may be nil
}

// Broker is a broker at work. Its methods are safe for concurrent use.
type Broker struct {
	options  Options
	listener net.Listener
	vhosts   map[string]*vhost
	wg       sync.WaitGroup
	names    atomic.Uint64 // of queues and consumers that are given none

	mu          sync.Mutex
	connections map[*connection]struct{}
	closed      bool
	done        chan struct{} // closed with the broker
	gate        *gate
}

// Start begins to listen. Close ends the broker and all its connections.
func Start(o Options) (*Broker, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Password == "" && !loopback(o.Addr) {
		return nil, fmt.Errorf("embedded broker: %s can be reached from other machines: that needs a user and a password", o.Addr)
	}
	if o.User == "" {
		o.User = "guest"
	}
	if o.Password == "" {
		o.Password = "guest"
	}
	listener, err := net.Listen("tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("embedded broker: %w", err)
	}
	b := &Broker{options: o, listener: listener, vhosts: map[string]*vhost{}, connections: map[*connection]struct{}{}, done: make(chan struct{}), gate: newGate()}
	for _, name := range append([]string{"/"}, o.VHosts...) {
		b.vhosts[name] = newVHost(b, name)
	}
	b.wg.Go(b.accept)
	return b, nil
}

// loopback reports whether only this machine can reach the address.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return true // listening will say what is wrong
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// acceptPause is how long a broker waits after it could not take a connection on, for lack of files or memory.
const acceptPause = 50 * time.Millisecond

func (b *Broker) accept() {
	for {
		c, err := b.listener.Accept()
		if err == nil {
			b.serve(c)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		b.logf("accept: %v", err)
		select {
		case <-b.done:
			return
		case <-time.After(acceptPause):
		}
	}
}

// serve takes on a connection.
func (b *Broker) serve(c net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		c.Close()
		return
	}
	conn := newConnection(b, c)
	b.connections[conn] = struct{}{}
	b.wg.Go(func() {
		conn.run()
		b.mu.Lock()
		delete(b.connections, conn)
		b.mu.Unlock()
	})
}

// Addr is the address that the broker listens on, host:port.
func (b *Broker) Addr() string { return b.listener.Addr().String() }

// URL is what clients dial, with user and password.
func (b *Broker) URL() string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword(b.options.User, b.options.Password), Host: b.Addr(), Path: "/"}
	return u.String()
}

// Close tells all clients that the broker ends (320 CONNECTION_FORCED), cuts them off, and waits until nothing of the broker is left, which takes
// at most two seconds where a client does not read. All messages are lost. Closing again does nothing.
func (b *Broker) Close() error {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.done)
	}
	for c := range b.connections {
		c.dismiss()
	}
	b.mu.Unlock()
	err := b.listener.Close()
	b.gate.open()
	b.wg.Wait()
	for _, v := range b.vhosts {
		v.close()
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (b *Broker) logf(format string, args ...any) {
	if b.options.Logf != nil {
		b.options.Logf(format, args...)
	}
}

// afterFunc calls f after a while, in a goroutine that Close waits for; a broker that is closed calls nothing.
func (b *Broker) afterFunc(after time.Duration, f func()) *time.Timer {
	return time.AfterFunc(after, func() {
		b.mu.Lock()
		if b.closed {
			b.mu.Unlock()
			return
		}
		b.wg.Add(1)
		b.mu.Unlock()
		defer b.wg.Done()
		f()
	})
}

// newName makes a name for a queue or consumer that is given none.
func (b *Broker) newName(prefix string) string {
	return fmt.Sprintf("%s-%s-%d", prefix, strings.ReplaceAll(b.Addr(), ":", "-"), b.names.Add(1))
}
