package rules_test

import (
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/rules"
)

func TestWhere(t *testing.T) {
	t.Parallel()
	var doc map[string]any
	decode(t, []byte(`{"type":"order.created","time":"2026-01-31T12:00:00Z","tenant":"acme",
		"data":{"total":1500,"limit":1000.5,"tags":["a","b"],"customer":{"id":"c1"},"big":1e400}}`), &doc)
	for _, c := range []struct {
		name, expr string
		want       bool
		err        string
	}{
		{"int against double", `data.total > data.limit`, true, ""},
		{"int against int", `data.total == 1500`, true, ""},
		{"whole double against int", `data.total < 1500.5`, true, ""},
		{"list", `"b" in data.tags`, true, ""},
		{"nested", `data.customer.id.startsWith("c")`, true, ""},
		{"extension attribute", `tenant == "acme"`, true, ""},
		{"string extension", `type.split(".")[0] == "order"`, true, ""},
		{"math extension", `math.greatest(data.total, 3) == 1500`, true, ""},
		{"time", `time.getFullYear() == 2026`, true, ""},
		{"absent subject is empty", `subject == ""`, true, ""},
		{"beyond a double", `data.big > 1.0`, true, ""},
		{"has", `has(data.nothing)`, false, ""},
		{"missing field", `data.nothing > 1`, false, "no such key"},
		{"wrong type", `data.customer > 1`, false, "no such overload"},
		{"missing attribute", `region == "eu"`, false, "no such attribute"},
		{"no boolean", `data.total`, false, "not true or false"},
		{"too costly", `[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, [1,2,3,4,5,6,7,8,9].all(d, [1,2,3,4,5,6,7,8,9].all(e, [1,2,3,4,5,6,7,8,9].all(f, a+b+c+d+e+f > 0))))))`, false, "cost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w, err := rules.CompileWhere(c.expr)
			if err != nil {
				t.Fatal(err)
			}
			got, err := w.Holds(doc)
			if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, %v; want %v, %q", c.expr, got, err, c.want, c.err)
			}
		})
	}
}

func TestWhereRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, expr, want string }{
		{"typo", `dat.total > 1`, `1:1: error: where: undeclared reference to 'dat'`},
		{"syntax", `data.total >`, "where: Syntax error"},
		{"types", `type + 1 == 2`, "found no matching overload"},
		{"result", `"a" + "b"`, "true or false, and this is of type string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := rules.CompileWhere(c.expr)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v; want %q", c.expr, err, c.want)
			}
		})
	}
}

