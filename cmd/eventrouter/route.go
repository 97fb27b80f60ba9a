package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

func (c *console) routeCommand() *cobra.Command {
	var named rulesFlag
	var from string
	var skip bool
	cmd := &cobra.Command{
		Use:   "route",
		Short: "Tell for each event on standard input which rules hold and which pipelines get it",
		Long: `Read events from standard input, a JSON document (CloudEvents' JSON format) a line, and write a JSON
object a line for each, in the same order:

  {"id":"1","rules":["large orders"],"pipelines":["billing"]}

Rules and pipelines are in the order of the rules file; "id" is empty where the event has none. Each line
is written as soon as no further input is waiting. No broker is needed.

A line that is no event ends the command with exit code 1, after the results of all lines before it.
With --skip-invalid it gets {"error":"..."} as its line instead; the exit code is then 1 at the end.`,
		Example: `  eventrouter route < events.ndjson
  eventrouter route --rules rules/ < events.ndjson | jq -r '.pipelines[]' | sort | uniq -c
  tail -f events.ndjson | eventrouter route --skip-invalid`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, p, err := named.load(c, cmd, nil)
			if err != nil {
				return err
			}
			exchange, ok := p.Source(from)
			if !ok {
				return usagef(cmd, "--from %q: the rules have no such exchange", from)
			}
			return c.route(cmd.Context(), p, exchange, skip)
		},
	}
	named.add(cmd)
	cmd.Flags().StringVar(&from, "from", "", "exchange that the events are published to, by its key in the rules (the first without it)")
	cmd.Flags().BoolVar(&skip, "skip-invalid", false, "go on after a line that is no event")
	return cmd
}

// route writes a line for each event on standard input.
func (c *console) route(ctx context.Context, p *plan.Plan, exchange string, skip bool) (err error) {
	out := bufio.NewWriterSize(c.out, 64<<10)
	flush := func() { err = errors.Join(err, out.Flush()) }
	defer flush()
	in := event.NewReader(&interruptible{ctx: ctx, in: c.in, empty: flush})
	w := newRouteWriter(p)
	invalid := 0
	for {
		var e event.Event
		readErr := in.Next(&e)
		var bad *event.LineError
		switch {
		case errors.Is(readErr, io.EOF):
			if invalid > 0 {
				return fmt.Errorf("%s of the input: no event", count(invalid, "line"))
			}
			return err
		case errors.As(readErr, &bad) && skip:
			invalid++
			_, err = out.Write(w.problem(bad))
		case errors.As(readErr, &bad):
			return fmt.Errorf("%w; ended there (--skip-invalid goes on after such lines)", readErr)
		case readErr != nil:
			return readErr
		default:
			_, err = out.Write(w.line(&e, exchange))
		}
		if err != nil {
			return err
		}
	}
}

// routeWriter makes the lines of `route`. Names are written as JSON once, and the buffers are used again.
type routeWriter struct {
	plan      *plan.Plan
	rules     [][]byte
	pipelines [][]byte
	routed    plan.Routed
	buf       []byte
}

func newRouteWriter(p *plan.Plan) *routeWriter {
	w := &routeWriter{plan: p}
	for i := range p.Rules {
		w.rules = append(w.rules, quoted(p.Rules[i].Name))
	}
	for i := range p.Pipelines {
		w.pipelines = append(w.pipelines, quoted(p.Pipelines[i].Name))
	}
	return w
}

// line is what is written for an event; it is good until the next call.
func (w *routeWriter) line(e *event.Event, exchange string) []byte {
	w.plan.Route(e, exchange, &w.routed)
	b := append(w.buf[:0], `{"id":`...)
	b = appendQuoted(b, e.ID)
	b = append(b, `,"rules":`...)
	b = appendNames(b, w.rules, w.routed.Rules)
	b = append(b, `,"pipelines":`...)
	b = appendNames(b, w.pipelines, w.routed.Pipelines)
	w.buf = append(b, "}\n"...)
	return w.buf
}

// problem is what is written for a line that is no event.
func (w *routeWriter) problem(bad *event.LineError) []byte {
	b := append(w.buf[:0], `{"error":`...)
	b = append(b, quoted(bad.Error())...)
	w.buf = append(b, "}\n"...)
	return w.buf
}

func appendNames(b []byte, names [][]byte, picked []int) []byte {
	b = append(b, '[')
	for i, at := range picked {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, names[at]...)
	}
	return append(b, ']')
}

// appendQuoted appends a string as JSON; most need no escapes.
func appendQuoted(b []byte, s string) []byte {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return append(b, quoted(s)...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// quoted writes a string as JSON.
func quoted(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string always has a JSON form
	}
	return b
}
