package pipelines_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"testing"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// orderRules would be a file of the service; rules.Load reads it.
const orderRules = `
version: 1
name: shop
pipelines:
  billing: {workers: 8, order_by: data.customer}
rules:
  - name: large orders
    type: order.*
    match: {data: {total: [{numeric: [">=", 1000]}]}}
    pipelines: [billing]
`

// charge is the handler of the pipeline billing: business code, and nothing of brokers in it.
func charge(_ context.Context, e router.Event) error {
	var order struct {
		Customer string
		Total    float64
	}
	if err := json.Unmarshal(e.Data, &order); err != nil {
		return pipelines.Permanent(err) // another attempt would not mend it
	}
	fmt.Printf("charging %s: %.0f\n", order.Customer, order.Total)
	return nil
}

// serve is the whole service: it runs until ctx is over, and finishes what is in hand then.
func serve(ctx context.Context, url string, handlers map[string]pipelines.Handler, ready func(p *plan.Plan, b router.Publisher)) error {
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte(orderRules)})
	if file == nil {
		return problems
	}
	p, err := plan.Compile(file)
	if err != nil {
		return err
	}
	broker, err := amqp.New(url, amqp.Options{})
	if err != nil {
		return err
	}
	return pipelines.Run(ctx, broker, &pipelines.Service{Plan: p, Handlers: handlers, Ready: func() { ready(p, broker) }})
}

// A whole service, on the embedded broker. In production the URL is that of a RabbitMQ.
func Example() {
	broker, err := embedded.Start(embedded.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer broker.Close()

	ctx, stop := context.WithCancel(context.Background())
	handlers := map[string]pipelines.Handler{"billing": func(ctx context.Context, e router.Event) error {
		defer stop() // the example has seen enough
		return charge(ctx, e)
	}}
	err = serve(ctx, broker.URL(), handlers, func(p *plan.Plan, b router.Publisher) {
		for _, data := range []string{`{"customer": "ana", "total": 10}`, `{"customer": "ben", "total": 1500}`} {
			e := &router.Event{ID: event.NewID(), Type: "order.created", ContentType: "application/json", Data: []byte(data)}
			exchange, _ := p.Source("events")
			b.Publish(ctx, router.Message{Event: e, Exchange: exchange, Key: e.Type}, func(err error) {
				if err != nil {
					log.Print("not confirmed: ", err)
				}
			})
		}
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// charging ben: 1500
}

// TestLargeOrdersAreCharged is how the service's own test looks: no containers, a broker in a millisecond.
func TestLargeOrdersAreCharged(t *testing.T) {
	t.Parallel()
	broker := amqptest.Broker(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	charged := make(chan string, 1)
	handlers := map[string]pipelines.Handler{"billing": func(_ context.Context, e router.Event) error {
		charged <- e.ID
		return nil
	}}
	ended := make(chan error, 1)
	go func() {
		ended <- serve(ctx, broker.URL(), handlers, func(p *plan.Plan, b router.Publisher) {
			exchange, _ := p.Source("events")
			e := &router.Event{ID: "42", Type: "order.created", Data: []byte(`{"customer": "ben", "total": 1500}`)}
			b.Publish(ctx, router.Message{Event: e, Exchange: exchange, Key: e.Type}, func(error) {})
		})
	}()
	if id := <-charged; id != "42" {
		t.Errorf("charged %q", id)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
