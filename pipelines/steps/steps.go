// Package steps makes handlers of the steps in a rules file.
package steps

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/pipelines/steps/execute"
	"github.com/eventrouter/eventrouter/pipelines/steps/forward"
	"github.com/eventrouter/eventrouter/pipelines/steps/ndjson"
	"github.com/eventrouter/eventrouter/pipelines/steps/webhook"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/rules"
)

// Needs are what steps need from outside. What no step of the file uses may be left out.
type Needs struct {
	Lookup    func(name string) (value string, set bool) // of ${VAR}; nil: no variable is set
	Publisher router.Publisher                           // of forward
	// Log writes a line for an event, of level debug, info, warn or error; data is empty where it is not to be shown. It
	// is called from many goroutines at once.
	Log       func(level, pipeline string, e *router.Event, data string)
	UserAgent string // of webhook
}

// Build makes the handler of a pipeline: its steps one after another, up to the first that fails, whose error is marked as
// that step has marked it. closeSteps lets go what they hold, when the handler is not called any more. A variable that is not
// set is an error, as is one that is empty where nothing is left of an option then, and anything else that would keep a step from ever working; all of them are reported.
func Build(p rules.Pipeline, n Needs) (h pipelines.Handler, closeSteps func() error, err error) {
	if n.Lookup == nil {
		n.Lookup = func(string) (string, bool) { return "", false }
	}
	if len(p.Steps) == 0 {
		return nil, nil, fmt.Errorf("%spipeline %q has no steps", place(p.Pos), p.Name)
	}
	b := &builder{Needs: n, pipeline: p}
	var made []step
	for i := range p.Steps {
		s := &p.Steps[i]
		b.errs, b.values = nil, nil
		name, handler, stepErr := b.step(s)
		for _, e := range append(b.errs, stepErr) {
			if e != nil {
				err = errors.Join(err, fmt.Errorf("%sstep %d (%s) of pipeline %q: %w", place(s.Pos), i+1, name, p.Name, e))
			}
		}
		made = append(made, step{fmt.Sprintf("step %d (%s)", i+1, name), handler})
	}
	if err != nil {
		return nil, nil, errors.Join(err, b.close())
	}
	return chain(made), b.close, nil
}

// place is empty where the pipeline was made in Go.
func place(p rules.Pos) string {
	if p == (rules.Pos{}) {
		return ""
	}
	return p.String() + ": "
}

// step is one of a pipeline's.
type step struct {
	name   string
	handle pipelines.Handler
}

// chain calls the steps one after another.
func chain(steps []step) pipelines.Handler {
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
	errs     []error
	values   []string // of the step's variables
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
	s, err := t.Expand(func(name string) (string, bool) {
		value, set := b.Lookup(name)
		b.values = append(b.values, value)
		return value, set
	})
	if err != nil {
		b.errs = append(b.errs, err)
	}
	return s
}

// option puts the values into an option that, where it is given, must not come to nothing: the step would do something else, and that without a word.
func (b *builder) option(name string, t rules.Text) string {
	before := len(b.errs)
	s := b.text(t)
	if s == "" && t != "" && len(b.errs) == before {
		b.errs = append(b.errs, fmt.Errorf("%s is empty, as is the value of %s", name, t))
	}
	return s
}

// command may have empty arguments, but no empty program.
func (b *builder) command(list []rules.Text) []string {
	if len(list) == 0 {
		return nil
	}
	return append([]string{b.option("command", list[0])}, b.texts(list[1:])...)
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
		o := execute.Options{Command: b.command(s.Exec.Command), Env: b.textMap(s.Exec.Env), Dir: b.option("dir", s.Exec.Dir), Permanent: s.Exec.Permanent}
		if len(b.errs) == 0 {
			h, err = execute.New(o)
		}
		return "exec", h, err
	case s.Append != nil:
		path := b.option("path", s.Append.Path)
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
		if b.Publisher == nil {
			return "forward", nil, errors.New("there is no publisher for it")
		}
		if s.Forward.Exchange == "" {
			return "forward", nil, errors.New("exchange is empty")
		}
		return "forward", forward.New(b.Publisher, b.option("exchange", s.Forward.Exchange), b.option("key", s.Forward.Key)), nil
	case s.Log != nil:
		if b.Log == nil {
			return "log", nil, errors.New("there is no log for it")
		}
		return "log", b.log(s.Log), nil
	}
	return "?", nil, errors.New("a step of an unknown kind")
}

func (b *builder) webhook(w *rules.Webhook) (pipelines.Handler, error) {
	o := webhook.Options{
		URL: b.option("url", w.URL), Structured: w.Mode == "structured", Secret: b.option("secret", w.Secret), Headers: b.textMap(w.Headers),
		Timeout: w.Timeout, Workers: b.pipeline.Workers, UserAgent: b.UserAgent,
	}
	if len(b.errs) > 0 {
		return nil, nil
	}
	o.Hide = b.values
	h, closeIdle, err := webhook.New(o)
	if err == nil {
		b.closers = append(b.closers, func() error { closeIdle(); return nil })
	}
	return h, err
}
