package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// Raw is a client that says what it wants, frame by frame.
type Raw struct {
	T    testing.TB
	Conn net.Conn
	In   *wire.Reader
}

// Connect is a raw client whose connection is open, with channel 1, where stop does not end the handshake before a step.
func Connect(t testing.TB, address string, stop wire.Method, tune []byte) *Raw {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(Patience)); err != nil {
		t.Fatal(err)
	}
	r := &Raw{T: t, Conn: conn, In: wire.NewReader(conn)}
	r.In.SetMax(131072)
	r.Write([]byte(wire.ProtocolHeader))
	r.Expect(wire.ConnectionStart)
	login := wire.AppendTable(nil, wire.Table{"capabilities": wire.Table{"authentication_failure_close": true, "consumer_cancel_notify": true}})
	login = wire.AppendShortString(login, "PLAIN")
	login = wire.AppendLongString(login, "\x00guest\x00guest")
	login = wire.AppendShortString(login, "en_US")
	steps := []struct {
		method    wire.Method
		arguments []byte
		answer    wire.Method
		channel   uint16
	}{
		{wire.ConnectionStartOK, login, wire.ConnectionTune, 0},
		{wire.ConnectionTuneOK, tune, 0, 0},
		{wire.ConnectionOpen, wire.AppendShortString(append(wire.AppendShortString(nil, "/"), 0), ""), wire.ConnectionOpenOK, 0},
		{wire.ChannelOpen, []byte{0}, wire.ChannelOpenOK, 1},
	}
	for _, s := range steps {
		if s.method == stop {
			break
		}
		r.Method(s.channel, s.method, s.arguments)
		if s.answer != 0 {
			r.Expect(s.answer)
		}
	}
	return r
}

// Limits are the arguments of tune-ok.
func Limits(channels uint16, frame uint32, heartbeat uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, channels)
	b = binary.BigEndian.AppendUint32(b, frame)
	return binary.BigEndian.AppendUint16(b, heartbeat)
}

// Write sends bytes.
func (r *Raw) Write(b []byte) {
	r.T.Helper()
	if _, err := r.Conn.Write(b); err != nil {
		r.T.Fatal(err)
	}
}

// Method is a method's frame.
func Method(channel uint16, m wire.Method, arguments []byte) []byte {
	b, mark := wire.BeginMethod(nil, channel, m)
	return wire.EndMethod(append(b, arguments...), mark)
}

// Method sends a method.
func (r *Raw) Method(channel uint16, m wire.Method, arguments []byte) {
	r.T.Helper()
	r.Write(Method(channel, m, arguments))
}

// Next is the next method, with its arguments; heartbeats are skipped.
func (r *Raw) Next() (wire.Method, *wire.Decoder, error) {
	for {
		var f wire.Frame
		if err := r.In.Read(&f); err != nil {
			return 0, nil, err
		}
		if f.Type == wire.FrameHeartbeat {
			continue
		}
		d := wire.NewDecoder(append([]byte{}, f.Payload...))
		return wire.Method(d.Long()), d, nil
	}
}

// Expect reads the next method, which has to be m.
func (r *Raw) Expect(m wire.Method) *wire.Decoder {
	r.T.Helper()
	got, d, err := r.Next()
	if err != nil {
		r.T.Fatal(err)
	}
	if got != m {
		r.T.Fatalf("got method %d of class %d with %q", got.Number(), got.Class(), d.Rest())
	}
	return d
}

// Closed is what the broker says when it closes the connection or the channel.
func (r *Raw) Closed() string {
	r.T.Helper()
	m, d, err := r.Next()
	switch {
	case err != nil:
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			r.T.Fatal("nothing was said")
		}
		return "cut off"
	case m == wire.ConnectionClose:
		return fmt.Sprintf("connection %d %s", d.Short(), d.ShortString())
	case m == wire.ChannelClose:
		return fmt.Sprintf("channel %d %s", d.Short(), d.ShortString())
	}
	r.T.Fatalf("got method %d of class %d", m.Number(), m.Class())
	return ""
}

// PublishTo is basic.publish to the default exchange.
func PublishTo(queue string) []byte {
	b := wire.AppendShortString([]byte{0, 0}, "")
	return append(wire.AppendShortString(b, queue), 0)
}

// ContentHeader is a content header without properties.
func ContentHeader(size int) []byte {
	var p wire.Properties
	return p.AppendHeader(nil, size)
}
