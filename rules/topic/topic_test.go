package topic_test

import (
	"testing"

	"github.com/eventrouter/eventrouter/rules/topic"
)

// The pairs were tried on RabbitMQ 3.10 and 4.0.
func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", false},
		{"*", "a", true},
		{"*", "a.b", false},
		{"*.*", ".", true},
		{"*.*", "a.b", true},
		{"a.*.b", "a..b", true},
		{"a.*.b", "a.b", false},
		{"#", "", true},
		{"#", "a.b.c", true},
		{"a.#", "a", true},
		{"a.#", "a.", true},
		{"a.#", "a.b.c", true},
		{"a.#", "ab", false},
		{"#.#", "", true},
		{"*.#", "", false},
		{"#.*", "", false},
		{"#.a", "a", true},
		{"#.a", "a.a.b.a", true},
		{"#.a.#", "x.a.y", true},
		{"#.a.#.b", "a.b.a.c", false},
		{"#.*.#", "", false},
		{"a*", "a*", true},
		{"a*", "ab", false},
		{"a.b", "a.*", false},
		{"a.*", "a.*", true},
		{"a.b", "A.b", false},
		{"ä.*", "ä.ö", true},
	} {
		if got := topic.Match(c.pattern, c.key); got != c.want {
			t.Errorf("Match(%q, %q) = %v, want %v", c.pattern, c.key, got, c.want)
		}
	}
}
