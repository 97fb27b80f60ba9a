package wire

import (
	"encoding/binary"
	"errors"
	"math"
	"time"
)

// Table is an AMQP field table: names with values of the types bool, int8, uint8, int16, uint16, int32, uint32, int64, float32, float64, Decimal,
// string, []byte, []any, time.Time, Table and nil.
type Table map[string]any

// Decimal is an AMQP decimal number: Value / 10^Scale.
type Decimal struct {
	Scale uint8
	Value int32
}

// ErrSyntax: arguments that cannot be read.
var ErrSyntax = errors.New("malformed arguments")

// maxDepth bounds tables and arrays in each other.
const maxDepth = 64

// Decoder reads arguments one after another. The first that cannot be read sets Err, and all after it are zero.
type Decoder struct {
	b     []byte
	depth int
	bits  byte // of the octet of flags that is being read
	bit   int  // next of them; 0 where a new octet begins
	Err   error
}

// NewDecoder reads from b. Strings are copied, so that b can be used again.
func NewDecoder(b []byte) *Decoder { return &Decoder{b: b} }

func (d *Decoder) take(n int) []byte {
	d.bit = 0
	if n < 0 || len(d.b) < n || d.Err != nil {
		d.Err = ErrSyntax
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

// Octet reads an unsigned byte.
func (d *Decoder) Octet() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

// Short reads an unsigned 16-bit number.
func (d *Decoder) Short() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Long reads an unsigned 32-bit number.
func (d *Decoder) Long() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// LongLong reads an unsigned 64-bit number.
func (d *Decoder) LongLong() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// ShortString reads a string of at most 255 bytes.
func (d *Decoder) ShortString() string { return string(d.take(int(d.Octet()))) }

// LongString reads a string of any length.
func (d *Decoder) LongString() string { return string(d.take(int(d.Long()))) }

// Bit reads a flag; flags that stand together share an octet.
func (d *Decoder) Bit() bool {
	at := d.bit
	if at == 0 {
		d.bits = d.Octet()
	}
	d.bit = (at + 1) % 8
	return d.bits&(1<<at) != 0
}

// Rest is what is not read yet.
func (d *Decoder) Rest() []byte { return d.b }

// Table reads a field table.
func (d *Decoder) Table() Table {
	inner := d.nested()
	if inner == nil {
		return nil
	}
	t := Table{}
	for len(inner.b) > 0 && inner.Err == nil {
		name := inner.ShortString()
		t[name] = inner.value()
	}
	d.Err = errors.Join(d.Err, inner.Err)
	return t
}

func (d *Decoder) array() []any {
	inner := d.nested()
	if inner == nil {
		return nil
	}
	list := []any{}
	for len(inner.b) > 0 && inner.Err == nil {
		list = append(list, inner.value())
	}
	d.Err = errors.Join(d.Err, inner.Err)
	return list
}

// nested reads the bytes of a table or an array.
func (d *Decoder) nested() *Decoder {
	b := d.take(int(d.Long()))
	if d.Err == nil && d.depth == maxDepth {
		d.Err = ErrSyntax
	}
	if d.Err != nil {
		return nil
	}
	return &Decoder{b: b, depth: d.depth + 1}
}

func (d *Decoder) value() any {
	switch d.Octet() {
	case 't':
		return d.Octet() != 0
	case 'b':
		return int8(d.Octet())
	case 'B':
		return d.Octet()
	case 's':
		return int16(d.Short())
	case 'u':
		return d.Short()
	case 'I':
		return int32(d.Long())
	case 'i':
		return d.Long()
	case 'l', 'L':
		return int64(d.LongLong())
	case 'f':
		return math.Float32frombits(d.Long())
	case 'd':
		return math.Float64frombits(d.LongLong())
	case 'D':
		return Decimal{Scale: d.Octet(), Value: int32(d.Long())}
	case 'S':
		return d.LongString()
	case 'x':
		return append([]byte{}, d.take(int(d.Long()))...)
	case 'A':
		return d.array()
	case 'T':
		return time.Unix(int64(d.LongLong()), 0)
	case 'F':
		return d.Table()
	case 'V':
		return nil
	}
	d.Err = ErrSyntax
	return nil
}

// AppendShortString appends a string, cut to 255 bytes.
func AppendShortString(b []byte, s string) []byte {
	s = s[:min(len(s), 255)]
	return append(append(b, byte(len(s))), s...)
}

// AppendLongString appends a string of any length.
func AppendLongString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// AppendTable appends a field table.
func AppendTable(b []byte, t Table) []byte {
	mark := len(b)
	b = append(b, 0, 0, 0, 0)
	for name, v := range t {
		b = appendValue(AppendShortString(b, name), v)
	}
	binary.BigEndian.PutUint32(b[mark:], uint32(len(b)-mark-4))
	return b
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(b, 't', 1)
		}
		return append(b, 't', 0)
	case int8:
		return append(b, 'b', byte(v))
	case uint8:
		return append(b, 'B', v)
	case int16:
		return binary.BigEndian.AppendUint16(append(b, 's'), uint16(v))
	case uint16:
		return binary.BigEndian.AppendUint16(append(b, 'u'), v)
	case int32:
		return binary.BigEndian.AppendUint32(append(b, 'I'), uint32(v))
	case uint32:
		return binary.BigEndian.AppendUint32(append(b, 'i'), v)
	case int64:
		return binary.BigEndian.AppendUint64(append(b, 'l'), uint64(v))
	case float32:
		return binary.BigEndian.AppendUint32(append(b, 'f'), math.Float32bits(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 'd'), math.Float64bits(v))
	case Decimal:
		return binary.BigEndian.AppendUint32(append(b, 'D', v.Scale), uint32(v.Value))
	case string:
		return AppendLongString(append(b, 'S'), v)
	case []byte:
		return append(binary.BigEndian.AppendUint32(append(b, 'x'), uint32(len(v))), v...)
	case time.Time:
		return binary.BigEndian.AppendUint64(append(b, 'T'), uint64(v.Unix()))
	case Table:
		return AppendTable(append(b, 'F'), v)
	case []any:
		b = append(b, 'A', 0, 0, 0, 0)
		mark := len(b)
		for _, item := range v {
			b = appendValue(b, item)
		}
		binary.BigEndian.PutUint32(b[mark-4:], uint32(len(b)-mark))
		return b
	}
	return append(b, 'V')
}
