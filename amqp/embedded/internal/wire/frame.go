// Package wire reads and writes AMQP 0-9-1 as it is on the wire: frames, methods' arguments, tables and message properties. Its authority is the
// specification (amqp-0-9-1) with RabbitMQ's errata on field types.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ProtocolHeader is what a client begins with.
const ProtocolHeader = "AMQP\x00\x00\x09\x01"

// Frame types.
const (
	FrameMethod    = 1
	FrameHeader    = 2
	FrameBody      = 3
	FrameHeartbeat = 8
	frameEnd       = 0xCE
)

// FrameOverhead is what a frame has around its payload, in bytes: its head, and one byte at the end.
const (
	FrameOverhead = frameHead + 1
	frameHead     = 7
)

// MinFrameMax is the least that both sides can agree on for the size of a frame, in bytes.
const MinFrameMax = 4096

// Frame is one frame. Its payload is good until the next one is read.
type Frame struct {
	Type    byte
	Channel uint16
	Payload []byte
}

// ErrFrame: what was read is no frame. The connection cannot go on.
var ErrFrame = errors.New("not an AMQP frame")

// Reader reads frames. It reads ahead, into a buffer that grows with what comes at once: a connection on which little is said holds little.
type Reader struct {
	in          io.Reader
	max         int
	buf         []byte
	first, last int  // what is read ahead is buf[first:last]
	filled      bool // the last read left no room
}

// How large the buffer is at first, and how large it becomes for reading ahead. A frame that is larger has its room nevertheless.
const (
	leastBuffer = 4 << 10
	mostBuffer  = 128 << 10
)

// NewReader reads frames from r, of at most MinFrameMax bytes until SetMax.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: r, max: MinFrameMax, buf: make([]byte, leastBuffer)}
}

// SetMax sets the agreed size of a frame, in bytes.
func (r *Reader) SetMax(n int) { r.max = n }

// ReadHeader reads the eight bytes that a connection begins with.
func (r *Reader) ReadHeader() (string, error) {
	b, err := r.peek(len(ProtocolHeader))
	r.first += len(b)
	return string(b), err
}

// Read reads the next frame. A size over the agreed one is an error before anything is allocated for it.
func (r *Reader) Read(f *Frame) error {
	head, err := r.peek(frameHead)
	if err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(head[3:]))
	if size > r.max-FrameOverhead {
		return fmt.Errorf("%w: %d bytes of payload, agreed were %d", ErrFrame, size, r.max-FrameOverhead)
	}
	b, err := r.peek(FrameOverhead + size)
	if err != nil {
		return err
	}
	r.first += len(b)
	if b[len(b)-1] != frameEnd {
		return fmt.Errorf("%w: it does not end where it says", ErrFrame)
	}
	f.Type, f.Channel, f.Payload = b[0], binary.BigEndian.Uint16(b[1:]), b[frameHead:len(b)-1]
	return nil
}

// peek returns the next n bytes, which are good until the next call, and reads on until they are there.
func (r *Reader) peek(n int) ([]byte, error) {
	for tries := 0; r.last-r.first < n; tries++ {
		r.makeRoom(n)
		m, err := r.in.Read(r.buf[r.last:])
		r.last += m
		r.filled = r.last == len(r.buf)
		switch {
		case m > 0:
			tries = 0
		case err == io.EOF && r.last > r.first:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		case tries == 100:
			return nil, io.ErrNoProgress
		}
	}
	return r.buf[r.first : r.first+n], nil
}

// makeRoom has what is read ahead stand at the beginning of a buffer with room for n bytes, and for more than the last read gave, if that filled it.
func (r *Reader) makeRoom(n int) {
	size := len(r.buf)
	if r.filled {
		size = min(2*size, max(size, mostBuffer))
	}
	from := r.buf[r.first:r.last]
	if size = max(size, n); size > len(r.buf) {
		r.buf = make([]byte, size)
	}
	r.first, r.last = 0, copy(r.buf, from)
}

// AppendFrame appends a frame with a payload that is there already.
func AppendFrame(b []byte, kind byte, channel uint16, payload []byte) []byte {
	b = appendFrameHead(b, kind, channel, len(payload))
	b = append(b, payload...)
	return append(b, frameEnd)
}

func appendFrameHead(b []byte, kind byte, channel uint16, size int) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, channel)
	return binary.BigEndian.AppendUint32(b, uint32(size))
}

// BeginMethod appends the beginning of a method frame; its arguments are appended next, and EndMethod closes it.
func BeginMethod(b []byte, channel uint16, m Method) (out []byte, mark int) {
	b = appendFrameHead(b, FrameMethod, channel, 0)
	mark = len(b)
	b = binary.BigEndian.AppendUint32(b, uint32(m))
	return b, mark
}

// EndMethod closes a method frame that BeginMethod began.
func EndMethod(b []byte, mark int) []byte {
	binary.BigEndian.PutUint32(b[mark-4:], uint32(len(b)-mark))
	return append(b, frameEnd)
}

// AppendFrameFunc appends a frame with the payload that f appends.
func AppendFrameFunc(b []byte, kind byte, channel uint16, f func([]byte) []byte) []byte {
	b = appendFrameHead(b, kind, channel, 0)
	mark := len(b)
	b = f(b)
	binary.BigEndian.PutUint32(b[mark-4:], uint32(len(b)-mark))
	return append(b, frameEnd)
}
