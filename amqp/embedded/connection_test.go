package embedded_test

import (
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
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
	dial(t, b.URL())
	u, err := url.Parse(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "address", u.Host, b.Addr())
	plain := newSession(t, amqptest.Broker(t).URL())
	equal(t, "the default", plain.url, "amqp://guest:guest@"+plain.conn.RemoteAddr().String()+"/")
}

func TestCapabilities(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		capabilities, _ := s.conn.Properties["capabilities"].(amqp091.Table)
		for _, name := range []string{
			"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
			"authentication_failure_close", "per_consumer_qos", "consumer_priorities",
		} {
			equal(t, name, capabilities[name], any(true))
		}
	})
}

func TestTuning(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		equal(t, "limits", []any{s.conn.Config.ChannelMax, s.conn.Config.FrameSize}, []any{uint16(2047), 131072})
		for _, tune := range [][]byte{limits(2048, 131072, 0), limits(0, 131072, 0), limits(2047, 131073, 0), limits(2047, 0, 0), limits(2047, 4095, 0)} {
			r := connectRaw(t, s.url, wire.ConnectionTuneOK, nil)
			r.method(0, wire.ConnectionTuneOK, tune)
			equal(t, "answer to other limits", r.closed(), "cut off")
		}
		// The frames of a small limit hold bodies of any size.
		small := newSession(t, s.url)
		small.conn.Close()
		small.conn = dialWith(t, s.url, amqp091.Config{FrameSize: 4096})
		small.ch = small.channel()
		if err := small.ch.Confirm(false); err != nil {
			t.Fatal(err)
		}
		q := s.queue(nil)
		small.publish("", q, amqp091.Publishing{Body: make([]byte, 100_000)})
		equal(t, "came", len(small.take(q).Body), 100_000)
	})
}

func TestLogin(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		for _, c := range []struct {
			user *url.Userinfo
			path string
			want string
		}{
			{url.UserPassword("guest", "wrong"), "/", `Exception (403) Reason: "username or password not allowed"`},
			{url.UserPassword("nobody", "guest"), "/", `Exception (403) Reason: "username or password not allowed"`},
			{url.UserPassword("guest", "guest"), "/nope", `Exception (530) Reason: "NOT_ALLOWED - vhost nope not found"`},
		} {
			u, err := url.Parse(s.url)
			if err != nil {
				t.Fatal(err)
			}
			u.User, u.Path = c.user, c.path
			conn, err := amqp091.Dial(u.String())
			if err == nil {
				conn.Close()
				t.Errorf("%s was let in", u.Redacted())
				continue
			}
			if !strings.Contains(err.Error(), strings.TrimPrefix(c.want, "Exception ")) && err.Error() != c.want {
				t.Errorf("%s: %v", u.Redacted(), err)
			}
		}
	})
}

func TestFaultsOfProtocol(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		frame := wire.AppendFrame
		for _, c := range []struct {
			name string
			send [][]byte
			want string
		}{
			{"header without publish", [][]byte{frame(nil, wire.FrameHeader, 1, contentHeader(1))}, "connection 505 UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
			{"body without publish", [][]byte{frame(nil, wire.FrameBody, 1, []byte("x"))}, "connection 505 UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
			{"method for header", [][]byte{method(1, wire.BasicPublish, publishTo(q)), method(1, wire.ConfirmSelect, []byte{0})},
				"connection 505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"},
			{"body for header", [][]byte{method(1, wire.BasicPublish, publishTo(q)), frame(nil, wire.FrameBody, 1, []byte("x"))},
				"connection 505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"},
			{"method for body", [][]byte{method(1, wire.BasicPublish, publishTo(q)), frame(nil, wire.FrameHeader, 1, contentHeader(1)), method(1, wire.ConfirmSelect, []byte{0})},
				"connection 505 UNEXPECTED_FRAME - expected content body, got non content body frame instead"},
			{"channel not open", [][]byte{method(2, wire.ConfirmSelect, []byte{0})}, "connection 504 CHANNEL_ERROR - expected 'channel.open'"},
			{"opened twice", [][]byte{method(1, wire.ChannelOpen, []byte{0})}, "connection 504 CHANNEL_ERROR - second 'channel.open' seen"},
			{"more channels than agreed", [][]byte{method(65535, wire.ChannelOpen, []byte{0}), method(3, wire.ChannelOpen, []byte{0})}, "connection 530 NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)"},
			{"method of the handshake", [][]byte{method(0, wire.ConnectionTuneOK, limits(0, 0, 0))}, "connection 504 CHANNEL_ERROR - unexpected method in connection state running"},
			{"no frame end", [][]byte{append(frame(nil, wire.FrameHeartbeat, 0, nil)[:7], 0)}, "connection 501 FRAME_ERROR"},
			{"longer than agreed", [][]byte{{1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0}}, "connection 501 FRAME_ERROR"},
			{"method of a broker", [][]byte{method(1, wire.QueuePurgeOK, []byte{0, 0, 0, 0})}, "connection 503 COMMAND_INVALID - unimplemented method"},
		} {
			r := connectRaw(t, s.url, 0, limits(2, 131072, 0))
			for _, b := range c.send {
				r.write(b)
			}
			if c.name == "more channels than agreed" {
				r.expect(wire.ChannelOpenOK) // of the second
			}
			if got := r.closed(); !strings.HasPrefix(got, c.want) {
				t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
			}
		}
	})
}

