package integration

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router/event"
)

// TestABindingThatIsRemovedByHand takes a pipeline's binding away under load: what comes meanwhile is kept as unrouted, 'plan --management' tells it, 'apply' brings it back
// although the rules are those applied last, and 'unrouted replay' brings the events to the pipeline.
func TestABindingThatIsRemovedByHand(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			unbound(t, server(t, v))
		})
	}
}

func unbound(t *testing.T, s *rabbit.Server) {
	book := ledger.New()
	r := receiver(t, book, nil)
	rules, p := writeRules(t, newName(), `
pipelines: {all: {workers: 4, steps: [{webhook: {url: "${RECEIVER}/all"}}]}}
rules: [{name: all, type: "order.#", pipelines: [all]}]
`)
	defer cleanUp(t, s.URL, p)
	run := startProcess(t, s.URL, rules, "RECEIVER="+r.URL)
	exchange, _ := p.Source("")
	b := connect(t, s.URL, nil, amqp.Options{})
	loading, end := context.WithCancel(t.Context())
	defer end()
	var load sync.WaitGroup
	for way, publish := range map[string]func(*event.Event) error{
		"amqp": func(e *event.Event) error { return send(loading, b, exchange, e) },
		"http": func(e *event.Event) error {
			status, err := run.post(t.Context(), e)
			if err == nil && status != 202 {
				err = fmt.Errorf("status %d", status)
			}
			return err
		},
	} {
		load.Go(func() {
			pace := time.NewTicker(10 * time.Millisecond)
			defer pace.Stop()
			for i := 0; loading.Err() == nil; i++ {
				<-pace.C
				e := order(fmt.Sprintf("%s-%d", way, i), i)
				switch err := publish(e); {
				case err == nil:
					book.Confirmed(e.ID)
				case loading.Err() == nil:
					t.Errorf("event %s: %v", e.ID, err)
					return
				}
			}
		})
	}
	handled := func(n int) {
		t.Helper()
		before := book.At("all")
		waitFor(t, func() bool { return book.At("all") > before+n }, func() string { return "nothing is handled:\n" + run.said() })
	}
	handled(20)

	book.Mark("the binding is removed")
	direct(t, s.URL, func(ch *amqp091.Channel) error {
		return ch.QueueUnbind(p.Pipeline("all").QueueName, "order.#", exchange, nil)
	})
	waitFor(t, func() bool { n, err := b.Depth(t.Context(), p.Unrouted); return err == nil && n > 50 }, func() string { return "nothing is kept as unrouted:\n" + run.said() })
	if s.Management != "" {
		var out string
		waitFor(t, func() bool {
			out = run.eventrouter("", "plan", "--management", s.Management)
			return strings.Contains(out, p.Pipeline("all").QueueName+` with "order.#"`) && strings.Contains(out, "not on the broker")
		}, func() string { return "plan does not tell it:\n" + out })
	}
	run.eventrouter("", "apply")
	book.Mark("the binding is back")
	handled(20)

	end()
	load.Wait()
	kept, err := b.Depth(t.Context(), p.Unrouted)
	if err != nil {
		t.Fatal(err)
	}
	if out := run.eventrouter("", "unrouted", "replay", "--all"); out != fmt.Sprintf("replayed: %d unrouted events\n", kept) {
		t.Errorf("of %d events replay printed %q", kept, out)
	}
	settled(t, b, p)
	run.terminate()
	audit(t, b, p, book)
	book.BalanceExactly(t, func(string) [][]string { return [][]string{{"all"}} })
	if n := book.At(p.Unrouted); n != 0 {
		t.Errorf("%d events are unrouted still", n)
	}
}
