// Package execute is the step `exec`: it runs a command for each event.
package execute

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// Options say which command is run. None of them is ever taken from an event, and there is no shell.
type Options struct {
	Command   []string // the program and its arguments
	Env       map[string]string
	Dir       string // default: that of this process
	Permanent bool   // an exit code other than 0 and 75 is a permanent error
}

const (
	// tryAgain is the exit code EX_TEMPFAIL of sysexits(3).
	tryAgain = 75
	// lastOutput is how much of the end of standard error an error shows, in bytes.
	lastOutput = 2 << 10
	// killDelay is how long a command that is being ended may hold its output open.
	killDelay = 2 * time.Second
)

// New makes the step. The command gets the event on standard input, in CloudEvents' JSON format, and its type, id, attempt and pipeline in the
// environment too. Exit code 0 is done, 75 is tried again, and so is any other unless Permanent is set. When the context ends, the command is killed
// with all that it has started.
func New(o Options) (pipelines.Handler, error) {
	if len(o.Command) == 0 || o.Command[0] == "" {
		return nil, errors.New("command is empty")
	}
	if _, err := exec.LookPath(o.Command[0]); err != nil && o.Dir == "" {
		return nil, fmt.Errorf("command %q: %w", o.Command[0], errors.Unwrap(err))
	}
	env := os.Environ()
	for name, value := range o.Env {
		env = append(env, name+"="+value)
	}
	x := &execution{Options: o, env: env}
	return x.run, nil
}

type execution struct {
	Options
	env []string
}

func (x *execution) run(ctx context.Context, e router.Event) error {
	input, err := e.MarshalJSON()
	if err != nil {
		return pipelines.Permanent(err)
	}
	cmd := exec.CommandContext(ctx, x.Command[0], x.Command[1:]...)
	cmd.Dir = x.Dir
	attempt := pipelines.AttemptOf(ctx)
	cmd.Env = append(x.env[:len(x.env):len(x.env)],
		"EVENTROUTER_TYPE="+variable(e.Type), "EVENTROUTER_ID="+variable(e.ID),
		"EVENTROUTER_ATTEMPT="+strconv.Itoa(attempt.Number), "EVENTROUTER_PIPELINE="+attempt.Pipeline)
	cmd.Stdin = bytes.NewReader(append(input, '\n'))
	var complaint tail
	cmd.Stderr = &complaint
	killWhole(cmd)
	cmd.WaitDelay = killDelay
	return x.outcome(ctx, cmd.Run(), complaint.String())
}

// variable is a text as the environment can hold it.
func variable(s string) string { return strings.ReplaceAll(s, "\x00", "") }

func (x *execution) outcome(ctx context.Context, err error, complaint string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("command %q was killed: %w", x.Command[0], context.Cause(ctx))
	}
	code := -1
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	}
	err = fmt.Errorf("command %q: %w", x.Command[0], err)
	if complaint != "" {
		err = fmt.Errorf("%w: %s", err, complaint)
	}
	if x.Permanent && code > 0 && code != tryAgain {
		return pipelines.Permanent(err)
	}
	return err
}

// tail keeps the last bytes that are written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p[max(0, len(p)-lastOutput):]...)
	t.b = t.b[max(0, len(t.b)-lastOutput):]
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(strings.ToValidUTF8(string(t.b), "")) }
