package topic_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/rules/topic"
)

func TestCovers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		general, special string
		want             bool
	}{
		{"#", "", true},
		{"#", "a.*.#", true},
		{"a.#", "a", true},
		{"a.#", "a.b.#", true},
		{"a.*", "a.b", true},
		{"a.*", "a.#", false},
		{"*.#", "#.*", true},
		{"*", "", false},
		{"", "#", false},
		{"a.b", "a.*", false},
		{"#.b", "a.b", true},
		{"#.b", "a.*", false},
	} {
		if got := topic.Covers(c.general, c.special); got != c.want {
			t.Errorf("Covers(%q, %q) = %v, want %v", c.general, c.special, got, c.want)
		}
	}
}

func words(alphabet ...string) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom(alphabet), 0, 5).Draw(t, "words"), ".")
	})
}

// What a covered pattern matches, the covering one matches.
func TestCoversIsSound(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		general := words("a", "b", "*", "#").Draw(t, "general")
		special := words("a", "b", "*", "#").Draw(t, "special")
		key := words("a", "b", "c", "").Draw(t, "key")
		if topic.Covers(general, special) && topic.Match(special, key) && !topic.Match(general, key) {
			t.Fatalf("%q is said to cover %q, but %q is matched only by the second", general, special, key)
		}
	})
}

func TestMeet(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		one, other string
		want       bool
	}{
		{"#", "", true},
		{"#", "a.b", true},
		{"a.*", "*.b", true},
		{"a.#", "#.b", true},
		{"a.#", "b.#", false},
		{"a", "a.*", false},
		{"a.b", "a.b", true},
		{"a.b", "a.c", false},
		{"*", "", false},
	} {
		if got, turned := topic.Meet(c.one, c.other), topic.Meet(c.other, c.one); got != c.want || turned != c.want {
			t.Errorf("Meet(%q, %q) = %v and %v, want %v", c.one, c.other, got, turned, c.want)
		}
	}
}

// Patterns that match one key meet.
func TestMeetMissesNothing(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		one := words("a", "b", "*", "#").Draw(t, "one")
		other := words("a", "b", "*", "#").Draw(t, "other")
		key := words("a", "b", "c", "").Draw(t, "key")
		if topic.Match(one, key) && topic.Match(other, key) && !topic.Meet(one, other) {
			t.Fatalf("%q and %q both match %q", one, other, key)
		}
	})
}

// The definition of a topic pattern, word by word.
func matches(pattern, key []string) bool {
	if len(pattern) == 0 {
		return len(key) == 0
	}
	if pattern[0] == "#" {
		return matches(pattern[1:], key) || len(key) > 0 && matches(pattern, key[1:])
	}
	return len(key) > 0 && (pattern[0] == "*" || pattern[0] == key[0]) && matches(pattern[1:], key[1:])
}

func TestMatchIsTheDefinition(t *testing.T) {
	t.Parallel()
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, ".")
	}
	rapid.Check(t, func(t *rapid.T) {
		pattern := words("a", "b", "*", "#", "", "a*").Draw(t, "pattern")
		key := words("a", "b", "c", "", "*", "#").Draw(t, "key")
		if got, want := topic.Match(pattern, key), matches(split(pattern), split(key)); got != want {
			t.Fatalf("Match(%q, %q) = %v, want %v", pattern, key, got, want)
		}
	})
}
