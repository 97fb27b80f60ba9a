package pipelines

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/rules"
)

// window remembers which events a pipeline has handled, so that none is handled twice within a time. It is safe for concurrent use.
//
// An event is dropped for one reason only: a handler of this process has returned nil for an event of the same source and id, no longer
// ago than the window. Whatever else became of the first - it failed and waits for its next attempt, it is a dead letter, its connection was lost
// while it was in hand - does not count, and the event is handled. So nothing is lost by it, whatever other processes do.
//
// It keeps 16 bytes of a keyed hash of each event, and not the event's id: an event is taken for another with a probability of less than
// 1 in 10^32 for a million remembered, and nobody can find two such without knowing the process's key.
type window struct {
	salt [16]byte

	mu      sync.Mutex
	most    int
	lasts   time.Duration
	done    map[identity]struct{} // what is in order, to look it up
	order   []handled             // by time; the first head of them are gone
	head    int
	inHand  map[identity]chan struct{} // closed when its attempt has ended
	crowded time.Time                  // when somebody was told last that there are too many
}

// identity stands for an event's source and id.
type identity [16]byte

type handled struct {
	id identity
	at time.Time
}

func newWindow(d rules.Dedup) *window {
	w := &window{done: map[identity]struct{}{}, inHand: map[identity]chan struct{}{}}
	_, _ = rand.Read(w.salt[:]) // it never fails
	w.set(d)
	return w
}

// set changes how long the window is and how much it remembers; it forgets nothing that it need not.
func (w *window) set(d rules.Dedup) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lasts, w.most = d.Window, max(1, d.Entries)
	for len(w.done) > w.most {
		w.forget()
	}
}

// identify makes the identity of an event. An event without an id was given one when it was taken from its queue, and is like no other.
func (w *window) identify(e *router.Event) identity {
	b := make([]byte, 0, 256)
	b = append(b, w.salt[:]...)
	b = binary.AppendUvarint(b, uint64(len(e.Source))) // so that no other source and id read alike
	b = append(b, e.Source...)
	b = append(b, e.ID...)
	sum := sha256.Sum256(b)
	return identity(sum[:16])
}

// claim is what an event is to its pipeline.
type claim int

const (
	claimed   claim = iota // it is to be handled, and its release has to be told
	duplicate              // it is done already
	unknown                // ctx was over before that could be known
)

// claim finds out whether an event is to be handled. While another of the same identity is, it waits for the outcome of that attempt.
func (w *window) claim(ctx context.Context, id identity) claim {
	for {
		w.mu.Lock()
		w.expire(time.Now())
		if _, ok := w.done[id]; ok {
			w.mu.Unlock()
			return duplicate
		}
		other, busy := w.inHand[id]
		if !busy {
			w.inHand[id] = make(chan struct{})
			w.mu.Unlock()
			return claimed
		}
		w.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return unknown
		}
	}
}

// release ends what claim began. With done the event is remembered as handled; crowded then reports that another had to be forgotten
// before its time, once for each window.
func (w *window) release(id identity, done bool) (crowded bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.inHand[id])
	delete(w.inHand, id)
	if !done {
		return false
	}
	now := time.Now()
	w.expire(now)
	for len(w.done) >= w.most {
		w.forget()
		if w.crowded.IsZero() || now.Sub(w.crowded) >= w.lasts {
			w.crowded, crowded = now, true
		}
	}
	w.done[id] = struct{}{}
	w.order = append(w.order, handled{id, now})
	return crowded
}

// expire forgets what is older than the window; w.mu is held.
func (w *window) expire(now time.Time) {
	for w.head < len(w.order) && now.Sub(w.order[w.head].at) >= w.lasts {
		w.forget()
	}
}

// forget forgets the oldest; w.mu is held.
func (w *window) forget() {
	delete(w.done, w.order[w.head].id)
	w.head++
	if w.head == len(w.order) {
		w.order, w.head = w.order[:0], 0
	} else if w.head > 1024 && w.head > len(w.order)/2 {
		w.order = w.order[:copy(w.order, w.order[w.head:])]
		w.head = 0
	}
}

// size is how many events are remembered.
func (w *window) size() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.done)
}
