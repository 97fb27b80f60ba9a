package amqpsuite_test

import (
	"os"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/amqpsuite"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

func TestClientOnTheEmbeddedBroker(t *testing.T) {
	url := os.Getenv("EVENTROUTER_TEST_AMQP_URL")
	if url == "" {
		url = amqptest.Broker(t).URL()
	}
	amqpsuite.Client(t, url)
}
