package amqpsuite_test

import (
	"flag"
	"os"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/amqpsuite"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

// -record takes the answers of the RabbitMQ at EVENTROUTER_TEST_AMQP_URL, which is the authority, into refusals.txt.
var record = flag.Bool("record", false, "write refusals.txt from the RabbitMQ at EVENTROUTER_TEST_AMQP_URL")

func TestEmbeddedBrokerAnswersAsRabbitMQ(t *testing.T) {
	if *record {
		amqpsuite.Refusals(t, os.Getenv("EVENTROUTER_TEST_AMQP_URL"), func(answers string) {
			if err := os.WriteFile("refusals.txt", []byte(answers), 0o644); err != nil {
				t.Fatal(err)
			}
		})
		return
	}
	amqpsuite.Refusals(t, amqptest.Broker(t).URL(), nil)
}
