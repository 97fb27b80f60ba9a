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

// A client's own code is tested against what brokers do at their worst: here a publish that is refused, and a connection that is lost.
func Example_faults() {
	b, err := embedded.Start(embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	conn, err := amqp091.Dial(b.URL())
	if err != nil {
		log.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		log.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		log.Fatal(err)
	}
	publish := func() bool {
		confirm, err := ch.PublishWithDeferredConfirm("amq.topic", "order.created", false, false, amqp091.Publishing{})
		if err != nil {
			log.Fatal(err)
		}
		return confirm.Wait()
	}
	b.RefusePublishes(true)
	fmt.Println("confirmed while the broker refuses:", publish())
	b.RefusePublishes(false)
	fmt.Println("confirmed afterwards:", publish())

	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	fmt.Println("connections cut:", b.DropConnections())
	fmt.Println("the client noticed:", <-closed != nil)
	// Output:
	// confirmed while the broker refuses: false
	// confirmed afterwards: true
	// connections cut: 1
	// the client noticed: true
}

// Users and virtual hosts keep programs apart, as on a broker that is shared.
func Example_users() {
	b, err := embedded.Start(embedded.Options{
		VHosts: []string{"shop"},
		Users:  []embedded.User{{Name: "till", Password: "secret", VHosts: []string{"shop"}}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer b.Close()
	for _, vhost := range []string{"shop", "/"} {
		conn, err := amqp091.Dial(b.URLFor("till", vhost))
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("till may enter", vhost)
		if err := conn.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// till may enter shop
	// Exception (530) Reason: "NOT_ALLOWED - access to vhost '/' refused for user 'till'"
}
