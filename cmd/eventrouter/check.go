package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// verdict is what `check` finds, in the form of -o json.
type verdict struct {
	OK       bool           `json:"ok"`
	Problems []foundProblem `json:"problems"`
	Tests    *testResults   `json:"tests,omitempty"` // nil where the rules cannot be used
	Summary  map[string]int `json:"counts,omitempty"`
}

type foundProblem struct {
	File     string         `json:"file"`
	Line     int            `json:"line"`
	Column   int            `json:"column"`
	Severity rules.Severity `json:"severity"`
	Message  string         `json:"message"`
	Hint     string         `json:"hint,omitempty"`
}

func (c *console) checkCommand() *cobra.Command {
	var named rulesFlag
	var output outputFlag
	var strict bool
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Tell every problem of the rules, and run their tests",
		Long: `Tell every problem of the rules, each with its place, and run the tests that are in them.

No broker is needed. Warnings are for what may be meant, such as a pipeline without a rule or an
environment variable that is not set here. The exit code is 1 if there is a problem that is no warning,
or if a test fails.`,
		Example: `  eventrouter check                     # rules.yaml
  eventrouter check rules/ more.yaml    # all files of a folder, and one more, as one
  eventrouter check -o json rules.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.validate(cmd); err != nil {
				return err
			}
			paths, err := named.find(cmd, args)
			if err != nil {
				return err
			}
			return c.check(paths, output.json(), strict)
		},
	}
	named.add(cmd)
	output.add(cmd)
	cmd.Flags().BoolVar(&strict, "strict", false, "warnings fail the check too")
	return cmd
}

// check loads, compiles and tests the rules, and prints all that it finds.
func (c *console) check(paths []string, asJSON, strict bool) error {
	file, problems := rules.Load(paths...)
	var v verdict
	if file != nil {
		problems = append(problems, file.ReadEvents()...)
		p, err := plan.Compile(file)
		switch more := (rules.Problems)(nil); {
		case errors.As(err, &more):
			problems = append(problems, more...)
		case err != nil:
			return fmt.Errorf("rules: %w", err)
		default:
			v.Tests = runTests(p, false)
			v.Summary = map[string]int{"pipelines": len(file.Pipelines), "rules": len(file.Rules), "tests": len(file.Tests)}
		}
		problems = append(problems, file.Unset(c.env)...)
	}
	v.OK = len(problems.Errors()) == 0 && (v.Tests == nil || v.Tests.Failed == 0) && (!strict || len(problems) == 0)
	v.Problems = found(problems)
	if asJSON {
		if err := writeJSON(c.out, v); err != nil {
			return err
		}
	} else if err := c.printVerdict(paths, problems, v); err != nil {
		return err
	}
	if !v.OK {
		return errSaid
	}
	return nil
}

func found(problems rules.Problems) []foundProblem {
	list := []foundProblem{}
	for _, p := range problems {
		list = append(list, foundProblem{p.Pos.File, p.Pos.Line, p.Pos.Column, p.Severity, p.Message, p.Hint})
	}
	return list
}

func (c *console) printVerdict(paths []string, problems rules.Problems, v verdict) error {
	if err := problems.Print(c.out, rules.PrintOptions{Color: c.outTerm}); err != nil {
		return err
	}
	if v.Tests != nil {
		v.Tests.print(c.out, false)
	}
	wrong, warned := len(problems.Errors()), len(problems.Warnings())
	var said []string
	if wrong > 0 {
		said = append(said, count(wrong, "problem"))
	}
	if warned > 0 {
		said = append(said, count(warned, "warning"))
	}
	if v.Tests != nil {
		said = append(said, count(v.Summary["pipelines"], "pipeline"), count(v.Summary["rules"], "rule"), v.Tests.summary())
	}
	state := "ok"
	if !v.OK {
		state = "not ok"
	}
	_, err := fmt.Fprintf(c.out, "%s: %s: %s\n", strings.Join(paths, ", "), state, strings.Join(said, ", "))
	return err
}
