package rules_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/eventrouter/eventrouter/rules"
)

// Where YAML and JSON write things in more than one way, or where one could think that a pattern means something else.
func TestPatternsAtTheEdges(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, pattern, holds, not string }{
		{"empty prefix is any string", `{"a":[{"prefix":""}]}`, `{"a":"x"} {"a":""}`, `{"a":5} {}`},
		{"empty suffix is any string", `{"a":[{"suffix":{"equals-ignore-case":""}}]}`, `{"a":"x"}`, `{"a":null}`},
		{"empty wildcard is the empty string", `{"a":[{"wildcard":""}]}`, `{"a":""}`, `{"a":"x"}`},
		{"exactly", `{"a":[{"exactly":"5"}]}`, `{"a":"5"}`, `{"a":5}`},
		{"escapes of wildcards", `{"a":[{"wildcard":"\\**\\\\"}]}`, `{"a":"*x\\"} {"a":"*\\"}`, `{"a":"x*\\"} {"a":"*x"}`},
		{"a number beyond a double is a number", `{"a":[1e400]}`, `{"a":1e400} {"a":10e399}`, `{"a":"1e400"} {"a":1e401}`},
		{"a number beyond 2^53", `{"a":[9007199254740993]}`, `{"a":9007199254740993.0}`, `{"a":9007199254740992}`},
		{"a range up to a number beyond a double", `{"a":[{"numeric":[">=",1e400]}]}`, `{"a":1e400}`, `{"a":1e399} {"a":"1e401"}`},
		{"a range of one number", `{"a":[{"numeric":[">=",5,"<=",5.0]}]}`, `{"a":5}`, `{"a":5.1}`},
		{"minus zero", `{"a":[-0]}`, `{"a":0} {"a":-0.0}`, `{"a":"0"}`},
		{"anything but a number lets strings through", `{"a":[{"anything-but":5}]}`, `{"a":"5"} {"a":null} {"a":[5,6]}`, `{"a":5.0} {} {"a":{}} {"a":[]}`},
		{"anything but in any case", `{"a":[{"anything-but":{"equals-ignore-case":["ab",""]}}]}`, `{"a":"abc"} {"a":5}`, `{"a":"AB"} {"a":""}`},
		{"what is there, and what is not", `{"a":[{"exists":false}]}`, `{} {"a":{}} {"a":{"b":1}} {"a":[]} {"a":[[]]}`, `{"a":null} {"a":[1]}`},
		{"an object is no leaf", `{"a":[{"exists":true}]}`, `{"a":""} {"a":[{},1]}`, `{"a":{"b":1}} {"a":[{}]}`},
		{"lists in lists are flat", `{"a":[5]}`, `{"a":[[1,[5]]]}`, `{"a":[[1]]}`},
		{"a mapped address is one of IPv6", `{"a":[{"cidr":"::ffff:10.0.0.0/104"}]}`, `{"a":"::ffff:10.1.2.3"}`, `{"a":"10.1.2.3"}`},
		{"a block given by any of its addresses", `{"a":[{"cidr":"10.9.9.9/8"}]}`, `{"a":"10.0.0.0"}`, `{"a":"11.0.0.0"} {"a":"::ffff:10.0.0.1"} {"a":"10.0.0.1%x"} {"a":10}`},
		{"an IPv6 address in all its forms", `{"a":["2001:db8::1"]}`, `{"a":"2001:db8::1"} {"a":"2001:0DB8:0:0:0:0:0:1"}`, `{"a":"2001:db8::2"} {"a":"2001:db8::1%eth0"}`},
		{"no address", `{"a":["00:1b:44:11:3a:b7"]}`, `{"a":"00:1b:44:11:3a:b7"}`, `{"a":"00:1B:44:11:3A:B7"}`},
		{"fields with the names of operators", `{"a":{"cidr":["10.0.0.0/8"],"numeric":[5]}}`, `{"a":{"cidr":"10.0.0.0/8","numeric":5}}`, `{"a":"10.0.0.1"}`},
		{"one field with the name of an operator", `{"a":{"cidr":["10.0.0.0/8"]}}`, `{"a":{"cidr":"10.0.0.0/8"}}`, `{"a":"10.0.0.1"}`},
		{"a path around and inside of $or", `{"a":[1,2],"$or":[{"a":[2,3]},{"b":[1]}]}`, `{"a":2} {"a":1,"b":1} {"a":[1,3]}`, `{"a":3} {"a":1}`},
		{"$or inside of $or", `{"$or":[{"a":{"$or":[{"b":[1]},{"c":[1]}]}},{"d":[1]}],"e":[1]}`, `{"a":{"c":1},"e":1} {"d":1,"e":1}`, `{"a":{"c":1}} {"e":1}`},
		{"one element for all of $or and around it", `{"a":{"x":[1],"$or":[{"y":[1]},{"z":[1]}]}}`, `{"a":[{"x":1,"z":1}]}`, `{"a":[{"x":1},{"y":1}]}`},
		{"an element each for $and", `{"$and":[{"a":{"x":[1]}},{"a":{"y":[1]}}]}`, `{"a":[{"x":1},{"y":1}]}`, `{"a":[{"x":1}]}`},
		{"not any element", `{"$not":{"a":{"x":[1]}}}`, `{} {"a":[{"x":2}]}`, `{"a":[{"x":2},{"x":1}]}`},
		{"not not", `{"$not":{"$not":{"a":[1]}}}`, `{"a":1}`, `{}`},
		{"a leaf in a list with an object", `{"a":[5],"b":[1]}`, `{"a":[5,{"x":1}],"b":1}`, `{"a":{"x":5},"b":1}`},
		{"names with characters that others keep for themselves", `{"a":{"b.c":[1],"":[2],"\u0000":[3]},"a\u0000b":[4]}`, `{"a":{"b.c":1,"":2,"\u0000":3},"a\u0000b":4}`, `{"a":{"b":{"c":1},"":2,"\u0000":3},"a\u0000b":4}`},
		{"pairs of escapes", `{"a":["\ud83d\ude00"],"b":["\/"]}`, `{"a":"😀","b":"/"}`, `{"a":"?","b":"/"}`},
		{"JSON with tabs, and a colon on a line of its own", "\ufeff{\n\t\"a\"\n\t:\t[1]\r\n}", `{"a":1}`, `{"a":2}`},
		{"YAML in blocks", "a:\n  - DE\n  - prefix: A\n  - 2026-01-31\n  - ~\n", `{"a":"DE"} {"a":"AT"} {"a":"2026-01-31"} {"a":null}`, `{"a":"~"}`},
		{"YAML 1.1's words are strings", "a: [yes, No, on]", `{"a":"yes"} {"a":"No"}`, `{"a":true}`},
		{"a string that looks like a number", `a: ["5", !!str 6, '1e400']`, `{"a":"5"} {"a":"6"} {"a":"1e400"}`, `{"a":5} {"a":6} {"a":1e400}`},
		{"a name that looks like a number", "5: [1]\ntrue: [2]", `{"5":1,"true":2}`, `{}`},
		{"aliases", "a: &x [{prefix: &p ab}, 7]\nb: *x\nc: [*p]", `{"a":"abc","b":7,"c":"ab"}`, `{"a":"abc","b":8,"c":"ab"}`},
		{"a prefix that looks like a date", "a: [{prefix: 2026-01-31}]", `{"a":"2026-01-31T12:00:00Z"}`, `{"a":"2026-02-01"}`},
		{"folding beyond ASCII", `{"a":[{"equals-ignore-case":"STRASSE Σ"}]}`, `{"a":"strasse σ"} {"a":"strasse ς"}`, `{"a":"straße σ"}`},
		{"regex on strings only", `{"a":[{"regex":"^[0-9]+$"}]}`, `{"a":"5"}`, `{"a":5} {"a":"5x"}`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := rules.ParsePattern([]byte(c.pattern))
			if err != nil {
				t.Fatal(err)
			}
			for want, events := range map[bool]string{true: c.holds, false: c.not} {
				for d := json.NewDecoder(strings.NewReader(events)); d.More(); {
					var raw json.RawMessage
					if err := d.Decode(&raw); err != nil {
						t.Fatal(err)
					}
					var doc map[string]any
					decode(t, raw, &doc)
					if p.Matches(doc) != want {
						t.Errorf("%s: want %v for %s", c.pattern, want, raw)
					}
				}
			}
		})
	}
}

