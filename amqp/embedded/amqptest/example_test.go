package amqptest_test

import (
	"fmt"
	"log"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded"
)

// In a test, amqptest.Broker(t) is Start and Close in one.
func Example() {
	b, err := embedded.Start(embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	conn, err := amqp091.Dial(b.URL())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := ch.QueueDeclare("orders", true, false, false, false, nil); err != nil {
		log.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		log.Fatal(err)
	}
	confirm, err := ch.PublishWithDeferredConfirm("", "orders", true, false, amqp091.Publishing{Body: []byte("one pot of tea")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("confirmed:", confirm.Wait())

	// A look inside consumes nothing.
	q, _ := b.Queue("/", "orders")
	fmt.Println("ready:", q.Ready)
	for _, m := range b.Messages("/", "orders") {
		fmt.Printf("%s: %s\n", m.RoutingKey, m.Body)
	}
	// Output:
	// confirmed: true
	// ready: 1
	// orders: one pot of tea
}
