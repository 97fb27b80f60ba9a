package wire

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

var everyType = Table{
	"bool": true, "int8": int8(-1), "uint8": uint8(200), "int16": int16(-300), "uint16": uint16(60000), "int32": int32(-70000),
	"uint32": uint32(4000000000), "int64": int64(-1 << 40), "float32": float32(1.5), "float64": 2.5, "text": "ä\x00b", "bytes": []byte{0, 255},
	"decimal": Decimal{Scale: 2, Value: -314}, "time": time.Unix(1700000000, 0), "nil": nil, "list": []any{int32(1), "x", []any{true, Table{}}},
	"table": Table{"deep": Table{"er": "x"}}, "": "no name",
}

func TestTablesComeBack(t *testing.T) {
	t.Parallel()
	d := NewDecoder(AppendTable(nil, everyType))
	got := d.Table()
	if d.Err != nil || len(d.Rest()) != 0 || !reflect.DeepEqual(got, everyType) {
		t.Errorf("got %#v, %v, rest %q", got, d.Err, d.Rest())
	}
}

func TestFieldsAsOnTheWire(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		wire string
		want any
	}{
		{"t\x02", true}, {"b\xff", int8(-1)}, {"B\xff", uint8(255)}, {"s\xff\xfe", int16(-2)}, {"u\xff\xfe", uint16(65534)},
		{"I\xff\xff\xff\xff", int32(-1)}, {"i\xff\xff\xff\xff", uint32(1<<32 - 1)}, {"l\x00\x00\x00\x00\x00\x00\x00\x05", int64(5)},
		{"L\x00\x00\x00\x00\x00\x00\x00\x05", int64(5)}, {"f\x3f\xc0\x00\x00", float32(1.5)}, {"D\x02\x00\x00\x00\x07", Decimal{2, 7}},
		{"S\x00\x00\x00\x02ab", "ab"}, {"x\x00\x00\x00\x02ab", []byte("ab")}, {"V", nil}, {"A\x00\x00\x00\x03t\x01V", []any{true, nil}},
		{"F\x00\x00\x00\x03\x01aV", Table{"a": nil}},
	} {
		d := NewDecoder([]byte(c.wire))
		if got := d.value(); d.Err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q: got %#v, %v", c.wire, got, d.Err)
		}
	}
}

func TestFlagsShareAnOctet(t *testing.T) {
	t.Parallel()
	d := NewDecoder([]byte{0b101, 7, 0b1})
	got := []any{d.Bit(), d.Bit(), d.Bit(), d.Octet(), d.Bit()}
	if want := []any{true, false, true, uint8(7), true}; d.Err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v", got, d.Err)
	}
}

// hostile are arguments that claim more than they hold, or nest without end.
var hostile = []string{
	"\xff\xff\xff\xff", "\x00\x00\x00\x07\x01aS\xff\xff\xff\xff", "\x00\x00\x00\x07\x01ax\x7f\xff\xff\xff", "\x00\x00\x00\x07\x01aA\xff\xff\xff\xff",
	"\x00\x00\x00\x07\x01aF\xff\xff\xff\xff", "\x00\x00\x00\x01\xff", "\x00\x00\x00\x03\x01aZ", nested(),
}

// nested is a table in a table, and so on.
func nested() string {
	t := Table{}
	for range 10_000 {
		t = Table{"a": t}
	}
	return string(AppendTable(nil, t))
}

