package conformance

import (
	"context"
	"errors"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

func faultsOfDeclarations(t *testing.T, s *probe.Session) {
	q := s.Queue(amqp091.Table{"x-message-ttl": int32(2), "x-dead-letter-exchange": "dlx"})
	quorum := s.Queue(amqp091.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(5)})
	x := s.Exchange("topic", nil)
	with := func(name string, args amqp091.Table) func(ch *amqp091.Channel) error {
		return func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare(name, true, false, false, false, args)
			return err
		}
	}
	queue := func(name string, durable, autoDelete, exclusive bool, args amqp091.Table) func(ch *amqp091.Channel) error {
		return func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclare(name, durable, autoDelete, exclusive, false, args)
			return err
		}
	}
	exchange := func(name, kind string, args amqp091.Table) func(ch *amqp091.Channel) error {
		return func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclare(name, kind, true, false, false, false, args)
		}
	}
	type table = amqp091.Table
	for _, c := range []struct {
		do   func(ch *amqp091.Channel) error
		want string
	}{
		{with(q, table{"x-message-ttl": int32(1), "x-dead-letter-exchange": "dlx"}), "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'Q' in vhost '/': received '1' but current is '2'"},
		{with(q, nil), "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'Q' in vhost '/': received none but current is the value '2' of type 'signedint'"},
		{with(q, table{"x-message-ttl": int64(2)}), "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'Q' in vhost '/': received none but current is the value 'dlx' of type 'longstr'"},
		{with(q, table{"x-message-ttl": int64(2), "x-dead-letter-exchange": "dlx", "x-max-length": int32(1)}), "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'Q' in vhost '/': received the value '1' of type 'signedint' but current is none"},
		{with(q, table{"x-queue-type": "quorum", "x-message-ttl": int32(2), "x-dead-letter-exchange": "dlx"}), "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'Q' in vhost '/': received 'quorum' but current is 'classic'"},
		{with(quorum, nil), "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'Q2' in vhost '/': received 'classic' but current is 'quorum'"},
		{with(quorum, table{"x-queue-type": "quorum", "x-delivery-limit": int32(6)}), "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'Q2' in vhost '/': received '6' but current is '5'"},
		{queue(q, false, false, false, nil), "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'Q' in vhost '/': received 'false' but current is 'true'"},
		{queue(q, true, true, false, nil), "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'Q' in vhost '/': received 'true' but current is 'false'"},
		{queue(q, true, false, true, nil), "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'Q' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration."},
		{with("new", table{"x-message-ttl": int32(-1)}), "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'new' in vhost '/': {value_negative,-1}"},
		{with("new", table{"x-expires": int32(0)}), "PRECONDITION_FAILED - invalid arg 'x-expires' for queue 'new' in vhost '/': {value_zero,0}"},
		{with("new", table{"x-message-ttl": "1"}), `PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'new' in vhost '/': "expected integer, got longstr"`},
		{with("new", table{"x-message-ttl": int64(315360000001)}), "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'new' in vhost '/': {value_too_large,315360000001}"},
		{with("new", table{"x-dead-letter-exchange": true}), "PRECONDITION_FAILED - invalid type 'bool' for arg 'x-dead-letter-exchange' in queue 'new' in vhost '/'"},
		{with("new", table{"x-dead-letter-strategy": "x"}), "PRECONDITION_FAILED - invalid arg 'x-dead-letter-strategy' for queue 'new' in vhost '/' of queue type rabbit_classic_queue"},
		{with("new", table{"x-queue-type": ""}), `PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'new' in vhost '/': "unsupported queue type ''"`},
		{with("new", table{"x-overflow": "spill"}), "PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'new' in vhost '/': invalid_overflow"},
		{with("new", table{"x-queue-type": "heap"}), `PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'new' in vhost '/': "unsupported queue type 'heap'"`},
		{with("new", table{"x-dead-letter-routing-key": "k"}), "PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'new' in vhost '/': routing_key_but_no_dlx_defined"},
		{with("new", table{"x-delivery-limit": int32(1)}), "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'new' in vhost '/' of queue type rabbit_classic_queue"},
		{with("new", table{"x-queue-type": "quorum", "x-max-priority": int32(1)}), "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'new' in vhost '/' of queue type rabbit_quorum_queue"},
		{queue("new", false, false, false, table{"x-queue-type": "quorum"}), "PRECONDITION_FAILED - invalid property 'non-durable' for queue 'new' in vhost '/'"},
		{queue("new", true, false, true, table{"x-queue-type": "quorum"}), "PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue 'new' in vhost '/'"},
		{with("amq.mine", nil), "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"},
		{func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclarePassive("q", true, false, false, false, nil)
			return err
		}, "NOT_FOUND - no queue 'q' in vhost '/'"},
		{exchange(x, "direct", nil), "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'X' in vhost '/': received 'direct' but current is 'topic'"},
		{exchange(x, "topic", table{"alternate-exchange": "y"}), "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'X' in vhost '/': received the value 'y' of type 'longstr' but current is none"},
		{exchange("new", "zork", nil), "PRECONDITION_FAILED - unknown exchange type 'zork'"},
		{exchange("amq.mine", "topic", nil), "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'"},
		{func(ch *amqp091.Channel) error {
			return ch.ExchangeDeclarePassive("x", "topic", true, false, false, false, nil)
		}, "NOT_FOUND - no exchange 'x' in vhost '/'"},
		{func(ch *amqp091.Channel) error { return ch.ExchangeDelete("amq.topic", false, false) }, "ACCESS_REFUSED - deletion of system exchange 'amq.topic' in vhost '/' not allowed"},
		{func(ch *amqp091.Channel) error { return ch.ExchangeDelete("", false, false) }, "ACCESS_REFUSED - operation not permitted on the default exchange"},
		{func(ch *amqp091.Channel) error { return ch.QueueBind(q, "k", "", false, nil) }, "ACCESS_REFUSED - operation not permitted on the default exchange"},
		{func(ch *amqp091.Channel) error { return ch.QueueBind(q, "k", "x", false, nil) }, "NOT_FOUND - no exchange 'x' in vhost '/'"},
		{func(ch *amqp091.Channel) error { return ch.QueueBind("q", "k", x, false, nil) }, "NOT_FOUND - no queue 'q' in vhost '/'"},
		{func(ch *amqp091.Channel) error { return ch.ExchangeBind("x", "k", x, false, nil) }, "NOT_FOUND - no exchange 'x' in vhost '/'"},
		{func(ch *amqp091.Channel) error {
			return ch.QueueBind(q, "k", "amq.headers", false, table{"x-match": "zork"})
		}, `PRECONDITION_FAILED - Invalid x-match field value <<"zork">>; expected all, any, all-with-x, or any-with-x`},
	} {
		text, alive := s.Fault(c.do, quorum, "Q2", q, "Q", x, "X")
		probe.Equal(t, "text", text, c.want)
		probe.Equal(t, "alive after "+c.want, alive, true)
	}
}

