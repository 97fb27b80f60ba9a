// Command eventrouter routes events on RabbitMQ by their type and content into pipelines, as a rules file says.
//
// This package holds commands, flags, logging and wiring; whatever is decided about an event is decided in packages rules,
// router and pipelines. Exit codes: 0 ok, 1 the work failed, 2 wrong usage.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// console is all that a command knows of the world around it; tests make their own.
type console struct {
	in      io.Reader
	out     io.Writer // results
	err     io.Writer // logs, progress, errors
	env     func(name string) (value string, set bool)
	inTerm  bool // in is a terminal
	outTerm bool // out is a terminal
	errTerm bool // err is a terminal
}

func main() {
	c := &console{
		in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.LookupEnv,
		inTerm:  term.IsTerminal(int(os.Stdin.Fd())),
		outTerm: term.IsTerminal(int(os.Stdout.Fd())),
		errTerm: term.IsTerminal(int(os.Stderr.Fd())),
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	os.Exit(c.runUntilSignal(os.Args[1:], signals))
}

// runUntilSignal executes a command line. The first signal asks the command to finish, the second ends it at once.
func (c *console) runUntilSignal(args []string, signals <-chan os.Signal) int {
	ctx, stop := context.WithCancelCause(context.Background())
	defer stop(nil)
	code := make(chan int, 1)
	go func() { code <- c.execute(ctx, args) }()
	for asked := false; ; asked = true {
		select {
		case n := <-code:
			return n
		case s := <-signals:
			if asked {
				fmt.Fprintf(c.err, "eventrouter: %s again: ended at once. What was in hand is not acknowledged: the broker hands it out again\n", signalName(s))
				return exitFailed
			}
			stop(interrupted{s})
		}
	}
}

// interrupted is why a command's context is over when a signal came.
type interrupted struct{ os.Signal }

func (i interrupted) Error() string { return signalName(i.Signal) }

func signalName(s os.Signal) string {
	switch s {
	case os.Interrupt:
		return "interrupted"
	case syscall.SIGTERM:
		return "terminated"
	}
	return s.String()
}
