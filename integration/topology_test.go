package integration

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// words make routing keys and patterns meet often, in the cases that are easily got wrong.
var words = []string{"a", "b", "", "ä", "*", "#", "a*", "A", "order", "界"}

func drawWords(t *rapid.T, label string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, 4).Draw(t, label), ".")
}

// TestAllAgreeWhereEventsGo sends random events through random rules: what the plan says, what the embedded broker does, and what RabbitMQ does, is the same.
func TestAllAgreeWhereEventsGo(t *testing.T) {
	t.Parallel()
	brokers := map[string]*amqp.Broker{
		"RabbitMQ": connect(t, server(t, rabbit.V4).URL, nil, amqp.Options{}),
		"embedded": connect(t, amqptest.Broker(t).URL(), nil, amqp.Options{}),
	}
	rapid.Check(t, func(rt *rapid.T) {
		var rules strings.Builder
		pipelines := []string{"p0", "p1", "p2"}
		rules.WriteString("pipelines: {p0: {}, p1: {}, p2: {}}\nrules:\n")
		for i := range rapid.IntRange(1, 8).Draw(rt, "rules") {
			fmt.Fprintf(&rules, "  - {name: r%d, type: %q, pipelines: [%s]}\n", i, drawWords(rt, "pattern"), rapid.SampledFrom(pipelines).Draw(rt, "pipeline"))
		}
		_, p := compile(t, newName(), rules.String())
		exchange, _ := p.Source("")
		var events []*event.Event
		for i := range rapid.IntRange(1, 20).Draw(rt, "events") {
			events = append(events, &event.Event{ID: fmt.Sprint(i), Type: drawWords(rt, "key")})
		}
		want := map[string][]string{}
		for _, e := range events {
			var routed plan.Routed
			p.Route(e, exchange, &routed)
			for _, at := range routed.Pipelines {
				queue := p.Pipelines[at].QueueName
				want[queue] = append(want[queue], e.ID)
			}
			if len(routed.Pipelines) == 0 {
				want[p.Unrouted] = append(want[p.Unrouted], e.ID)
			}
		}
		for name, b := range brokers {
			for queue, got := range through(t, b, p, exchange, events) {
				if !slices.Equal(got, want[queue]) {
					rt.Errorf("%s: queue %s got %v, and the plan says %v\nrules:\n%s", name, queue, got, want[queue], rules.String())
				}
			}
		}
	})
}

// through publishes events on a broker and returns what each queue got, in its order; all that was made is deleted again.
func through(t *testing.T, b *amqp.Broker, p *plan.Plan, exchange string, events []*event.Event) map[string][]string {
	t.Helper()
	if err := b.Declare(t.Context(), p.Topology); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, e := range events {
		wg.Add(1)
		b.Publish(t.Context(), router.Message{Event: e, Exchange: exchange, Key: e.Type, Mandatory: true}, func(err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		})
	}
	wg.Wait()
	got := map[string][]string{}
	for _, q := range p.Topology.Queues {
		if strings.Contains(q.Name, ".delay.") {
			continue
		}
		got[q.Name] = nil
		if err := b.Browse(t.Context(), q.Name, nil, func(d *router.Delivery) bool {
			got[q.Name] = append(got[q.Name], d.Event.ID)
			return true
		}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return got
}

func TestTenThousandRulesAreDeclared(t *testing.T) {
	t.Parallel()
	s := rabbit.New(t, rabbit.V4)
	var rules strings.Builder
	rules.WriteString("pipelines:\n")
	for i := range 100 {
		fmt.Fprintf(&rules, "  p%d: {}\n", i)
	}
	rules.WriteString("rules:\n")
	for i := range 10_000 {
		fmt.Fprintf(&rules, "  - {name: r%d, type: \"t%d.*.v%d\", pipelines: [p%d]}\n", i, i, i%7, i%100)
	}
	_, p := compile(t, newName(), rules.String())
	if n := len(p.Topology.Bindings); n < 10_000 {
		t.Fatalf("only %d bindings", n)
	}
	b := connect(t, s.URL, nil, amqp.Options{})
	began := time.Now()
	if err := b.Declare(t.Context(), p.Topology); err != nil {
		t.Fatal(err)
	}
	first := time.Since(began)
	began = time.Now()
	if err := b.Declare(t.Context(), p.Topology); err != nil {
		t.Fatal(err)
	}
	t.Logf("10,000 type rules over 100 pipelines: declared in %s, again in %s", first.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	exchange, _ := p.Source("")
	if err := send(t.Context(), b, exchange, &event.Event{ID: "1", Type: "t9999.x.v3"}); err != nil {
		t.Fatal(err)
	}
	if n, err := b.Depth(t.Context(), p.Pipelines[99].QueueName); err != nil || n != 1 {
		t.Errorf("the last rule's queue holds %d events: %v", n, err)
	}
}
