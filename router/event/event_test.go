package event_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/router/event"
)

func TestWhatIsWrongIsNamed(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 256)
	for src, want := range map[string]string{
		`{`:                                      "an event is a JSON object",
		`7`:                                      "an event is a JSON object",
		`null`:                                   "not null",
		`{"type": "a"} x`:                        "an event is a JSON object",
		"{\"type\": \"\xff\"}":                   "not UTF-8",
		`{}`:                                     `"type" is missing`,
		`{"type": null}`:                         `"type" is missing`,
		`{"type": 7}`:                            `"type" is a string, not 7`,
		`{"type": "` + long + `"}`:               `"type" is 256 bytes long; the limit is 255`,
		`{"type":"a","id":"` + long + `"}`:       `"id" is 256 bytes long`,
		`{"type":"a","source":[]}`:               `"source" is a string, not []`,
		`{"type":"a","time":"soon"}`:             `"time" is an RFC 3339 time`,
		`{"type":"a","time":7}`:                  `"time" is an RFC 3339 time`,
		`{"type":"a","specversion":"0.3"}`:       `"specversion" is "1.0", not "0.3"`,
		`{"type":"a","headers":[]}`:              `"headers" is an object, not []`,
		`{"type":"a","Tenant":"x"}`:              `attribute "Tenant" is not lower-case letters and digits`,
		`{"type":"a","tenant":{}}`:               `attribute "tenant" is a string, a boolean or a whole number, not {}`,
		`{"type":"a","tenant":1.5}`:              `attribute "tenant" is a whole number of 32 bits, not 1.5`,
		`{"type":"a","data":1,"data_base64":""}`: `"data" and "data_base64" cannot both be there`,
		`{"type":"a","data_base64":"%"}`:         `"data_base64": illegal base64`,
		`{"type":"a","data_base64":{}}`:          `"data_base64" is a string, not {}`,
	} {
		var e event.Event
		if err := e.UnmarshalJSON([]byte(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %s", src, err, want)
		}
	}
}

func TestAnEventIsReadAsItIsWritten(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.UTC)
	for _, e := range []event.Event{
		{Type: "a"},
		{ID: "1", Type: "order.created", Source: "/shop", Subject: "42", Time: at, ContentType: "application/json", Data: []byte(`{"total":1e400,"n":9007199254740993}`)},
		{Type: "a", ContentType: "text/plain", Data: []byte("näh")},
		{Type: "a", ContentType: "application/cloudevents+json", Data: []byte(`[1]`)},
		{Type: "a", ContentType: "application/octet-stream", Data: []byte{0, 0xff}},
		{Type: "a", ContentType: "application/json", Data: []byte("no JSON at all")},
		{Type: "a", Data: []byte{0xff}},
		{Type: "a", Attributes: map[string]any{"tenant": "x", "n": int32(-7), "ok": true}, Headers: map[string]any{"retry": int64(3), "deep": map[string]any{"list": []any{"a", nil, 1.5}}}},
	} {
		text, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var back event.Event
		if err := back.UnmarshalJSON(text); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !reflect.DeepEqual(e, back) {
			t.Errorf("%+v\nwas written as %s\nand read as %+v", e, text, back)
		}
	}
}

// An export is one document after another: an event that makes one of them unreadable takes the rest with it.
func TestWhateverAnEventHoldsItsDocumentCanBeRead(t *testing.T) {
	t.Parallel()
	bad := strings.Repeat("\xff.", 127)
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	for name, e := range map[string]event.Event{
		"texts that are not UTF-8":  {ID: bad, Type: bad, ContentType: bad, Headers: map[string]any{bad: "x"}},
		"data as deep as it can be": {Type: "a", Data: deep(10_000)},
		"a little less deep":        {Type: "a", Data: deep(9_995)},
		"deep, and said to be JSON": {Type: "a", ContentType: "application/json", Data: deep(10_000)},
	} {
		line, err := json.Marshal(map[string]any{"event": &e})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var back struct{ Event event.Event }
		if err := json.Unmarshal(line, &back); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(back.Event.Data, e.Data) || len(back.Event.Type) != len(e.Type) || len(back.Event.Headers) != len(e.Headers) {
			t.Errorf("%s: came back as %.300s", name, fmt.Sprintf("%+v", back.Event))
		}
	}
	odd, err := (&event.Event{Type: "a", Attributes: map[string]any{"\x1b\"": "x"}}).MarshalJSON()
	if err != nil || !json.Valid(odd) {
		t.Errorf("an attribute's name is written as %s, %v", odd, err)
	}
}

