// Package network is the network between a client and a broker, as tests need it: it can fail.
package network

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// Proxy passes on what a client and a broker say to each other. Its methods are safe for concurrent use.
type Proxy struct {
	URL string // of the broker, through the proxy

	listener net.Listener
	target   string

	mu     sync.Mutex
	passes chan struct{} // closed while everything passes
	pairs  map[*pair]bool
	closed bool
}

// pair is a connection of a client, and the one made for it to the broker.
type pair struct {
	client, server net.Conn
	silent         chan struct{} // closed when nothing of it passes any more, though both ends stand
	quiet          sync.Once
	left           chan struct{} // closed when the broker has ended it, also while it was silent
	leaving        sync.Once
	gone           chan struct{} // closed when the proxy cuts it
	cut            sync.Once
}

// NewProxy stands in front of the broker at an AMQP URL until the test is over.
func NewProxy(t testing.TB, url string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(url, "@") + 1
	target, vhost, _ := strings.Cut(url[at:], "/")
	p := &Proxy{URL: url[:at] + listener.Addr().String() + "/" + vhost, listener: listener, target: target, passes: make(chan struct{}), pairs: map[*pair]bool{}}
	close(p.passes)
	var wg sync.WaitGroup
	wg.Go(func() { p.accept(&wg) })
	t.Cleanup(func() {
		listener.Close()
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.Cut()
		wg.Wait()
	})
	return p
}

func (p *Proxy) accept(wg *sync.WaitGroup) {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		c := &pair{client: client, server: server, silent: make(chan struct{}), left: make(chan struct{}), gone: make(chan struct{})}
		p.mu.Lock()
		p.pairs[c] = true
		closed := p.closed
		p.mu.Unlock()
		if closed {
			c.end()
		}
		wg.Go(func() {
			var both sync.WaitGroup
			both.Go(func() { p.pass(c, client, server) })
			both.Go(func() {
				defer c.leave()
				p.pass(c, server, client)
			})
			both.Wait()
			p.mu.Lock()
			delete(p.pairs, c)
			p.mu.Unlock()
		})
	}
}

// pass copies one direction until either end is gone.
func (p *Proxy) pass(c *pair, from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		passes := p.passes
		p.mu.Unlock()
		select {
		case <-passes:
		case <-c.gone:
			return
		}
		select {
		case <-c.silent:
			c.miss(from, err)
			<-c.gone
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// miss drops what one end says until it has nothing more to say.
func (c *pair) miss(from net.Conn, err error) {
	for b := make([]byte, 32<<10); err == nil; {
		_, err = from.Read(b)
	}
	if from == c.server {
		c.leave()
	}
}

func (c *pair) leave() { c.leaving.Do(func() { close(c.left) }) }

// Stop has nothing pass any more, with all connections left open, until Resume.
func (p *Proxy) Stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passes = make(chan struct{})
}

// Resume lets everything pass again that Stop has held back.
func (p *Proxy) Resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.passes:
	default:
		close(p.passes)
	}
}

// Silence drops all that either end says on the connections there are, and leaves them open: the other end is gone, and nobody is told. New connections are as good as ever.
func (p *Proxy) Silence() {
	for _, c := range p.all() {
		c.quiet.Do(func() { close(c.silent) })
	}
}

// Unnoticed is how many connections are silent without the broker having noticed: it may take events for delivered that it has sent on them.
func (p *Proxy) Unnoticed() int {
	n := 0
	for _, c := range p.all() {
		if over(c.silent) && !over(c.left) {
			n++
		}
	}
	return n
}

func over(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// Cut ends all connections at once.
func (p *Proxy) Cut() {
	for _, c := range p.all() {
		c.end()
	}
}

// Reset ends all connections as a router does that has forgotten them: both ends get a TCP reset.
func (p *Proxy) Reset() {
	for _, c := range p.all() {
		for _, end := range []net.Conn{c.client, c.server} {
			_ = end.(*net.TCPConn).SetLinger(0) // it fails on a connection that is closed already
		}
		c.end()
	}
}

func (p *Proxy) all() []*pair {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*pair
	for c := range p.pairs {
		out = append(out, c)
	}
	return out
}

func (c *pair) end() {
	c.cut.Do(func() {
		close(c.gone)
		c.client.Close()
		c.server.Close()
	})
}
