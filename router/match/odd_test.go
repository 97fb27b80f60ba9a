package match_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/rules"
)

func onData(t testing.TB, sources ...string) []rules.Rule {
	t.Helper()
	rs := make([]rules.Rule, len(sources))
	for i, src := range sources {
		rs[i] = rules.Rule{Type: "#", Match: pattern(t, `{"data":`+src+`}`)}
	}
	return rs
}

// Every case is held against the slow meaning too.
func TestJSONInTheWildHasOneMeaning(t *testing.T) {
	t.Parallel()
	const there, absent = `{"a":[{"exists":true}]}`, `{"a":[{"exists":false}]}`
	deep := func(n int) string {
		return strings.Repeat(`[`, n-1) + `{"a":1}` + strings.Repeat(`]`, n-1)
	}
	for _, c := range []struct{ name, data, pattern string }{
		{"of keys that come twice the last counts", `{"a":1,"a":2}`, `{"a":[2]}`},
		{"not the first", `{"a":1,"a":2}`, `{"$not":{"a":[1]}}`},
		{"with others between", `{"a":{"b":1},"x":0,"a":{"c":2}}`, `{"a":{"c":[2],"b":[{"exists":false}]}}`},
		{"an object hides a value", `{"a":1,"a":{}}`, absent},
		{"a key written with escapes is the same key", `{"\u0061":1,"a":2,"\u0061":3}`, `{"a":[3]}`},
		{"in elements of a list", `[{"a":1,"b":1,"a":2},{"a":1,"b":2}]`, `{"a":[2],"b":[1]}`},
		{"beyond 2^53 numbers are exact", `{"a":9007199254740993}`, `{"a":[9007199254740993]}`},
		{"and differ", `{"a":9007199254740993}`, `{"$not":{"a":[9007199254740992]}}`},
		{"beyond float64", `{"a":10e399}`, `{"a":[1e400]}`},
		{"in ranges", `{"a":1.1e400}`, `{"a":[{"numeric":[">",1e400,"<",1.2e400]}]}`},
		{"of the other sign", `{"a":-1e400}`, `{"a":[{"numeric":["<",1e400]}]}`},
		{"below the least float64", `{"a":1e-400}`, `{"a":[{"numeric":[">",0]}]}`},
		{"with a huge exponent", `{"a":1e999999999}`, `{"a":[{"numeric":[">",1e400]}]}`},
		{"and a huger one", `{"a":1e99999999999999999999}`, `{"a":[{"numeric":[">=",1e99999999999999999998]}]}`},
		{"however written", `{"a":0.00050e4}`, `{"a":[5]}`},
		{"minus zero is zero", `{"a":-0.0}`, `{"a":[0]}`},
		{"escapes are what they mean", `{"a":"\u00e4\n\/"}`, `{"a":["ä\n/"]}`},
		{"a surrogate pair is one character", `{"a":"\ud83d\ude00"}`, `{"a":["😀"]}`},
		{"half a pair is U+FFFD", `{"a":"\ud83d!"}`, `{"a":["` + "\ufffd" + `!"]}`},
		{"invalid UTF-8 is no JSON", "{\"a\":\"\xff\"}", absent},
		{"a BOM is no JSON", "\ufeff" + `{"a":1}`, absent},
		{"NaN is no JSON", `{"a":1,"b":NaN}`, absent},
		{"what follows makes it no JSON", `{"a":1} {}`, absent},
		{"nor is half of it", `{"a":1,"b":[1,2`, absent},
		{"nor nothing", ``, absent},
		{"white space may follow", " {\"a\":1} \r\n\t", there},
		{"depth 10,000 is JSON", deep(10_000), there},
		{"more is not", deep(10_001), absent},
		{"also where nobody looks", `{"a":1,"b":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, absent},
		{"data need not be an object", `"x"`, absent},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rs := onData(t, c.pattern)
			e := &event.Event{Type: "a", Data: []byte(c.data)}
			m := compile(t, rs)
			if got := m.Match(e, "", nil); !slices.Equal(got, []int{0}) {
				t.Errorf("%.100s does not match %s", c.data, c.pattern)
			}
			agree(t, m, rs, e, "")
		})
	}
}

func TestDataThatDoesNotClaimToBeJSONIsNotLookedAt(t *testing.T) {
	t.Parallel()
	m := compile(t, onData(t, `{"a":[1]}`))
	for contentType, want := range map[string]int{"text/plain": 0, "": 1, "application/json": 1, "application/x+json": 1} {
		e := &event.Event{Type: "a", ContentType: contentType, Data: []byte(`{"a":1}`)}
		if got := len(m.Match(e, "", nil)); got != want {
			t.Errorf("content type %q: %d rules, want %d", contentType, got, want)
		}
	}
}

// within fails if do takes much longer than anything linear would. The limit is wide, for slow machines under the race detector.
func within(t *testing.T, limit time.Duration, do func()) {
	t.Helper()
	begin := time.Now()
	do()
	if took := time.Since(begin); took > limit {
		t.Errorf("took %v, which is over %v", took, limit)
	}
}

// worstCases are rules and data that would be exponential or quadratic if done naively.
func worstCases(t testing.TB) map[string]struct {
	rules []rules.Rule
	data  string
	want  []int
} {
	t.Helper()
	type worst = struct {
		rules []rules.Rule
		data  string
		want  []int
	}
	objects := strings.Builder{}
	for i := range 50_000 {
		fmt.Fprintf(&objects, `{"sku":"s%d","size":%d,"color":"c%d"},`, i%1000, i%7, i%11)
	}
	several := make([]string, 200)
	for i := range several {
		several[i] = fmt.Sprintf(`{"items":{"sku":["s%d"],"size":[{"numeric":[">",6]}],"color":["c1"],"kind":[{"exists":true}]}}`, i)
	}
	globs := make([]string, 1000)
	for i := range globs {
		globs[i] = fmt.Sprintf(`{"a":[{"wildcard":"%s%d"}]}`, strings.Repeat("a*", 1+i%30), i)
	}
	middles := make([]string, 300)
	for i := range middles {
		middles[i] = fmt.Sprintf(`{"a":[{"wildcard":"*%s*b*"}]}`, strings.Repeat("a", 1+i))
	}
	ranges := make([]string, 1000)
	for i := range ranges {
		ranges[i] = fmt.Sprintf(`{"a":[{"numeric":[">=",%d]}],"b":[1]}`, i)
	}
	long := strings.Repeat("a", 64<<10)
	twice := strings.Repeat(`"a":{"b":1},"c":2,`, 200_000)
	return map[string]worst{
		"many fields of one list":      {onData(t, several...), `{"items":[` + objects.String() + `{}]}`, nil},
		"wildcards with one beginning": {onData(t, globs...), `{"a":"` + long + `"}`, nil},
		"wildcards with one middle":    {onData(t, middles...), `{"a":"` + long + `"}`, nil},
		"a million elements":           {onData(t, append(ranges, `{"a":[-1]}`)...), `{"a":[` + strings.Repeat("1000,", 1_000_000) + `-1]}`, []int{1000}},
		"a million strings":            {onData(t, `{"a":[{"anything-but":["x"]}],"b":[1]}`, `{"a":["y"]}`), `{"a":[` + strings.Repeat(`"x",`, 1_000_000) + `"y"]}`, []int{1}},
		"the same keys again":          {onData(t, `{"a":{"b":[2]},"c":[2]}`, `{"a":{"b":[3]}}`), `{` + twice + `"a":{"b":2}}`, []int{0}},
		"deep nesting":                 {onData(t, `{"a":{"a":{"b":[1]}}}`, `{"b":[1]}`), strings.Repeat(`[`, 5000) + strings.Repeat(`{"a":`, 4999) + `{"b":1}` + strings.Repeat(`}`, 4999) + strings.Repeat(`]`, 5000), nil},
		"16 MiB":                       {onData(t, `{"b":[1]}`), `{"a":"` + strings.Repeat("x", 16<<20) + `","b":1}`, []int{0}},
		"lists in lists":               {onData(t, `{"a":[2]}`), `{"a":` + strings.Repeat(`[[1],`, 3000) + `2` + strings.Repeat(`]`, 3000) + `}`, []int{0}},
		"a number of a megabyte":       {onData(t, `{"a":[1]}`, `{"a":[{"numeric":[">",1]}]}`), `{"a":1.` + strings.Repeat("0", 1<<20) + `1}`, []int{1}},
	}
}

func TestTheWorstEventsTakeTimeInProportionToTheirSize(t *testing.T) {
	t.Parallel()
	for name, c := range worstCases(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := compile(t, c.rules)
			e := &event.Event{Type: "a", Data: []byte(c.data)}
			within(t, time.Minute, func() {
				if got := m.Match(e, "", nil); !slices.Equal(got, c.want) {
					t.Errorf("rules %v, want %v", got, c.want)
				}
			})
		})
	}
}

func BenchmarkWorst(b *testing.B) {
	for name, c := range worstCases(b) {
		b.Run(strings.ReplaceAll(name, " ", "-"), func(b *testing.B) {
			m := compile(b, c.rules)
			e := &event.Event{Type: "a", Data: []byte(c.data)}
			b.SetBytes(int64(len(c.data)))
			measure(b, func() { m.Match(e, "", nil) })
		})
	}
}

func TestTenThousandRulesAreCompiledFast(t *testing.T) {
	t.Parallel()
	for _, s := range shapes {
		rs := shapeRules(t, s, 10_000)
		within(t, time.Minute, func() { compile(t, rs) })
	}
}
