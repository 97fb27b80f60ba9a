package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// printUsage writes how a command is called: the part of its help below the description.
func printUsage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n")
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "  %s [command]\n", cmd.CommandPath())
	} else {
		fmt.Fprintf(&b, "  %s\n", cmd.UseLine())
	}
	if cmd.HasExample() {
		fmt.Fprintf(&b, "\nExamples:\n%s\n", strings.TrimRight(cmd.Example, "\n"))
	}
	if cmd.HasAvailableSubCommands() {
		for _, g := range cmd.Groups() {
			printCommands(&b, cmd, g.Title, g.ID)
		}
		title := "Commands:"
		if len(cmd.Groups()) > 0 {
			title = "Others:"
		}
		printCommands(&b, cmd, title, "")
	}
	if flags := strings.TrimRight(cmd.LocalFlags().FlagUsages(), "\n"); flags != "" {
		fmt.Fprintf(&b, "\nFlags:\n%s\n", flags)
		if note := environmentNote(cmd); note != "" {
			fmt.Fprintf(&b, "\n%s\n", note)
		}
	}
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\nRun '%s [command] --help' for a command's flags and examples.\n", cmd.CommandPath())
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), b.String())
	return err
}

// printCommands lists the commands of one group.
func printCommands(b *strings.Builder, cmd *cobra.Command, title, group string) {
	fmt.Fprintf(b, "\n%s\n", title)
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() && sub.GroupID == group {
			fmt.Fprintf(b, "  %-*s %s\n", cmd.NamePadding(), sub.Name(), sub.Short)
		}
	}
}

// environmentNote tells which variables stand in for a command's flags: those of flags that may hold a password, those that are not simply the flag's
// name, and one of the others, if there is nothing else to show how they are called.
func environmentNote(cmd *cobra.Command) string {
	var names, others []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		text := fmt.Sprintf("--%s from %s", f.Name, envName(f))
		if len(f.Annotations[envScope])+len(f.Annotations[envSecret]) > 0 {
			names = append(names, text)
		} else {
			others = append(others, text)
		}
	})
	if len(others) > 0 && !slices.ContainsFunc(names, func(text string) bool { return strings.Contains(text, "--broker ") }) {
		names, others = append(others[:1:1], names...), others[1:]
	}
	if len(names) == 0 {
		return ""
	}
	end := "."
	if len(others) > 0 {
		end = ", and so on."
	}
	return "A flag that is not given is taken from the environment:\n" + wrap(strings.Join(names, ", ")+end, 100)
}

// wrap breaks text between words into indented lines of at most width characters.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
			b.WriteString("  ")
			column = 2
		case column+1+len(word) > width:
			b.WriteString("\n  ")
			column = 2
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
