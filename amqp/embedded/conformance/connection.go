package conformance

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

func capabilitiesAreTold(t *testing.T, s *probe.Session) {
	capabilities, _ := s.Conn.Properties["capabilities"].(amqp091.Table)
	for _, name := range []string{
		"publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
		"authentication_failure_close", "per_consumer_qos", "consumer_priorities",
	} {
		probe.Equal(t, name, capabilities[name], any(true))
	}
}

func limitsAreAgreedOn(t *testing.T, s *probe.Session) {
	probe.Equal(t, "limits", []any{s.Conn.Config.ChannelMax, s.Conn.Config.FrameSize}, []any{uint16(2047), 131072})
	for _, tune := range [][]byte{probe.Limits(2048, 131072, 0), probe.Limits(0, 131072, 0), probe.Limits(2047, 131073, 0), probe.Limits(2047, 0, 0), probe.Limits(2047, 4095, 0)} {
		r := probe.Connect(t, s.URL, wire.ConnectionTuneOK, nil)
		r.Method(0, wire.ConnectionTuneOK, tune)
		probe.Equal(t, "answer to other limits", r.Closed(), "cut off")
	}
	// The frames of a small limit hold bodies of any size.
	small := probe.New(t, s.URL)
	small.Conn.Close()
	small.Conn = probe.DialWith(t, s.URL, amqp091.Config{FrameSize: 4096})
	small.Ch = small.Channel()
	if err := small.Ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	q := s.Queue(nil)
	small.Publish("", q, amqp091.Publishing{Body: make([]byte, 100_000)})
	probe.Equal(t, "came", len(small.Take(q).Body), 100_000)
}

