package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"
)

// line is one line of eventrouter's JSON log, as far as the story needs it.
type line struct {
	Level    string `json:"level"`
	Message  string `json:"msg"`
	Pipeline string `json:"pipeline"`
	Attempt  int    `json:"attempt"`
	Attempts int    `json:"attempts"`
	In       string `json:"in"`
	Error    string `json:"error"`
	Reason   string `json:"reason"`
	URL      string `json:"url"`
	Event    struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	} `json:"event"`
	raw string
}

const (
	saysHandled  = "handled"
	saysRetried  = "failed, to be tried again"
	saysDead     = "given up: kept as a dead letter"
	saysUnrouted = "unrouted"
)

// outcome is what became of an event in one pipeline.
type outcome struct {
	Done, Dead bool
	Attempt    int
	Errors     []string // of the attempts that failed
}

// watch follows the log and remembers what became of each event.
type watch struct {
	mu       sync.Mutex
	outcomes map[string]map[string]outcome // by event id and pipeline
	changed  chan struct{}                 // closed and replaced at each change
	live     func(line)                    // told every line, once set
}

func newWatch() *watch {
	return &watch{outcomes: map[string]map[string]outcome{}, changed: make(chan struct{})}
}

// follow reads the log to its end.
func (w *watch) follow(log io.Reader) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			l = line{Level: "error", Message: lines.Text()}
		}
		l.raw = lines.Text()
		w.note(l)
	}
}

func (w *watch) note(l line) {
	w.mu.Lock()
	if l.Event.ID != "" && l.Pipeline != "" {
		of := w.outcomes[l.Event.ID]
		if of == nil {
			of = map[string]outcome{}
			w.outcomes[l.Event.ID] = of
		}
		o := of[l.Pipeline]
		switch l.Message {
		case saysHandled:
			o.Done, o.Attempt = true, l.Attempt
		case saysRetried:
			o.Errors = append(o.Errors, l.Error)
		case saysDead:
			o.Dead, o.Attempt = true, l.Attempts
			o.Errors = append(o.Errors, l.Error)
		}
		of[l.Pipeline] = o
		close(w.changed)
		w.changed = make(chan struct{})
	}
	live := w.live
	w.mu.Unlock()
	if live != nil {
		live(l)
	}
}

// listen sets who is told every further line.
func (w *watch) listen(live func(line)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live = live
}

// outcome returns what became of an event in a pipeline so far.
func (w *watch) outcome(id, pipeline string) outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.outcomes[id][pipeline]
}

// settled waits until every event is done or dead in each of its pipelines, or the limit has passed.
func (w *watch) settled(ctx context.Context, events []routed, limit time.Duration) bool {
	deadline := time.After(limit)
	for {
		w.mu.Lock()
		changed := w.changed
		w.mu.Unlock()
		if w.allSettled(events) {
			return true
		}
		select {
		case <-changed:
		case <-deadline:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (w *watch) allSettled(events []routed) bool {
	for _, e := range events {
		for _, p := range e.Pipelines {
			if o := w.outcome(e.ID, p); !o.Done && !o.Dead {
				return false
			}
		}
	}
	return true
}
