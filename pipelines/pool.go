package pipelines

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

// pool hands jobs to workers. Jobs with the same key, if it is not empty, are worked on one after another, in the order in
// which they were added; while one is, the others of its key wait without holding a worker.
type pool struct {
	handle func(*job) next
	drop   func(*job)      // gives a job back that will not be worked on
	ctx    context.Context // when it is over no job waits for another attempt any more
	ready  chan *job
	inHand atomic.Int64   // jobs that were added, and are not done with
	added  atomic.Int64   // jobs, ever
	wg     sync.WaitGroup // of the workers
	later  sync.WaitGroup // of the jobs that wait for another attempt

	mu     sync.Mutex
	keys   map[string]*lane // of keys that a job has, or that were given up
	closed bool             // no job waits any more
}

// job is an event on its way through the pool.
type job struct {
	*router.Delivery
	key   string       // that it waits by; empty: by none
	keeps bool         // its key waits for its next attempt
	id    identity     // that dedup knows it by
	trail router.Trail // with the attempts made here
	wait  time.Duration
	since time.Time // when its first attempt here began
}

// next is what becomes of a key after a job of it.
type next int

const (
	onward next = iota // its next job's turn has come
	again              // it waits until the job is handled again, after its wait
	giveUp             // all its jobs go back, as this one does
)

// lane is what waits for a key.
type lane struct {
	waiting []*job
	closed  bool // given up: what comes goes back
}

// newPool starts the workers.
func newPool(ctx context.Context, workers int, handle func(*job) next, drop func(*job)) *pool {
	p := &pool{handle: handle, drop: drop, ctx: ctx, ready: make(chan *job), keys: map[string]*lane{}}
	for range workers {
		p.wg.Go(p.work)
	}
	return p
}

// add waits until a worker takes the job, or puts it behind the others of its key. How many those may be is bounded by the
// prefetch. Where ctx is over before, the job is dropped. It is called from one goroutine.
func (p *pool) add(ctx context.Context, j *job) {
	p.inHand.Add(1)
	p.added.Add(1)
	p.enter(ctx, j)
}

// enter takes a job that is counted.
func (p *pool) enter(ctx context.Context, j *job) {
	if j.key != "" {
		p.mu.Lock()
		l, busy := p.keys[j.key]
		if busy && !l.closed {
			l.waiting = append(l.waiting, j)
			p.mu.Unlock()
			return
		}
		if !busy {
			p.keys[j.key] = &lane{}
		}
		p.mu.Unlock()
		if busy {
			p.giveBack(j)
			return
		}
	}
	p.offer(ctx, j)
}

// offer waits until a worker takes the job, whose key's turn it is.
func (p *pool) offer(ctx context.Context, j *job) {
	select {
	case p.ready <- j:
	case <-ctx.Done():
		p.abandon(j) // no worker had begun
	}
}

func (p *pool) work() {
	for j := range p.ready {
		for j != nil {
			switch p.handle(j) {
			case onward:
				p.inHand.Add(-1)
				j = p.following(j.key)
			case again:
				p.retry(j)
				j = nil
			case giveUp:
				p.abandon(j)
				j = nil
			}
		}
	}
}

// following takes what waits for the key, and lets the key go when there is nothing.
func (p *pool) following(key string) *job {
	if key == "" {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.keys[key]
	if len(l.waiting) == 0 {
		delete(p.keys, key)
		return nil
	}
	first := l.waiting[0]
	l.waiting = l.waiting[1:]
	return first
}

// retry has the job handled again after its wait. Its key waits, and no worker does. When the pool's ctx is over it and what waits for it go back.
func (p *pool) retry(j *job) { p.await(j, p.offer, p.abandon) }

// revive has a job that the workers are done with handled again after its wait, behind what waits for its key by then. When the pool's ctx is over it goes back.
func (p *pool) revive(j *job) {
	p.inHand.Add(1)
	p.await(j, p.enter, p.giveBack)
}

// await calls then after the job's wait, or back where the pool's ctx is over before. It returns at once.
func (p *pool) await(j *job, then func(context.Context, *job), back func(*job)) {
	p.mu.Lock()
	if p.closed || p.ctx.Err() != nil {
		p.mu.Unlock()
		back(j)
		return
	}
	defer p.mu.Unlock()
	p.later.Go(func() {
		timer := time.NewTimer(j.wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			then(p.ctx, j)
		case <-p.ctx.Done():
			back(j)
		}
	})
}

// abandon drops a job and all that waits for its key, and whatever comes for it from now on.
func (p *pool) abandon(j *job) {
	p.giveBack(j)
	if j.key == "" {
		return
	}
	p.mu.Lock()
	l := p.keys[j.key]
	l.closed = true
	waiting := l.waiting
	l.waiting = nil
	p.mu.Unlock()
	for _, other := range waiting {
		p.giveBack(other)
	}
}

func (p *pool) giveBack(j *job) {
	p.drop(j)
	p.inHand.Add(-1)
}

// close returns when the workers are done with all that was added. The pool's ctx is over by then.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.later.Wait()
	close(p.ready)
	p.wg.Wait()
}
