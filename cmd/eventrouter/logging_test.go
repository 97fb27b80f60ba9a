package main

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestABrokerThatIsDownDoesNotFillTheLog dials every second for a minute.
func TestABrokerThatIsDownDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, lines := observer.New(zap.InfoLevel)
		hooks := logHooks(zap.New(core))
		down := func(why string) {
			hooks.Disconnected("publish", errors.New(why))
			hooks.Disconnected("consume", errors.New(why))
		}
		for port := range 60 {
			down(fmt.Sprintf("read tcp 127.0.0.1:%d->127.0.0.1:5672: connection reset by peer", 40000+port))
			time.Sleep(time.Second)
		}
		if n := lines.Len(); n != 12 {
			t.Errorf("%d lines about a minute without the broker, expected 12: two every ten seconds", n)
		}
		lines.TakeAll()
		down("the broker refused the user name or password")
		hooks.Connected("publish", "amqp://here")
		hooks.Connected("consume", "amqp://here")
		down("the broker refused the user name or password")
		if n := lines.Len(); n != 6 {
			t.Errorf("%d lines, expected 6: another reason is told at once, and so is a broker that is lost again", n)
		}
	})
}
