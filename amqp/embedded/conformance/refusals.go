package conformance

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

//go:embed refusals.txt
var refusals string

// Refusals does what a broker refuses, and some of what it does not, and compares its answers with those of RabbitMQ 4.0.5, to the letter.
// Where update is not nil it is given the answers, for refusals.txt.
func Refusals(t *testing.T, url string, update func(answers string)) {
	var out bytes.Buffer
	for _, a := range attempts {
		fmt.Fprintf(&out, "%-28s %s\n", a.name, answer(t, url, a.do))
	}
	if update != nil {
		update(out.String())
		return
	}
	got, want := strings.Split(out.String(), "\n"), strings.Split(refusals, "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Errorf("line %d:\n got %s\nwant %s", i+1, at(got, i), at(want, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}

// answer is what the broker says to an attempt on a connection of its own: ok, or the code and text, and what was closed.
func answer(t *testing.T, url string, do func(*amqp091.Channel) error) string {
	conn := dial(t, url)
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	channelClosed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	connectionClosed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	_ = do(ch) // what it was told comes by way of the channels too
	// The channel obeys one after another: when it says that there is no such queue, it has found no fault with what came before.
	const none = "conformance.none"
	_, _ = ch.QueueDeclarePassive(none, false, false, false, false, nil)
	select {
	case e := <-connectionClosed:
		if e != nil {
			return fmt.Sprintf("connection %d %s", e.Code, e.Reason)
		}
	case e := <-channelClosed:
		switch {
		case e == nil:
		case !e.Recover: // the connection's end is the channel's too
			return fmt.Sprintf("connection %d %s", e.Code, e.Reason)
		case !strings.Contains(e.Reason, none):
			return fmt.Sprintf("channel %d %s", e.Code, e.Reason)
		}
	case <-time.After(probe.Patience):
		t.Fatal("no answer")
	}
	return "ok"
}

func dial(t testing.TB, url string) *amqp091.Connection {
	t.Helper()
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

type attempt struct {
	name string
	do   func(*amqp091.Channel) error
}

func table(pairs ...any) amqp091.Table {
	t := amqp091.Table{}
	for i := 0; i < len(pairs); i += 2 {
		t[pairs[i].(string)] = pairs[i+1]
	}
	return t
}

// queue declares one; flags holds d for durable, a for auto-delete and e for exclusive.
func queue(name, flags string, arguments amqp091.Table) func(*amqp091.Channel) error {
	return func(ch *amqp091.Channel) error {
		has := func(flag string) bool { return strings.Contains(flags, flag) }
		_, err := ch.QueueDeclare(name, has("d"), has("a"), has("e"), false, arguments)
		return err
	}
}

func consume(queue string, arguments amqp091.Table) func(*amqp091.Channel) error {
	return func(ch *amqp091.Channel) error {
		_, err := ch.Consume(queue, "t", false, false, false, false, arguments)
		return err
	}
}

func publish(exchange string, m amqp091.Publishing) func(*amqp091.Channel) error {
	return func(ch *amqp091.Channel) error { return ch.Publish(exchange, "", false, false, m) }
}

func exchange(name, kind string, durable bool, arguments amqp091.Table) func(*amqp091.Channel) error {
	return func(ch *amqp091.Channel) error {
		return ch.ExchangeDeclare(name, kind, durable, false, false, false, arguments)
	}
}

func setUp(ch *amqp091.Channel) error {
	for _, name := range []string{"suite1", "suite2", "suite3", "suite4", "suite5", "suite6", "suite7", "suite8"} {
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			return err
		}
	}
	for _, f := range []func(*amqp091.Channel) error{
		func(ch *amqp091.Channel) error { return ch.ExchangeDelete("suitex", false, false) },
		queue("suite1", "d", table("x-message-ttl", 1000)),
		queue("suite2", "d", table("x-queue-type", "quorum", "x-delivery-limit", 5)),
		queue("suite3", "d", nil),
		exchange("suitex", "topic", true, nil),
	} {
		if err := f(ch); err != nil {
			return err
		}
	}
	return nil
}
