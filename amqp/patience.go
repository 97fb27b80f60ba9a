package amqp

import (
	"fmt"
	"sync"
	"time"
)

// How long the broker may take to answer what it asks a queue for. The least leaves time for an election; a broker that is only slow gets longer and longer.
const (
	leastPatience = 3 * time.Second
	lonePatience  = 10 * time.Second // the least where there is one URL
	mostPatience  = time.Minute
	patienceAfter = time.Minute // a connection that lasts so long begins with the least again
)

// patience is how long a link waits for an answer before it tries another connection.
//
// The leader of a quorum queue may be on a node that has just gone. A node that is asked for such a queue, before another leader is elected, dials the one
// that has gone, and does nothing else for that channel meanwhile: for seven seconds, as long as Erlang's net_setuptime is. If that fails, it closes the
// connection (tried on RabbitMQ 4.0.5). Asked again a moment later, on another connection, it knows the new leader and answers at once.
//
// Giving a connection up has its price: what is in hand on it is handled again, by a broker that has enough to do if it is just slow. Where there is no other
// URL that is the likelier reason, and one that waits for a node gives up by itself after those seven seconds: so a lone one is left longer than that.
type patience struct {
	least time.Duration
	mu    sync.Mutex
	now   time.Duration
}

func patienceWith(urls int) patience {
	if urls == 1 {
		return patience{least: lonePatience}
	}
	return patience{least: leastPatience}
}

func (p *patience) limit() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.now, p.least)
}

// lost notes that limit was not enough. What was asked at the same time, with the same limit, counts once.
func (p *patience) lost(limit time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if max(p.now, p.least) == limit {
		p.now = min(2*limit, mostPatience)
	}
}

func (p *patience) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = 0
}

// ask has the connection given up if answered is not called in time. What a queue is asked for is told then: where it is always the same queue, that one is the
// matter, and not the connection.
func (s *session) ask(queue, what string) (answered func()) {
	limit := s.patience.limit()
	timer := time.AfterFunc(limit, func() {
		s.patience.lost(limit)
		s.unanswered.Store(new(fmt.Errorf("the broker has not answered for %s when queue %q was to be %s", limit, queue, what)))
		s.raw.abort()
	})
	return func() { timer.Stop() }
}
