package embedded

import (
	"sync"
	"time"
)

// gate holds publishers back while it is closed.
type gate struct {
	mu      sync.Mutex
	reasons [causes]string // why it is closed, by cause; empty while that does not ask for it
	opened  chan struct{}  // closed while it is open
}

// cause is what closes a gate: it is open when nothing does.
type cause int

const (
	ofRequest cause = iota // Block
	ofMemory
	causes
)

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) open(c cause) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reasons[c] == "" {
		return
	}
	if g.reasons[c] = ""; g.reason() == "" {
		close(g.opened)
	}
}

func (g *gate) close(c cause, reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason() == "" {
		g.opened = make(chan struct{})
	}
	g.reasons[c] = reason
}

func (g *gate) reason() string {
	for _, r := range g.reasons {
		if r != "" {
			return r
		}
	}
	return ""
}

// state is why the gate is closed, and what is closed when it opens.
func (g *gate) state() (reason string, opened <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason(), g.opened
}

// Block has the broker take no messages, as RabbitMQ does when it is out of memory or disk: publishers are told why, as soon as they publish,
// and are not read from until Unblock.
func (b *Broker) Block(reason string) {
	if reason == "" {
		reason = "blocked"
	}
	b.gate.close(ofRequest, reason)
}

// Unblock ends Block.
func (b *Broker) Unblock() { b.gate.open(ofRequest) }

// DropConnections cuts all connections off without a word, as a failing network does, and returns how many there were.
func (b *Broker) DropConnections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.connections {
		c.abort()
	}
	return len(b.connections)
}

// RefusePublishes has every publish in confirm mode refused (basic.nack), and no message taken, while on is true.
func (b *Broker) RefusePublishes(on bool) { b.refusing.Store(on) }

// DelayPublishes has every publish obeyed, and so confirmed, only after a while, in which its connection is not read; 0 ends it.
func (b *Broker) DelayPublishes(by time.Duration) { b.delay.Store(int64(by)) }

// waitForDelay holds a publisher back for as long as DelayPublishes says; it ends with the broker and with the connection.
func (c *connection) waitForDelay() {
	by := time.Duration(c.broker.delay.Load())
	if by <= 0 {
		return
	}
	timer := time.NewTimer(by)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.gone:
	case <-c.broker.done:
	}
}
