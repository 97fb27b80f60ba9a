package match_test

import (
	"strconv"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/rules"
)

// Random patterns and events. Both draw from the same few names and values, so that they meet often.

var (
	fieldNames = []string{"a", "b", "c", "", "ä", `q"`}
	strange    = []string{
		"", "a", "ab", "abc", "ABC", "aBcD", "b", "bab", "aaaaab", "aaaa", "K", "K", "ſ", "s", "straße", "äöü", "ÄÖÜ", "\ufffd", "x*y", `x\y`, "日本語", "日本", "a\nb",
		"10.0.0.5", "10.0.0.0", "10.1.2.3", "::1", "2001:db8::1", "::ffff:10.0.0.5", "1.2.3", "5", "true", "order.created", "order", "created", "2026-01-31T12:00:00Z",
	}
	numbers = []string{
		"0", "-0", "0.0", "-0.0e5", "1", "1.0", "10e-1", "5", "5.0", "5e0", "50e-1", "-1", "-1.5", "1.5", "100", "1e2", "0.1", "0.10", "1e-1", "3.14159265358979323846", "3.14159265358979323847",
		"9007199254740992", "9007199254740993", "9007199254740993.0", "-9007199254740993", "1e400", "10e399", "1.1e400", "-1e400", "1e-400", "-1e-400", "1e999999999", "1e1099511627776", "1e99999999999999999999", "123456789012345678901234567890", "12345678901234567890123456789e1", "0.000000000000000000000000000001", "1e22", "1e23", "100000000000000000000000",
	}
	blocks  = []string{"10.0.0.0/8", "10.0.0.0/24", "10.0.0.5/32", "0.0.0.0/0", "2001:db8::/32", "::/0", "::ffff:0:0/96", "::1/128"}
	regexes = []string{"a", "^a+b$", "ab|c", "(?i)abc", "(ab)+", "x{2}", "a.c", "", "^$", "b+a", "[ab]c", "\\x{FFFD}", "日.", "a?b"}
	globs   = []string{"*", "a*", "*b", "a*b", "*a*a*", "a*a*a*", "*ab*", "*b*a*b", `x\**`, `*\\*`, "order.*", "*.created", "o*d", "ab*bc", "aa*aab", "*日*"}
	topics  = []string{"#", "order.created", "order.*", "*.created", "order.#", "#.created", "*", "user", "", "a.b.c", "a.*.c"}
	keys    = []string{"order.created", "order.paid", "user", "a.b.c", "order", "x"}
)

func pick(t *rapid.T, from []string, label string) string {
	return rapid.SampledFrom(from).Draw(t, label)
}

func chance(t *rapid.T, percent int) bool { return rapid.IntRange(0, 99).Draw(t, "chance") < percent }

func several(t *rapid.T, most int, open, end string, one func() string) string {
	n := rapid.IntRange(1, most).Draw(t, "n")
	parts := make([]string, n)
	for i := range parts {
		parts[i] = one()
	}
	return open + strings.Join(parts, ",") + end
}

func drawCondition(t *rapid.T) string {
	text := func() string { return strconv.Quote(pick(t, strange[1:], "text")) }
	switch rapid.IntRange(0, 17).Draw(t, "condition") {
	case 0:
		return pick(t, []string{"true", "false", "null"}, "literal")
	case 1, 2:
		return pick(t, numbers, "number")
	case 3:
		return `{"prefix":` + text() + `}`
	case 4:
		return `{"suffix":` + text() + `}`
	case 5:
		return `{"prefix":{"equals-ignore-case":` + text() + `}}`
	case 6:
		return `{"suffix":{"equals-ignore-case":` + text() + `}}`
	case 7:
		return `{"equals-ignore-case":` + text() + `}`
	case 8:
		return `{"wildcard":` + strconv.Quote(pick(t, globs, "glob")) + `}`
	case 9:
		return `{"anything-but":` + several(t, 3, "[", "]", text) + `}`
	case 10:
		return `{"anything-but":` + several(t, 3, "[", "]", func() string { return pick(t, numbers, "number") }) + `}`
	case 11:
		op := pick(t, []string{"prefix", "suffix", "equals-ignore-case"}, "operator")
		return `{"anything-but":{"` + op + `":` + several(t, 2, "[", "]", text) + `}}`
	case 12:
		return `{"anything-but":{"wildcard":` + strconv.Quote(pick(t, globs, "glob")) + `}}`
	case 13:
		return drawNumeric(t)
	case 14:
		return `{"cidr":"` + pick(t, blocks, "block") + `"}`
	case 15:
		return `{"exists":` + strconv.FormatBool(rapid.Bool().Draw(t, "exists")) + `}`
	case 16:
		return `{"regex":` + strconv.Quote(pick(t, regexes, "regex")) + `}`
	}
	return text()
}

