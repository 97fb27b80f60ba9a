package embedded

import "sync"

// gate holds publishers back while it is closed.
type gate struct {
	mu     sync.Mutex
	reason string        // why it is closed; empty while it is open
	opened chan struct{} // closed while it is open
}

func newGate() *gate {
	g := &gate{opened: make(chan struct{})}
	close(g.opened)
	return g
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason != "" {
		g.reason = ""
		close(g.opened)
	}
}

func (g *gate) close(reason string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reason == "" {
		g.opened = make(chan struct{})
	}
	g.reason = reason
}

// state is why the gate is closed, and what is closed when it opens.
func (g *gate) state() (reason string, opened <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.reason, g.opened
}

// Block has the broker take no messages, as RabbitMQ does when it is out of memory or disk: publishers are told why, as soon as they publish,
// and are not read from until Unblock.
func (b *Broker) Block(reason string) {
	if reason == "" {
		reason = "blocked"
	}
	b.gate.close(reason)
}

// Unblock ends Block.
func (b *Broker) Unblock() { b.gate.open() }

// DropConnections cuts all connections off without a word, as a failing network does, and returns how many there were.
func (b *Broker) DropConnections() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.connections {
		c.abort()
	}
	return len(b.connections)
}
