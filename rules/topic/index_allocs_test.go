//go:build !race

package topic_test

import (
	"fmt"
	"testing"

	"github.com/eventrouter/eventrouter/rules/topic"
)

// Not under the race detector, whose sync.Pool forgets on purpose.
func TestIndexWalkAllocatesNothing(t *testing.T) {
	x := &topic.Index[int]{}
	for i := range 1000 {
		x.Add(fmt.Sprintf("order.%d.#", i), i)
		x.Add(fmt.Sprintf("#.%d", i), i)
	}
	sum := 0
	if n := testing.AllocsPerRun(100, func() {
		x.Walk("order.7.eu.9", func(v int) bool { sum += v; return true })
	}); n >= 1 {
		t.Errorf("%v allocations a walk", n)
	}
	if sum == 0 {
		t.Error("nothing was found")
	}
}