// What an expression can use: each of the extension libraries, and what CEL has by itself.
func TestWhatWhereHas(t *testing.T) {
	t.Parallel()
	var doc map[string]any
	decode(t, []byte(`{"type":"order.created","id":"7","source":"/shop/eu","subject":"o-1","time":"2026-01-31T23:30:00.25+01:00","tenant":"acme","n":5,
		"headers":{"retries":3,"x-tenant":"acme"},
		"data":{"total":1500,"limit":1000.5,"name":"Ada Lovelace","tags":["b","a","a"],"nested":[[1,2],[3]],"empty":[],"nothing":null,"yes":true,
			"created":"2026-01-30T00:00:00Z","customer":{"id":"c1","tier":"gold"},"lines":[{"sku":"A-1","n":2},{"sku":"B-2","n":1}],
			"token":"aGVsbG8=","huge":9007199254740993,"negative":-7,"fraction":2.5}}`), &doc)
	for name, expressions := range map[string][]string{
		"operators":   {`data.total + 1 == 1501`, `data.total > 1 ? true : false`, `-data.negative == 7`, `data.total % 7 == 2`, `!data.yes == false`, `data.limit * 2.0 == 2001.0`},
		"numbers":     {`data.total > data.limit`, `data.total == 1500.0`, `data.huge == 9007199254740993`, `int(data.fraction) == 2`, `double(data.total) / 2.0 == 750.0`, `uint(n) == 5u`},
		"has":         {`has(data.total)`, `!has(data.gone)`, `has(data.nothing)`, `has(data.customer.id)`, `!has(data.customer.gone)`, `!has(headers.gone)`, `has(data.customer) && has(data.customer.tier)`},
		"optionals":   {`data.?gone.?inner.orValue("x") == "x"`, `data.?total.orValue(0) == 1500`, `data.?gone.hasValue() == false`, `data.lines[?9].hasValue() == false`},
		"size and in": {`size(data.tags) == 3`, `data.tags.size() == 3`, `size(data.name) == 12`, `size(data.customer) == 2`, `"a" in data.tags`, `"id" in data.customer`, `size(data.empty) == 0`},
		"matches":     {`data.name.matches("^A.a ")`, `matches(type, "order\\..*")`, `!data.name.matches("^x")`},
		"strings": {`data.name.charAt(0) == "A"`, `data.name.indexOf("L") == 4`, `data.name.lastIndexOf("a") == 9`, `data.name.lowerAscii() == "ada lovelace"`, `data.name.upperAscii().endsWith("ACE")`,
			`data.name.replace("Ada", "A.") == "A. Lovelace"`, `data.name.split(" ")[1] == "Lovelace"`, `data.name.substring(0, 3) == "Ada"`, `"  x ".trim() == "x"`, `data.tags.join("-") == "b-a-a"`,
			`"%s has %d".format([data.name, data.total]) == "Ada Lovelace has 1500"`, `"abc".reverse() == "cba"`, `strings.quote("a") == "\"a\""`, `data.name.contains("Love")`, `source.startsWith("/shop/")`},
		"math": {`math.greatest(data.total, data.limit, 7) == 1500`, `math.least([3, 1, 2]) == 1`, `math.abs(data.negative) == 7`, `math.ceil(data.fraction) == 3.0`, `math.floor(data.fraction) == 2.0`, `math.round(data.fraction) == 3.0`,
			`math.trunc(data.fraction) == 2.0`, `math.sign(data.negative) == -1`, `math.isNaN(0.0 / 0.0)`, `math.isInf(1.0 / 0.0)`, `math.isFinite(data.limit)`, `math.bitAnd(data.total, 4) == 4`, `math.bitOr(1, 2) == 3`, `math.bitShiftLeft(1, 3) == 8`, `math.sqrt(9.0) == 3.0`},
		"lists": {`data.tags.sort() == ["a", "a", "b"]`, `data.tags.distinct() == ["b", "a"]`, `data.nested.flatten() == [1, 2, 3]`, `data.tags.slice(0, 1) == ["b"]`, `lists.range(3) == [0, 1, 2]`, `data.tags.reverse()[2] == "b"`,
			`data.lines.sortBy(l, l.n)[0].sku == "B-2"`, `data.tags.first().value() == "b"`, `data.tags.last().value() == "a"`},
		"macros":   {`data.lines.exists(l, l.n > 1)`, `data.lines.all(l, l.n > 0)`, `data.lines.exists_one(l, l.sku == "A-1")`, `data.lines.map(l, l.n) == [2, 1]`, `data.lines.filter(l, l.n > 1).size() == 1`, `data.customer.exists(k, k == "tier")`},
		"sets":     {`sets.contains(data.tags, ["a"])`, `sets.intersects(data.tags, ["x", "b"])`, `sets.equivalent(data.tags, ["a", "b"])`, `!sets.contains(data.tags, ["z"])`},
		"encoders": {`base64.decode(data.token) == b"hello"`, `base64.encode(b"hello") == data.token`},
		"bindings": {`cel.bind(t, data.total, t > 1000 && t < 2000)`},
		"time": {`time > timestamp("2026-01-31T00:00:00Z")`, `time - timestamp(data.created) > duration("24h")`, `time.getFullYear() == 2026`, `time.getMonth() == 0`, `time.getDayOfMonth() == 30`, `time.getDate() == 31`,
			`time.getDayOfWeek() == 6`, `time.getDayOfYear() == 30`, `time.getHours() == 22`, `time.getHours("Europe/Berlin") == 23`, `time.getMinutes() == 30`, `time.getSeconds() == 0`, `time.getMilliseconds() == 250`,
			`time + duration("1h") > time`, `duration("90m").getHours() == 1`, `duration("90m").getMinutes() == 90`, `duration("1.5s").getSeconds() == 1`, `duration("1500ms").getMilliseconds() == 1500`, `string(duration("90s")) == "90s"`, `int(time) == 1769898600`},
		"conversions":        {`string(data.total) == "1500"`, `int("7") == 7`, `double("2.5") == data.fraction`, `bool("true")`, `bytes("a") == b"a"`, `type == "order.created"`, `dyn(data.total) == 1500`},
		"the whole document": {`type + id + source + subject == "order.created7/shop/euo-1"`, `headers["x-tenant"] == tenant`, `headers.retries == 3`, `n == 5`, `data.nothing == null`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, expression := range expressions {
				w, err := rules.CompileWhere(expression)
				if err != nil {
					t.Errorf("%s: %v", expression, err)
					continue
				}
				if holds, err := w.Holds(doc); !holds || err != nil {
					t.Errorf("%s: %v, %v", expression, holds, err)
				}
			}
		})
	}
}

