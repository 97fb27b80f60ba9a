package embedded

import (
	"encoding/binary"
	"sync"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// confirms are the answers that a channel owes its publisher. They are sent in the order of the messages: by the connection's reader when it
// has nothing more to read, and by the journal when it has written what they wait for.
type confirms struct {
	mu        sync.Mutex
	published uint64 // numbered from 1
	answered  uint64 // up to here
	owed      []owed
	ended     bool
}

// owed is the answer to messages that stand together.
type owed struct {
	last    uint64 // of the messages
	ticket  uint64 // with which they are on disk; 0: they need not be
	refused bool
}

// maxConfirms is how many confirms wait at most for others to go with.
const maxConfirms = 64

// confirm answers a message: a positive answer may wait for others, and waits for the ticket.
func (ch *channel) confirm(taken bool, ticket uint64) {
	c := &ch.owed
	c.mu.Lock()
	c.published++
	if n := len(c.owed); n > 0 && c.owed[n-1].ticket == ticket && c.owed[n-1].refused == !taken {
		c.owed[n-1].last = c.published
	} else {
		c.owed = append(c.owed, owed{c.published, ticket, !taken})
	}
	waiting := c.published - c.answered
	c.mu.Unlock()
	if waiting == 1 {
		ch.conn.dirty = append(ch.conn.dirty, ch)
	}
	if !taken || waiting >= maxConfirms && ticket == 0 {
		ch.flushConfirms()
	}
}

// flushConfirms sends the answers that are known.
func (ch *channel) flushConfirms() {
	committed, failed := ch.conn.broker.journal.progress()
	c := &ch.owed
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	from := c.answered
	done := 0
	for ; done < len(c.owed); done++ {
		o := &c.owed[done]
		if o.ticket > committed && o.ticket > failed {
			break
		}
		if !o.refused && o.ticket <= committed {
			c.answered = o.last
			continue
		}
		ch.sendAck(from, c.answered)
		for c.answered < o.last {
			c.answered++
			number := c.answered
			ch.send(wire.BasicNack, func(b []byte) []byte { return append(binary.BigEndian.AppendUint64(b, number), 0) })
		}
		from = c.answered
	}
	ch.sendAck(from, c.answered)
	c.owed = append(c.owed[:0], c.owed[done:]...)
}

func (ch *channel) sendAck(from, to uint64) {
	if to > from {
		ch.send(wire.BasicAck, func(b []byte) []byte { return appendBool(binary.BigEndian.AppendUint64(b, to), to-from > 1) })
	}
}

// endConfirms has no more confirms be sent, since the channel closes.
func (ch *channel) endConfirms() {
	ch.owed.mu.Lock()
	defer ch.owed.mu.Unlock()
	ch.owed.ended = true
}
