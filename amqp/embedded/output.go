package embedded

import (
	"net"
	"sync"
	"time"
)

const (
	// congestedAt is how much may wait to be written before no more deliveries are added, in bytes.
	congestedAt = 1 << 20
	// stopAt is how much may wait before the client's commands are not read either.
	stopAt = 8 << 20
	// lastWrite is how long a connection that is closed may take to write what waits.
	lastWrite = 2 * time.Second
	// keptBuffer is the largest buffer that is kept for reuse.
	keptBuffer = 4 << 20
)

// output gathers what is to be written to a client; one goroutine writes it.
type output struct {
	conn    net.Conn
	drained func()              // called when deliveries may be added again
	kept    func(ticket uint64) // returns when the ticket's batch is on disk

	mu        sync.Mutex
	room      *sync.Cond // signalled when less than stopAt waits
	buf       []byte
	after     uint64 // the ticket that has to be on disk before buf is written
	full      bool   // a delivery was held back
	closed    bool
	wake      chan struct{}
	heartbeat time.Duration
}

func newOutput(c net.Conn, drained func(), kept func(ticket uint64)) *output {
	o := &output{conn: c, drained: drained, kept: kept, wake: make(chan struct{}, 1)}
	o.room = sync.NewCond(&o.mu)
	return o
}

// add appends what f appends, for writing. f is called with the lock held, which keeps the frames of one message together.
func (o *output) add(f func(b []byte) []byte) { o.addAfter(0, f) }

// addAfter is add of what the client may know only when the ticket's batch is on disk. All that is added later waits too.
func (o *output) addAfter(ticket uint64, f func(b []byte) []byte) {
	o.mu.Lock()
	if !o.closed {
		o.buf = f(o.buf)
		o.after = max(o.after, ticket)
	}
	o.mu.Unlock()
	o.signal()
}

func (o *output) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// congested reports whether so much waits that deliveries have to; drained is called when it does not any more.
func (o *output) congested() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf) < congestedAt {
		return false
	}
	o.full = true
	return true
}

// waitForRoom holds back who adds to what waits, if it is too much.
func (o *output) waitForRoom() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.buf) > stopAt && !o.closed {
		o.room.Wait()
	}
}

// run writes until the output is closed and all is written, or the client is gone.
func (o *output) run() {
	var beat <-chan time.Time
	var spare []byte
	for {
		o.mu.Lock()
		if beat == nil && o.heartbeat > 0 {
			ticker := time.NewTicker(o.heartbeat / 2)
			defer ticker.Stop()
			beat = ticker.C
		}
		out := o.buf
		o.buf = spare[:0]
		after := o.after
		o.after = 0
		closed, full := o.closed, o.full
		o.full = false
		o.room.Broadcast()
		o.mu.Unlock()
		if full {
			o.drained() // the next deliveries are gathered while these are written
		}
		if after > 0 {
			o.kept(after)
		}
		if len(out) > 0 {
			if _, err := o.conn.Write(out); err != nil {
				o.abort()
				return
			}
		}
		if spare = out; cap(spare) > keptBuffer {
			spare = nil
		}
		if len(out) > 0 {
			continue
		}
		if closed {
			return
		}
		select {
		case <-o.wake:
		case <-beat:
			o.add(appendHeartbeat)
		}
	}
}

// close lets what waits be written, and then ends.
func (o *output) close() {
	o.mu.Lock()
	o.closed = true
	o.room.Broadcast()
	o.mu.Unlock()
	_ = o.conn.SetWriteDeadline(time.Now().Add(lastWrite)) // an error is that of a connection that is gone
	o.signal()
}

// abort ends at once.
func (o *output) abort() {
	o.mu.Lock()
	o.closed = true
	o.buf = nil
	o.room.Broadcast()
	o.mu.Unlock()
	o.conn.Close()
	o.signal()
}