func loginIsChecked(t *testing.T, s *probe.Session) {
	for _, c := range []struct {
		user *url.Userinfo
		path string
		want string
	}{
		{url.UserPassword("guest", "wrong"), "/", `Exception (403) Reason: "username or password not allowed"`},
		{url.UserPassword("nobody", "guest"), "/", `Exception (403) Reason: "username or password not allowed"`},
		{url.UserPassword("guest", "guest"), "/nope", `Exception (530) Reason: "NOT_ALLOWED - vhost nope not found"`},
	} {
		u, err := url.Parse(s.URL)
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
}

func faultsOfProtocol(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	frame := wire.AppendFrame
	for _, c := range []struct {
		name string
		send [][]byte
		want string
	}{
		{"header without publish", [][]byte{frame(nil, wire.FrameHeader, 1, probe.ContentHeader(1))}, "connection 505 UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
		{"body without publish", [][]byte{frame(nil, wire.FrameBody, 1, []byte("x"))}, "connection 505 UNEXPECTED_FRAME - expected method frame, got non method frame instead"},
		{"method for header", [][]byte{probe.Method(1, wire.BasicPublish, probe.PublishTo(q)), probe.Method(1, wire.ConfirmSelect, []byte{0})},
			"connection 505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"},
		{"body for header", [][]byte{probe.Method(1, wire.BasicPublish, probe.PublishTo(q)), frame(nil, wire.FrameBody, 1, []byte("x"))},
			"connection 505 UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"},
		{"method for body", [][]byte{probe.Method(1, wire.BasicPublish, probe.PublishTo(q)), frame(nil, wire.FrameHeader, 1, probe.ContentHeader(1)), probe.Method(1, wire.ConfirmSelect, []byte{0})},
			"connection 505 UNEXPECTED_FRAME - expected content body, got non content body frame instead"},
		{"channel not open", [][]byte{probe.Method(2, wire.ConfirmSelect, []byte{0})}, "connection 504 CHANNEL_ERROR - expected 'channel.open'"},
		{"opened twice", [][]byte{probe.Method(1, wire.ChannelOpen, []byte{0})}, "connection 504 CHANNEL_ERROR - second 'channel.open' seen"},
		{"more channels than agreed", [][]byte{probe.Method(65535, wire.ChannelOpen, []byte{0}), probe.Method(3, wire.ChannelOpen, []byte{0})}, "connection 530 NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)"},
		{"method of the handshake", [][]byte{probe.Method(0, wire.ConnectionTuneOK, probe.Limits(0, 0, 0))}, "connection 504 CHANNEL_ERROR - unexpected method in connection state running"},
		{"no frame end", [][]byte{append(frame(nil, wire.FrameHeartbeat, 0, nil)[:7], 0)}, "connection 501 FRAME_ERROR"},
		{"longer than agreed", [][]byte{{1, 0, 1, 0xff, 0xff, 0xff, 0xff, 0, 0}}, "connection 501 FRAME_ERROR"},
		{"method of a broker", [][]byte{probe.Method(1, wire.QueuePurgeOK, []byte{0, 0, 0, 0})}, "connection 503 COMMAND_INVALID - unimplemented method"},
	} {
		r := probe.Connect(t, s.URL, 0, probe.Limits(2, 131072, 0))
		for _, b := range c.send {
			r.Write(b)
		}
		if c.name == "more channels than agreed" {
			r.Expect(wire.ChannelOpenOK) // of the second
		}
		if got := r.Closed(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// A client that asked for heartbeats gets them, and counts as gone when it sends none.
func heartbeats(t *testing.T, s *probe.Session) {
	quiet := probe.Connect(t, s.URL, 0, probe.Limits(2047, 131072, 1))
	lively := probe.Connect(t, s.URL, 0, probe.Limits(2047, 131072, 1))
	began := time.Now()
	beats := 0
	for {
		var f wire.Frame
		if err := quiet.In.Read(&f); err != nil {
			break
		}
		if f.Type == wire.FrameHeartbeat {
			beats++
			lively.Write(wire.AppendFrame(nil, wire.FrameHeartbeat, 0, nil))
		}
	}
	if took := time.Since(began); beats < 2 || took < 1500*time.Millisecond || took > time.Minute {
		t.Errorf("cut off after %v and %d heartbeats", took, beats)
	}
	lively.Method(1, wire.ConfirmSelect, []byte{0})
	lively.Expect(wire.ConfirmSelectOK)
}

// However a message is cut into frames, and frames into packets, it is the same message.
func contentOfAnySplit(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	r := probe.Connect(t, s.URL, 0, probe.Limits(2047, 131072, 0))
	b := probe.Method(1, wire.ConfirmSelect, []byte{1})
	b = append(b, probe.Method(1, wire.BasicPublish, probe.PublishTo(q))...)
	b = wire.AppendFrame(b, wire.FrameHeader, 1, probe.ContentHeader(6))
	for _, part := range []string{"", "a", "bcd", "", "ef"} {
		b = wire.AppendFrame(b, wire.FrameBody, 1, []byte(part))
	}
	for _, octet := range b {
		r.Write([]byte{octet})
	}
	d := r.Expect(wire.BasicAck)
	probe.Equal(t, "confirmed", d.LongLong(), uint64(1))
	probe.Equal(t, "body", string(s.Take(q).Body), "abcdef")
}

// The frames of two channels' messages may come in turns.
func contentOfTwoChannelsAtOnce(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	r := probe.Connect(t, s.URL, 0, probe.Limits(2047, 131072, 0))
	r.Method(2, wire.ChannelOpen, []byte{0})
	r.Expect(wire.ChannelOpenOK)
	for _, part := range []func(channel uint16) []byte{
		func(c uint16) []byte { return probe.Method(c, wire.BasicPublish, probe.PublishTo(q)) },
		func(c uint16) []byte { return wire.AppendFrame(nil, wire.FrameHeader, c, probe.ContentHeader(2)) },
		func(c uint16) []byte { return wire.AppendFrame(nil, wire.FrameBody, c, []byte{'a' + byte(c)}) },
		func(c uint16) []byte { return wire.AppendFrame(nil, wire.FrameBody, c, []byte{'A' + byte(c)}) },
	} {
		r.Write(part(1))
		r.Write(part(2))
	}
	bodies := []string{string(s.Take(q).Body), string(s.Take(q).Body)}
	slices.Sort(bodies) // between channels there is no order
	probe.Equal(t, "bodies", bodies, []string{"bB", "cC"})
}

// Half a frame behind a message does not hold its confirm back.
func confirmsDoNotWaitForMore(t *testing.T, s *probe.Session) {
	q := s.Queue(nil)
	r := probe.Connect(t, s.URL, 0, probe.Limits(2047, 131072, 0))
	b := probe.Method(1, wire.ConfirmSelect, []byte{1})
	b = append(b, probe.Method(1, wire.BasicPublish, probe.PublishTo(q))...)
	b = wire.AppendFrame(b, wire.FrameHeader, 1, probe.ContentHeader(0))
	r.Write(append(b, probe.Method(1, wire.BasicPublish, probe.PublishTo(q))[:9]...))
	r.Expect(wire.BasicAck)
}
