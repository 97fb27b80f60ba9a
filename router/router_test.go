package router_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// compile makes the plan of a rules file.
func compile(t *testing.T, text string) *plan.Plan {
	t.Helper()
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte(text)})
	if file == nil {
		t.Fatal(problems)
	}
	p, err := plan.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const shop = `
version: 1
name: shop
pipelines: {billing: {}, archive: {}, alarm: {}}
rules:
  - {name: all, type: '#', pipelines: [archive]}
  - {name: paid, type: order.*, match: {data: {total: [{numeric: ['>', 100]}]}}, pipelines: [billing]}
  - {name: large, type: order.created, where: 'data.total > 1000', pipelines: [alarm, billing]}
`

func order(id, total string) *router.Delivery {
	return &router.Delivery{
		Event:    &router.Event{ID: id, Type: "order.created", Data: []byte(`{"total": ` + total + `}`)},
		Exchange: "shop.events", Queue: "shop.match", Settler: &fate{},
	}
}

// route has the deliveries routed, and returns what was published.
func route(t *testing.T, p *plan.Plan, hooks router.Hooks, deliveries ...*router.Delivery) []router.Message {
	t.Helper()
	b := &broker{deliveries: make(chan *router.Delivery, len(deliveries))}
	for _, d := range deliveries {
		b.deliveries <- d
	}
	close(b.deliveries)
	if err := (&router.Router{Plan: p, Broker: b, Hooks: hooks}).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, d := range deliveries {
		if is := d.Settler.(*fate).is(); is != "ack" {
			t.Errorf("event %s: %q", d.Event.ID, is)
		}
	}
	_, published, _ := b.seen()
	return published
}

func TestAnEventIsPublishedOnceForAllPipelinesThatWantIt(t *testing.T) {
	t.Parallel()
	published := route(t, compile(t, shop), router.Hooks{}, order("1", "5000"))
	if len(published) != 1 {
		t.Fatalf("published %d messages", len(published))
	}
	m := published[0]
	got := keys(m)
	slices.Sort(got)
	// archive is fed by the broker itself, and billing is named by two rules.
	if m.Exchange != "shop.matched" || !m.Mandatory || !slices.Equal(got, []string{"shop.alarm", "shop.billing"}) {
		t.Errorf("published %+v", m)
	}
	if m.Trail.Type != "order.created" || m.Trail.Exchange != "shop.events" {
		t.Errorf("the trail is %+v", m.Trail)
	}
}

func TestAnEventThatTheBrokerDeliveredIsNotPublishedAgain(t *testing.T) {
	t.Parallel()
	if published := route(t, compile(t, shop), router.Hooks{}, order("1", "5")); len(published) != 0 {
		t.Errorf("published %+v", published)
	}
}

func TestAnEventThatNoRuleWantsIsKept(t *testing.T) {
	t.Parallel()
	p := compile(t, `
version: 1
name: shop
pipelines: {billing: {}}
rules: [{name: paid, type: order.*, match: {data: {total: [1]}}, pipelines: [billing]}]
`)
	told := 0
	published := route(t, p, router.Hooks{Unrouted: func(*router.Event, string) { told++ }}, order("1", "5"))
	if len(published) != 1 || published[0].Exchange != "" || published[0].Key != "shop.unrouted" || published[0].Trail.Error == "" || told != 1 {
		t.Errorf("told %d times; published %+v", told, published)
	}
	if age := time.Since(published[0].Trail.LastFailure); age < 0 || age > time.Hour {
		t.Errorf("it was put aside %s ago", age)
	}
}

func TestThePublishedCopyIsReportedAfterTheConfirm(t *testing.T) {
	t.Parallel()
	got := map[string][]string{}
	hooks := router.Hooks{Routed: func(e *router.Event, rules, _ []string, _ time.Duration) { got[e.ID] = rules }}
	route(t, compile(t, shop), hooks, order("1", "5000"))
	want := map[string][]string{"1": {"all", "paid", "large"}}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("routed %v", got)
	}
}

func TestAnExpressionThatCannotBeEvaluatedIsReported(t *testing.T) {
	t.Parallel()
	var got []string
	hooks := router.Hooks{NotEvaluated: func(e *router.Event, rule string, err error) {
		got = append(got, fmt.Sprintf("%s of event %s: %v", rule, e.ID, err))
	}}
	text := order("1", `"much"`)
	route(t, compile(t, shop), hooks, text, order("2", "5"), order("3", "5000"))
	if len(got) != 1 || !strings.HasPrefix(got[0], "large of event 1: no such overload") {
		t.Errorf("reported %v", got)
	}
}

