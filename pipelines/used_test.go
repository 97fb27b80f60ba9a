package pipelines_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// Handlers hold things, such as files, that may be let go only when no runner calls them any more: when a pipeline has another queue, the handler that it had
// goes on with the old one.
func TestAReplacedHandlerIsUnusedWhenNothingCallsItAnyMore(t *testing.T) {
	t.Parallel()
	rules := func(queue string) string {
		return "pipelines: {p: {workers: 2, queue: {name: " + queue + "}}, gone: {}, other: {}}\nrules: [{name: r, type: t, pipelines: [p]}, {name: g, type: g, pipelines: [gone, other]}]\n"
	}
	var service *pipelines.Service
	var handled atomic.Int64
	entered, release := make(chan struct{}, 10), make(chan struct{})
	first := func(context.Context, router.Event) error {
		entered <- struct{}{}
		<-release
		handled.Add(1)
		return nil
	}
	nothing := func(context.Context, router.Event) error { return nil }
	w := newWorld(t, rules("old"), handlers{"p": first, "gone": first, "other": nothing}, func(s *pipelines.Service) { service = s })
	var unused []string
	reload := func(text string, h handlers) {
		t.Helper()
		u := pipelines.Update{Plan: w.replan(text), Handlers: h, Unused: func(pipeline string) { w.note(&unused, fmt.Sprint(pipeline, " at ", handled.Load())) }}
		if err := service.Reload(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	said := func(want ...string) {
		t.Helper()
		if got := w.list(&unused); !slices.Equal(got, want) {
			t.Errorf("unused are %q, want %q", got, want)
		}
	}
	w.publish(5, typed("t"))
	<-entered // one is in hand from here on
	reload(rules("new"), handlers{"p": nothing})
	said()
	reload(rules("new"), handlers{"other": nothing})
	said("other at 0") // its only runner has ended
	close(release)
	w.wait(func() bool { return len(w.list(&unused)) > 1 }, func() string { return "the old handler is still used" })
	said("other at 0", "p at 5")
	reload(rules("new"), nil)
	reload(rules("new"), handlers{"p": nil})
	said("other at 0", "p at 5", "p at 5")
	reload(rules("newer"), handlers{"p": nothing}) // there was none

	w.publish(1, typed("g"))
	<-entered
	reload("pipelines: {p: {queue: {name: newer}}}\nrules: [{name: r, type: t, pipelines: [p]}]\n", nil)
	w.stop()
	if got := strings.Join(w.list(&unused)[3:], ", "); !strings.Contains(got, "gone at 6") || !strings.Contains(got, "other at ") {
		t.Errorf("after the end unused are %q, want gone and other", got)
	}
}
