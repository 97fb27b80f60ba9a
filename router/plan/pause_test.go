package plan_test

import (
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/plan"
)

// A broker looks at one exchange after the other. What it was sent before a step that turns events aside, or takes an exchange away that they are led through, has time to be past that.
func TestAChangeLeavesTimeForWhatIsBeingRouted(t *testing.T) {
	t.Parallel()
	now := compile(t, strings.Replace(changing, ", match: {data: {n: [{numeric: [\">=\", 5]}]}}", "", 1))
	turn := plan.NewChange(&plan.Record{Applied: compile(t, changing).State()}, now)
	if !turn.Turns {
		t.Fatal("the change does not turn")
	}
	c, q := reshaped(t)
	move, err := c.Migrate(q)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		steps []plan.Step
		from  string // the exchange that turns events aside
	}{
		"turn": {turn.Add, "shop.turn.0"},
		"move": {move.Steps, "shop.billing.migrating.switch"},
	} {
		paused, turned, gone := false, false, false
		for _, s := range tt.steps {
			switch {
			case s.Pause:
				paused = true
			case len(s.Unbind) > 0 && s.Unbind[0].Exchange == tt.from:
				if !paused {
					t.Errorf("%s: events are turned aside at once", name)
				}
				turned = true
			case s.DropChange == tt.from:
				if !paused {
					t.Errorf("%s: the exchange is deleted at once", name)
				}
				gone = true
			case len(s.Bind)+len(s.Unbind) > 0:
				paused = false // what is routed from here on is to be waited for
			}
		}
		if !turned || !gone {
			t.Errorf("%s: turned %t, and its exchange is gone %t", name, turned, gone)
		}
	}
}
