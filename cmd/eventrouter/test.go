package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/plan"
)

// testResults are what the tests of a rules file came to, in the form of -o json.
type testResults struct {
	Passed int          `json:"passed"`
	Failed int          `json:"failed"`
	Tests  []testResult `json:"tests"`
}

type testResult struct {
	Name      string        `json:"name"`
	File      string        `json:"file"`
	Line      int           `json:"line"`
	OK        bool          `json:"ok"`
	Rules     []string      `json:"rules"`
	Pipelines []string      `json:"pipelines"`
	Failures  []testFailure `json:"failures,omitempty"`
}

type testFailure struct {
	What       string   `json:"what"`
	Missing    []string `json:"missing,omitempty"`
	Unexpected []string `json:"unexpected,omitempty"`
	Why        []string `json:"why,omitempty"`
}

func (c *console) testCommand() *cobra.Command {
	var named rulesFlag
	var output outputFlag
	var verbose bool
	cmd := &cobra.Command{
		Use:   "test [FILE...]",
		Short: "Run the tests that are in the rules",
		Long: `Run the tests that are in the rules: each is an event, and the pipelines or rules that it has to reach.

For each test that fails, what is missing and what is too much is told, and what kept the rules from
holding. No broker is needed. The exit code is 1 if a test fails.`,
		Example: `  eventrouter test
  eventrouter test rules/ --verbose
  eventrouter test -o json rules.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.validate(cmd); err != nil {
				return err
			}
			_, p, err := named.load(c, cmd, args)
			if err != nil {
				return err
			}
			results := runTests(p)
			if output.json() {
				err = writeJSON(c.out, results)
			} else {
				results.print(c.out, verbose)
				_, err = fmt.Fprintln(c.out, results.summary())
			}
			if err == nil && results.Failed > 0 {
				err = errSaid
			}
			return err
		},
	}
	named.add(cmd)
	output.add(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "tell of the tests that pass, too")
	scope(cmd, "test", "verbose")
	return cmd
}

func runTests(p *plan.Plan) *testResults {
	out := &testResults{Tests: []testResult{}}
	for _, o := range p.RunTests() {
		r := testResult{
			Name: o.Test.Name, File: o.Test.Pos.File, Line: o.Test.Pos.Line, OK: len(o.Failures) == 0,
			Rules: append([]string{}, o.Rules...), Pipelines: append([]string{}, o.Pipelines...),
		}
		for _, f := range o.Failures {
			r.Failures = append(r.Failures, testFailure(f))
		}
		if r.OK {
			out.Passed++
		} else {
			out.Failed++
		}
		out.Tests = append(out.Tests, r)
	}
	return out
}

// summary is the count in words.
func (t *testResults) summary() string {
	switch {
	case t.Failed > 0:
		return fmt.Sprintf("%d of %s failed", t.Failed, count(len(t.Tests), "test"))
	case t.Passed == 0:
		return "no tests"
	}
	return count(t.Passed, "test") + " passed"
}

// print tells of each test that failed, with what differs; and of those that passed, if that is wanted.
func (t *testResults) print(w io.Writer, passed bool) {
	var b strings.Builder
	for _, r := range t.Tests {
		switch {
		case !r.OK:
			fmt.Fprintf(&b, "FAIL  %s (%s:%d)\n", r.Name, r.File, r.Line)
		case passed:
			fmt.Fprintf(&b, "ok    %s\n", r.Name)
		}
		for _, f := range r.Failures {
			f.print(&b)
		}
	}
	_, _ = io.WriteString(w, b.String()) // as with all that is printed for people
}

func (f testFailure) print(b *strings.Builder) {
	what := f.What
	if what == "includes" || what == "excludes" {
		what = "pipelines (" + what + ")"
	}
	if len(f.Missing)+len(f.Unexpected) > 0 {
		fmt.Fprintf(b, "      %s:\n", what)
	}
	for _, name := range f.Missing {
		fmt.Fprintf(b, "        - %s   expected, and not there\n", name)
	}
	for _, name := range f.Unexpected {
		fmt.Fprintf(b, "        + %s   there, and not expected\n", name)
	}
	for _, why := range f.Why {
		fmt.Fprintf(b, "      %s\n", why)
	}
}
