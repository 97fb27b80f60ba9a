package match_test

import (
	"fmt"
	"testing"

	"github.com/eventrouter/eventrouter/router/event"
)

// Every pair of bounds around three numbers, in one index: what they let in is decided by their last detail.
func TestRangesThatShareTheirBounds(t *testing.T) {
	t.Parallel()
	var sources []string
	for _, low := range []string{"4", "5", "9007199254740992", "9007199254740993"} {
		for _, op := range []string{">", ">=", "<", "<=", "="} {
			sources = append(sources, fmt.Sprintf(`{"a":[{"numeric":[%q,%s]}]}`, op, low))
		}
		for _, high := range []string{"6", "9007199254740993.5", "1e400"} {
			for _, ops := range [][2]string{{">", "<"}, {">=", "<"}, {">", "<="}, {">=", "<="}} {
				if low == "4" || low == "5" || high != "6" {
					sources = append(sources, fmt.Sprintf(`{"a":[{"numeric":[%q,%s,%q,%s]}]}`, ops[0], low, ops[1], high))
				}
			}
		}
	}
	rs := onData(t, sources...)
	m := compile(t, rs)
	for _, n := range []string{"3", "4", "4.0", "4.5", "5", "6", "6.0001", "9007199254740992", "9007199254740993", "90071992547409930e-1", "9007199254740993.5", "9007199254740994", "1e400", "10e399", "1.1e400"} {
		agree(t, m, rs, &event.Event{Type: "a", Data: []byte(`{"a":` + n + `}`)}, "")
		agree(t, m, rs, &event.Event{Type: "a", Data: []byte(`{"a":[-1,"5",` + n + `]}`)}, "")
	}
}
