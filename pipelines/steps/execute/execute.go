// Package execute is the step `exec`: it runs a command for each event.
package execute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// Options say which command is run. None of them is ever taken from an event, and there is no shell.
type Options struct {
	Command   []string          // the program, which is looked for in PATH, and its arguments
	Env       map[string]string // besides that of this process, of which it gets no variable whose name begins with EVENTROUTER_
	Dir       string            // where it runs, and from where a program such as ./tool is looked for; default: this process's
	Permanent bool              // an exit code other than 0 and 75 is a permanent error
}

const (
	// tryAgain is the exit code EX_TEMPFAIL of sysexits(3).
	tryAgain = 75
	// lastOutput is how much of the end of standard error an error shows, in bytes.
	lastOutput = 2 << 10
	// outputDelay is how long standard error may be held open after the command's end, by something that it has started.
	outputDelay = 2 * time.Second
)

// New makes the step, which may be called by any number of goroutines. A program that is not there is an error.
//
// The command gets the event on standard input, in CloudEvents' JSON format, and its type, id, attempt and pipeline as
// EVENTROUTER_TYPE, EVENTROUTER_ID, EVENTROUTER_ATTEMPT and EVENTROUTER_PIPELINE. What it writes to standard output is not
// read; the end of standard error is part of the error. Exit code 0 is done, 75 is tried again, and so is any other unless
// Permanent is set. When the context ends, the command is killed; on Unix with its process group, which is all that it has
// started and that has not taken a group of its own.
func New(o Options) (pipelines.Handler, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return nil, errors.New("command is empty")
	}
	program, err := find(o.Command[0], o.Dir)
	if err != nil {
		return nil, err
	}
	env := slices.DeleteFunc(os.Environ(), isOurs)
	for name, value := range o.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return nil, fmt.Errorf("variable %q cannot stand in the environment", name)
		}
		env = append(env, name+"="+value)
	}
	x := &execution{Options: o, program: program, env: env}
	return x.run, nil
}

// prefix is that of the variables by which eventrouter is told its settings, such as the broker's URL and the tokens of HTTP: those are nobody else's.
const prefix = "EVENTROUTER_"

// isOurs reports whether a variable of the environment is a setting of eventrouter. Windows does not tell names by their case.
func isOurs(variable string) bool {
	return len(variable) >= len(prefix) && strings.EqualFold(variable[:len(prefix)], prefix)
}

// find looks for the program from where it will run.
func find(program, dir string) (string, error) {
	if dir != "" {
		info, err := os.Stat(dir)
		if err != nil {
			return "", fmt.Errorf("dir %q: %w", dir, cause(err))
		}
		if !info.IsDir() {
			return "", fmt.Errorf("dir %q is not a folder", dir)
		}
	}
	at := program
	if dir != "" && filepath.Base(program) != program && !filepath.IsAbs(program) {
		var err error
		if at, err = filepath.Abs(filepath.Join(dir, program)); err != nil {
			return "", fmt.Errorf("command %q: %w", program, err)
		}
	}
	found, err := exec.LookPath(at)
	if err != nil {
		return "", fmt.Errorf("command %q: %w", program, cause(err))
	}
	if found, err = filepath.Abs(found); err != nil {
		return "", fmt.Errorf("command %q: %w", program, err)
	}
	return found, nil
}

// cause is an error without the name that is told anyway.
func cause(err error) error {
	if inner := errors.Unwrap(err); inner != nil {
		return inner
	}
	return err
}

type execution struct {
	Options
	program string
	env     []string
}

func (x *execution) run(ctx context.Context, e router.Event) error {
	input, err := e.MarshalJSON()
	if err != nil {
		return pipelines.Permanent(fmt.Errorf("command %q: %w", x.Command[0], err))
	}
	cmd := exec.CommandContext(ctx, x.program, x.Command[1:]...)
	cmd.Args[0] = x.Command[0]
	cmd.Dir = x.Dir
	attempt := pipelines.AttemptOf(ctx)
	cmd.Env = append(x.env[:len(x.env):len(x.env)],
		"EVENTROUTER_TYPE="+variable(e.Type), "EVENTROUTER_ID="+variable(e.ID),
		"EVENTROUTER_ATTEMPT="+strconv.Itoa(attempt.Number), "EVENTROUTER_PIPELINE="+attempt.Pipeline)
	cmd.Stdin = bytes.NewReader(append(input, '\n'))
	var complaint tail
	cmd.Stderr = &complaint
	cmd.WaitDelay = outputDelay
	killWhole(cmd)
	if err := x.outcome(ctx, cmd.Run()); err != nil {
		return complaint.explain(err)
	}
	return nil
}

// variable is a text as the environment can hold it; standard input has it whole.
func variable(s string) string { return strings.ReplaceAll(s, "\x00", "") }

// outcome is what the command's end means.
func (x *execution) outcome(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, exec.ErrWaitDelay) && ctx.Err() == nil {
		return nil // exit code 0, even where something that it has started goes on
	}
	if ctx.Err() != nil {
		return fmt.Errorf("command %q was killed: %w", x.Command[0], context.Cause(ctx))
	}
	failed := fmt.Errorf("command %q: %w", x.Command[0], err)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if ok && x.Permanent && exit.Exited() && exit.ExitCode() != tryAgain {
		return pipelines.Permanent(failed)
	}
	return failed
}

// tail keeps the last bytes that are written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-lastOutput):]...)
	t.b = t.b[max(0, len(t.b)-lastOutput):]
	return len(p), nil
}

// explain adds what was written to an error.
func (t *tail) explain(err error) error {
	text := strings.TrimSpace(strings.ToValidUTF8(string(t.b), ""))
	if text == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, text)
}