func drawNumeric(t *rapid.T) string {
	one := `{"numeric":["` + pick(t, []string{"<", "<=", ">", ">=", "="}, "comparison") + `",` + pick(t, numbers, "number") + `]}`
	two := `{"numeric":["` + pick(t, []string{">", ">="}, "low") + `",` + pick(t, numbers, "number") + `,"` + pick(t, []string{"<", "<="}, "high") + `",` + pick(t, numbers, "number") + `]}`
	if _, err := rules.ParsePattern([]byte(`{"a":[` + two + `]}`)); err != nil || chance(t, 50) {
		return one
	}
	return two
}

// drawObject draws an object of a pattern: fields by name, and $or, $and, $not.
func drawObject(t *rapid.T, names []string, depth int) string {
	var members []string
	used := map[string]bool{}
	for range rapid.IntRange(1, 3).Draw(t, "members") {
		name := pick(t, names, "name")
		if used[name] {
			continue
		}
		used[name] = true
		if depth > 0 && chance(t, 45) {
			members = append(members, strconv.Quote(name)+":"+drawObject(t, fieldNames, depth-1))
		} else {
			members = append(members, strconv.Quote(name)+":"+several(t, 3, "[", "]", func() string { return drawCondition(t) }))
		}
	}
	if depth > 0 && chance(t, 25) {
		inside := func() string { return drawObject(t, names, depth-1) }
		switch op := pick(t, []string{"$or", "$and", "$not"}, "operator"); op {
		case "$not":
			members = append(members, `"$not":`+inside())
		default:
			members = append(members, `"`+op+`":[`+inside()+","+inside()+"]")
		}
	}
	return "{" + strings.Join(members, ",") + "}"
}

func drawPattern(t *rapid.T) *rules.Pattern {
	src := `{"data":` + drawObject(t, fieldNames, 2) + `}`
	if chance(t, 35) {
		src = drawObject(t, []string{"data", "type", "subject", "headers", "tenant", "time", "id", "source"}, 2)
	}
	p, err := rules.ParsePattern([]byte(src))
	if err != nil {
		t.Fatalf("%s: %v", src, err)
	}
	return p
}

var wheres = func() []*rules.Where {
	out := []*rules.Where{nil, nil, nil, nil}
	for _, src := range []string{`type == "order.created"`, `data.a == 5`, `has(data.a)`, `subject != ""`} {
		w, err := rules.CompileWhere(src)
		if err != nil {
			panic(err)
		}
		out = append(out, w)
	}
	return out
}()

func drawRule(t *rapid.T) rules.Rule {
	r := rules.Rule{Type: "#", Where: rapid.SampledFrom(wheres).Draw(t, "where")}
	if chance(t, 50) {
		r.Type = pick(t, topics, "type")
	}
	if chance(t, 15) {
		r.From = []string{pick(t, []string{"events", "audit"}, "from")}
	}
	if chance(t, 90) {
		r.Match = drawPattern(t)
	}
	return r
}

// drawCrowd draws many rules that ask for the same few values of the same few fields, so that they share buckets.
func drawCrowd(t *rapid.T) []rules.Rule {
	values := []string{`"x"`, `"y"`, `"x"`, `1`, `{"prefix":"x"}`, `{"anything-but":"x"}`, `{"anything-but":["y","z"]}`, `{"numeric":[">",0]}`, `{"numeric":["<",3]}`, `{"wildcard":"*x*"}`, `{"exists":false}`}
	rs := make([]rules.Rule, rapid.IntRange(9, 60).Draw(t, "crowd"))
	for i := range rs {
		leaf := func() string {
			return several(t, 2, "[", "]", func() string {
				return values[min(rapid.IntRange(0, 30).Draw(t, "value"), rapid.IntRange(0, len(values)-1).Draw(t, "value"))]
			})
		}
		var members []string
		for _, name := range []string{"a", "b", "c"} {
			switch rapid.IntRange(0, 4).Draw(t, "field") {
			case 0:
				members = append(members, `"`+name+`":{"a":`+leaf()+`,"b":`+leaf()+`}`)
			case 1, 2, 3:
				members = append(members, `"`+name+`":`+leaf())
			}
		}
		members = append(members, `"d":`+leaf())
		p, err := rules.ParsePattern([]byte(`{"data":{` + strings.Join(members, ",") + `}}`))
		if err != nil {
			t.Fatalf("%v", err)
		}
		rs[i] = rules.Rule{Type: pick(t, []string{"#", "a", "a", "*"}, "type"), Match: p}
	}
	return rs
}

func drawCrowdData(t *rapid.T, depth int) string {
	if depth == 0 || chance(t, 50) {
		return pick(t, []string{`"x"`, `"y"`, `"z"`, `"xx"`, `1`, `5`, `null`}, "value")
	}
	if chance(t, 40) {
		return several(t, 4, "[", "]", func() string { return drawCrowdData(t, depth-1) })
	}
	return several(t, 4, "{", "}", func() string {
		return `"` + pick(t, []string{"a", "b", "c", "d"}, "name") + `":` + drawCrowdData(t, depth-1)
	})
}

