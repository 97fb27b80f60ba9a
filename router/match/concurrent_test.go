package match_test

import (
	"slices"
	"sync"
	"testing"
)

// To be run under the race detector.
func TestMatchIsSafeForConcurrentUse(t *testing.T) {
	t.Parallel()
	rs := shapeRules(t, shapes[len(shapes)-1], 300)
	m := compile(t, rs)
	want := m.Match(benchEvent(), "", nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			e := benchEvent()
			var got []int
			for range 200 {
				if got = m.Match(e, "", got[:0]); !slices.Equal(got, want) {
					t.Errorf("rules %v, want %v", got, want)
					return
				}
			}
		})
	}
	all.Wait()
}
