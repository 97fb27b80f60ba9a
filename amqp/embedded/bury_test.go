package embedded

import (
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// While one goroutine hands a queue's dead letters over, another that finds more leaves them to it: so none overtakes another.
func TestOneHandsDeadLettersOver(t *testing.T) {
	t.Parallel()
	b, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	v := b.vhosts["/"]
	dead := plainQueue(t, v, "dead", nil)
	q := plainQueue(t, v, "q", wire.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
	kill := func(body string) chan struct{} {
		done := make(chan struct{})
		go func() {
			q.mu.Lock()
			q.die(&item{msg: newMessage(&address{"", "q"}, &wire.Properties{}, []byte(body))}, diedRejected)
			q.unlock()
			close(done)
		}()
		return done
	}
	v.mu.Lock() // routing has to wait
	first := kill("first")
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); !burying(q); <-tick.C {
		if time.Now().After(end) {
			v.mu.Unlock()
			t.Fatal("nobody hands over")
		}
	}
	select {
	case <-kill("second"):
	case <-time.After(2 * time.Minute):
		t.Error("two goroutines hand dead letters over")
	}
	v.mu.Unlock()
	<-first
	for _, want := range []string{"first", "second"} {
		if i := dead.get(true, func(*item, int) {}); i == nil || string(i.msg.payload()) != want {
			t.Errorf("got %v, want %s", i, want)
		}
	}
}

func burying(q *queue) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.burying
}

func plainQueue(t *testing.T, v *vhost, name string, arguments wire.Table) *queue {
	t.Helper()
	shape, fault := readShape(v.name, name, arguments)
	if fault != nil {
		t.Fatal(fault)
	}
	q := &queue{vhost: v, name: name, shape: shape, incoming: map[*binding]struct{}{}}
	v.mu.Lock()
	v.queues[name] = q
	v.mu.Unlock()
	return q
}