// drawText draws a string as JSON writes it, in one of the ways in which that can be done.
func drawText(t *rapid.T, s string) string {
	quoted := strconv.Quote(s)
	switch rapid.IntRange(0, 9).Draw(t, "writing") {
	case 0:
		var b strings.Builder
		for _, r := range s {
			if r > 0xffff {
				b.WriteRune(r)
				continue
			}
			b.WriteString(`\u` + strconv.FormatInt(0x10000+int64(r), 16)[1:])
		}
		return `"` + b.String() + `"`
	case 1:
		return pick(t, []string{`"\ud800"`, `"\udc00\ud800"`, `"a\ud800b"`, `"\ud83d\ude00"`, `"\/"`, `"x\u002ay"`}, "escape")
	}
	return quoted
}

func drawValue(t *rapid.T, depth int) string {
	space := pick(t, []string{"", "", "", " ", "\n\t"}, "space")
	if depth > 0 {
		switch rapid.IntRange(0, 5).Draw(t, "nesting") {
		case 0, 1, 2:
			n := rapid.IntRange(0, 4).Draw(t, "members")
			members := make([]string, n)
			for i := range members {
				members[i] = drawText(t, pick(t, fieldNames, "name")) + space + ":" + drawValue(t, depth-1)
			}
			return space + "{" + strings.Join(members, space+",") + space + "}"
		case 3:
			n := rapid.IntRange(0, 4).Draw(t, "elements")
			if chance(t, 3) {
				n = rapid.IntRange(17, 70).Draw(t, "elements")
			}
			elements := make([]string, n)
			for i := range elements {
				elements[i] = drawValue(t, depth-1)
			}
			return "[" + strings.Join(elements, ","+space) + space + "]"
		}
	}
	switch rapid.IntRange(0, 5).Draw(t, "scalar") {
	case 0:
		return space + pick(t, []string{"true", "false", "null"}, "literal")
	case 1, 2:
		return space + pick(t, numbers, "number")
	}
	return space + drawText(t, pick(t, strange, "text")) + space
}

func drawEvent(t *rapid.T) *event.Event {
	e := &event.Event{Type: pick(t, keys, "key"), Data: []byte(drawValue(t, 4))}
	if chance(t, 30) {
		e.Data = []byte("{" + several(t, 3, "", "", func() string { return drawText(t, pick(t, fieldNames, "name")) + ":" + drawValue(t, 3) }) + "}")
	}
	switch rapid.IntRange(0, 40).Draw(t, "damage") {
	case 0:
		e.Data = append(e.Data, pick(t, []string{"x", "{}", "\xff", "]", " \x00"}, "tail")...)
	case 1:
		e.Data = append([]byte(pick(t, []string{"\ufeff", "[", "NaN"}, "head")), e.Data...)
	case 2:
		e.Data = e.Data[:rapid.IntRange(0, len(e.Data)).Draw(t, "cut")]
	case 3:
		e.Data = append(append([]byte(`{"a":"`), 0xc3, 0x28), `"}`...)
	case 4:
		e.ContentType = pick(t, []string{"text/plain", "application/json", "application/x+json; a=b"}, "content type")
	}
	if chance(t, 30) {
		e.Subject, e.ID, e.Source = pick(t, strange, "subject"), pick(t, strange, "id"), pick(t, strange, "source")
	}
	if chance(t, 20) {
		e.Time = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	}
	if chance(t, 20) {
		e.Attributes = map[string]any{"tenant": drawNative(t, 0)}
		if chance(t, 20) {
			e.Attributes[pick(t, []string{"data", "subject", "headers"}, "attribute")] = drawNative(t, 1)
		}
	}
	if chance(t, 20) {
		e.Headers, _ = drawNative(t, 3).(map[string]any)
	}
	return e
}

// drawNative draws a value as attributes and headers have them.
func drawNative(t *rapid.T, depth int) any {
	if depth > 0 && chance(t, 70) {
		if chance(t, 30) {
			list := make([]any, rapid.IntRange(0, 3).Draw(t, "elements"))
			for i := range list {
				list[i] = drawNative(t, depth-1)
			}
			return list
		}
		m := map[string]any{}
		for range rapid.IntRange(0, 3).Draw(t, "members") {
			m[pick(t, fieldNames, "name")] = drawNative(t, depth-1)
		}
		return m
	}
	s := pick(t, strange, "text")
	return rapid.SampledFrom([]any{s, s, s, []byte(s), s + "\xff", true, false, nil, int64(5), int32(1), 5.0, 1.5, float32(0.1), uint8(1), time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)}).Draw(t, "native")
}
