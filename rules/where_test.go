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
