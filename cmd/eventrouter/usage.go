package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	exitOK     = 0
	exitFailed = 1 // the work failed: problems found, tests failed, events not confirmed, no broker
	exitUsage  = 2 // the command line is wrong: nothing was done
	exitChange = 3 // with --exit-code: there is a difference
)

// usageError is a wrong command line.
type usageError struct {
	error
	cmd *cobra.Command
}

func usagef(cmd *cobra.Command, format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...), cmd}
}

func (u usageError) Unwrap() error { return u.error }

// errSaid ends a command with exitFailed where all that there is to say is printed already.
var errSaid = errors.New("failed")

// exitCodeUsage is the usage of the flag --exit-code.
const exitCodeUsage = "exit code 3 where there is a difference, 0 where there is none"

// errChanges ends a command with exitChange.
var errChanges = errors.New("there is a difference")

// execute runs one command line to its end and returns the exit code.
func (c *console) execute(ctx context.Context, args []string) int {
	root := c.newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &usage):
		fmt.Fprintf(c.err, "eventrouter: %s\nRun '%s --help' for usage.\n", strings.TrimSpace(err.Error()), usage.cmd.CommandPath())
		return exitUsage
	case errors.Is(err, errSaid):
		return exitFailed
	case errors.Is(err, errChanges):
		return exitChange
	}
	fmt.Fprintf(c.err, "eventrouter: %s\n", strings.TrimSpace(err.Error()))
	return exitFailed
}

// arguments makes a check of positional arguments whose errors are usage errors.
func arguments(least, most int, names string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least && names != "":
			return usagef(cmd, "%q needs an argument: %s", cmd.CommandPath(), names)
		case most >= 0 && len(args) > most && most == 0:
			hint := ""
			if cmd.Flags().Lookup("rules") != nil {
				hint = "; rules files are named by --rules"
			}
			return usagef(cmd, "%q takes no argument, but got %s%s", cmd.CommandPath(), shownArgument(args[0]), hint)
		case most >= 0 && len(args) > most:
			return usagef(cmd, "%q takes %s and no more, but got %s", cmd.CommandPath(), names, shownArgument(args[most]))
		}
		return nil
	}
}

// shownArgument quotes an argument for an error, unless it may be a URL with a password in it.
func shownArgument(arg string) string {
	if strings.Contains(arg, "@") {
		return `"…" (not shown, as it may hold a password)`
	}
	return strconv.Quote(arg)
}

// group makes cmd one that only holds other commands: alone it prints its help, and another word is an unknown command.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		var names []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		return usagef(cmd, "unknown command %s for %q%s", shownArgument(args[0]), cmd.CommandPath(), didYouMean(args[0], names, ""))
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// flagError makes pflag's errors usage errors, with the nearest flag for one that does not exist.
func flagError(cmd *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) || unknown.GetSpecifiedShortnames() != "" {
		if err = withoutSecret(err); strings.Contains(err.Error(), "@") && !errors.As(err, new(*pflag.InvalidValueError)) {
			err = errors.New("the flags cannot be read: one is written as -FLAG or --=; it is not shown, as it may hold a password")
		}
		return usageError{err, cmd}
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	name := unknown.GetSpecifiedName()
	return usagef(cmd, "unknown flag \"--%s\" for %q%s", name, cmd.CommandPath(), didYouMean(name, names, "--"))
}

// didYouMean returns `; did you mean "x"?` for the names that are near to word, or nothing where none is. Cobra knows how near a
// command is and offers it for commands only: the names are made commands for that.
func didYouMean(word string, names []string, prefix string) string {
	tree := &cobra.Command{Use: "names", SuggestionsMinimumDistance: min(2, (len(word)+2)/3)}
	for _, name := range names {
		tree.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	near := tree.SuggestionsFor(word)
	for i, name := range near {
		near[i] = strconv.Quote(prefix + name)
	}
	if len(near) == 0 || len(near) > 3 {
		return ""
	}
	return "; did you mean " + strings.Join(near, " or ") + "?"
}
