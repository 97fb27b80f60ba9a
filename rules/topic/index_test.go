package topic_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/rules/topic"
)

func found(x *topic.Index[int], key string) []int {
	var got []int
	x.Walk(key, func(v int) bool { got = append(got, v); return true })
	slices.Sort(got)
	return got
}

// The Index must agree with Match, whatever is added and removed.
func TestIndexAgreesWithMatch(t *testing.T) {
	t.Parallel()
	pattern := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "", "*", "#"}), 0, 6),
		func(w []string) string { return strings.Join(w, ".") })
	key := rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "", "*", "#"}), 0, 7),
		func(w []string) string { return strings.Join(w, ".") })
	rapid.Check(t, func(t *rapid.T) {
		x := &topic.Index[int]{}
		held := map[int]string{}
		for i := range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "remove") && len(held) > 0 {
				v := rapid.SampledFrom(slices.Sorted(keys(held))).Draw(t, "which")
				if !x.Remove(held[v], v) {
					t.Fatalf("Remove(%q, %d) did not find it", held[v], v)
				}
				if x.Remove(held[v], v) {
					t.Fatalf("Remove(%q, %d) found it twice", held[v], v)
				}
				delete(held, v)
			} else {
				held[i] = pattern.Draw(t, "pattern")
				x.Add(held[i], i)
			}
			if x.Len() != len(held) {
				t.Fatalf("Len() = %d, want %d", x.Len(), len(held))
			}
			k := key.Draw(t, "key")
			var want []int
			for v, p := range held {
				if topic.Match(p, k) {
					want = append(want, v)
				}
			}
			slices.Sort(want)
			if got := found(x, k); !slices.Equal(got, want) {
				t.Fatalf("Walk(%q) = %v, want %v of %v", k, got, want, held)
			}
		}
	})
}

func keys(m map[int]string) func(func(int) bool) {
	return func(yield func(int) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestIndexVisitsOncePerPattern(t *testing.T) {
	t.Parallel()
	x := &topic.Index[int]{}
	x.Add("#.a.#.a.#", 1)
	x.Add("#", 1)
	x.Add("a", 1)
	if got := found(x, "a.a.a.a"); !slices.Equal(got, []int{1, 1}) {
		t.Errorf("visited %v, want 1 twice: once for each of the two patterns that match", got)
	}
}

func TestIndexStopsWhenToldTo(t *testing.T) {
	t.Parallel()
	x := &topic.Index[int]{}
	for i, p := range []string{"#", "*", "a", "a.#"} {
		x.Add(p, i)
	}
	calls := 0
	x.Walk("a", func(int) bool { calls++; return false })
	if calls != 1 {
		t.Errorf("visit was called %d times after it returned false", calls-1)
	}
}

func TestIndexIsNotExponential(t *testing.T) {
	t.Parallel()
	x := &topic.Index[int]{}
	for i := range 30 {
		x.Add(strings.Repeat("#.*.", i)+"#.b", i)
	}
	key := strings.TrimSuffix(strings.Repeat("a.", 120), ".")
	begin := time.Now()
	if got := found(x, key); got != nil {
		t.Errorf("found %v, want nothing", got)
	}
	if d := time.Since(begin); d > time.Minute { // it would take years
		t.Errorf("a walk took %v", d)
	}
}

func BenchmarkIndexWalk(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			x := &topic.Index[int]{}
			for i := range n {
				x.Add(fmt.Sprintf("order.%d.*", i), i)
			}
			x.Add("#", -1)
			hits := 0
			for b.Loop() {
				x.Walk("order.7.created", func(int) bool { hits++; return true })
			}
			if hits < 2 {
				b.Fatal("too few were found")
			}
		})
	}
}
