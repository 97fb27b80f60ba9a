package embedded_test

import (
	"io"
	"net"
	"net/url"
	"strings"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

func TestStart(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options embedded.Options
		fault   string
	}{
		{"nothing said", embedded.Options{}, ""},
		{"localhost", embedded.Options{Addr: "localhost:0"}, ""},
		{"all interfaces, no password", embedded.Options{Addr: ":0"}, "can be reached from other machines"},
		{"all interfaces, no password but a user", embedded.Options{Addr: "0.0.0.0:0", User: "u"}, "can be reached from other machines"},
		{"all interfaces", embedded.Options{Addr: "0.0.0.0:0", User: "u", Password: "p"}, ""},
		{"no address", embedded.Options{Addr: "nonsense"}, "nonsense"},
	} {
		b, err := embedded.Start(c.options)
		if err == nil {
			if err := b.Close(); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestURLIsWhatClientsDial(t *testing.T) {
	t.Parallel()
	b, err := embedded.Start(embedded.Options{User: "me@home", Password: "p/w:d"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	probe.Dial(t, b.URL())
	u, err := url.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	probe.Equal(t, "address", u.Host, b.Addr())
	plain := probe.New(t, amqptest.Broker(t).URL())
	probe.Equal(t, "the default", plain.URL, "amqp://guest:guest@"+plain.Conn.RemoteAddr().String()+"/")
}

func TestOtherProtocolsAreTurnedAway(t *testing.T) {
	t.Parallel()
	s := probe.New(t, amqptest.Broker(t).URL())
	for _, hello := range []string{"GET / HT", "AMQP\x00\x01\x00\x00"} {
		conn, err := net.Dial("tcp", s.Conn.RemoteAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, hello); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn)
		if err != nil {
			t.Fatal(err)
		}
		probe.Equal(t, "answer", string(answer), wire.ProtocolHeader)
	}
}

func TestCloseEndsAll(t *testing.T) {
	t.Parallel()
	b, err := embedded.Start(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn := probe.Dial(t, b.URL())
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	told := <-closed
	probe.Equal(t, "told", []any{told.Code, told.Reason}, []any{320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"})
	if conn, err := amqp091.Dial(b.URL()); err == nil {
		conn.Close()
		t.Error("it still takes connections on")
	}
}

func TestBlock(t *testing.T) {
	t.Parallel()
	b := amqptest.Broker(t)
	s := probe.New(t, b.URL())
	told := s.Conn.NotifyBlocked(make(chan amqp091.Blocking, 2))
	q := s.Queue(nil)
	b.Block("low on memory")
	confirm, err := s.Ch.PublishWithDeferredConfirm("", q, false, false, amqp091.Publishing{})
	if err != nil {
		t.Fatal(err)
	}
	probe.Equal(t, "told", <-told, amqp091.Blocking{Active: true, Reason: "low on memory"})
	select {
	case <-confirm.Done():
		t.Error("confirmed while blocked")
	default:
	}
	other := probe.New(t, b.URL())
	probe.Equal(t, "in the queue meanwhile", other.Depth(q), 0)
	b.Unblock()
	probe.Equal(t, "told", <-told, amqp091.Blocking{})
	probe.Equal(t, "taken", confirm.Wait(), true)
}

func TestDropConnections(t *testing.T) {
	t.Parallel()
	b := amqptest.Broker(t)
	closed := probe.Dial(t, b.URL()).NotifyClose(make(chan *amqp091.Error, 1))
	probe.Equal(t, "cut off", b.DropConnections(), 1)
	<-closed
	probe.Dial(t, b.URL())
}
