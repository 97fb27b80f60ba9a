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
	Passed   int           `json:"passed"`
	Failed   int           `json:"failed"`
	Tests    []testResult  `json:"tests"`
	Coverage *testCoverage `json:"coverage,omitempty"`
}

// testCoverage says which rules hold in no test.
type testCoverage struct {
	Rules   int             `json:"rules"`
	Covered int             `json:"covered"`
	Missing []uncoveredRule `json:"missing"`
}

type uncoveredRule struct {
	Name   string `json:"name"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
}

type testResult struct {
	Name      string        `json:"name"`
	File      string        `json:"file"`
	Line      int           `json:"line"`
	OK        bool          `json:"ok"`
	Events    int           `json:"events"`
	Rules     []string      `json:"rules"`
	Pipelines []string      `json:"pipelines"`
	Failures  []testFailure `json:"failures,omitempty"`
}

type testFailure struct {
	What       string   `json:"what"`
	Event      string   `json:"event,omitempty"`
	Missing    []string `json:"missing,omitempty"`
	Unexpected []string `json:"unexpected,omitempty"`
	Why        []string `json:"why,omitempty"`
}

func (c *console) testCommand() *cobra.Command {
	var named rulesFlag
	var output outputFlag
	var verbose, coverage, strict bool
	cmd := &cobra.Command{
		Use:   "test [FILE...]",
		Short: "Run the tests that are in the rules",
		Long: `Run the tests that are in the rules: each is an event, or a file of events, and what has to become of it.

For each test that fails, what is missing and what is too much is told, and what kept the rules from
holding. No broker is needed.

With --coverage, the rules that hold in no test are listed.

Exit code 0: all tests passed. 1: a test failed, the rules or a file of events cannot be used, or, with
--coverage --strict, a rule holds in no test. 2: wrong usage.`,
		Example: `  eventrouter test
  eventrouter test rules/ --verbose
  eventrouter test --coverage --strict rules.yaml
  eventrouter test -o json rules.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := output.validate(cmd); err != nil {
				return err
			}
			if strict && !coverage {
				return usagef(cmd, "--strict goes with --coverage")
			}
			named.events = true
			_, p, err := named.load(c, cmd, args)
			if err != nil {
				return err
			}
			results := runTests(p, coverage)
			if output.json() {
				err = writeJSON(c.out, results)
			} else {
				results.print(c.out, verbose)
				_, err = fmt.Fprintln(c.out, results.summary())
			}
			if err == nil && (results.Failed > 0 || strict && len(results.Coverage.Missing) > 0) {
				err = errSaid
			}
			return err
		},
	}
	named.add(cmd)
	output.add(cmd)
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "tell of the tests that pass, too")
	cmd.Flags().BoolVar(&coverage, "coverage", false, "list the rules that hold in no test")
	cmd.Flags().BoolVar(&strict, "strict", false, "with --coverage: a rule that holds in no test is a failure")
	scope(cmd, "test", "verbose", "coverage", "strict")
	return cmd
}

func runTests(p *plan.Plan, coverage bool) *testResults {
	out := &testResults{Tests: []testResult{}}
	outcomes := p.RunTests()
	for _, o := range outcomes {
		r := testResult{
			Name: o.Test.Name, File: o.Test.Pos.File, Line: o.Test.Pos.Line, OK: len(o.Failures) == 0, Events: o.Events,
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
	if !coverage {
		return out
	}
	missing := []uncoveredRule{}
	for _, i := range p.Uncovered(outcomes) {
		r := &p.Rules[i]
		missing = append(missing, uncoveredRule{r.Name, r.Pos.File, r.Pos.Line, r.Pos.Column})
	}
	out.Coverage = &testCoverage{Rules: len(p.Rules), Covered: len(p.Rules) - len(missing), Missing: missing}
	return out
}

// summary is the count in words.
func (t *testResults) summary() string {
	said := count(t.Passed, "test") + " passed"
	switch {
	case t.Failed > 0:
		said = fmt.Sprintf("%d of %s failed", t.Failed, count(len(t.Tests), "test"))
	case t.Passed == 0:
		said = "no tests"
	}
	if c := t.Coverage; c != nil {
		said += fmt.Sprintf("; %d of %s hold in a test", c.Covered, count(c.Rules, "rule"))
	}
	return said
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
		place := ""
		for _, f := range r.Failures {
			if f.Event != place {
				place = f.Event
				fmt.Fprintf(&b, "   event %s\n", place)
			}
			f.print(&b)
		}
	}
	if c := t.Coverage; c != nil && len(c.Missing) > 0 {
		fmt.Fprintf(&b, "%d of %s hold in no test:\n", len(c.Missing), count(c.Rules, "rule"))
		for _, r := range c.Missing {
			fmt.Fprintf(&b, "  %-30s %s:%d:%d\n", r.Name, r.File, r.Line, r.Column)
		}
	}
	_, _ = io.WriteString(w, b.String()) // as with all that is printed for people
}

func (f testFailure) print(b *strings.Builder) {
	what := f.What
	switch what {
	case "includes", "excludes":
		what = "pipelines (" + what + ")"
	case "holds", "fails":
		what = "rules (" + what + ")"
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
