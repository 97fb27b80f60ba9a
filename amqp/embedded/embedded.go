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
// single active consumers, transactions, TLS and EXTERNAL. What it does not have it refuses with NOT_IMPLEMENTED (540). It is one node. It keeps everything in
// memory, and what is durable also in a data folder, where it is given one: without one, events are lost when it ends.
package embedded

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Options say how a broker is started. The zero value is a broker on a free port of the loopback interface.
type Options struct {
	Addr     string                           // host:port to listen on; default 127.0.0.1:0
	User     string                           // default guest
	Password string                           // default guest; an Addr beyond this machine needs another
	Users    []User                           // besides User
	VHosts   []string                         // virtual hosts besides "/"
	TLS      *tls.Config                      // speak TLS, and only that; its client certificates, where it verifies them, are for EXTERNAL
	Logf     func(format string, args ...any) // told of clients' errors; may be nil
	Warnf    func(format string, args ...any) // told when messages are not taken, for lack of disk or memory, and what became of the data folder; default Logf

	// Data is the folder that durable exchanges, queues, bindings and persistent messages are kept in; it is made if it is missing. Default: none,
	// everything is lost when the broker ends. With it, a persistent message is confirmed when it is on disk. Only one broker can have it open.
	Data string

	// MemoryLimit is how many bytes the queues' messages may take, with what the broker needs for each, before publishers are held
	// back ("low on memory") until it is 10 % less. Default: 40 % of the memory that the process may have; negative: no limit.
	MemoryLimit int64

	fs vfs.FS // of the data folder; default: the machine's
}

// User is somebody who may connect.
type User struct {
	Name     string
	Password string   // empty: by a client certificate with the name (EXTERNAL) only
	VHosts   []string // that the user may enter; nil: all
}

// Broker is a broker at work. Its methods are safe for concurrent use.
type Broker struct {
	options  Options
	listener net.Listener
	vhosts   map[string]*vhost
	users    map[string]User
	greeted  chan struct{} // holds one for each connection in its handshake
	wg       sync.WaitGroup
	names    atomic.Uint64 // of queues and consumers that are given none

	mu          sync.Mutex
	connections map[*connection]struct{}
	closed      bool
	done        chan struct{} // closed with the broker
	gate        *gate
	refusing    atomic.Bool  // publishes, for RefusePublishes
	delay       atomic.Int64 // of publishes, in nanoseconds, for DelayPublishes
	memory      *memory
	journal     *journal // nil without a data folder
}

// Start begins to listen, after it has read the data folder, if there is one. It fails where something in that is damaged or missing, or where
// another broker has it open. Close ends the broker and all its connections.
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
	if o.TLS != nil {
		listener = tls.NewListener(listener, o.TLS)
	}
	b := &Broker{
		options: o, listener: listener, vhosts: map[string]*vhost{}, users: map[string]User{}, greeted: make(chan struct{}, maxGreeted),
		connections: map[*connection]struct{}{}, done: make(chan struct{}), gate: newGate(),
	}
	for _, u := range append(o.Users, User{Name: o.User, Password: o.Password}) {
		b.users[u.Name] = u
	}
	b.memory = newMemory(b.gate, o.MemoryLimit, b.warnf)
	for _, name := range append([]string{"/"}, o.VHosts...) {
		b.vhosts[name] = newVHost(b, name)
	}
	if err := b.restore(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	b.wg.Go(b.accept)
	return b, nil
}

// maxGreeted is how many connections may be in their handshake at once: strangers take no more than that.
const maxGreeted = 512

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
	return b.URLFor(b.options.User, "/")
}

// URLFor is what a user dials to enter a virtual host.
func (b *Broker) URLFor(user, vhost string) string {
	u := url.URL{Scheme: "amqp", User: url.UserPassword(user, b.users[user].Password), Host: b.Addr()}
	if b.options.TLS != nil {
		u.Scheme = "amqps"
	}
	if vhost == "/" { // which clients take an empty path for
		return u.String() + "/"
	}
	return u.String() + "/" + url.PathEscape(vhost)
}

// Close tells all clients that the broker ends (320 CONNECTION_FORCED), cuts them off, and waits until nothing of the broker is left, which takes
// at most two seconds where a client does not read. Messages that are not in a data folder are lost. Closing again does nothing.
func (b *Broker) Close() error {
	b.mu.Lock()
	again := b.closed
	if !again {
		b.closed = true
		close(b.done)
	}
	for c := range b.connections {
		c.dismiss()
	}
	b.mu.Unlock()
	err := b.listener.Close()
	b.gate.open(ofRequest)
	b.wg.Wait()
	for _, v := range b.vhosts {
		v.close()
	}
	if again {
		return nil
	}
	return errors.Join(err, b.journal.close())
}

func (b *Broker) logf(format string, args ...any) {
	if b.options.Logf != nil {
		b.options.Logf(format, args...)
	}
}

func (b *Broker) warnf(format string, args ...any) {
	if b.options.Warnf != nil {
		b.options.Warnf(format, args...)
		return
	}
	b.logf(format, args...)
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
