package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// defaultRules is the rules file where none is named.
const defaultRules = "rules.yaml"

// rulesFlag names the rules files.
type rulesFlag struct {
	paths  []string
	events bool // load the files of events of the tests too
}

func (r *rulesFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&r.paths, "rules", nil, "rules file or folder of them; may be repeated (without it: "+defaultRules+")")
}

// find returns the named files, or the default one where it is there.
func (r *rulesFlag) find(cmd *cobra.Command, args []string) ([]string, error) {
	paths := append(append([]string{}, args...), r.paths...)
	if len(paths) > 0 {
		return paths, nil
	}
	if _, err := os.Stat(defaultRules); errors.Is(err, fs.ErrNotExist) {
		return nil, usagef(cmd, "no rules file: name one with --rules, or be in a folder with a %s", defaultRules)
	}
	return []string{defaultRules}, nil
}

// load reads and compiles the rules. Problems that stop them from being used are printed; warnings are for `check`.
func (r *rulesFlag) load(c *console, cmd *cobra.Command, args []string) (*rules.File, *plan.Plan, error) {
	paths, err := r.find(cmd, args)
	if err != nil {
		return nil, nil, err
	}
	file, problems := rules.Load(paths...)
	if file != nil && r.events {
		problems = append(problems, file.ReadEvents()...)
	}
	if failed := problems.Errors(); len(failed) > 0 {
		return nil, nil, c.refuse(failed)
	}
	p, err := plan.Compile(file)
	if err != nil {
		var failed rules.Problems
		if errors.As(err, &failed) {
			return nil, nil, c.refuse(failed)
		}
		return nil, nil, fmt.Errorf("rules: %w", err)
	}
	return file, p, nil
}

// refuse prints what is wrong with a rules file.
func (c *console) refuse(problems rules.Problems) error {
	if err := problems.Print(c.err, rules.PrintOptions{Color: c.errTerm}); err != nil {
		return err
	}
	fmt.Fprintf(c.err, "eventrouter: %s in the rules\n", count(len(problems), "problem"))
	return errSaid
}

// count writes "1 event", "2 events".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// completePipelines offers the pipelines of the rules file to the shell.
func (c *console) completePipelines(r *rulesFlag) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		if c.fromEnvironment(cmd) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		paths, err := r.find(cmd, nil)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return pipelineNames(paths), cobra.ShellCompDirectiveNoFileComp
	}
}

func pipelineNames(paths []string) []string {
	file, _ := rules.Load(paths...)
	if file == nil {
		return nil
	}
	var names []string
	for _, p := range file.Pipelines {
		names = append(names, cobra.CompletionWithDesc(p.Name, p.Description))
	}
	return names
}
