package rules_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/eventrouter/eventrouter/rules"
)

func TestWhatKeepsAPatternFromMatching(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, pattern, event, want string }{
		{"a value", `{"data":{"total":[5,{"prefix":"x"}]}}`, `{"data":{"total":7}}`, `data.total: expected 5 or {"prefix":"x"}, found 7; held 0, failed 1 []`},
		{"nothing there", `{"data":{"total":[5]}}`, `{"data":{}}`, `data.total: expected 5, found ; held 0, failed 1 []`},
		{"something there", `{"data":{"error":[{"exists":false}]}}`, `{"data":{"error":{"code":1,"list":[5,null]}}}`, ``},
		{"a value where none is to be", `{"data":{"error":[{"exists":false}]}}`, `{"data":{"error":null}}`, `data.error: expected {"exists":false}, found null; held 0, failed 1 []`},
		{"several", `{"data":{"a":[1],"b":[1],"c":[1]},"type":["x"]}`, `{"type":"x","data":{"a":1,"b":2}}`, `data.b: expected 1, found 2; held 2, failed 2 [data.c]`},
		{"values of a list", `{"data":{"tags":["x"]}}`, `{"data":{"tags":["a",["b"],1,2,3,4,5]}}`, `data.tags: expected "x", found "a", "b", 1, 2, 3, …; held 0, failed 1 []`},
		{"values in a list of objects", `{"data":{"items":{"sku":["x"]}}}`, `{"data":{"items":[{"sku":"a"},{},{"sku":"b"}]}}`, `data.items.sku: expected "x", found "a", "b"; held 0, failed 1 []`},
		{"no one element", `{"data":{"n":[1],"items":{"sku":["x"],"state":["new"],"id":[{"exists":true}]}}}`, `{"data":{"n":1,"items":[{"sku":"x","id":1},{"state":"new","id":2}]}}`,
			`data.items: expected one element with sku: "x", state: "new", found each in an element of its own; held 4, failed 1 []`},
		{"no one element for three", `{"data":{"items":{"a":[1],"b":[1],"c":[1]}}}`, `{"data":{"items":[{"a":1,"b":1},{"b":1,"c":1},{"a":1,"c":1}]}}`,
			`data.items: expected one element with a: 1, b: 1, c: 1, found each in an element of its own; held 3, failed 1 []`},
		{"the nearest alternative", `{"$or":[{"a":[1],"b":[1]},{"a":[2],"b":[3],"c":[4]},{"a":[9]}]}`, `{"a":2,"b":3,"c":5}`, `c: expected 4, found 5; held 2, failed 1 []`},
		{"of $and", `{"$and":[{"a":[{"prefix":"x"}]},{"a":[{"suffix":"y"}],"b":[1]}]}`, `{"a":"xz"}`, `a: expected {"suffix":"y"}, found "xz"; held 1, failed 2 [b]`},
		{"of $not", `{"a":[1],"$not":{"b":[2],"c":[3]}}`, `{"a":1,"b":2,"c":3}`, `$not: expected no event like b: 2, c: 3, found it is like that; held 1, failed 1 []`},
		{"it matches", `{"a":[1]}`, `{"a":1}`, ``},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p, err := rules.ParsePattern([]byte(c.pattern))
			if err != nil {
				t.Fatal(err)
			}
			var doc map[string]any
			decode(t, []byte(c.event), &doc)
			got := ""
			if m := p.Mismatch(doc); m != nil {
				got = fmt.Sprintf("%s: expected %s, found %s; held %d, failed %d %v", m.Path, m.Expected, m.Actual, m.Held, m.Failed, slices.Concat([]string{}, m.Also))
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
