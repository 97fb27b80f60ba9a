package conformance_test

import (
	"flag"
	"os"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/conformance"
)

// -record takes the answers of the RabbitMQ at EVENTROUTER_TEST_AMQP_URL, which is the authority, into refusals.txt.
var record = flag.Bool("record", false, "write refusals.txt from the RabbitMQ at EVENTROUTER_TEST_AMQP_URL")

func TestEmbeddedBrokerConforms(t *testing.T) {
	t.Parallel()
	conformance.Run(t, amqptest.Broker(t).URL())
}

func TestConsumerTimeout(t *testing.T) {
	t.Parallel()
	conformance.ConsumerTimeout(t, amqptest.Broker(t).URL())
}

func TestEmbeddedBrokerAnswersAsRabbitMQ(t *testing.T) {
	t.Parallel()
	if *record {
		conformance.Refusals(t, os.Getenv("EVENTROUTER_TEST_AMQP_URL"), func(answers string) {
			if err := os.WriteFile("refusals.txt", []byte(answers), 0o644); err != nil {
				t.Fatal(err)
			}
		})
		return
	}
	conformance.Refusals(t, amqptest.Broker(t).URL(), nil)
}
