package match_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/rules"
)

// benchEvent is an event of about 1 KiB, as an online shop has them.
func benchEvent() *event.Event {
	return &event.Event{
		ID: "0190a3c2-7b1e-7c40-8f00-00000000beef", Type: "order.created", Source: "/shop/eu", Subject: "order/4711",
		Time: time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.UTC), ContentType: "application/json",
		Attributes: map[string]any{"tenant": "acme", "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
		Data: []byte(`{"order":{"id":"order-4711","created":"2026-01-31T12:00:00.123Z","channel":"web","currency":"EUR","total":1500.25,"paid":false,"note":null},
"customer":{"id":"c0","name":"Erika Mustermann","email":"erika@example.org","country":"DE","tier":"gold","address":{"street":"Heidestraße 17","zip":"51147","city":"Köln"}},
"items":[{"sku":"A-0-1002","title":"Kettle, 1.7 l, brushed steel","quantity":1,"price":39.9,"tags":["kitchen","steel"]},{"sku":"B-1-2044","title":"Espresso cups, set of six","quantity":2,"price":24.5,"tags":["kitchen","gift"]},{"sku":"C-2-3001","title":"Grinder","quantity":1,"price":1411.35,"tags":["kitchen","premium"]}],
"shipping":{"method":"express","carrier":"DHL","path":"/eu/region/0/hub/de-koln/parcel.json","estimate":"2026-02-03","weight":4.25},
"payment":{"method":"card","brand":"visa","risk":{"score":0.07,"checks":["cvv","3ds","velocity"]}},
"client":{"ip":"10.0.0.5","agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36","locale":"de-DE"},"version":7}`),
	}
}

// A shape makes the i-th of n rules: its type, its pattern, and the same as CEL. Three of the rules hold for benchEvent.
type shape struct {
	name string
	rule func(i int) (typePattern, pattern, cel string)
}

var shapes = []shape{
	{"exact", func(i int) (string, string, string) {
		return "order.*", fmt.Sprintf(`{"data":{"customer":{"id":["c%d"],"country":["DE"]}}}`, i/3),
			fmt.Sprintf(`data.customer.id == "c%d" && data.customer.country == "DE"`, i/3)
	}},
	{"range", func(i int) (string, string, string) {
		low := 1500 + i/3*10
		return "order.*", fmt.Sprintf(`{"data":{"customer":{"country":["DE","AT"]},"order":{"total":[{"numeric":[">=",%d,"<",%d]}]}}}`, low, low+10),
			fmt.Sprintf(`data.customer.country in ["DE", "AT"] && data.order.total >= %d && data.order.total < %d`, low, low+10)
	}},
	{"affix", func(i int) (string, string, string) {
		if i%2 == 1 {
			return "order.*", fmt.Sprintf(`{"data":{"order":{"id":[{"suffix":"-%d"}]}}}`, 4711+i/3), fmt.Sprintf(`data.order.id.endsWith("-%d")`, 4711+i/3)
		}
		return "order.*", fmt.Sprintf(`{"data":{"items":{"sku":[{"prefix":"A-%d-"}]}}}`, i/3), fmt.Sprintf(`data.items.exists(x, x.sku.startsWith("A-%d-"))`, i/3)
	}},
	{"wildcard", func(i int) (string, string, string) {
		return "order.*", fmt.Sprintf(`{"data":{"shipping":{"path":[{"wildcard":"/eu/*/%d/hub/*.json"}]}}}`, i/3),
			fmt.Sprintf(`data.shipping.path.matches("^/eu/.*/%d/hub/.*[.]json$")`, i/3)
	}},
	{"but", func(i int) (string, string, string) {
		but := "web"
		if i < 3 {
			but = "shop"
		}
		return "order.*", fmt.Sprintf(`{"data":{"order":{"channel":[{"anything-but":["%s","x%d"]}]}}}`, but, i),
			fmt.Sprintf(`!(data.order.channel in ["%s", "x%d"])`, but, i)
	}},
}

func init() {
	shapes = append(shapes, shape{"mixed", func(i int) (string, string, string) {
		// Three of each ten thousand hold, one of each of three kinds.
		kind := shapes[i%len(shapes[:5])]
		if i >= 5 && kind.name == "but" {
			return "order.*", fmt.Sprintf(`{"data":{"order":{"channel":[{"anything-but":["web","x%d"]}]},"customer":{"id":[{"prefix":"c%d-"}]}}}`, i, i),
				fmt.Sprintf(`!(data.order.channel in ["web", "x%d"]) && data.customer.id.startsWith("c%d-")`, i, i)
		}
		return kind.rule(i)
	}})
}

