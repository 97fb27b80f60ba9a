package match_test

import (
	"runtime"
	"testing"

	"github.com/eventrouter/eventrouter/rules"
)

// heldBytes is what the heap holds more once the rules, which are already there, are compiled. It is for tests that do not run in parallel.
func heldBytes(t testing.TB, rs []rules.Rule) float64 {
	t.Helper()
	before := liveHeap()
	m := compile(t, rs)
	after := liveHeap()
	runtime.KeepAlive(m)
	runtime.KeepAlive(rs)
	return float64(after) - float64(before)
}

// liveHeap collects twice, as what a sync.Pool holds is only let go by the second collection.
func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// Ten times the rules may hold twenty times the memory: tables grow in powers of two. What is quadratic would hold a hundred times. It is not
// parallel to other tests, whose memory would be counted.
func TestMemoryIsInProportionToTheRules(t *testing.T) {
	for _, s := range shapes {
		t.Run(s.name, func(t *testing.T) {
			few, many := heldBytes(t, shapeRules(t, s, 1000)), heldBytes(t, shapeRules(t, s, 10_000))
			t.Logf("%.0f bytes per rule at 1,000 rules, %.0f at 10,000", few/1000, many/10_000)
			if few <= 0 || many > 20*few {
				t.Errorf("1,000 rules hold %.0f bytes, and 10,000 rules %.0f", few, many)
			}
		})
	}
}
