package match_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/router/match"
	"github.com/eventrouter/eventrouter/rules"
)

// What does not hold has a first condition that fails, and what holds has none: the reasons are those of the verdict.
func TestEachVerdictHasItsReason(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rs := make([]rules.Rule, rapid.IntRange(1, 40).Draw(t, "rules"))
		for i := range rs {
			rs[i] = drawRule(t)
		}
		e := drawEvent(t)
		key := rapid.SampledFrom([]string{"", "events", "audit"}).Draw(t, "exchange")
		m, err := match.Compile(rs)
		if err != nil {
			t.Fatal(err)
		}
		held := m.Match(e, key, nil)
		for i, v := range m.Explain(e, key) {
			if v.Holds != slices.Contains(held, i) {
				t.Fatalf("rule %d: explained as %v, matched: %v", i, v.Holds, held)
			}
			if why := m.Why(i, e, e.Document(), key); v.Holds != why.Holds || v.Holds != (why.Failed == 0) || v.Holds != (why.Path == "") || why.Failed > 0 && len(why.Also) != why.Failed-1 {
				t.Fatalf("rule %d of %+v holds: %v, and the reason is %+v", i, e, v.Holds, why)
			}
		}
	})
}