func TestOfKeysThatComeTwiceTheLastCounts(t *testing.T) {
	t.Parallel()
	for src, want := range map[string]event.Event{
		`{"type":"a","type":"b"}`:                                          {Type: "b"},
		`{"type":7,"t\u0079pe" : "b","id":"1","id":null}`:                  {Type: "b"},
		`{"type":"a","x":1,"y":true,"x":"\u00e4","z":null}`:                {Type: "a", Attributes: map[string]any{"x": "ä", "y": true}},
		`{"type":"a","x":{},"Y":1,"x":null,"Y":null}`:                      {Type: "a"},
		`{"type":"a","data":{"n":1},"data": [ 1, {"n" : 2} ] }`:            {Type: "a", ContentType: "application/json", Data: []byte(`[ 1, {"n" : 2} ]`)},
		`{"type":"a","datacontenttype":"text/plain","data":null}`:          {Type: "a", ContentType: "text/plain", Data: []byte{}},
		` {"type":"a" , "datacontenttype":"text/plain","data":"\ud800!"} `: {Type: "a", ContentType: "text/plain", Data: []byte("\ufffd!")},
	} {
		var e event.Event
		if err := e.UnmarshalJSON([]byte(src)); err != nil || !reflect.DeepEqual(e, want) {
			t.Errorf("%s: %+v, %v; want %+v", src, e, err, want)
		}
	}
}

func TestAnEventIsOneObjectOfJSON(t *testing.T) {
	t.Parallel()
	for _, src := range []string{
		``, ` `, `[]`, `{"type":"a"`, `{"type":"a",}`, `{"type":"a"}}`, `{"type":"a"} {}`, `{"type":"a" "id":"b"}`, `{"type"}`, `{"type":}`, `{type:"a"}`, `{,"type":"a"}`,
		`{"type":"a","data":[}`, `{"type":"a","data":01}`, `{"type":"\x"}`, "{\"type\":\"\n\"}", "\ufeff" + `{"type":"a"}`, `{"type":"a","data":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`,
	} {
		var e event.Event
		err := e.UnmarshalJSON([]byte(src))
		var any map[string]json.RawMessage
		if wrong := json.Unmarshal([]byte(src), &any); err == nil || wrong == nil || err.Error() != "an event is a JSON object: "+wrong.Error() {
			t.Errorf("%.60s: %v, encoding/json says %v", src, err, wrong)
		}
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	src := []byte(`{"specversion":"1.0","id":"0190a3c2-7b1e-7c40-8f00-00000000beef","type":"order.created","source":"/shop/eu","time":"2026-01-31T12:00:00.123456789Z","tenant":"acme","data":{"items":[` +
		strings.Repeat(`{"sku":"A-1002","quantity":3,"price":19.99,"tags":["red","large"]},`, 12) + `{}]}}`)
	b.ReportAllocs()
	b.SetBytes(int64(len(src)))
	for b.Loop() {
		var e event.Event
		if err := e.UnmarshalJSON(src); err != nil {
			b.Fatal(err)
		}
	}
}

func TestTheDocumentThatConditionsSee(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		e    event.Event
		want string
	}{
		{event.Event{Type: "a"}, `{"type":"a"}`},
		{event.Event{Type: "a", Data: []byte("text")}, `{"type":"a"}`},
		{event.Event{Type: "a", Data: []byte(`{"n":1} x`)}, `{"type":"a"}`},
		{event.Event{Type: "a", Data: []byte("{\"n\":\"\xff\"}")}, `{"type":"a"}`},
		{event.Event{Type: "a", ContentType: "text/plain", Data: []byte(`{"n":1}`)}, `{"type":"a"}`},
		{event.Event{Type: "a", ContentType: "application/problem+json; charset=utf-8", Data: []byte(`{"n":1}`)}, `{"type":"a","data":{"n":1}}`},
		{event.Event{Type: "a", ContentType: "Application/JSON", Data: []byte(`null`)}, `{"type":"a","data":null}`},
		{
			event.Event{
				ID: "1", Type: "a", Source: "/s", Subject: "x", Time: time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
				Attributes: map[string]any{"tenant": "t", "n": int32(5), "raw": []byte("b")},
				Headers:    map[string]any{"i": int64(1 << 60), "f": 0.5, "at": time.Unix(0, 0), "list": []any{int16(1), []byte("x")}},
			},
			`{"type":"a","id":"1","source":"/s","subject":"x","time":"2026-01-31T12:00:00Z","tenant":"t","n":5,"raw":"b","headers":{"i":1152921504606846976,"f":0.5,"at":"1970-01-01T00:00:00Z","list":[1,"x"]}}`,
		},
	} {
		got, err := json.Marshal(c.e.Document())
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if json.Unmarshal(got, &a) != nil || json.Unmarshal([]byte(c.want), &b) != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("%+v:\ngot  %s\nwant %s", c.e, got, c.want)
		}
	}
}

