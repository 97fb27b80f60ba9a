package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

const (
	window   = 2048 // unconfirmed messages
	prefetch = 256
	ackEvery = 64
)

// body is 1 KiB of JSON.
var body = func() []byte {
	b := []byte(`{"total": 1500, "country": "DE", "customer": {"id": "c-1"}, "note": "`)
	for len(b) < 1022 {
		b = append(b, 'x')
	}
	return append(b, `"}`...)
}()

const (
	exchange = "bench"
	matched  = "bench.matched"
	match    = "bench.match"
)

func queueName(i int) string { return fmt.Sprintf("bench.p%d", i) }

// direct is a connection with a channel.
func direct(url string) (*amqp091.Connection, *amqp091.Channel, error) {
	conn, err := amqp091.Dial(url)
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	return conn, ch, err
}

// confirming publishes on a channel with a window of unconfirmed messages; wait returns when all are confirmed.
func confirming(ch *amqp091.Channel) (publish func(exchange, key string, m amqp091.Publishing) error, wait func() error, err error) {
	if err := ch.Confirm(false); err != nil {
		return nil, nil, err
	}
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, window))
	room := make(chan struct{}, window)
	sent := 0
	done := make(chan error, 1)
	var mu sync.Mutex
	confirmed, total := 0, -1
	go func() {
		for c := range confirms {
			if !c.Ack {
				done <- errors.New("a message was refused")
				return
			}
			<-room
			mu.Lock()
			confirmed++
			all := confirmed == total
			mu.Unlock()
			if all {
				done <- nil
				return
			}
		}
		done <- errors.New("the channel was closed")
	}()
	publish = func(exchange, key string, m amqp091.Publishing) error {
		room <- struct{}{}
		sent++
		return ch.Publish(exchange, key, true, false, m)
	}
	wait = func() error {
		mu.Lock()
		total = sent
		all := confirmed == total
		mu.Unlock()
		if all {
			return nil
		}
		return <-done
	}
	return publish, wait, nil
}

// consumeByHand takes n messages from a queue and acknowledges them in batches.
func consumeByHand(url, queue string, n int) error {
	conn, ch, err := direct(url)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(queue, "bench", false, false, false, false, nil)
	if err != nil {
		return err
	}
	seen := 0
	for d := range deliveries {
		if seen++; seen%ackEvery == 0 || seen == n {
			if err := d.Ack(true); err != nil {
				return err
			}
		}
		if seen == n {
			return nil
		}
	}
	return errors.New("the deliveries ended")
}

// publishByHand is contender a.
func publishByHand(ctx context.Context, s setting) (time.Duration, error) {
	if _, err := declare(ctx, s, ""); err != nil {
		return 0, err
	}
	conn, ch, err := direct(s.url)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	publish, wait, err := confirming(ch)
	if err != nil {
		return 0, err
	}
	ch.NotifyReturn(make(chan amqp091.Return, window))
	began := time.Now()
	consumed := make(chan error, s.pipelines)
	for i := range s.pipelines {
		go func() { consumed <- consumeByHand(s.url, queueName(i), s.events) }()
	}
	for i := range s.events {
		m := amqp091.Publishing{DeliveryMode: amqp091.Persistent, MessageId: fmt.Sprint(i), ContentType: "application/json", Body: body}
		if err := publish(exchange, "order.created", m); err != nil {
			return 0, err
		}
	}
	err = wait()
	for range s.pipelines {
		err = errors.Join(err, <-consumed)
	}
	return time.Since(began), err
}

// fill puts the events into the queue of the loop.
func fill(ctx context.Context, s setting) error {
	if _, err := declare(ctx, s, condition); err != nil {
		return err
	}
	conn, ch, err := direct(s.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	publish, wait, err := confirming(ch)
	if err != nil {
		return err
	}
	for i := range s.events {
		m := amqp091.Publishing{DeliveryMode: amqp091.Persistent, MessageId: fmt.Sprint(i), ContentType: "application/json", Body: body}
		if err := publish("", match, m); err != nil {
			return err
		}
	}
	return wait()
}

// loopByHand is contender c: it takes events from a queue, publishes each once for all pipelines, and acknowledges after the confirm.
func loopByHand(ctx context.Context, s setting) (time.Duration, error) {
	if err := fill(ctx, s); err != nil {
		return 0, err
	}
	conn, in, err := direct(s.url)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	outConn, out, err := direct(s.url)
	if err != nil {
		return 0, err
	}
	defer outConn.Close()
	if err := errors.Join(in.Qos(512, 0, false), out.Confirm(false)); err != nil {
		return 0, err
	}
	confirms := out.NotifyPublish(make(chan amqp091.Confirmation, window))
	began := time.Now()
	deliveries, err := in.Consume(match, "bench", false, false, false, false, nil)
	if err != nil {
		return 0, err
	}
	finished := make(chan error, 1)
	go func() { // tags of deliveries and of confirms run alike
		for c := range confirms {
			if !c.Ack {
				finished <- errors.New("a message was refused")
				return
			}
			last := c.DeliveryTag == uint64(s.events)
			if c.DeliveryTag%ackEvery == 0 || last {
				if err := in.Ack(c.DeliveryTag, true); err != nil || last {
					finished <- err
					return
				}
			}
		}
	}()
	bcc := []any{}
	for i := 1; i < s.pipelines; i++ {
		bcc = append(bcc, queueName(i))
	}
	for seen := 0; seen < s.events; seen++ {
		d := <-deliveries
		m := amqp091.Publishing{DeliveryMode: amqp091.Persistent, MessageId: d.MessageId, ContentType: d.ContentType, Body: d.Body}
		if len(bcc) > 0 {
			m.Headers = amqp091.Table{"BCC": bcc}
		}
		if err := out.Publish(matched, queueName(0), true, false, m); err != nil {
			return 0, err
		}
	}
	err = <-finished
	took := time.Since(began)
	return took, errors.Join(err, copied(ctx, s))
}

// copied checks that each pipeline's queue has got all events: what goes nowhere is confirmed too. A queue may take a moment to count them.
func copied(ctx context.Context, s setting) error {
	conn, ch, err := direct(s.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for i := range s.pipelines {
		for {
			q, err := ch.QueueDeclarePassive(queueName(i), true, false, false, false, nil)
			if err != nil {
				return err
			}
			if q.Messages == s.events {
				break
			}
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("queue %q has %d of %d events", q.Name, q.Messages, s.events)
			}
		}
	}
	return nil
}
