package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	watermillcore "github.com/ThreeDotsLabs/watermill"
	watermillamqp "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

// publishers is how many goroutines publish through watermill: its Publish waits for the confirm of each message, so that one alone is slow. More than these did
// not make it quicker when it was tried.
const publishers = 32

// watermill is contender e: durable quorum queues, persistent messages and confirms, a topic that as many subscribers have queues of their own on as the setting has pipelines.
func watermill(ctx context.Context, s setting) (time.Duration, error) {
	topic := fmt.Sprintf("bench-watermill-%d", time.Now().UnixNano())
	config := func(suffix string) watermillamqp.Config {
		c := watermillamqp.NewDurablePubSubConfig(s.url, watermillamqp.GenerateQueueNameTopicNameWithSuffix(suffix))
		c.Queue.Arguments = amqp091.Table{"x-queue-type": "quorum"} // as the others have
		c.Publish.ConfirmDelivery = true
		c.Publish.ChannelPoolSize = publishers
		c.Consume.Qos.PrefetchCount = prefetch
		return c
	}
	var left atomic.Int64
	left.Store(int64(s.events * s.pipelines))
	handled := make(chan struct{})
	var subscribers []*watermillamqp.Subscriber
	closeAll := func() error {
		var errs []error
		for _, sub := range subscribers {
			errs = append(errs, sub.Close())
		}
		return errors.Join(errs...)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for i := range s.pipelines {
		sub, err := watermillamqp.NewSubscriber(config(fmt.Sprint(i)), watermillcore.NopLogger{})
		if err != nil {
			return 0, errors.Join(err, closeAll())
		}
		subscribers = append(subscribers, sub)
		messages, err := sub.Subscribe(ctx, topic)
		if err != nil {
			return 0, errors.Join(err, closeAll())
		}
		go func() {
			for m := range messages {
				m.Ack()
				if left.Add(-1) == 0 {
					close(handled)
				}
			}
		}()
	}
	pub, err := watermillamqp.NewPublisher(config(""), watermillcore.NopLogger{})
	if err != nil {
		return 0, errors.Join(err, closeAll())
	}
	began := time.Now()
	var wg sync.WaitGroup
	var next atomic.Int64
	var failed atomic.Pointer[error]
	for range publishers {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(s.events); i = next.Add(1) {
				if err := pub.Publish(topic, message.NewMessage(fmt.Sprint(i), body)); err != nil {
					failed.Store(&err)
					return
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, errors.Join(*err, pub.Close(), closeAll())
	}
	<-handled
	took := time.Since(began)
	err = errors.Join(pub.Close(), closeAll(), deleteWatermill(s, topic))
	return took, err
}

// deleteWatermill deletes the exchange and the queues of a run.
func deleteWatermill(s setting, topic string) error {
	conn, ch, err := direct(s.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	var errs []error
	for i := range s.pipelines {
		_, err := ch.QueueDelete(fmt.Sprintf("%s_%d", topic, i), false, false, false)
		errs = append(errs, err)
	}
	return errors.Join(append(errs, ch.ExchangeDelete(topic, false, false))...)
}
