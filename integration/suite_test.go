package integration

import (
	"errors"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/amqpsuite"
	"github.com/eventrouter/eventrouter/amqp/embedded/conformance"
	"github.com/eventrouter/eventrouter/integration/rabbit"
)

func TestRabbitMQAnswersAsRecorded(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	if s.Version != "4.0.5" {
		t.Logf("the answers were recorded on 4.0.5; this is %s, which may word some of them otherwise", s.Version)
		return
	}
	conformance.Refusals(t, s.URL, nil)
}

func TestClientOnRabbitMQ(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			amqpsuite.Client(t, server(t, v).URL)
		})
	}
}

// What the embedded broker is held to is what RabbitMQ does.
func TestRabbitMQConforms(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, server(t, v).URL)
		})
	}
}

// RabbitMQ is made to look for consumers that do not settle in time four times a second, which is once a minute otherwise.
func TestConsumerTimeoutOnRabbitMQ(t *testing.T) {
	t.Parallel()
	s := newest(t)
	if !s.Own() {
		rabbit.Missing(t, errors.New("the RabbitMQ at EVENTROUTER_TEST_AMQP_URL cannot be told to look for consumers more often"))
	}
	if err := s.Control(t.Context(), "eval", "application:set_env(rabbit, channel_tick_interval, 250)."); err != nil {
		t.Fatal(err)
	}
	conformance.ConsumerTimeout(t, s.URL)
}
