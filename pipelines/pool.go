package pipelines

import (
	"context"
	"sync"

	"github.com/eventrouter/eventrouter/router"
)

// pool hands deliveries to workers. Deliveries with the same key, if it is not empty, are worked on one after another, in the order in
// which they were added; while one is, the others of its key wait without holding a worker.
type pool struct {
	handle func(*router.Delivery)
	ready  chan keyed
	wg     sync.WaitGroup

	mu   sync.Mutex
	busy map[string][]*router.Delivery // keys that a worker has, and what waits for it
}

type keyed struct {
	key      string
	delivery *router.Delivery
}

func newPool(workers int, handle func(*router.Delivery)) *pool {
	p := &pool{handle: handle, ready: make(chan keyed), busy: map[string][]*router.Delivery{}}
	for range workers {
		p.wg.Go(p.work)
	}
	return p
}

// add waits until a worker takes the delivery, or puts it behind the others of its key. How many those may be is bounded by the
// prefetch. It reports false where ctx was over before. It is called from one goroutine.
func (p *pool) add(ctx context.Context, key string, d *router.Delivery) bool {
	if key != "" {
		p.mu.Lock()
		waiting, busy := p.busy[key]
		if busy {
			p.busy[key] = append(waiting, d)
			p.mu.Unlock()
			return true
		}
		p.busy[key] = nil
		p.mu.Unlock()
	}
	select {
	case p.ready <- keyed{key, d}:
		return true
	case <-ctx.Done():
		return false // the key is left as it is: nothing is added any more
	}
}

func (p *pool) work() {
	for k := range p.ready {
		for d := k.delivery; d != nil; d = p.next(k.key) {
			p.handle(d)
		}
	}
}

// next takes what waits for the key, and lets the key go when there is nothing.
func (p *pool) next(key string) *router.Delivery {
	if key == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	waiting := p.busy[key]
	if len(waiting) == 0 {
		delete(p.busy, key)
		return nil
	}
	p.busy[key] = waiting[1:]
	return waiting[0]
}

// close returns when the workers are done with all that was added.
func (p *pool) close() {
	close(p.ready)
	p.wg.Wait()
}
