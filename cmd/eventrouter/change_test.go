package main

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/router"
)

const (
	changeOld = `version: 1
name: shop
pipelines: {all: {}, billing: {}, mail: {retry: {delays: [7m]}}}
rules:
  - {name: all, pipelines: [all]}
  - {name: large, type: order.*, match: {data: {n: [{numeric: [">=", 5]}]}}, pipelines: [billing]}
  - {name: mails, type: mail.*, pipelines: [mail]}
`
	changeNew = `version: 1
name: shop
pipelines: {all: {}, billing: {}}
rules:
  - {name: all, type: order.#, pipelines: [all]}
  - {name: large, type: order.*, match: {data: {n: [{numeric: [">=", 3]}]}}, pipelines: [billing]}
`
)

func TestPlanTellsWhatApplyDoes(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	old, now := write(t, "rules.yaml", changeOld), write(t, "rules.yaml", changeNew)
	must := func(code int, args ...string) string {
		t.Helper()
		got, out, errs := eventrouter(t, append(args, "--broker", url)...)
		if got != code {
			t.Fatalf("%v: exit code %d, %s%s", args, got, out, errs)
		}
		return strings.NewReplacer(old, "rules.yaml", now, "rules.yaml").Replace(out)
	}
	golden(t, "plan-first.txt", must(exitChange, "plan", "--exit-code", "--rules", old))
	must(exitOK, "apply", "--rules", old)
	if out := must(exitOK, "plan", "--exit-code", "--rules", old); !strings.HasPrefix(out, "nothing to change") {
		t.Errorf("after apply, plan says\n%s", out)
	}
	must(exitOK, "publish", "--type", "mail.sent", "--data", "{}", "--rules", old)
	golden(t, "plan-change.txt", must(exitOK, "plan", "--rules", now))
	var shown shownChange
	if err := json.Unmarshal([]byte(must(exitChange, "plan", "--exit-code", "--rules", now, "-o", "json")), &shown); err != nil || shown.Remove != 8 || shown.Applied == nil {
		t.Errorf("in JSON: %v, %+v", err, shown)
	}

	// The queue of the pipeline that is gone holds an event, which nobody takes out.
	if code, _, errs := eventrouter(t, "apply", "--delete-queues", "--rules", now, "--broker", url); code != exitFailed || !strings.Contains(errs, `queue "shop.mail" holds 1 event and nobody consumes it`) {
		t.Errorf("--delete-queues: exit code %d, %s", code, errs)
	}
	if out := must(exitOK, "apply", "--rules", now); !strings.Contains(out, "kept: queue shop.mail: it holds 1 event\n") {
		t.Errorf("apply said %s", out)
	}
	want := "queues\n  - shop.delay.7m   empty since TIME: kept for some minutes\n  - shop.mail   it holds 1 event: kept until it is empty\n  - shop.mail.dead\n\nexchanges\n  - shop.delay.7m   fanout\n\n0 to add, 0 to change, 4 to remove\n"
	if out := timeOfDay.ReplaceAllString(must(exitOK, "plan", "--rules", now), "TIME"); out != want {
		t.Errorf("plan with kept queues:\n%s", out)
	}
	out := timeOfDay.ReplaceAllString(must(exitOK, "apply", "--rules", now), "TIME")
	if want := "kept: queue shop.delay.7m: it is empty, but RabbitMQ may have events for it that it does not count: 'run' deletes it after TIME, or an 'apply' then\n"; !strings.Contains(out, want) {
		t.Errorf("apply with kept queues said\n%s", out)
	}
	must(exitOK, "apply", "--settle", "0", "--rules", now)
	if out := must(exitOK, "plan", "--rules", now); out != "queues\n  - shop.mail   it holds 1 event: kept until it is empty\n  - shop.mail.dead\n\n0 to add, 0 to change, 2 to remove\n" {
		t.Errorf("plan without the delay:\n%s", out)
	}
}

var timeOfDay = regexp.MustCompile(`\d\d:\d\d:\d\d`)

