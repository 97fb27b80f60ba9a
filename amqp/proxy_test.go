package amqp_test

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// proxy stands between a client and a broker, and can stop passing on what either says, with the connections left open: what a network that has
// failed half-way looks like.
type proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	stopped chan struct{} // closed while everything passes
	conns   []net.Conn
}

func newProxy(t *testing.T, url string) (p *proxy, throughURL string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(url, "@")
	p = &proxy{listener: listener, target: strings.TrimSuffix(url[at+1:], "/"), stopped: make(chan struct{})}
	close(p.stopped)
	var wg sync.WaitGroup
	wg.Go(func() { p.accept(&wg) })
	t.Cleanup(func() {
		p.resume()
		listener.Close()
		p.cut()
		wg.Wait()
	})
	return p, url[:at+1] + listener.Addr().String() + "/"
}

func (p *proxy) accept(wg *sync.WaitGroup) {
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
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		p.mu.Unlock()
		wg.Go(func() { p.pass(client, server) })
		wg.Go(func() { p.pass(server, client) })
	}
}

// pass copies one direction until either end is gone.
func (p *proxy) pass(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		p.mu.Lock()
		passing := p.stopped
		p.mu.Unlock()
		<-passing
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

// stop has nothing pass any more.
func (p *proxy) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = make(chan struct{})
}

func (p *proxy) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.stopped:
	default:
		close(p.stopped)
	}
}

// cut closes all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}