func TestOtherProtocolsAreTurnedAway(t *testing.T) {
	t.Parallel()
	s := embeddedSession(t)
	for _, hello := range []string{"GET / HT", "AMQP\x00\x01\x00\x00"} {
		conn, err := net.Dial("tcp", s.conn.RemoteAddr().String())
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
		equal(t, "answer", string(answer), wire.ProtocolHeader)
	}
}

// A client that asked for heartbeats gets them, and counts as gone when it sends none.
func TestHeartbeats(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		quiet := connectRaw(t, s.url, 0, limits(2047, 131072, 1))
		lively := connectRaw(t, s.url, 0, limits(2047, 131072, 1))
		began := time.Now()
		beats := 0
		for {
			var f wire.Frame
			if err := quiet.in.Read(&f); err != nil {
				break
			}
			if f.Type == wire.FrameHeartbeat {
				beats++
				lively.write(wire.AppendFrame(nil, wire.FrameHeartbeat, 0, nil))
			}
		}
		if took := time.Since(began); beats < 2 || took < 1500*time.Millisecond || took > 8*time.Second {
			t.Errorf("cut off after %v and %d heartbeats", took, beats)
		}
		lively.method(1, wire.ConfirmSelect, []byte{0})
		lively.expect(wire.ConfirmSelectOK)
	})
}

// However a message is cut into frames, and frames into packets, it is the same message.
func TestContentOfAnySplit(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		r := connectRaw(t, s.url, 0, limits(2047, 131072, 0))
		b := method(1, wire.ConfirmSelect, []byte{1})
		b = append(b, method(1, wire.BasicPublish, publishTo(q))...)
		b = wire.AppendFrame(b, wire.FrameHeader, 1, contentHeader(6))
		for _, part := range []string{"", "a", "bcd", "", "ef"} {
			b = wire.AppendFrame(b, wire.FrameBody, 1, []byte(part))
		}
		for _, octet := range b {
			r.write([]byte{octet})
		}
		d := r.expect(wire.BasicAck)
		equal(t, "confirmed", d.LongLong(), uint64(1))
		equal(t, "body", string(s.take(q).Body), "abcdef")
	})
}

// The frames of two channels' messages may come in turns.
func TestContentOfTwoChannelsAtOnce(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		r := connectRaw(t, s.url, 0, limits(2047, 131072, 0))
		r.method(2, wire.ChannelOpen, []byte{0})
		r.expect(wire.ChannelOpenOK)
		for _, part := range []func(channel uint16) []byte{
			func(c uint16) []byte { return method(c, wire.BasicPublish, publishTo(q)) },
			func(c uint16) []byte { return wire.AppendFrame(nil, wire.FrameHeader, c, contentHeader(2)) },
			func(c uint16) []byte { return wire.AppendFrame(nil, wire.FrameBody, c, []byte{'a' + byte(c)}) },
			func(c uint16) []byte { return wire.AppendFrame(nil, wire.FrameBody, c, []byte{'A' + byte(c)}) },
		} {
			r.write(part(1))
			r.write(part(2))
		}
		bodies := []string{string(s.take(q).Body), string(s.take(q).Body)}
		slices.Sort(bodies) // between channels there is no order
		equal(t, "bodies", bodies, []string{"bB", "cC"})
	})
}

// Half a frame behind a message does not hold its confirm back.
func TestConfirmsDoNotWaitForMore(t *testing.T) {
	onEach(t, func(t *testing.T, s *session) {
		q := s.queue(nil)
		r := connectRaw(t, s.url, 0, limits(2047, 131072, 0))
		b := method(1, wire.ConfirmSelect, []byte{1})
		b = append(b, method(1, wire.BasicPublish, publishTo(q))...)
		b = wire.AppendFrame(b, wire.FrameHeader, 1, contentHeader(0))
		r.write(append(b, method(1, wire.BasicPublish, publishTo(q))[:9]...))
		r.expect(wire.BasicAck)
	})
}

func TestCloseEndsAll(t *testing.T) {
	t.Parallel()
	b, err := embedded.Start(embedded.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, b.URL())
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	told := <-closed
	equal(t, "told", []any{told.Code, told.Reason}, []any{320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"})
	if conn, err := amqp091.Dial(b.URL()); err == nil {
		conn.Close()
		t.Error("it still takes connections on")
	}
}

func TestBlock(t *testing.T) {
	t.Parallel()
	b := amqptest.Broker(t)
	s := newSession(t, b.URL())
	told := s.conn.NotifyBlocked(make(chan amqp091.Blocking, 2))
	q := s.queue(nil)
	b.Block("low on memory")
	confirm, err := s.ch.PublishWithDeferredConfirm("", q, false, false, amqp091.Publishing{})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "told", <-told, amqp091.Blocking{Active: true, Reason: "low on memory"})
	select {
	case <-confirm.Done():
		t.Error("confirmed while blocked")
	default:
	}
	other := newSession(t, b.URL())
	equal(t, "in the queue meanwhile", other.depth(q), 0)
	b.Unblock()
	equal(t, "told", <-told, amqp091.Blocking{})
	equal(t, "taken", confirm.Wait(), true)
}

func TestDropConnections(t *testing.T) {
	t.Parallel()
	b := amqptest.Broker(t)
	closed := dial(t, b.URL()).NotifyClose(make(chan *amqp091.Error, 1))
	equal(t, "cut off", b.DropConnections(), 1)
	<-closed
	dial(t, b.URL())
}
