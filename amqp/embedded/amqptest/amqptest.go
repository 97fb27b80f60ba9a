// Package amqptest gives a test an AMQP broker of its own, in about a millisecond:
//
//	b := amqptest.Broker(t)
//	conn, err := amqp091.Dial(b.URL())
//
// The broker can be looked into ([embedded.Broker.Queues], [embedded.Broker.Messages], [embedded.Broker.Bindings]), and can fail as a real one does
// ([embedded.Broker.DropConnections], [embedded.Broker.Block], [embedded.Broker.RefusePublishes], [embedded.Broker.DelayPublishes]). Several users and virtual hosts are
// options; [embedded.Broker.URLFor] is what each user dials.
package amqptest

import (
	"sync/atomic"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded"
)

// Broker starts an embedded broker that ends with the test.
func Broker(t testing.TB) *embedded.Broker {
	t.Helper()
	return Start(t, embedded.Options{})
}

// Start is Broker with options. Without a Logf the broker writes to the test's log.
func Start(t testing.TB, o embedded.Options) *embedded.Broker {
	t.Helper()
	var ended atomic.Bool
	if o.Logf == nil {
		o.Logf = func(format string, args ...any) {
			if !ended.Load() { // a test that has ended must not be logged to
				t.Logf("broker: "+format, args...)
			}
		}
	}
	b, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		defer ended.Store(true)
		if err := b.Close(); err != nil {
			t.Errorf("closing the embedded broker: %v", err)
		}
	})
	return b
}
