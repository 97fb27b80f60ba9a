// Package steps makes handlers of the steps in a rules file.
package steps

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/pipelines/steps/execute"
	"github.com/eventrouter/eventrouter/pipelines/steps/forward"
	"github.com/eventrouter/eventrouter/pipelines/steps/ndjson"
	"github.com/eventrouter/eventrouter/pipelines/steps/webhook"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/rules"
)

// Needs are what steps need from outside.
type Needs struct {
	Lookup    func(name string) (value string, set bool) // of ${VAR}
	Publisher router.Publisher                           // of forward
	Log       func(level, message string, e *router.Event, data string)
	UserAgent string // of webhook
}

// Build makes the handler of a pipeline: its steps one after another, up to the first that fails. close lets go what they hold. A variable that is not set is an
// error, as is anything else that would keep a step from ever working; all of them are reported.
func Build(p rules.Pipeline, n Needs) (h pipelines.Handler, closeSteps func() error, err error) {
	b := &builder{Needs: n, pipeline: p}
	var made []step
	for i := range p.Steps {
		s := &p.Steps[i]
		b.errs, b.place = nil, fmt.Sprintf("%s: step %d of pipeline %q", s.Pos, i+1, p.Name)
		name, handler, stepErr := b.step(s)
		for _, e := range append(b.errs, stepErr) {
			if e != nil {
				err = errors.Join(err, fmt.Errorf("%s (%s): %w", b.place, name, e))
			}
		}
		made = append(made, step{fmt.Sprintf("step %d (%s)", i+1, name), handler})
	}
	if err != nil {
		return nil, nil, errors.Join(err, b.close())
	}
	return chain(made), b.close, nil
}

// step is one of a pipeline's.
type step struct {
	name   string
	handle pipelines.Handler
}

// chain calls the steps one after another. With a single step its error needs no name of it.
func chain(steps []step) pipelines.Handler {
	if len(steps) == 1 {
		return steps[0].handle
	}
	return func(ctx context.Context, e router.Event) error {
		for _, s := range steps {
			if err := s.handle(ctx, e); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
		return nil
	}
}

type builder struct {
	Needs
	pipeline rules.Pipeline
	place    string
	errs     []error
	closers  []func() error
}

func (b *builder) close() error {
	var errs []error
	for _, f := range b.closers {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// text puts the environment's values in.
func (b *builder) text(t rules.Text) string {
	s, err := t.Expand(b.Lookup)
	if err != nil {
		b.errs = append(b.errs, err)
	}
	return s
}

func (b *builder) texts(list []rules.Text) []string {
	var out []string
	for _, t := range list {
		out = append(out, b.text(t))
	}
	return out
}

func (b *builder) textMap(m map[string]rules.Text) map[string]string {
	out := make(map[string]string, len(m))
	for name, t := range m {
		out[name] = b.text(t)
	}
	return out
}

func (b *builder) step(s *rules.Step) (name string, h pipelines.Handler, err error) {
	switch {
	case s.Webhook != nil:
		h, err = b.webhook(s.Webhook)
		return "webhook", h, err
	case s.Exec != nil:
		o := execute.Options{Command: b.texts(s.Exec.Command), Env: b.textMap(s.Exec.Env), Dir: b.text(s.Exec.Dir), Permanent: s.Exec.Permanent}
		if len(b.errs) == 0 {
			h, err = execute.New(o)
		}
		return "exec", h, err
	case s.Append != nil:
		path := b.text(s.Append.Path)
		if len(b.errs) > 0 {
			return "file", nil, nil
		}
		f, err := ndjson.Open(path, s.Append.Sync)
		if err != nil {
			return "file", nil, err
		}
		b.closers = append(b.closers, f.Close)
		return "file", f.Handle, nil
	case s.Forward != nil:
		return "forward", forward.New(b.Publisher, b.text(s.Forward.Exchange), b.text(s.Forward.Key)), nil
	case s.Log != nil:
		return "log", b.log(s.Log), nil
	}
	return "?", nil, errors.New("a step of an unknown kind")
}

func (b *builder) webhook(w *rules.Webhook) (pipelines.Handler, error) {
	o := webhook.Options{
		URL: b.text(w.URL), Structured: w.Mode == "structured", Secret: b.text(w.Secret), Headers: b.textMap(w.Headers),
		Timeout: w.Timeout, Workers: b.pipeline.Workers, UserAgent: b.UserAgent,
	}
	if len(b.errs) > 0 {
		return nil, nil
	}
	h, closeIdle, err := webhook.New(o)
	if err == nil {
		b.closers = append(b.closers, func() error { closeIdle(); return nil })
	}
	return h, err
}

// maxLogged is how much of an event's data is logged, in bytes.
const maxLogged = 4 << 10

func (b *builder) log(l *rules.Log) pipelines.Handler {
	write, pipeline := b.Log, b.pipeline.Name
	return func(_ context.Context, e router.Event) error {
		data := ""
		if l.Data {
			data = loggable(e.Data)
		}
		write(l.Level, pipeline, &e, data)
		return nil
	}
}

// loggable is data as a log can hold it.
func loggable(data []byte) string {
	if !utf8.Valid(data) {
		return fmt.Sprintf("%d bytes that are no text", len(data))
	}
	if len(data) > maxLogged {
		return strings.ToValidUTF8(string(data[:maxLogged]), "") + "…"
	}
	return string(data)
}
