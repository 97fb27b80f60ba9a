// Package amqptest gives a test an AMQP broker of its own, in about a millisecond:
//
//	b := amqptest.Broker(t)
//	conn, err := amqp091.Dial(b.URL())
package amqptest

import (
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded"
)

// Broker starts an embedded broker that ends with the test.
func Broker(t testing.TB) *embedded.Broker {
	t.Helper()
	return Start(t, embedded.Options{})
}

// Start is Broker with options.
func Start(t testing.TB, o embedded.Options) *embedded.Broker {
	t.Helper()
	b, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the embedded broker: %v", err)
		}
	})
	return b
}
