package match_test

import (
	"fmt"
	"testing"

	"github.com/eventrouter/eventrouter/router/event"
)

// Rules with a common value are told apart by their other fields, where they are many. One that has a common and a rare value is then found
// by two fields at once.
func TestARuleThatIsFoundByTwoFieldsAtOnce(t *testing.T) {
	t.Parallel()
	sources := []string{`{"a":{"p":["x","rare"],"z":[{"exists":true}]},"b":{"q":["k0"]}}`}
	for i := range 20 {
		sources = append(sources, fmt.Sprintf(`{"a":{"p":["x"]},"b":{"q":["k%d"]}}`, i%4))
	}
	for i := range 200 {
		sources = append(sources, fmt.Sprintf(`{"a":{"p":["p%d"]},"b":{"q":["k%d"]}}`, i, i%4))
	}
	rs := onData(t, sources...)
	m := compile(t, rs)
	for _, data := range []string{
		`{"a":[{"p":"rare"},{"p":"x"}],"b":[{"q":"n"},{"q":"k0"}]}`,
		`{"b":[{"q":"n"},{"q":"k0"}],"a":[{"p":"n"},{"p":"rare"},{"p":"x"}]}`,
		`{"a":[{"p":"rare"},{"p":"x"}],"b":{"q":"k0"}}`,
		`{"a":[{"p":"rare"},{"p":"x"}],"b":[[{"q":"n"}],{"q":["n","k0"]}]}`,
		`{"a":[{"p":"rare"}],"b":[{"q":"n"}]}`,
		`{"a":[{"p":"rare"},{"p":"x","z":1}],"b":[{"q":"k0"},{"q":"n"}]}`,
	} {
		agree(t, m, rs, &event.Event{Type: "a", Data: []byte(data)}, "")
	}
}
