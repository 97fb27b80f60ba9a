package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
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
	book.Balance(t, func(string) [][]string { return [][]string{{"careful", dead}, {"other"}} })
}
