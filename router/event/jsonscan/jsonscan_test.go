package jsonscan_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/eventrouter/eventrouter/router/event/jsonscan"
)

func valid(text []byte) bool {
	end, ok := jsonscan.Value(text, 0, 0)
	return ok && jsonscan.End(text, end)
}

var texts = []string{
	``, ` `, `{}`, `[]`, ` [ ] `, `{"a":1}`, `{"a" : [1, 2.5e-3, -0, "x\n\u00e4\ud83d\ude00", true, false, null], "b":{"c":{}}} `,
	`01`, `-`, `-0.`, `1.`, `1e`, `1e+`, `1E400`, `.5`, `+1`, `1 2`, `tru`, `truex`, `nul`, `NaN`, `"`, `"\`, `"\x"`, `"\u12"`, `"\ud800"`, `"\ud800\u0041"`, `"\ud800\ud800\udc00"`,
	"\"a\x1fb\"", "\"a\x7fb\"", "\ufeff{}", `[1,]`, `[,]`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{1:2}`, `[}`, `{]`, `[1}`, `{"a":1]`, `]`, `}`, `,`, `:`,
	`"0123456701234567\"01234567"`, `"01234567\\"`, "\"0123456\n\"", `{"a":1,"a":[{}]}`,
}

func TestWhatEncodingJSONAcceptsIsAccepted(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{63, 64, 65, 130, 9_999, 10_000, 10_001, 20_000} {
		texts := append(texts,
			strings.Repeat("[", depth)+strings.Repeat("]", depth),
			strings.Repeat(`{"a":`, depth)+"1"+strings.Repeat("}", depth),
			strings.Repeat(`[{"a":`, depth/2)+"1"+strings.Repeat("}]", depth/2),
			strings.Repeat(`[`, depth)+"1,"+strings.Repeat("]", depth))
		for _, text := range texts {
			if got, want := valid([]byte(text)), json.Valid([]byte(text)); got != want {
				t.Errorf("%.80s (%d bytes): %v, encoding/json says %v", text, len(text), got, want)
			}
		}
	}
}

// FuzzValue: the two accept the same, and read the same strings.
func FuzzValue(f *testing.F) {
	for _, text := range texts {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, want := valid(text), json.Valid(text); got != want {
			t.Fatalf("%q: %v, encoding/json says %v", text, got, want)
		}
		trimmed := bytes.TrimSpace(text)
		if !utf8.Valid(text) || !valid(text) || trimmed[0] != '"' {
			return
		}
		var want string
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatal(err)
		}
		if got := jsonscan.AppendString(nil, trimmed[1:len(trimmed)-1]); string(got) != want {
			t.Fatalf("%s is %q, encoding/json says %q", text, got, want)
		}
	})
}

func BenchmarkValue(b *testing.B) {
	text := []byte(`{"specversion":"1.0","type":"order.created","source":"/shop/eu","id":"0190a3c2","data":{"total":1500.25,"country":"DE","items":[` +
		strings.Repeat(`{"sku":"A-1002","quantity":3,"price":19.99,"tags":["red","large"]},`, 12) + `{}]}}`)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if !valid(text) {
			b.Fatal("not valid")
		}
	}
}
