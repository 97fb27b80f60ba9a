package embedded_test

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

// raw is a client that says what it wants, frame by frame.
type raw struct {
	t    testing.TB
	conn net.Conn
	in   *wire.Reader
}

// connectRaw is a raw client whose connection is open, with channel 1, where stop does not end the handshake before a step.
func connectRaw(t testing.TB, address string, stop wire.Method, tune []byte) *raw {
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
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	r := &raw{t: t, conn: conn, in: wire.NewReader(conn)}
	r.in.SetMax(131072)
	r.write([]byte(wire.ProtocolHeader))
	r.expect(wire.ConnectionStart)
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
		r.method(s.channel, s.method, s.arguments)
		if s.answer != 0 {
			r.expect(s.answer)
		}
	}
	return r
}

// limits are the arguments of tune-ok.
func limits(channels uint16, frame uint32, heartbeat uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, channels)
	b = binary.BigEndian.AppendUint32(b, frame)
	return binary.BigEndian.AppendUint16(b, heartbeat)
}

func (r *raw) write(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

func method(channel uint16, m wire.Method, arguments []byte) []byte {
	b, mark := wire.BeginMethod(nil, channel, m)
	return wire.EndMethod(append(b, arguments...), mark)
}

func (r *raw) method(channel uint16, m wire.Method, arguments []byte) {
	r.t.Helper()
	r.write(method(channel, m, arguments))
}

// next is the next method, with its arguments; heartbeats are skipped.
func (r *raw) next() (wire.Method, *wire.Decoder, error) {
	for {
		var f wire.Frame
		if err := r.in.Read(&f); err != nil {
			return 0, nil, err
		}
		if f.Type == wire.FrameHeartbeat {
			continue
		}
		d := wire.NewDecoder(append([]byte{}, f.Payload...))
		return wire.Method(d.Long()), d, nil
	}
}

func (r *raw) expect(m wire.Method) *wire.Decoder {
	r.t.Helper()
	got, d, err := r.next()
	if err != nil {
		r.t.Fatal(err)
	}
	if got != m {
		r.t.Fatalf("got method %d of class %d with %q", got.Number(), got.Class(), d.Rest())
	}
	return d
}

// closed is what the broker says when it closes the connection or the channel.
func (r *raw) closed() string {
	r.t.Helper()
	m, d, err := r.next()
	switch {
	case err != nil:
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			r.t.Fatal("nothing was said")
		}
		return "cut off"
	case m == wire.ConnectionClose:
		return fmt.Sprintf("connection %d %s", d.Short(), d.ShortString())
	case m == wire.ChannelClose:
		return fmt.Sprintf("channel %d %s", d.Short(), d.ShortString())
	}
	r.t.Fatalf("got method %d of class %d", m.Number(), m.Class())
	return ""
}

// publishTo is basic.publish to the default exchange.
func publishTo(queue string) []byte {
	b := wire.AppendShortString([]byte{0, 0}, "")
	return append(wire.AppendShortString(b, queue), 0)
}

// contentHeader is a content header without properties.
func contentHeader(size int) []byte {
	var p wire.Properties
	return p.AppendHeader(nil, size)
}
