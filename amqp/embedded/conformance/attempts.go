package conformance

import (
	"errors"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// attempts run in this order, each on a connection of its own.
var attempts = []attempt{
	{"set up", setUp},
	{"other ttl", queue("suite1", "d", table("x-message-ttl", 2000))},
	{"no ttl", queue("suite1", "d", nil)},
	{"ttl where there is none", queue("suite3", "d", table("x-message-ttl", 2000))},
	{"dead-letter exchange", queue("suite3", "d", table("x-dead-letter-exchange", "a"))},
	{"not durable", queue("suite3", "", nil)},
	{"auto-delete", queue("suite3", "da", nil)},
	{"exclusive", queue("suite3", "de", nil)},
	{"classic for quorum", queue("suite2", "d", nil)},
	{"quorum for classic", queue("suite3", "d", table("x-queue-type", "quorum"))},
	{"other delivery limit", queue("suite2", "d", table("x-queue-type", "quorum", "x-delivery-limit", 6))},
	{"no delivery limit", queue("suite2", "d", table("x-queue-type", "quorum"))},
	{"same again", queue("suite2", "d", table("x-queue-type", "quorum", "x-delivery-limit", int64(5)))},
	{"unknown argument", queue("suite3", "d", table("x-nonsense", 1))},
	{"negative ttl", queue("suite4", "d", table("x-message-ttl", -1))},
	{"ttl that is a text", queue("suite4", "d", table("x-message-ttl", "a"))},
	{"negative length", queue("suite4", "d", table("x-max-length", -1))},
	{"unknown overflow", queue("suite4", "d", table("x-overflow", "x"))},
	{"unknown type", queue("suite4", "d", table("x-queue-type", "x"))},
	{"dead-letter key alone", queue("suite4", "d", table("x-dead-letter-routing-key", "x"))},
	{"quorum not durable", queue("suite4", "", table("x-queue-type", "quorum"))},
	{"quorum auto-delete", queue("suite4", "da", table("x-queue-type", "quorum"))},
	{"quorum exclusive", queue("suite4", "de", table("x-queue-type", "quorum"))},
	{"quorum with priorities", queue("suite4", "d", table("x-queue-type", "quorum", "x-max-priority", 3))},
	{"classic with delivery limit", queue("suite4", "d", table("x-delivery-limit", 3))},
	{"mode of a classic queue", queue("suite6", "d", table("x-queue-mode", "lazy", "x-queue-version", 2, "x-queue-master-locator", "x"))},
	{"mode that is no text", queue("suite4", "d", table("x-queue-mode", 1))},
	{"version that is a text", queue("suite4", "d", table("x-queue-version", "a"))},
	{"mode of a quorum queue", queue("suite4", "d", table("x-queue-type", "quorum", "x-queue-mode", "lazy"))},
	{"version of a quorum queue", queue("suite4", "d", table("x-queue-type", "quorum", "x-queue-version", 2))},
	{"size of a quorum", queue("suite7", "d", table("x-queue-type", "quorum", "x-quorum-initial-group-size", 1, "x-max-in-memory-length", 5))},
	{"size of a quorum as text", queue("suite4", "d", table("x-queue-type", "quorum", "x-quorum-initial-group-size", "a"))},
	{"length in memory, classic", queue("suite4", "d", table("x-max-in-memory-length", 5))},
	{"age of a classic queue", queue("suite4", "d", table("x-max-age", "1D"))},
	{"age of a quorum queue", queue("suite4", "d", table("x-queue-type", "quorum", "x-max-age", "1D"))},
	{"unknown leader locator", queue("suite4", "d", table("x-queue-leader-locator", "x"))},
	{"other mode", queue("suite6", "d", table("x-queue-leader-locator", "balanced"))},
	{"other leader locator", queue("suite3", "d", table("x-queue-leader-locator", "balanced"))},
	{"other size of a quorum", queue("suite7", "d", table("x-queue-type", "quorum", "x-quorum-initial-group-size", 3, "x-max-in-memory-length", 5))},
	{"other length in memory", queue("suite7", "d", table("x-queue-type", "quorum", "x-quorum-initial-group-size", 1))},
	{"other master locator", queue("suite6", "d", table("x-queue-mode", "lazy", "x-queue-version", 2))},
	{"priorities that are a text", queue("suite4", "d", table("x-max-priority", "a"))},
	{"strategy that is a number", queue("suite4", "d", table("x-queue-type", "quorum", "x-dead-letter-strategy", 1))},
	{"consumer timeout that is none", queue("suite6", "d", table("x-consumer-timeout", "soon", "x-queue-mode", "lazy", "x-queue-version", 2, "x-queue-master-locator", "x"))},
	{"reserved name", queue("amq.x", "d", nil)},
	{"passive queue", func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclarePassive("suitenone", true, false, false, false, nil)
		return err
	}},
	{"passive, other type", func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclarePassive("suite2", false, false, false, false, nil)
		return err
	}},
	{"exchange of another type", exchange("suitex", "direct", true, nil)},
	{"exchange not durable", exchange("suitex", "topic", false, nil)},
	{"exchange with alternate", exchange("suitex", "topic", true, table("alternate-exchange", "y"))},
	{"exchange of unknown type", exchange("suitey", "zork", true, nil)},
	{"exchange of reserved name", exchange("amq.suite", "topic", true, nil)},
	{"default exchange", exchange("", "topic", true, nil)},
	{"delete default exchange", func(ch *amqp091.Channel) error { return ch.ExchangeDelete("", false, false) }},
	{"delete amq.topic", func(ch *amqp091.Channel) error { return ch.ExchangeDelete("amq.topic", false, false) }},
	{"delete no exchange", func(ch *amqp091.Channel) error { return ch.ExchangeDelete("suitenone", false, false) }},
	{"passive exchange", func(ch *amqp091.Channel) error {
		return ch.ExchangeDeclarePassive("suitenone", "topic", true, false, false, false, nil)
	}},
	{"passive exchange, other type", func(ch *amqp091.Channel) error {
		return ch.ExchangeDeclarePassive("suitex", "direct", false, false, false, false, nil)
	}},
	{"bind to default exchange", func(ch *amqp091.Channel) error { return ch.QueueBind("suite3", "k", "", false, nil) }},
	{"bind no queue", func(ch *amqp091.Channel) error { return ch.QueueBind("suitenone", "k", "suitex", false, nil) }},
	{"bind no exchange", func(ch *amqp091.Channel) error { return ch.QueueBind("suite3", "k", "suitenone", false, nil) }},
	{"unbind what is not bound", func(ch *amqp091.Channel) error { return ch.QueueUnbind("suite3", "k", "suitex", nil) }},
	{"unbind no exchange", func(ch *amqp091.Channel) error { return ch.QueueUnbind("suite3", "k", "suitenone", nil) }},
	{"unknown x-match", func(ch *amqp091.Channel) error {
		return ch.QueueBind("suite3", "", "amq.headers", false, table("x-match", "zork"))
	}},
	{"delete no queue", func(ch *amqp091.Channel) error {
		_, err := ch.QueueDelete("suitenone", false, false, false)
		return err
	}},
	{"delete if empty", func(ch *amqp091.Channel) error {
		if err := ch.Publish("", "suite3", false, false, amqp091.Publishing{Body: []byte("x")}); err != nil {
			return err
		}
		_, err := ch.QueueDelete("suite3", false, true, false)
		return err
	}},
	{"delete if unused", func(ch *amqp091.Channel) error {
		if _, err := ch.Consume("suite3", "t", false, false, false, false, nil); err != nil {
			return err
		}
		_, err := ch.QueueDelete("suite3", true, false, false)
		return err
	}},
	{"delete exchange if unused", func(ch *amqp091.Channel) error {
		if err := ch.QueueBind("suite3", "k", "suitex", false, nil); err != nil {
			return err
		}
		return ch.ExchangeDelete("suitex", true, false)
	}},
	{"ack of an unknown tag", func(ch *amqp091.Channel) error { return ch.Ack(7, false) }},
	{"ack up to an unknown tag", func(ch *amqp091.Channel) error { return ch.Ack(7, true) }},
	{"ack of all", func(ch *amqp091.Channel) error { return ch.Ack(0, true) }},
	{"consume from no queue", func(ch *amqp091.Channel) error {
		_, err := ch.Consume("suitenone", "t", false, false, false, false, nil)
		return err
	}},
	{"consume beside an exclusive", func(ch *amqp091.Channel) error {
		if _, err := ch.Consume("suite3", "t", false, true, false, false, nil); err != nil {
			return err
		}
		_, err := ch.Consume("suite3", "t2", false, false, false, false, nil)
		return err
	}},
	{"consumer tag twice", func(ch *amqp091.Channel) error {
		if _, err := ch.Consume("suite3", "t", false, false, false, true, nil); err != nil {
			return err
		}
		_, err := ch.Consume("suite3", "t", false, false, false, true, nil)
		return err
	}},
	{"global qos with quorum", func(ch *amqp091.Channel) error {
		if err := ch.Qos(1, 0, true); err != nil {
			return err
		}
		_, err := ch.Consume("suite2", "t", false, false, false, false, nil)
		return err
	}},
	{"prefetch size", func(ch *amqp091.Channel) error { return ch.Qos(1, 10, false) }},
	{"publish to no exchange", publish("suitenone", amqp091.Publishing{})},
	{"publish immediate", func(ch *amqp091.Channel) error {
		return ch.Publish("suitex", "", false, true, amqp091.Publishing{})
	}},
	{"expiration with a unit", publish("suitex", amqp091.Publishing{Expiration: "10s"})},
	{"expiration without a number", publish("suitex", amqp091.Publishing{Expiration: "soon"})},
	{"negative expiration", publish("suitex", amqp091.Publishing{Expiration: "-1"})},
	{"another's user id", publish("suitex", amqp091.Publishing{UserId: "bob"})},
	{"CC that is no list", publish("suitex", amqp091.Publishing{Headers: table("CC", "x")})},
	{"BCC with a number", publish("suitex", amqp091.Publishing{Headers: table("BCC", []any{int32(1)})})},
	{"body over the limit", publish("suitex", amqp091.Publishing{Body: make([]byte, 17<<20)})},
	//lint:ignore SA1019 clients use it all the same
	{"recover with requeue", func(ch *amqp091.Channel) error { return ch.Recover(true) }},
	//lint:ignore SA1019 clients use it all the same
	{"recover without requeue", func(ch *amqp091.Channel) error { return ch.Recover(false) }},
	{"flow off", func(ch *amqp091.Channel) error { return ch.Flow(false) }},
	{"another's exclusive queue", func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclare("suite5", false, false, true, false, nil)
		return err
	}},
	{"and it is gone", func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclarePassive("suite5", false, false, false, false, nil)
		return err
	}},
	{"confirms after tx", func(ch *amqp091.Channel) error { return errors.Join(ch.Tx(), ch.Confirm(false)) }},
	{"tx after confirms", func(ch *amqp091.Channel) error { return errors.Join(ch.Confirm(false), ch.Tx()) }},
	{"tx twice", func(ch *amqp091.Channel) error { return errors.Join(ch.Tx(), ch.Tx()) }},
	{"commit without tx", func(ch *amqp091.Channel) error { return ch.TxCommit() }},
	{"rollback without tx", func(ch *amqp091.Channel) error { return ch.TxRollback() }},
	{"get where one is active", func(ch *amqp091.Channel) error {
		_, err := ch.QueueDeclare("suite8", true, false, false, false, table("x-queue-type", "quorum", "x-single-active-consumer", true))
		if err == nil {
			_, _, err = ch.Get("suite8", true)
		}
		return err
	}},
	{"priority that is a text", consume("suite3", table("x-priority", "a"))},
	{"offset in a classic queue", consume("suite3", table("x-stream-offset", "first"))},
	{"offset in a quorum queue", consume("suite2", table("x-stream-offset", "first"))},
	{"clean up", func(ch *amqp091.Channel) error {
		for _, name := range []string{"suite1", "suite2", "suite3", "suite6", "suite7", "suite8"} {
			if _, err := ch.QueueDelete(name, false, false, false); err != nil {
				return err
			}
		}
		return ch.ExchangeDelete("suitex", false, false)
	}},
}
