package integration

import (
	"testing"

	"github.com/eventrouter/eventrouter/amqp/amqpsuite"
	"github.com/eventrouter/eventrouter/integration/rabbit"
)

func TestRabbitMQAnswersAsRecorded(t *testing.T) {
	t.Parallel()
	s := server(t, rabbit.V4)
	if s.Version != "4.0.5" {
		t.Logf("the answers were recorded on 4.0.5; this is %s, which may word some of them otherwise", s.Version)
		return
	}
	amqpsuite.Refusals(t, s.URL, nil)
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