// The measured cases are JSON; as YAML in blocks they mean the same.
func TestMeasuredPatternsAsYAML(t *testing.T) {
	t.Parallel()
	var sources []json.RawMessage
	read(t, "testdata/pattern-cases/patterns.json", &sources)
	expected := lines(t, "testdata/pattern-cases/expected.ndjson")
	events := lines(t, "testdata/pattern-cases/events.ndjson")
	for j, src := range sources {
		var n yaml.Node
		if err := yaml.Unmarshal(src, &n); err != nil {
			t.Fatal(err)
		}
		inBlocks(&n)
		text, err := yaml.Marshal(&n)
		if err != nil {
			t.Fatal(err)
		}
		p, err := rules.ParsePattern(text)
		if err != nil {
			t.Fatalf("pattern %d:\n%s%v", j, text, err)
		}
		for i, line := range events {
			var doc map[string]any
			decode(t, line, &doc)
			var want []int
			decode(t, expected[i], &want)
			if got := p.Matches(doc); got != slices.Contains(want, j) {
				t.Errorf("event %s and\n%s: %v", line, text, got)
			}
		}
	}
}

func inBlocks(n *yaml.Node) {
	if n.Kind != yaml.ScalarNode {
		n.Style = 0
	}
	for _, c := range n.Content {
		inBlocks(c)
	}
}

// A pattern of n fields, of n entries, of n levels or of n aliases takes time in proportion to n, or is refused.
func TestLargePatternsAreReadQuickly(t *testing.T) {
	t.Parallel()
	const n = 20_000
	var fields, bomb strings.Builder
	for i := range n {
		fmt.Fprintf(&fields, "f%d: [%d]\n", i, i)
	}
	bomb.WriteString("a0: &a0 [x]\n")
	for i := range 40 {
		fmt.Fprintf(&bomb, "a%d: &a%d [{anything-but: *a%d}, {anything-but: *a%d}]\n", i+1, i+1, i, i)
	}
	for name, c := range map[string]struct{ text, err string }{
		"fields":  {fields.String(), ""},
		"entries": {"a: [" + strings.Repeat("x, ", n) + "y]", ""},
		"levels":  {strings.Repeat(`{"$not":`, 5000) + `{"a":[1]}` + strings.Repeat("}", 5000), "at most 200 levels"},
		"paths":   {strings.Repeat(`{"a":`, 5000) + `[1]` + strings.Repeat("}", 5000), "at most 200 levels"},
		"aliases": {bomb.String(), "anything-but takes"},
		"or":      {`{"$or":[{"a":[1]},{"b":[1]}],"x":{"$or":[` + strings.Repeat(`{"c":[1]},`, 600) + `{"d":[1]}]}}`, "more than 1000 alternatives"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, err := rules.ParsePattern([]byte(c.text))
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("took %s", took)
			}
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%.300v, want %q", err, c.err)
			}
		})
	}
}
