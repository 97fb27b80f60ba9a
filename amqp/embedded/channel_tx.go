package embedded

import "github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"

// transaction is what a channel in tx mode has put off until tx.commit. RabbitMQ's guarantee is taken as it is: what was published and settled
// happens at the commit, one after another, and not as one.
type transaction struct {
	published []publication
	bytes     int
	settled   []settlement
}

// maxTransaction is how much may be published in one transaction, in bytes.
const maxTransaction = 128 << 20

// settlement is what the client said of deliveries, which stay with it until the commit.
type settlement struct {
	tags []uint64
	how  outcome
}

// txMethod obeys the methods of class tx.
func (ch *channel) txMethod(m wire.Method) *wire.Error {
	switch {
	case m == wire.TxSelect && ch.confirms:
		return wire.Errorf(wire.PreconditionFailed, "cannot switch from confirm to tx mode")
	case m == wire.TxSelect:
		if ch.tx == nil {
			ch.tx = &transaction{}
		}
		ch.send(wire.TxSelectOK, nil)
		return nil
	case m != wire.TxCommit && m != wire.TxRollback:
		return unimplemented()
	case ch.tx == nil:
		return wire.Errorf(wire.PreconditionFailed, "channel is not transactional")
	case m == wire.TxRollback:
		ch.rollback()
		ch.send(wire.TxRollbackOK, nil)
		return nil
	}
	if !ch.commit() {
		return wire.Errorf(wire.PreconditionFailed, "partial tx completion")
	}
	ch.send(wire.TxCommitOK, nil)
	return nil
}

// commit does what was put off, and returns when what is kept of it is on disk; it reports false where a queue, or the disk, refused a message.
func (ch *channel) commit() bool {
	j, ticket, taken := ch.conn.broker.journal, uint64(0), true
	for i := range ch.tx.published {
		ok, with := ch.deliverTo(&ch.tx.published[i])
		taken, ticket = taken && ok, max(ticket, with)
	}
	tx := ch.tx
	ch.tx = &transaction{}
	for _, s := range tx.settled {
		for _, tag := range s.tags {
			ch.putOff(tag, false)
			ch.settleNow(tag, false, s.how)
		}
	}
	j.wait(ticket)
	committed, _ := j.progress()
	return taken && committed >= ticket
}

// rollback forgets what was put off: the deliveries can be settled again.
func (ch *channel) rollback() {
	for _, s := range ch.tx.settled {
		for _, tag := range s.tags {
			ch.putOff(tag, false)
		}
	}
	ch.tx = &transaction{}
}

// add puts a message off until the commit.
func (tx *transaction) add(p publication) *wire.Error {
	if tx.bytes += p.message.size(); tx.bytes > maxTransaction {
		return wire.Errorf(wire.PreconditionFailed, "the embedded broker takes no more than %d bytes in a transaction", maxTransaction)
	}
	tx.published = append(tx.published, p)
	return nil
}

// settleLater puts off until the commit what a client says of a delivery, or of all up to it.
func (ch *channel) settleLater(tag uint64, multiple bool, how outcome) *wire.Error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	last := ch.first + uint64(len(ch.unacked)) - 1
	if multiple && tag == 0 {
		tag = last
	} else if tag < ch.first || tag > last || !ch.unacked[tag-ch.first].open() {
		return wire.Errorf(wire.PreconditionFailed, "unknown delivery tag %d", tag)
	}
	from := tag
	if multiple {
		from = ch.first
	}
	s := settlement{how: how}
	for t := from; t <= tag; t++ {
		if d := &ch.unacked[t-ch.first]; d.open() {
			d.putOff = true
			s.tags = append(s.tags, t)
		}
	}
	ch.tx.settled = append(ch.tx.settled, s)
	return nil
}

// open reports whether the delivery can be settled.
func (d *delivery) open() bool { return d.item != nil && !d.putOff }

// putOff marks a delivery as settled with the commit to come, or not.
func (ch *channel) putOff(tag uint64, yes bool) {
	ch.mu.Lock()
	ch.unacked[tag-ch.first].putOff = yes
	ch.mu.Unlock()
}