func shapeRules(t testing.TB, s shape, n int) []rules.Rule {
	t.Helper()
	rs := make([]rules.Rule, n)
	for i := range rs {
		typePattern, src, _ := s.rule(i)
		rs[i] = rules.Rule{Type: typePattern, Match: pattern(t, src)}
	}
	return rs
}

func celRules(t testing.TB, s shape, n int) []*rules.Where {
	t.Helper()
	out := make([]*rules.Where, n)
	for i := range out {
		_, _, src := s.rule(i)
		w, err := rules.CompileWhere(src)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = w
	}
	return out
}

// celHolds is a loop over all expressions, as a router would have it that knows only CEL.
func celHolds(ws []*rules.Where, e *event.Event) (holding []int) {
	doc := e.Document()
	for i, w := range ws {
		if ok, err := w.Holds(doc); ok && err == nil {
			holding = append(holding, i)
		}
	}
	return holding
}

// The loops beside the matcher say the same as it, or they would be no measure.
func TestTheLoopsOfTheBenchmarkAgree(t *testing.T) {
	t.Parallel()
	e := benchEvent()
	for _, s := range shapes {
		rs := shapeRules(t, s, 100)
		fast := compile(t, rs).Match(e, "", nil)
		bySlow, _ := slow(rs, e, "")
		if byCEL := celHolds(celRules(t, s, 100), e); len(fast) == 0 || !slices.Equal(fast, bySlow) || !slices.Equal(fast, byCEL) {
			t.Errorf("%s: the matcher finds %v, the slow meaning %v, CEL %v", s.name, fast, bySlow, byCEL)
		}
	}
}

// BenchmarkMatch is the matcher by the shape and the number of rules, beside loops over the same rules and what it costs to read
// the event in other ways. The loops are cut, as their time grows with the rules: the slow meaning at 10,000,
// and CEL at 1,000, as the programs for 10,000 take too long to compile.
func BenchmarkMatch(b *testing.B) {
	e := benchEvent()
	for _, s := range shapes {
		for _, n := range []int{10, 100, 1000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("fast/%s/%d", s.name, n), func(b *testing.B) {
				m := compile(b, shapeRules(b, s, n))
				into := m.Match(e, "", nil)
				b.ReportAllocs()
				measure(b, func() { into = m.Match(e, "", into[:0]) })
				b.ReportMetric(float64(len(into)), "rules")
			})
		}
		for _, n := range []int{10, 100, 1000, 10_000} {
			b.Run(fmt.Sprintf("slow/%s/%d", s.name, n), func(b *testing.B) {
				rs := shapeRules(b, s, n)
				measure(b, func() { slow(rs, e, "") })
			})
		}
		for _, n := range []int{10, 100, 1000} {
			b.Run(fmt.Sprintf("cel/%s/%d", s.name, n), func(b *testing.B) {
				ws := celRules(b, s, n)
				measure(b, func() { celHolds(ws, e) })
			})
		}
	}
	b.Run("floor/bytes", func(b *testing.B) {
		sum := 0
		measure(b, func() {
			for _, c := range e.Data {
				sum += int(c)
			}
		})
		if sum == 0 {
			b.Fatal("nothing was read")
		}
	})
	b.Run("floor/json.Valid", func(b *testing.B) { measure(b, func() { json.Valid(e.Data) }) })
	b.Run("floor/json.Unmarshal", func(b *testing.B) {
		measure(b, func() {
			var v any
			if err := json.Unmarshal(e.Data, &v); err != nil {
				b.Fatal(err)
			}
		})
	})
}

// measure also reports the time for which the process computed, for machines that are not left alone.
func measure(b *testing.B, do func()) {
	begin, n := time.Duration(0), 0
	for b.Loop() {
		if n++; n == 1 {
			begin = cpuTime()
		}
		do()
	}
	b.ReportMetric(float64(cpuTime()-begin)/float64(n), "cpu-ns/op")
}

// BenchmarkCompile is the time that it takes to make a matcher, what is allocated on the way, and what the matcher holds for each rule.
func BenchmarkCompile(b *testing.B) {
	for _, s := range shapes {
		rs := shapeRules(b, s, 10_000)
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				compile(b, rs)
			}
			b.ReportMetric(heldBytes(b, rs)/float64(len(rs)), "held-bytes/rule")
		})
	}
}