func TestWhatAnEventDoesNotHaveIsNoTrouble(t *testing.T) {
	t.Parallel()
	var doc map[string]any
	decode(t, []byte(`{"type":"a","data":{"n":5,"s":"x","list":[1,"two",null],"deep":{"er":{}}}}`), &doc)
	for _, c := range []struct {
		expression string
		holds      bool
		err        string // empty: it can be evaluated
	}{
		{`data.gone == 1 || data.n == 5`, true, ""}, // either side is enough
		{`data.n == 5 || data.gone == 1`, true, ""},
		{`data.gone == 1 && data.n == 6`, false, ""},
		{`data.gone == 1 && data.n == 5`, false, "no such key"},
		{`data.n.inner == 1`, false, "no such key"},
		{`data.s > 5`, false, "no such overload"},
		{`data.s == 5`, false, ""}, // things of two types are not equal
		{`data.deep.er.est == 1`, false, "no such key"},
		{`data.list[7] == 1`, false, "index out of bounds"},
		{`data.list.all(x, x > 0)`, false, "no such overload"},
		{`data.n / 0 == 1`, false, "division by zero"},
		{`timestamp(data.s) > timestamp("2026-01-01T00:00:00Z")`, false, "invalid RFC 3339"},
		{`int(data.s) == 1`, false, "type conversion error"},
		{`time > timestamp("2026-01-01T00:00:00Z")`, false, "no such attribute"},
		{`headers.x == 1`, false, "no such key"},
		{`tenant == "x"`, false, "no such attribute"},
	} {
		w, err := rules.CompileWhere(c.expression)
		if err != nil {
			t.Errorf("%s: %v", c.expression, err)
			continue
		}
		holds, err := w.Holds(doc)
		if holds != c.holds || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %v, %v; want %v, %q", c.expression, holds, err, c.holds, c.err)
		}
	}
	for _, none := range []string{`{"type":"a"}`, `{"type":"a","data":null}`, `{"type":"a","data":[]}`, `{"type":"a","data":"text"}`, `{"type":"a","data":7}`} {
		var doc map[string]any
		decode(t, []byte(none), &doc)
		w, err := rules.CompileWhere(`data.total > 1`)
		if err != nil {
			t.Fatal(err)
		}
		if holds, err := w.Holds(doc); holds || err == nil {
			t.Errorf("%s: %v, %v", none, holds, err)
		}
	}
}
