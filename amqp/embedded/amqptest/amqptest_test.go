package amqptest_test

import (
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

func TestBrokerEndsWithItsTest(t *testing.T) {
	t.Parallel()
	var url string
	var conn *amqp091.Connection
	closed := make(chan *amqp091.Error, 1)
	t.Run("inner", func(t *testing.T) {
		url = amqptest.Broker(t).URL()
		var err error
		if conn, err = amqp091.Dial(url); err != nil {
			t.Fatal(err)
		}
		conn.NotifyClose(closed)
	})
	<-closed
	if again, err := amqp091.Dial(url); err == nil {
		again.Close()
		t.Fatal("the broker is still there after its test")
	}
}

func TestBrokersShareNothing(t *testing.T) {
	t.Parallel()
	one, other := channel(t), channel(t)
	if _, err := one.QueueDeclare("q", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := other.QueueDeclarePassive("q", false, false, false, false, nil); err == nil {
		t.Fatal("a queue of one broker is on another")
	}
}

func channel(t *testing.T) *amqp091.Channel {
	t.Helper()
	conn, err := amqp091.Dial(amqptest.Broker(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}
