package match_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/event"
)

// BenchmarkWorstProduct is a large list each of whose elements fulfils one of the two fields of many of 10,000 rules, and none both.
func BenchmarkWorstProduct(b *testing.B) {
	sources := make([]string, 10_000)
	for i := range sources {
		sources[i] = fmt.Sprintf(`{"list":{"a":["a%d"],"b":["b%d"]}}`, i%100, i/100)
	}
	var list []string
	for i := range 23_000 {
		list = append(list, fmt.Sprintf(`{"a":"a%d","b":"n"},{"a":"n","b":"b%d"}`, i%100, i%100))
	}
	m, e := compile(b, onData(b, sources...)), &event.Event{Type: "a", Data: []byte(`{"list":[` + strings.Join(list, ",") + `]}`)}
	b.SetBytes(int64(len(e.Data)))
	measure(b, func() {
		if got := m.Match(e, "", nil); len(got) != 0 {
			b.Fatalf("rules %v, want none", got)
		}
	})
}
