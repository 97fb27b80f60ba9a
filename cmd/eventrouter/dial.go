package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/router"
)

// connectTimeout is how long commands that do one thing wait for the broker.
const connectTimeout = 10 * time.Second

// validate reports flags that do not go together.
func (b *brokerFlags) validate(cmd *cobra.Command) error {
	if (b.cert == "") != (b.key == "") {
		return usagef(cmd, "--broker-cert and --broker-key go together")
	}
	return nil
}

// open makes the broker that the flags name, or the one at url where they name none.
func (b *brokerFlags) open(cmd *cobra.Command, url string, hooks router.Hooks) (*amqp.Broker, error) {
	if err := b.validate(cmd); err != nil {
		return nil, err
	}
	if b.given() {
		url = b.url()
	}
	opened, err := amqp.New(url, b.options(hooks))
	if err != nil {
		return nil, usageError{fmt.Errorf("--broker: %w", err), cmd}
	}
	return opened, nil
}

// dial connects to the broker that the flags name, or to one that is embedded in a running eventrouter. closeBroker ends the connection.
func (c *console) dial(cmd *cobra.Command, flags *brokerFlags) (b *amqp.Broker, closeBroker func(), err error) {
	b, err = flags.open(cmd, "amqp://"+defaultListen, router.Hooks{})
	if err != nil {
		return nil, nil, err
	}
	running, stop := context.WithCancel(context.WithoutCancel(cmd.Context()))
	ended := make(chan error, 1)
	go func() { ended <- b.Run(running) }()
	closeBroker = func() {
		stop()
		<-ended // it has nothing to say but that it ended
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), connectTimeout, fmt.Errorf("tried for %s", connectTimeout))
	defer cancel()
	if err := b.Connect(ctx); err != nil {
		closeBroker()
		if !flags.given() {
			err = errors.Join(err, errors.New("no --broker is given, and no eventrouter with an embedded broker runs here ('eventrouter run' or 'eventrouter broker' starts one)"))
		}
		return nil, nil, err
	}
	return b, closeBroker, nil
}