func TestAQueueInAnotherShapeIsNamedWithBothValues(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	old := write(t, "rules.yaml", changeOld)
	other := write(t, "rules.yaml", strings.Replace(changeOld, "billing: {}", "billing: {queue: {type: classic}}", 1))
	if code, _, errs := eventrouter(t, "apply", "--rules", old, "--broker", url); code != exitOK {
		t.Fatal(errs)
	}
	if code, out, errs := eventrouter(t, "plan", "--rules", other, "--broker", url); code != exitOK || !strings.Contains(out, "x-queue-type: quorum → classic") {
		t.Errorf("plan: exit code %d, %s%s", code, out, errs)
	}
	want := `queue "shop.billing" is on the broker with x-queue-type quorum, and the rules want classic: it cannot be changed in place; 'eventrouter apply --migrate' moves its events to a queue of the new shape; or give the rules another name for the queue`
	if code, _, errs := eventrouter(t, "apply", "--rules", other, "--broker", url); code != exitFailed || !strings.Contains(errs, want) {
		t.Errorf("apply: exit code %d, %s", code, errs)
	}
	if code, out, errs := eventrouter(t, "plan", "--exit-code", "--rules", old, "--broker", url); code != exitOK {
		t.Errorf("something was changed: plan says, with exit code %d\n%s%s", code, out, errs)
	}
	named := write(t, "rules.yaml", strings.Replace(changeOld, "billing: {}", "billing: {queue: {name: shop.billing.v2, type: classic}}", 1))
	if code, _, errs := eventrouter(t, "apply", "--rules", named, "--broker", url); code != exitOK {
		t.Error(errs)
	}
}

func TestAQueueIsMovedIntoAnotherShape(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	old := write(t, "rules.yaml", changeOld)
	now := write(t, "rules.yaml", strings.Replace(changeOld, "all: {}", "all: {queue: {type: classic}}", 1))
	must := func(args ...string) string {
		t.Helper()
		code, out, errs := eventrouter(t, append(args, "--broker", url)...)
		if code != exitOK {
			t.Fatalf("%v: exit code %d, %s%s", args, code, out, errs)
		}
		return out
	}
	must("apply", "--rules", old)
	must("publish", "--rules", old, "--type", "user.new", "--data", "{}")
	if out := must("plan", "--rules", now); !strings.Contains(out, "~ shop.all   ") || !strings.Contains(out, "x-queue-type: quorum → classic (cannot be changed in place: 'apply --migrate' moves its events)") {
		t.Errorf("plan says\n%s", out)
	}
	out := must("apply", "--migrate", "--rules", now)
	for _, want := range []string{
		"0 added, 1 changed, 0 removed\n",
		"moved: queue shop.all has its new shape; it held 1 event\n",
		"kept: queue shop.all.moved: it holds 1 event; it is to be worked off before shop.all\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("apply --migrate says\n%s, and not %q", out, want)
		}
	}
	if out := must("plan", "--rules", now); !strings.Contains(out, "- shop.all.moved   it holds 1 event: kept until it is empty") {
		t.Errorf("plan says\n%s", out)
	}
	if out := must("apply", "--migrate", "--rules", now); !strings.Contains(out, "moved: nothing, all queues have the shape that the rules want\n") {
		t.Errorf("once more, apply --migrate says\n%s", out)
	}
	// And back, while there is something left of the first time.
	must("publish", "--rules", now, "--type", "user.new", "--data", "{}")
	if out := must("apply", "--migrate", "--rules", old); !strings.Contains(out, "kept: queue shop.all.moved: ") || !strings.Contains(out, "kept: queue shop.all.moved.2: ") {
		t.Errorf("back, apply --migrate says\n%s", out)
	}
}

