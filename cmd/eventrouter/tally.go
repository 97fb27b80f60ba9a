package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

// maxFailures is how many failed events a tally remembers by name; the rest are only counted.
const maxFailures = 1000

// tally publishes events and counts what the broker said to each.
type tally struct {
	publisher router.Publisher
	exchange  string
	progress  *progress
	said      io.Writer     // each failure is told here as it happens; nil: nobody
	timeout   time.Duration // from handing an event over to its confirm

	pending   sync.WaitGroup
	mu        sync.Mutex
	confirmed int
	failed    int
	failures  []failure // the first maxFailures
}

// failure is an event that is not confirmed.
type failure struct {
	Line  int    `json:"line,omitempty"` // of the input, from 1
	ID    string `json:"id,omitempty"`
	Type  string `json:"type,omitempty"`
	Error string `json:"error"`
}

func (f failure) String() string {
	name := fmt.Sprintf("event %q of type %q", f.ID, f.Type)
	if f.ID == "" {
		name = "no event"
	}
	if f.Line > 0 {
		name = fmt.Sprintf("line %d: %s", f.Line, name)
	}
	return name + ": " + f.Error
}

// publish hands an event to the broker. It returns when that is done, which is before the confirm.
func (t *tally) publish(ctx context.Context, e *router.Event, line int) {
	t.send(ctx, router.Message{Event: e, Exchange: t.exchange, Key: e.Type, Mandatory: true}, line)
}

// send is publish for any message.
func (t *tally) send(ctx context.Context, m router.Message, line int) {
	t.pending.Add(1)
	e := m.Event
	ctx, cancel := context.WithTimeoutCause(ctx, t.timeout, fmt.Errorf("no confirm within %s", t.timeout))
	t.publisher.Publish(ctx, m, func(err error) {
		defer t.pending.Done()
		defer cancel()
		if err != nil {
			t.fail(failure{Line: line, ID: e.ID, Type: e.Type, Error: err.Error()})
			return
		}
		t.mu.Lock()
		t.confirmed++
		t.mu.Unlock()
		t.progress.add()
	})
}

// fail counts an event that is not, or cannot be, confirmed.
func (t *tally) fail(f failure) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed++; len(t.failures) < maxFailures {
		t.failures = append(t.failures, f)
	}
	if t.said != nil {
		t.progress.clear()
		fmt.Fprintln(t.said, "eventrouter: "+f.String())
	}
}

// wait returns when the broker has answered for every event, or the publisher has given up on it.
func (t *tally) wait() {
	t.pending.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortFunc(t.failures, func(a, b failure) int { return cmp.Compare(a.Line, b.Line) })
}

// report prints what became of the events; it fails if any is not confirmed.
func (t *tally) report(c *console, asJSON bool) error {
	var err error
	if asJSON {
		list := append([]failure{}, t.failures...)
		err = writeJSON(c.out, map[string]any{"confirmed": t.confirmed, "failed": t.failed, "failures": list})
	} else {
		_, err = fmt.Fprintf(c.out, "confirmed: %s; failed: %d\n", count(t.confirmed, "event"), t.failed)
	}
	if err == nil && t.failed > 0 {
		err = errSaid
	}
	return err
}