func TestReadingGoesOnAfterALineThatIsNoEvent(t *testing.T) {
	t.Parallel()
	r := event.NewReader(strings.NewReader("\ufeff{\"type\":\"a\"}\r\n\n  \nnonsense\n{\"type\":\"b\"}"))
	var e event.Event
	if err := r.Next(&e); err != nil || e.Type != "a" || r.Line() != 1 {
		t.Fatalf("line %d: %+v, %v", r.Line(), e, err)
	}
	err := r.Next(&e)
	var line *event.LineError
	if !errors.As(err, &line) || line.Line != 4 || !strings.HasPrefix(err.Error(), "line 4: ") {
		t.Fatalf("line 4: %v", err)
	}
	if err := r.Next(&e); err != nil || e.Type != "b" || r.Line() != 5 {
		t.Fatalf("line %d: %+v, %v", r.Line(), e, err)
	}
	if err := r.Next(&e); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestALineThatIsTooLongIsNamed(t *testing.T) {
	t.Parallel()
	r := event.NewReader(strings.NewReader("{\"type\":\"a\"}\n" + strings.Repeat("x", event.MaxLine+1)))
	var e event.Event
	if err := r.Next(&e); err != nil {
		t.Fatal(err)
	}
	if err := r.Next(&e); err == nil || err.Error() != "line 2 is longer than 32 MiB, which is the most" {
		t.Errorf("%v", err)
	}
}

func TestIDsSortByTime(t *testing.T) {
	t.Parallel()
	last := ""
	for range 1000 {
		id := event.NewID()
		if id <= last {
			t.Fatalf("%s after %s", id, last)
		}
		last = id
	}
}

// FuzzUnmarshal: what is read without an error is a right event, and is read again from what it is written as.
func FuzzUnmarshal(f *testing.F) {
	f.Add([]byte(`{"type":"a","id":"1","time":"2026-01-31T12:00:00.5+01:00","data":{"a":[1,"x",null]},"headers":{"a":{"b":[1.5,null]}},"tenant":"x"}`))
	f.Add([]byte(`{"type":"a","datacontenttype":"text/plain","data":"text"}`))
	f.Add([]byte(`{"type":"a","data_base64":"AP8="}`))
	f.Fuzz(func(t *testing.T, src []byte) {
		var e event.Event
		if e.UnmarshalJSON(src) != nil {
			return
		}
		if err := e.Check(); err != nil {
			t.Fatal(err)
		}
		e.Document()
		text, err := e.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var back event.Event
		if err := back.UnmarshalJSON(text); err != nil {
			t.Fatalf("%s is written as %s: %v", src, text, err)
		}
		again, err := back.MarshalJSON()
		if err != nil || string(again) != string(text) {
			t.Fatalf("%s is written as\n%s and then as\n%s, %v", src, text, again, err)
		}
	})
}

// FuzzReader: each line is an event or an error with its number, and one says nothing of another.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\ufeff{\"type\":\"a\"}\r\n\n  \nnonsense\n{\"type\":\"b\"}"))
	f.Add([]byte("{\"type\":\"a\",\n\"id\":\"1\"}\n\x00\n[]\n\r"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r := event.NewReader(bytes.NewReader(text))
		for i, line := range bytes.Split(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\n")) {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			var alone, read event.Event
			want, got := alone.UnmarshalJSON(line), r.Next(&read)
			if r.Line() != i+1 {
				t.Fatalf("line %d is read as line %d", i+1, r.Line())
			}
			if bad, ok := errors.AsType[*event.LineError](got); (want != nil) != ok || ok && (bad.Line != i+1 || bad.Err.Error() != want.Error()) || !ok && got != nil {
				t.Fatalf("line %d: %v, and by itself: %v", i+1, got, want)
			}
			if want == nil && (read.Type != alone.Type || string(read.Data) != string(alone.Data)) {
				t.Fatalf("line %d: %+v, and by itself: %+v", i+1, read, alone)
			}
		}
		var rest event.Event
		if err := r.Next(&rest); err != io.EOF {
			t.Fatalf("at the end: %v", err)
		}
	})
}
