package router

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventrouter/eventrouter/router/plan"
)

// Changer is what changing the topology of a running broker needs of it. Package amqp implements it.
type Changer interface {
	Recorder
	// Watch calls heard with each record that is written from now on, until ctx is over, across reconnects; and once with nil after each
	// (re)connect, when records may have been missed.
	Watch(ctx context.Context, exchange string, heard func(record []byte)) error
	// Lock takes the right to change a name's objects, which one connection has at a time; the broker frees it when
	// the connection is lost. An error that wraps ErrLocked says that another has it.
	Lock(ctx context.Context, queue string) (Lock, error)
}

// Recorder tells what is recorded of the topology of a running broker.
type Recorder interface {
	// Recorded returns what is in the record queue; nothing where the queue is not there. It needs the permission to read only. A record is
	// away from the queue while somebody looks at it: where several are there, some may be missed.
	Recorded(ctx context.Context, queue string) ([][]byte, error)
}

// Lock is the right to change a name's objects. All is done on the connection that holds the lock, so that nothing is done after it is lost. Its
// methods return when the broker has done what they say, and doing it again is no error. They are called one at a time.
type Lock interface {
	// Recorder is for who holds the lock. What it returns, the next Write takes away.
	Recorder
	// Write puts a record in the place of those in the queue, and tells it to all who watch the exchange of the same name. The last that was written or returned
	// is waited for, while somebody looks at it, so that no older record is left beside a newer one: who saw that alone would go on from a past state.
	Write(ctx context.Context, queue string, record []byte) error
	Declare(ctx context.Context, t plan.Topology) error
	Unbind(ctx context.Context, bindings []plan.Binding) error
	// Count returns how many events are ready in a queue and how many consumers it has; there is false if there is no such queue.
	Count(ctx context.Context, queue string) (events, consumers int, there bool, err error)
	DeleteQueue(ctx context.Context, name string) error
	// Haul hands the events of a queue over to an exchange, in their order and with all that they carry, acknowledges each when it is confirmed, and deletes
	// the queue when it is empty. What comes to the queue up to that moment is handed over too. Whoever is interrupted leaves a few events in both
	// places. A queue that is not there is no error. moved is called now and then with how many events it was so far, and how many are left.
	Haul(ctx context.Context, h plan.Haul, moved func(done, left int)) error
	// DeleteExchange reports false where unused is asked for and something is bound to the exchange.
	DeleteExchange(ctx context.Context, name string, unused bool) (deleted bool, err error)
	// Keep has the topology declared again on every reconnect, for as long as ours says so of the records on the broker. Where the broker has lost
	// the record, record (its queue and exchange) and data are brought there again too.
	Keep(t, record plan.Topology, data []byte, ours func(records [][]byte) bool)
	Unlock() error
}

var (
	// ErrLocked: another holds the lock.
	ErrLocked = errors.New("another eventrouter is changing the topology")
	// ErrSuperseded: other rules have been applied since.
	ErrSuperseded = errors.New("other rules have been applied")
)

// lockPoll is how often a lock that another holds is asked for again.
const lockPoll = 100 * time.Millisecond

const defaultLockWait = 30 * time.Second

// take waits for the lock.
func take(ctx context.Context, b Changer, name string, o *ApplyOptions) (Lock, error) {
	limited, cancel := context.WithTimeoutCause(ctx, o.Wait, fmt.Errorf("waited for %s", o.Wait))
	defer cancel()
	for {
		lock, err := b.Lock(limited, name)
		if err == nil || !errors.Is(err, ErrLocked) {
			return lock, err
		}
		if late := pause(limited, lockPoll); late != nil {
			return nil, fmt.Errorf("%w (%w)", err, late)
		}
		if o.Waiting != nil {
			o.Waiting()
		}
	}
}
