package embedded

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// restoring reads a data folder into a broker that nobody uses yet.
type restoring struct {
	broker    *Broker
	journal   *journal
	inOrder   bool // the folder was closed in order
	queues    map[uint64]*queue
	marks     map[place]uint32
	messages  map[uint64]*message // that are in several queues
	addresses map[address]*address
	highest   uint64 // of the numbers
}

// place is that of a message in a queue.
type place struct{ queue, seq uint64 }

// restore opens the data folder, where there is one, and reads it.
func (b *Broker) restore() error {
	if b.options.Data == "" {
		return nil
	}
	j := newJournal(b.warnf)
	if err := j.open(b.options.Data, b.options.fs); err != nil {
		return fmt.Errorf("embedded broker: %w", err)
	}
	if err := b.readAll(j); err != nil {
		return fmt.Errorf("embedded broker: %w", errors.Join(err, j.store.Abandon()))
	}
	return nil
}

func (b *Broker) readAll(j *journal) error {
	r := &restoring{
		broker: b, journal: j, inOrder: j.store.ClosedInOrder(), queues: map[uint64]*queue{}, marks: map[place]uint32{},
		messages: map[uint64]*message{}, addresses: map[address]*address{},
	}
	for _, step := range []struct {
		kind byte
		read func(numbers []uint64, value []byte) error
	}{
		{recordExchange, r.exchange}, {recordQueue, r.queue}, {recordBinding, r.binding}, {recordMark, r.mark}, {recordItem, r.item},
	} {
		if err := r.read(step.kind, step.read); err != nil {
			return err
		}
	}
	j.ids.Store(r.highest)
	b.journal = j
	go j.run()
	for _, q := range r.queues {
		q.mu.Lock()
		q.trim()
		q.touch()
		q.deliver()
		q.unlock()
	}
	return nil
}

// read reads the records of a kind.
func (r *restoring) read(kind byte, read func(numbers []uint64, value []byte) error) error {
	return r.journal.store.Scan([]byte{kind}, func(key, value []byte) error {
		var numbers []uint64
		for key = key[1:]; len(key) >= 8; key = key[8:] {
			numbers = append(numbers, binary.BigEndian.Uint64(key))
		}
		want := 1
		if kind == recordItem || kind == recordMark {
			want = 2
		}
		if len(numbers) != want || len(key) > 0 {
			return errRecord
		}
		r.highest = max(r.highest, numbers[0])
		return read(numbers, value)
	})
}

// vhost is that of the name, which the broker has from now on.
func (r *restoring) vhost(name string) *vhost {
	v := r.broker.vhosts[name]
	if v == nil {
		v = newVHost(r.broker, name)
		r.broker.vhosts[name] = v
	}
	return v
}

func (r *restoring) exchange(numbers []uint64, value []byte) error {
	d := wire.NewDecoder(value)
	v := r.vhost(d.ShortString())
	x := newExchange(d.ShortString(), d.ShortString())
	flags := d.Octet()
	x.arguments = d.Table()
	if d.Err != nil {
		return errRecord
	}
	x.id, x.durable, x.autoDelete, x.internal = numbers[0], true, flags&flagAutoDelete != 0, flags&flagInternal != 0
	x.alternate, _ = x.arguments["alternate-exchange"].(string)
	v.exchanges[x.name] = x
	return nil
}

func (r *restoring) queue(numbers []uint64, value []byte) error {
	d := wire.NewDecoder(value)
	v := r.vhost(d.ShortString())
	q := &queue{vhost: v, id: numbers[0], name: d.ShortString(), durable: true, incoming: map[*binding]struct{}{}}
	q.autoDelete = d.Octet()&flagAutoDelete != 0
	q.arguments = d.Table()
	if d.Err != nil {
		return errRecord
	}
	var fault *wire.Error
	if q.shape, fault = readShape(v.name, q.name, q.arguments); fault != nil {
		return fault
	}
	v.queues[q.name] = q
	r.queues[q.id] = q
	return nil
}

func (r *restoring) binding(numbers []uint64, value []byte) error {
	d := wire.NewDecoder(value)
	v := r.vhost(d.ShortString())
	source, toExchange, name := d.ShortString(), d.Octet() == 1, d.ShortString()
	key := d.ShortString()
	arguments := d.Table()
	if d.Err != nil {
		return errRecord
	}
	x := v.exchanges[source]
	var to destination
	var incoming map[*binding]struct{}
	if q := v.queues[name]; q != nil && !toExchange {
		to, incoming = destination{queue: q}, q.incoming
	}
	if other := v.exchanges[name]; other != nil && toExchange {
		to, incoming = destination{exchange: other}, other.incoming
	}
	if x == nil || incoming == nil {
		return fmt.Errorf("it binds %q to %q, and one of them is missing", source, name)
	}
	made, fault := x.bind(to, key, arguments)
	if fault != nil {
		return fault
	}
	if made == nil {
		return fmt.Errorf("it binds %q to %q a second time", source, name)
	}
	made.id = numbers[0]
	incoming[made] = struct{}{}
	return nil
}

func (r *restoring) mark(numbers []uint64, value []byte) error {
	if len(value) != 4 {
		return errRecord
	}
	r.marks[place{numbers[0], numbers[1]}] = binary.BigEndian.Uint32(value)
	return nil
}

func (r *restoring) item(numbers []uint64, value []byte) error {
	q := r.queues[numbers[0]]
	if q == nil {
		return fmt.Errorf("it is in a queue that is not there (%d)", numbers[0])
	}
	i, state, err := readItem(value)
	if err != nil {
		return err
	}
	i.seq = numbers[1]
	q.seq = i.seq // they come in order
	if marked, there := r.marks[place{q.id, i.seq}]; there {
		state = marked | keptMarked
	}
	i.kept = state&^keptState | keptStored
	r.journal.store.Live(i.stored())
	i.returned = state >> keptReturns
	if state&keptDelivered != 0 || !q.quorum && !r.inOrder {
		i.returned++ // a consumer may have had it
	}
	i.msg = r.shared(i.msg)
	r.broker.memory.hold(i.msg)
	reason := state >> keptReasons & 7
	switch {
	case int(reason) >= len(reasons):
		return errRecord
	case reason != 0:
		q.die(i, reasons[reason])
	case q.tooOften(i):
		q.die(i, diedLimit)
	default:
		q.backlog.push(i)
	}
	return nil
}

// shared is the message as the other queues have it, where there are others.
func (r *restoring) shared(m *message) *message {
	if a := r.addresses[*m.address]; a != nil {
		m.address = a
	} else {
		r.addresses[*m.address] = m.address
	}
	if m.id == 0 {
		return m
	}
	r.highest = max(r.highest, m.id)
	if other := r.messages[m.id]; other != nil {
		return other
	}
	r.messages[m.id] = m
	return m
}