func TestAQueueThatWasNotAppliedIsNotMoved(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	theirs := write(t, "theirs.yaml", strings.Replace(changeOld, "name: shop", "name: other", 1))
	ours := write(t, "rules.yaml", strings.Replace(changeOld, "all: {}", "all: {queue: {name: other.all, type: classic}}", 1))
	if code, _, errs := eventrouter(t, "apply", "--rules", theirs, "--broker", url); code != exitOK {
		t.Fatal(errs)
	}
	if code, _, errs := eventrouter(t, "apply", "--migrate", "--rules", ours, "--broker", url); code != exitFailed || !strings.Contains(errs, "--migrate moves what eventrouter has applied, and no more") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

func TestDiffTellsWhichEventsChangeTheirWay(t *testing.T) {
	t.Parallel()
	old, now := write(t, "rules.yaml", changeOld), write(t, "rules.yaml", changeNew)
	var events strings.Builder
	for i := range 12 {
		kind := []string{"order.new", "mail.sent", "user.new"}[i%3]
		fmt.Fprintf(&events, `{"id":"%d","type":%q,"data":{"n":%d}}`+"\n", i, kind, i)
	}
	code, out, errs := eventrouterIn(t, events.String(), "diff", old, now, "--events", "-")
	if code != exitOK {
		t.Fatal(errs)
	}
	golden(t, "diff.txt", out)
	if code, out, _ := eventrouterIn(t, events.String(), "diff", old, now, "--events", "-", "--exit-code", "-o", "json"); code != exitChange || !strings.Contains(out, `"stray": 8`) {
		t.Errorf("exit code %d, %s", code, out)
	}
	if code, out, _ := eventrouterIn(t, events.String(), "diff", old, old, "--events", "-", "--exit-code"); code != exitOK || out != "0 of 12 events change their way; 0 reach no pipeline any more\n" {
		t.Errorf("the same rules: exit code %d, %s", code, out)
	}
}

func TestTailRecordsWithoutTakingAnythingAway(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	rules := write(t, "rules.yaml", changeNew)
	if code, _, errs := eventrouter(t, "tail", "--rules", rules, "--broker", url); code != exitFailed || !strings.Contains(errs, "eventrouter apply") {
		t.Errorf("before apply: exit code %d, %s", code, errs)
	}
	if code, _, errs := eventrouter(t, "apply", "--rules", rules, "--broker", url); code != exitOK {
		t.Fatal(errs)
	}
	s := newSession(nil, nil)
	wait, _ := s.start(t, "tail", "--rules", rules, "--broker", url, "--count", "3")
	s.err.waitFor(t, "recording")
	in := `{"id":"1","type":"order.new","data":{"n":4}}` + "\n" + `{"id":"2","type":"stray"}` + "\n" + `{"id":"3","type":"order.x","data":{"n":1}}` + "\n"
	if code, _, errs := eventrouterIn(t, in, "publish", "--rules", rules, "--broker", url); code != exitOK {
		t.Fatal(errs)
	}
	if code := wait(); code != exitOK {
		t.Fatalf("tail: exit code %d, %s", code, s.err)
	}
	code, out, errs := eventrouterIn(t, s.out.String(), "route", "--rules", rules)
	want := `{"id":"1","rules":["all","large"],"pipelines":["all","billing"]}` + "\n" + `{"id":"2","rules":[],"pipelines":[]}` + "\n" + `{"id":"3","rules":["all"],"pipelines":["all"]}` + "\n"
	if code != exitOK || out != want {
		t.Errorf("recorded and routed: exit code %d, %s%s", code, out, errs)
	}
	// What no rule wants is kept all the same.
	if _, out, _ := eventrouter(t, "unrouted", "list", "--rules", rules, "--broker", url); !strings.Contains(out, "stray") {
		t.Errorf("unrouted list:\n%s", out)
	}
	other := newSession(nil, nil)
	wait, _ = other.start(t, "tail", "--rules", rules, "--broker", url)
	other.err.waitFor(t, "recording")
	if code, _, errs := eventrouter(t, "apply", "--rules", write(t, "rules.yaml", changeOld), "--broker", url); code != exitOK {
		t.Fatal(errs)
	}
	if code := wait(); code != exitFailed || !strings.Contains(other.err.String(), "the rules on the broker change") {
		t.Errorf("while the rules change: exit code %d, %s", code, other.err)
	}
}

func TestGraph(t *testing.T) {
	t.Parallel()
	rules := write(t, "rules.yaml", changeOld)
	for _, form := range []string{"dot", "mermaid", "svg"} {
		code, out, errs := eventrouter(t, "graph", "--rules", rules, "-o", form)
		if code != exitOK {
			t.Fatal(errs)
		}
		golden(t, "graph."+form, out)
	}
	if code, _, errs := eventrouter(t, "graph", "--rules", rules, "-o", "png"); code != exitUsage {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

func TestGraphOfManyRulesIsGrouped(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString("version: 1\nname: many\npipelines:\n")
	for i := range 100 {
		fmt.Fprintf(&text, "  p%d: {}\n", i)
	}
	text.WriteString("rules:\n")
	for i := range 1000 {
		fmt.Fprintf(&text, "  - {name: \"rule <%d> & more\", type: t%d, pipelines: [p%d]}\n", i, i, i%100)
	}
	rules := write(t, "rules.yaml", text.String())
	boxes := func(args ...string) int {
		code, out, errs := eventrouter(t, append([]string{"graph", "--rules", rules}, args...)...)
		if code != exitOK {
			t.Fatal(errs)
		}
		n := 0
		for dec := xml.NewDecoder(strings.NewReader(out)); ; {
			token, err := dec.Token()
			if errors.Is(err, io.EOF) {
				return n
			}
			if err != nil {
				t.Fatal(err)
			}
			if start, ok := token.(xml.StartElement); ok && start.Name.Local == "g" {
				n++
			}
		}
	}
	if n := boxes(); n != 1+maxGroups+maxGroups+1 {
		t.Errorf("%d boxes", n)
	}
	if n := boxes("--all"); n != 1+1000+100 {
		t.Errorf("%d boxes with --all", n)
	}
}

// TestAnInterruptedApplySaysWhatIsNext interrupts it while it waits for the consumer of a queue that is moved.
func TestAnInterruptedApplySaysWhatIsNext(t *testing.T) {
	t.Parallel()
	broker := amqptest.Broker(t)
	old := write(t, "rules.yaml", changeOld)
	other := write(t, "rules.yaml", strings.Replace(changeOld, "billing: {}", "billing: {queue: {type: classic}}", 1))
	if code, _, errs := eventrouter(t, "apply", "--rules", old, "--broker", broker.URL()); code != exitOK {
		t.Fatal(errs)
	}
	theirs, err := amqp.New(broker.URL(), amqp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	connected, disconnect := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer disconnect()
	running.Go(func() { _ = theirs.Run(connected) }) // it has nothing to say but that it ended
	running.Go(func() {
		_ = theirs.Consume(connected, router.Subscription{Queue: "shop.billing", Prefetch: 1}, func(*router.Delivery) {})
	})
	until := func(ok func() bool) {
		for tick := time.NewTicker(5 * time.Millisecond); !ok(); <-tick.C {
			if t.Context().Err() != nil {
				t.Fatal("waited in vain")
			}
		}
	}
	until(func() bool { q, _ := broker.Queue("/", "shop.billing"); return q.Consumers == 1 })

	ctx, stop := context.WithCancelCause(t.Context())
	s := newSession(nil, nil)
	ended := make(chan int, 1)
	go func() {
		ended <- s.execute(ctx, []string{"apply", "--migrate", "--rules", other, "--broker", broker.URL()})
	}()
	until(func() bool { _, there := broker.Queue("/", "shop.billing.moved"); return there })
	stop(interrupted{os.Interrupt})
	if code := <-ended; code != exitFailed || !strings.Contains(s.err.String(), "interrupted; the next 'apply' goes on from there") {
		t.Errorf("exit code %d, %s", code, s.err)
	}
	disconnect()
	running.Wait()
	if code, out, errs := eventrouter(t, "apply", "--rules", other, "--broker", broker.URL()); code != exitOK || !strings.Contains(out, "moved: queue shop.billing") {
		t.Errorf("the next: exit code %d, %s%s", code, out, errs)
	}
}

// TestApplyTellsOfTheMatchQueue removes the rules by content, while events wait for them.
func TestApplyTellsOfTheMatchQueue(t *testing.T) {
	t.Parallel()
	url := amqptest.Broker(t).URL()
	old := write(t, "rules.yaml", changeOld)
	now := write(t, "rules.yaml", strings.Replace(changeOld, `match: {data: {n: [{numeric: [">=", 5]}]}}, `, "", 1))
	for _, args := range [][]string{{"apply"}, {"publish", "--type", "order.paid", "--data", "{}"}} {
		if code, _, errs := eventrouter(t, append(args, "--rules", old, "--broker", url)...); code != exitOK {
			t.Fatal(errs)
		}
	}
	want := "kept: queue shop.match: it holds 1 event that"
	if code, out, errs := eventrouter(t, "apply", "--rules", now, "--broker", url); code != exitOK || !strings.Contains(out, want) || !strings.Contains(out, "removed, but for what is kept\n") {
		t.Errorf("exit code %d, %s%s, and not %s", code, out, errs, want)
	}
}
