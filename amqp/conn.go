package amqp

import (
	"context"
	"net"
	"sync"
	"time"
)

// bufferedConn gathers what is written while an earlier write is under way, so that many small messages cost one system call.
// Write never blocks, so that it can be given up on; who has much to write waits for room first. A peer that takes nothing for
// stall (while stalled writes count, see pause) loses its connection.
type bufferedConn struct {
	net.Conn
	stall time.Duration

	mu      sync.Mutex
	wake    *sync.Cond
	pending []byte
	err     error
	closed  bool
	paused  bool          // the broker said that it reads nothing for now
	taken   chan struct{} // closed when pending is written or given up; nil while nobody waits for that

	done chan struct{} // closed when the flusher has ended
}

func newBufferedConn(c net.Conn, stall time.Duration) *bufferedConn {
	b := &bufferedConn{Conn: c, stall: stall, done: make(chan struct{})}
	b.wake = sync.NewCond(&b.mu)
	go b.flush()
	return b
}

func (b *bufferedConn) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.err != nil {
		return 0, b.err
	}
	if b.closed {
		return 0, net.ErrClosed
	}
	if len(b.pending) == 0 {
		b.wake.Signal()
	}
	b.pending = append(b.pending, p...)
	return len(p), nil
}

const (
	// maxPending is how many bytes wait to be written before room makes its callers wait.
	maxPending = 1 << 20
	// maxKept is the largest buffer that is kept for reuse, in bytes.
	maxKept = 4 << 20
)

// room waits until little waits to be written, or the connection has ended. The error is that of ctx.
func (b *bufferedConn) room(ctx context.Context) error {
	for {
		b.mu.Lock()
		if len(b.pending) < maxPending || b.closed || b.err != nil {
			b.mu.Unlock()
			return nil
		}
		if b.taken == nil {
			b.taken = make(chan struct{})
		}
		taken := b.taken
		b.mu.Unlock()
		select {
		case <-taken:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell wakes those who wait for room; b.mu is held.
func (b *bufferedConn) tell() {
	if b.taken != nil {
		close(b.taken)
		b.taken = nil
	}
}

func (b *bufferedConn) flush() {
	defer close(b.done)
	var out []byte
	for {
		b.mu.Lock()
		for len(b.pending) == 0 && !b.closed {
			b.wake.Wait()
		}
		if len(b.pending) == 0 {
			b.mu.Unlock()
			return
		}
		if cap(out) > maxKept {
			out = nil
		}
		out, b.pending = b.pending, out[:0]
		b.tell()
		b.mu.Unlock()
		if err := b.write(out); err != nil {
			b.mu.Lock()
			b.err = err
			b.pending = nil
			b.tell()
			b.mu.Unlock()
			b.Conn.Close()
			return
		}
	}
}

// write writes all of p, going on as long as the peer takes something within stall or has said that it does not.
func (b *bufferedConn) write(p []byte) error {
	for len(p) > 0 {
		if err := b.Conn.SetWriteDeadline(time.Now().Add(b.stall)); err != nil {
			return err
		}
		n, err := b.Conn.Write(p)
		p = p[n:]
		if err == nil {
			continue
		}
		timeout, ok := err.(net.Error)
		b.mu.Lock()
		goOn := ok && timeout.Timeout() && (n > 0 || b.paused) && !b.closed
		b.mu.Unlock()
		if !goOn {
			return err
		}
	}
	return nil
}

// pause says whether the broker has announced that it reads nothing (connection.blocked).
func (b *bufferedConn) pause(on bool) {
	b.mu.Lock()
	b.paused = on
	b.mu.Unlock()
}

// SetWriteDeadline is the flusher's own business.
func (b *bufferedConn) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline sets the deadline for reads.
func (b *bufferedConn) SetDeadline(t time.Time) error { return b.Conn.SetReadDeadline(t) }

// lastWrite is how long a closing connection may take to write what is waiting.
const lastWrite = time.Second

// Close gives what waits a moment to be written, then closes.
func (b *bufferedConn) Close() error {
	b.mu.Lock()
	already := b.closed
	b.closed = true
	b.tell()
	b.wake.Signal()
	b.mu.Unlock()
	if !already {
		timer := time.NewTimer(lastWrite)
		defer timer.Stop()
		select {
		case <-b.done:
		case <-timer.C:
		}
	}
	return b.Conn.Close()
}

// abort closes at once.
func (b *bufferedConn) abort() {
	b.mu.Lock()
	b.closed = true
	b.pending = nil
	b.tell()
	b.wake.Signal()
	b.mu.Unlock()
	b.Conn.Close()
}