func faultsOfUse(t *testing.T, s *probe.Session) {
	q, quorum, x := s.Queue(nil), s.Queue(amqp091.Table{"x-queue-type": "quorum"}), s.Exchange("topic", nil)
	s.Bind(q, "k", x, nil)
	s.Consume(s.Channel(), q, nil)
	full := s.Queue(nil)
	s.Send(full, "x")
	internal := s.Name()
	if err := s.Ch.ExchangeDeclare(internal, "topic", true, false, true, false, nil); err != nil {
		t.Fatal(err)
	}
	publish := func(exchange string, m amqp091.Publishing) func(ch *amqp091.Channel) error {
		return func(ch *amqp091.Channel) error {
			return ch.PublishWithContext(context.Background(), exchange, q, false, false, m)
		}
	}
	for _, c := range []struct {
		do    func(ch *amqp091.Channel) error
		alive bool
		want  string
	}{
		{func(ch *amqp091.Channel) error { return ch.Ack(7, false) }, true, "PRECONDITION_FAILED - unknown delivery tag 7"},
		{func(ch *amqp091.Channel) error { return ch.Ack(7, true) }, true, "PRECONDITION_FAILED - unknown delivery tag 7"},
		{func(ch *amqp091.Channel) error { return ch.Reject(1, true) }, true, "PRECONDITION_FAILED - unknown delivery tag 1"},
		{func(ch *amqp091.Channel) error {
			d, _, err := ch.Get(full, false)
			return errors.Join(err, d.Ack(false), d.Ack(false), s.Ch.Publish("", full, false, false, amqp091.Publishing{}))
		}, true, "PRECONDITION_FAILED - unknown delivery tag 1"},
		{func(ch *amqp091.Channel) error {
			_, err := ch.Consume("q", "", false, false, false, false, nil)
			return err
		}, true, "NOT_FOUND - no queue 'q' in vhost '/'"},
		{func(ch *amqp091.Channel) error { _, _, err := ch.Get("q", false); return err }, true, "NOT_FOUND - no queue 'q' in vhost '/'"},
		{func(ch *amqp091.Channel) error { _, err := ch.QueueDelete(q, true, false, false); return err }, true, "PRECONDITION_FAILED - queue 'Q' in vhost '/' in use"},
		{func(ch *amqp091.Channel) error { _, err := ch.QueueDelete(full, false, true, false); return err }, true, "PRECONDITION_FAILED - queue 'FULL' in vhost '/' not empty"},
		{func(ch *amqp091.Channel) error { return ch.ExchangeDelete(x, true, false) }, true, "PRECONDITION_FAILED - exchange 'X' in vhost '/' in use"},
		{publish("x", amqp091.Publishing{}), true, "NOT_FOUND - no exchange 'x' in vhost '/'"},
		{publish(internal, amqp091.Publishing{}), true, "ACCESS_REFUSED - cannot publish to internal exchange 'INTERNAL' in vhost '/'"},
		{publish("", amqp091.Publishing{Expiration: "10s"}), true, `PRECONDITION_FAILED - invalid expiration '10s': {leftover_string,"s"}`},
		{publish("", amqp091.Publishing{Expiration: "-1"}), true, "PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}"},
		{publish("", amqp091.Publishing{Expiration: "315360000001"}), true, "PRECONDITION_FAILED - invalid expiration '315360000001': {value_too_large,315360000001}"},
		{publish("", amqp091.Publishing{Expiration: "soon"}), true, "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"},
		{publish("", amqp091.Publishing{UserId: "bob"}), true, "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was 'guest'"},
		{publish("", amqp091.Publishing{Headers: amqp091.Table{"CC": "k"}}), true, `PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}`},
		{publish("", amqp091.Publishing{Body: make([]byte, 16<<20+1)}), true, "PRECONDITION_FAILED - message size 16777217 is larger than configured max size 16777216"},
		{func(ch *amqp091.Channel) error { return ch.Publish("", q, false, true, amqp091.Publishing{}) }, false, "NOT_IMPLEMENTED - immediate=true"},
		{func(ch *amqp091.Channel) error { return ch.Qos(1, 10, false) }, false, "NOT_IMPLEMENTED - prefetch_size!=0 (10)"},
		//lint:ignore SA1019 deprecated or not, brokers have it
		{func(ch *amqp091.Channel) error { return ch.Recover(false) }, false, "NOT_IMPLEMENTED - requeue=false"},
		{func(ch *amqp091.Channel) error { return ch.Flow(false) }, false, "NOT_IMPLEMENTED - active=false"},
		{func(ch *amqp091.Channel) error {
			qos(t, ch, 1, true)
			_, err := ch.Consume(quorum, "", false, false, false, false, nil)
			return err
		}, false, "NOT_IMPLEMENTED - queue 'QUORUM' in vhost '/' does not support global qos"},
	} {
		text, alive := s.Fault(c.do, q, "Q", quorum, "QUORUM", x, "X", full, "FULL", internal, "INTERNAL")
		probe.Equal(t, "text", text, c.want)
		probe.Equal(t, "alive after "+c.want, alive, c.alive)
	}
}