func TestARouterWithNothingToDoReturnsAtOnce(t *testing.T) {
	t.Parallel()
	p := compile(t, "version: 1\nname: n\npipelines: {p: {}}\nrules: [{name: r, pipelines: [p]}]\n")
	if err := (&router.Router{Plan: p}).Run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheEndOfTheRouterGivesBackWhatTheBrokerDoesNotTake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := &broker{deliveries: make(chan *router.Delivery, 1), answer: func(router.Message) error { return errLost }}
		d := order("1", "5000")
		b.deliveries <- d
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		if err := (&router.Router{Plan: compile(t, shop), Broker: b}).Run(ctx); err != nil {
			t.Fatal(err)
		}
		if is := d.Settler.(*fate).is(); is != "requeue" {
			t.Errorf("the event: %q", is)
		}
		if !b.subscription.InOrder {
			t.Error("what goes back at the end is not kept in order, and a pipeline may promise order")
		}
	})
}

func TestJoinedHooksAreAllCalled(t *testing.T) {
	t.Parallel()
	var calls []string
	named := func(name string) router.Hooks {
		note := func() { calls = append(calls, name) }
		return router.Hooks{
			Connected:    func(string, string) { note() },
			Disconnected: func(string, error) { note() },
			Blocked:      func(string) { note() },
			Published:    func(router.Message, time.Duration, error) { note() },
			Routed:       func(*router.Event, []string, []string, time.Duration) { note() },
			Unrouted:     func(*router.Event, string) { note() },
			Started:      func(string, *router.Event, int) { note() },
			Handled:      func(string, *router.Event, int, time.Duration, error) { note() },
			Retried:      func(string, *router.Event, int, time.Duration, error) { note() },
			Dead:         func(string, *router.Event, int, error) { note() },
			NotEvaluated: func(*router.Event, string, error) { note() },
			Problem:      func(string, error) { note() },
		}
	}
	h := router.Join(named("a"), router.Hooks{}, named("b"))
	h.Connected("", "")
	h.Disconnected("", nil)
	h.Blocked("")
	h.Published(router.Message{}, 0, nil)
	h.Routed(nil, nil, nil, 0)
	h.Unrouted(nil, "")
	h.Started("", nil, 1)
	h.Handled("", nil, 1, 0, nil)
	h.Retried("", nil, 1, 0, nil)
	h.Dead("", nil, 1, nil)
	h.Problem("", nil)
	h.NotEvaluated(nil, "", nil)
	if want := slices.Repeat([]string{"a", "b"}, 12); !slices.Equal(calls, want) {
		t.Errorf("called %v", calls)
	}
}

// What waits in the match queue of earlier rules goes to those that it is owed to. Where there are none, somebody has it from the broker, or it is kept.
func TestALeftoverLosesNothing(t *testing.T) {
	t.Parallel()
	bound := []plan.Binding{{Exchange: "shop.events", Key: "order.*"}}
	for _, c := range []struct {
		name     string
		leftover plan.Leftover
		want     []string
	}{
		{"owed", plan.Leftover{Pipelines: []string{"billing", "gone"}, Bound: bound}, []string{"shop.billing"}},
		{"the broker took it to a pipeline", plan.Leftover{Bound: bound}, nil},
		{"nobody has it", plan.Leftover{Bound: []plan.Binding{{Exchange: "shop.events", Key: "user.*"}, {Exchange: "other", Key: "#"}}}, []string{"shop.unrouted"}},
		{"noted by an older version", plan.Leftover{}, nil},
	} {
		d := order("1", "500")
		b := &broker{deliveries: make(chan *router.Delivery, 1)}
		b.deliveries <- d
		close(b.deliveries)
		c.leftover.Queue = "shop.match"
		if err := (&router.Router{Plan: compile(t, shop), Broker: b, Leftover: &c.leftover}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, published, _ := b.seen()
		var got []string
		for _, m := range published {
			got = append(got, keys(m)...)
		}
		if !slices.Equal(got, c.want) || d.Settler.(*fate).is() != "ack" {
			t.Errorf("%s: published to %v, and %s", c.name, got, d.Settler.(*fate).is())
		}
	}
}

// The queue of a pipeline is full for longer than it takes to find a leftover empty: what was taken from that is handed over before its router ends.
func TestALeftoverIsNotLeftWithEventsInHand(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		d := order("1", "500")
		b := &broker{deliveries: make(chan *router.Delivery, 1), answer: func(router.Message) error {
			if time.Since(began) < time.Minute {
				return router.ErrRefused
			}
			return nil
		}}
		b.deliveries <- d
		left := plan.Leftover{Queue: "shop.match", Pipelines: []string{"billing"}}
		if err := (&router.Router{Plan: compile(t, shop), Broker: b, Leftover: &left}).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if is, took := d.Settler.(*fate).is(), time.Since(began); is != "ack" || took > 2*time.Minute {
			t.Errorf("after %s the event: %q", took, is)
		}
	})
}
