package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// deadly has an event that kills the process that handles it: the command's parent is eventrouter.
const deadly = `
pipelines:
  careful: {workers: 1, prefetch: 1, queue: {delivery_limit: 3}, steps: [{exec: {command: [sh, -c, "if grep -q poison; then kill -9 $PPID; fi"]}}, {webhook: {url: "${RECEIVER}/careful"}}]}
  other: {steps: [{webhook: {url: "${RECEIVER}/other"}}]}
rules:
  - {name: all, type: "#", pipelines: [careful, other]}
`

// TestAnEventThatKillsEventrouterBecomesADeadLetter starts eventrouter again as often as the event kills it.
func TestAnEventThatKillsEventrouterBecomesADeadLetter(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			poison(t, server(t, v))
		})
	}
}

func poison(t *testing.T, s *rabbit.Server) {
	book := ledger.New()
	r := receiver(t, book, nil)
	rules, p := writeRules(t, newName(), deadly)
	defer cleanUp(t, s.URL, p)
	exchange, _ := p.Source("")
	env := []string{"RECEIVER=" + r.URL}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	run := startBinary(t, path, s.URL, rules, env...)
	b := connect(t, s.URL, nil, amqp.Options{})
	const count, bad = 20, 5
	for i := range count {
		e := &event.Event{ID: fmt.Sprint(i), Type: "mail.sent", Data: []byte(`{"text": "hello"}`)}
		if i == bad {
			e.Data = []byte(`{"text": "poison"}`)
		}
		if err := send(t.Context(), b, exchange, e); err != nil {
			t.Fatal(err)
		}
		book.Confirmed(e.ID)
	}
	kills := 0
	deadline := time.After(patience)
	for book.At("careful") < count-1 || book.At("other") < count {
		select {
		case <-run.ended:
			kills++
			run = launch(t, path, s.URL, rules, env...) // it may be killed before it has said that it runs
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			t.Fatalf("after %d kills, careful has handled %d events and other %d, of %d:\n%s", kills, book.At("careful"), book.At("other"), count, run.said())
		}
	}
	settled(t, b, p)
	run.terminate()
	audit(t, b, p, book)
	if kills != 4 {
		t.Errorf("it was killed %d times, and a delivery_limit of 3 allows for 4", kills)
	}
	dead := p.Pipeline("careful").DeadName
	if book.At(dead) != 1 || book.Times(dead, fmt.Sprint(bad)) != 1 || book.Times("careful", fmt.Sprint(bad)) != 0 {
		t.Errorf("%d dead letters; the deadly event is among them %d times", book.At(dead), book.Times(dead, fmt.Sprint(bad)))
	}
	book.BalanceExactly(t, func(string) [][]string { return [][]string{{"careful", dead}, {"other"}} })
}

// greedy has a command that takes all the memory that it may have for some events, and is killed: for good, or at its first attempt.
const greedy = `
pipelines:
  greedy:
    workers: 2
    retry: {attempts: 2, delays: [100ms]}
    steps:
      - exec: {command: [sh, -c, 'read event; case "$event$EVENTROUTER_ATTEMPT" in *always*|*once*1) (ulimit -v 65536; a=x; while a=$a$a; do :; done); kill -9 $$;; esac']}
      - webhook: {url: "${RECEIVER}/greedy"}
  other: {steps: [{webhook: {url: "${RECEIVER}/other"}}]}
rules:
  - {name: all, type: "#", pipelines: [greedy, other]}
`

// TestCommandsThatTakeMemoryUntilTheyAreKilled: such a command's end is a failed attempt, and nobody else's matter.
func TestCommandsThatTakeMemoryUntilTheyAreKilled(t *testing.T) {
	t.Parallel()
	const (
		count = 100
		limit = 150 // MiB
	)
	s := server(t, rabbit.V4)
	path, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	book := ledger.New()
	r := receiver(t, book, nil)
	rules, p := writeRules(t, newName(), greedy)
	defer cleanUp(t, s.URL, p)
	exchange, _ := p.Source("")
	run := startBinary(t, path, s.URL, rules, "RECEIVER="+r.URL)
	b := connect(t, s.URL, nil, amqp.Options{})
	letters := map[string]bool{} // ids
	for i := range count {
		id, how := fmt.Sprint(i), "never"
		switch {
		case i%20 == 5:
			how, letters[id] = "always", true
		case i%5 == 0:
			how = "once"
		}
		if err := send(t.Context(), b, exchange, &event.Event{ID: id, Type: "mail.sent", Data: fmt.Appendf(nil, `{"greedy": %q}`, how)}); err != nil {
			t.Fatal(err)
		}
		book.Confirmed(id)
	}
	waitFor(t, func() bool { return book.At("other") == count && book.At("greedy") == count-len(letters) }, func() string {
		return fmt.Sprintf("greedy has handled %d events and other %d, of %d:\n%s", book.At("greedy"), book.At("other"), count, run.said())
	})
	settled(t, b, p)
	peak := run.peak()
	run.terminate()
	audit(t, b, p, book)
	dead := p.Pipeline("greedy").DeadName
	book.BalanceExactly(t, func(id string) [][]string {
		if letters[id] {
			return [][]string{{dead}, {"other"}}
		}
		return [][]string{{"greedy"}, {"other"}}
	})
	if err := b.Browse(t.Context(), dead, p.Sources(), func(d *router.Delivery) bool {
		if d.Trail.Attempts != 2 || !strings.Contains(d.Trail.Error, "signal: killed") {
			t.Errorf("%s is dead after %d attempts: %s", d.Event.ID, d.Trail.Attempts, d.Trail.Error)
		}
		return true
	}, nil); err != nil {
		t.Error(err)
	}
	if book.At(dead) != len(letters) || peak > limit {
		t.Errorf("%d dead letters, and eventrouter had %d MiB of memory; %d letters and %d MiB are allowed for", book.At(dead), peak, len(letters), limit)
	}
}
