// Package wire reads and writes AMQP 0-9-1 as it is on the wire: frames, methods' arguments, tables and message properties. Its authority is the
// specification (amqp-0-9-1) with RabbitMQ's errata on field types.
package wire

import (
	"bufio"
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

// FrameOverhead is what a frame has around its payload, in bytes.
const FrameOverhead = 8

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

// Reader reads frames.
type Reader struct {
	in  *bufio.Reader
	max int
	buf []byte
}

// NewReader reads frames from r, of at most MinFrameMax bytes until SetMax.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, 128<<10), max: MinFrameMax}
}

// SetMax sets the agreed size of a frame, in bytes.
func (r *Reader) SetMax(n int) { r.max = n }

// ReadHeader reads the eight bytes that a connection begins with.
func (r *Reader) ReadHeader() (string, error) {
	var b [8]byte
	_, err := io.ReadFull(r.in, b[:])
	return string(b[:]), err
}

// Read reads the next frame. A size over the agreed one is an error before anything is allocated for it.
func (r *Reader) Read(f *Frame) error {
	var head [7]byte
	if _, err := io.ReadFull(r.in, head[:]); err != nil {
		return err
	}
	size := int(binary.BigEndian.Uint32(head[3:]))
	if size > r.max-FrameOverhead {
		return fmt.Errorf("%w: %d bytes of payload, agreed were %d", ErrFrame, size, r.max-FrameOverhead)
	}
	if cap(r.buf) < size+1 {
		r.buf = make([]byte, max(size+1, 2*cap(r.buf)))
	}
	b := r.buf[:size+1]
	if _, err := io.ReadFull(r.in, b); err != nil {
		return err
	}
	if b[size] != frameEnd {
		return fmt.Errorf("%w: it does not end where it says", ErrFrame)
	}
	f.Type, f.Channel, f.Payload = head[0], binary.BigEndian.Uint16(head[1:]), b[:size]
	return nil
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
