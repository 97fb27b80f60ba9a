package embedded

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// script is frames that a client may send once its connection is open.
type script []byte

func (s script) method(channel uint16, m wire.Method, arguments ...[]byte) script {
	b, mark := wire.BeginMethod(slices.Clone(s), channel, m)
	for _, a := range arguments {
		b = append(b, a...)
	}
	return wire.EndMethod(b, mark)
}

func (s script) content(channel uint16, p wire.Properties, body string) script {
	b := wire.AppendFrame(slices.Clone(s), wire.FrameHeader, channel, p.AppendHeader(nil, len(body)))
	return wire.AppendFrame(b, wire.FrameBody, channel, []byte(body))
}

func short(texts ...string) []byte {
	var b []byte
	for _, s := range texts {
		b = wire.AppendShortString(b, s)
	}
	return b
}

// hello is the handshake as a client does it, up to an open channel 1.
func hello() script {
	login := wire.AppendTable(nil, wire.Table{"capabilities": wire.Table{"consumer_cancel_notify": true}})
	login = append(login, short("PLAIN")...)
	login = wire.AppendLongString(login, "\x00guest\x00guest")
	login = append(login, short("en_US")...)
	return script(wire.ProtocolHeader).
		method(0, wire.ConnectionStartOK, login).
		method(0, wire.ConnectionTuneOK, []byte{7, 0xff, 0, 2, 0, 0, 0, 0}).
		method(0, wire.ConnectionOpen, short("/"), []byte{0, 0}).
		method(1, wire.ChannelOpen, []byte{0})
}

// seeds are what clients do. Each builds on a copy of what came before: scripts share no memory.
func seeds() []script {
	two := []byte{0, 0}
	arguments := wire.AppendTable(nil, wire.Table{
		"x-message-ttl": int32(1), "x-max-length": int32(2), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q", "x-expires": int32(5),
	})
	none := wire.AppendTable(nil, nil)
	queue := script(nil).method(1, wire.QueueDeclare, two, short("q"), []byte{0}, arguments)
	publish := func(s script) script {
		p := wire.Properties{Headers: wire.Table{"CC": []any{"q", "x"}, "BCC": []any{"r"}}}
		return s.method(1, wire.BasicPublish, two, short("", "q"), []byte{1}).content(1, p, "body")
	}
	consume := queue.method(1, wire.BasicConsume, two, short("q", "tag"), []byte{0}, none)
	return []script{
		queue,
		publish(queue.method(1, wire.ConfirmSelect, []byte{0})),
		publish(publish(consume)).method(1, wire.BasicNack, []byte{0, 0, 0, 0, 0, 0, 0, 0, 3}).method(1, wire.BasicRecover, []byte{1}),
		publish(publish(consume)).method(1, wire.TxSelect).method(1, wire.BasicNack, []byte{0, 0, 0, 0, 0, 0, 0, 1, 1}).
			method(1, wire.BasicRecover, []byte{1}).method(1, wire.TxCommit).method(1, wire.BasicAck, make([]byte, 7), []byte{3, 1}).method(1, wire.TxRollback),
		publish(queue).method(1, wire.BasicGet, two, short("q"), []byte{0}).method(1, wire.BasicAck, make([]byte, 7), []byte{1, 0}),
		queue.method(1, wire.ExchangeDeclare, two, short("x", "topic"), []byte{4}, none).
			method(1, wire.QueueBind, two, short("q", "x", "a.#"), []byte{0}, none).
			method(1, wire.ExchangeBind, two, short("x", "x", "#"), []byte{0}, none).
			method(1, wire.QueueDelete, two, short("q"), []byte{0}).method(1, wire.ChannelClose, []byte{0, 0, 0, 0, 0, 0, 0}),
		consume.method(1, wire.BasicQos, []byte{0, 0, 0, 0, 0, 1, 1}).method(1, wire.BasicCancel, short("tag"), []byte{0}).
			method(1, wire.QueuePurge, two, short("q"), []byte{0}).method(0, wire.ConnectionClose, []byte{0, 0, 0, 0, 0, 0, 0}),
	}
}

// repaired makes frames of any bytes: sizes are cut to what is there, and the ends put right. So what is fuzzed is what stands in the frames.
func repaired(b []byte) []byte {
	var out []byte
	for len(b) > 8 {
		size := min(int(binary.BigEndian.Uint16(b[5:])), len(b)-8)
		out = wire.AppendFrame(out, b[0], uint16(b[2]), b[7:7+size])
		b = b[8+size:]
	}
	return out
}

// FuzzConnection: whatever a client sends, the broker goes on, and lets the client go when it leaves.
func FuzzConnection(f *testing.F) {
	for _, seed := range seeds() {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, input []byte, whole bool) {
		if whole {
			input = repaired(input)
		}
		b, err := Start(Options{})
		if err != nil {
			t.Fatal(err)
		}
		newConnection(b, &played{in: bytes.NewReader(append(hello(), input...))}).run()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestFuzzSeedsAreObeyed: a seed that fails in the handshake would have FuzzConnection find nothing.
func TestFuzzSeedsAreObeyed(t *testing.T) {
	t.Parallel()
	for i, seed := range seeds() {
		b, err := Start(Options{})
		if err != nil {
			t.Fatal(err)
		}
		c := &played{in: bytes.NewReader(append(hello(), repaired(seed)...))}
		newConnection(b, c).run()
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		said := methods(t, c.said.Bytes())
		if !said[wire.QueueDeclareOK] || said[wire.ChannelClose] || said[wire.ConnectionClose] {
			t.Errorf("seed %d: the broker said %v", i, said)
		}
	}
}

// methods are those among the frames.
func methods(t *testing.T, frames []byte) map[wire.Method]bool {
	t.Helper()
	out := map[wire.Method]bool{}
	r := wire.NewReader(bytes.NewReader(frames))
	for {
		var f wire.Frame
		switch err := r.Read(&f); {
		case errors.Is(err, io.EOF):
			return out
		case err != nil:
			t.Fatal(err)
		case f.Type == wire.FrameMethod:
			out[wire.Method(wire.NewDecoder(f.Payload).Long())] = true
		}
	}
}

// played is a client whose part is written down, and who listens to nothing.
type played struct {
	in   *bytes.Reader
	said bytes.Buffer // what the broker wrote
}

func (p *played) Read(b []byte) (int, error)     { return p.in.Read(b) }
func (p *played) Write(b []byte) (int, error)    { return p.said.Write(b) }
func (*played) Close() error                     { return nil }
func (*played) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*played) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*played) SetDeadline(time.Time) error      { return nil }
func (*played) SetReadDeadline(time.Time) error  { return nil }
func (*played) SetWriteDeadline(time.Time) error { return nil }
