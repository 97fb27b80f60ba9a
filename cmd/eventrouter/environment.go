package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// envScope is the annotation of a flag whose variable has one more word, because other commands use the flag's name
// for something else: --type of an event is EVENTROUTER_EVENT_TYPE.
const envScope = "eventrouter-env-scope"

// envName returns the environment variable that stands in for a flag.
func envName(f *pflag.Flag) string {
	name := f.Name
	if scope := f.Annotations[envScope]; len(scope) > 0 {
		name = scope[0] + "-" + name
	}
	return "EVENTROUTER_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// scope gives flags' variables one more word.
func scope(cmd *cobra.Command, word string, flags ...string) {
	for _, name := range flags {
		_ = cmd.Flags().SetAnnotation(name, envScope, []string{word}) // the error is only for a flag that does not exist
	}
}

// envSecret is the annotation of a flag that may hold a password: its variable is named in the help, as everybody on a machine can read command lines.
const envSecret = "eventrouter-env-secret"

// secret notes that a flag may hold a password.
func secret(cmd *cobra.Command, flag string) {
	_ = cmd.Flags().SetAnnotation(flag, envSecret, []string{"true"}) // the error is only for a flag that does not exist
}

// withoutSecret is pflag's error about a wrong value, without the value where it may hold a password.
func withoutSecret(err error) error {
	wrong, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok || len(wrong.GetFlag().Annotations[envSecret]) == 0 {
		return err
	}
	return fmt.Errorf("what is given for --%s cannot be read: %w; in a URL, special characters are written as %%XX", wrong.GetFlag().Name, wrong.Unwrap())
}

// fromEnvironment sets every flag that the command line does not give from its variable, if that is set and not empty.
// A list is written with commas. It is the only way in which the environment reaches a flag.
func (c *console) fromEnvironment(cmd *cobra.Command) error {
	var failed error
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Changed || f.Name == "help" || failed != nil {
			return
		}
		name := envName(f)
		value, set := c.env(name)
		if !set || value == "" {
			return
		}
		if err := cmd.Flags().Set(f.Name, value); err != nil {
			failed = usageError{fmt.Errorf("environment variable %s: %w", name, withoutSecret(err)), cmd}
		}
	})
	return failed
}