func TestHostileTablesAreRefused(t *testing.T) {
	for i, s := range hostile { // not parallel: it looks at what is allocated
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d := NewDecoder([]byte(s))
		d.Table()
		runtime.ReadMemStats(&after)
		if !errors.Is(d.Err, ErrSyntax) {
			t.Errorf("%d: %v", i, d.Err)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 1<<20 {
			t.Errorf("%d: %d bytes were allocated", i, took)
		}
	}
}

func TestAfterAFaultAllIsZero(t *testing.T) {
	t.Parallel()
	d := NewDecoder([]byte{5, 'a'})
	got := []any{d.ShortString(), d.Octet(), d.Long(), d.LongString(), d.Bit(), d.Table() == nil}
	if want := []any{"", uint8(0), uint32(0), "", false, true}; !reflect.DeepEqual(got, want) || !errors.Is(d.Err, ErrSyntax) {
		t.Errorf("got %v, %v", got, d.Err)
	}
}

func TestPropertiesComeBack(t *testing.T) {
	t.Parallel()
	want := Properties{
		set: 0xfffc, ContentType: "a", ContentEncoding: "b", Headers: Table{"k": "v"}, DeliveryMode: 2, Priority: 3, CorrelationID: "c", ReplyTo: "d",
		Expiration: "5", MessageID: "e", Timestamp: 6, Type: "f", UserID: "g", AppID: "h", ClusterID: "i",
	}
	size, got, err := ReadHeader(want.AppendHeader(nil, 77))
	if err != nil || size != 77 || !reflect.DeepEqual(got, want) {
		t.Errorf("got %d, %+v, %v", size, got, err)
	}
	got.DropExpiration()
	_, got, err = ReadHeader(got.AppendHeader(nil, 0))
	if err != nil || got.HasExpiration() || got.Expiration != "" {
		t.Errorf("it still expires: %+v, %v", got, err)
	}
}

func TestFramesOfAnySplit(t *testing.T) {
	t.Parallel()
	b := AppendFrame(nil, FrameBody, 7, []byte("body"))
	b = AppendFrame(b, FrameHeartbeat, 0, nil)
	r := NewReader(iotest.OneByteReader(bytes.NewReader(b)))
	var f Frame
	if err := r.Read(&f); err != nil || f.Type != FrameBody || f.Channel != 7 || string(f.Payload) != "body" {
		t.Errorf("got %+v, %v", f, err)
	}
	if err := r.Read(&f); err != nil || f.Type != FrameHeartbeat || len(f.Payload) != 0 {
		t.Errorf("got %+v, %v", f, err)
	}
	if err := r.Read(&f); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestFramesThatAreNone(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		wire string
		want error
	}{
		"longer than agreed": {"\x01\x00\x01\x00\x00\x0f\xf9" + strings.Repeat("x", 5000), ErrFrame},
		"claims 4 GiB":       {"\x01\x00\x01\xff\xff\xff\xff", ErrFrame},
		"no end":             {"\x01\x00\x01\x00\x00\x00\x01ab", ErrFrame},
		"cut in its head":    {"\x01\x00", io.ErrUnexpectedEOF},
		"cut in its body":    {"\x01\x00\x01\x00\x00\x00\x05ab", io.ErrUnexpectedEOF},
	} {
		var f Frame
		if err := NewReader(strings.NewReader(c.wire)).Read(&f); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzTable: what can be read can be written, and is the same then. Nothing panics.
func FuzzTable(f *testing.F) {
	for _, s := range hostile[:len(hostile)-1] {
		f.Add([]byte(s))
	}
	f.Add(AppendTable(nil, everyType))
	f.Fuzz(func(t *testing.T, b []byte) {
		d := NewDecoder(b)
		first := d.Table()
		if d.Err != nil {
			return
		}
		written := AppendTable(nil, first)
		again := NewDecoder(written)
		second := again.Table()
		if again.Err != nil || len(second) != len(first) || len(again.Rest()) != 0 {
			t.Fatalf("%#v became %#v, %v", first, second, again.Err)
		}
	})
}

// FuzzHeader: as FuzzTable, for content headers.
func FuzzHeader(f *testing.F) {
	p := Properties{set: 0xfffc, Headers: everyType, Expiration: "5"}
	f.Add(p.AppendHeader(nil, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		size, p, err := ReadHeader(b)
		if err != nil {
			return
		}
		if _, again, err := ReadHeader(p.AppendHeader(nil, int(size))); err != nil || again.set&^flagHeaders != p.set&^flagHeaders {
			t.Fatalf("%+v became %+v, %v", p, again, err)
		}
	})
}

// FuzzReader: no bytes make frames that are longer than agreed.
func FuzzReader(f *testing.F) {
	f.Add(AppendFrame(AppendFrame(nil, FrameBody, 1, []byte("x")), FrameMethod, 2, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		var fr Frame
		for r.Read(&fr) == nil {
			if len(fr.Payload) > MinFrameMax-FrameOverhead {
				t.Fatalf("a payload of %d bytes", len(fr.Payload))
			}
		}
	})
}
