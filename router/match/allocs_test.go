//go:build !race

package match_test

import (
	"testing"

	"github.com/eventrouter/eventrouter/rules"
)

// Not under the race detector, whose sync.Pool forgets on purpose.
func TestNothingIsAllocatedForAnEvent(t *testing.T) {
	e := benchEvent()
	e.Headers = map[string]any{"retry": int64(3), "origin": "eu", "path": []any{"a", "b"}}
	var rs []rules.Rule
	for _, s := range shapes {
		rs = append(rs, shapeRules(t, s, 500)[3:]...)
	}
	for _, src := range []string{
		`{"data":{"client":{"ip":[{"cidr":"10.1.0.0/16"}],"agent":[{"regex":"^Opera/[0-9]+"}]}}}`,
		`{"data":{"customer":{"name":[{"equals-ignore-case":"ERIKA"}],"email":[{"suffix":{"equals-ignore-case":".COM"}}]}}}`,
		`{"headers":{"retry":[{"numeric":[">",5]}]},"time":[{"prefix":"2025"}],"tenant":["other"]}`,
		`{"$not":{"data":{"version":[{"exists":true}]}}}`,
	} {
		rs = append(rs, rules.Rule{Type: "#", Match: pattern(t, src)})
	}
	m := compile(t, rs)
	var into []int
	if n := testing.AllocsPerRun(200, func() { into = m.Match(e, "", into[:0]) }); n >= 1 {
		t.Errorf("%v allocations an event", n)
	}
	if len(into) != 0 {
		t.Errorf("rules %v hold", into)
	}
}
