package main

import (
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/router"
	"github.com/spf13/cobra"
	"io"
)

type testResults struct{ Failed int }

func (t *testResults) print(io.Writer, bool) {}
func (t *testResults) summary() string       { return "" }
func runTests(*plan.Plan) *testResults       { return nil }
func wip(s string) *cobra.Command {
	return &cobra.Command{Use: s, Run: func(*cobra.Command, []string) {}}
}
func (c *console) runCommand() *cobra.Command {
	w := wip("run")
	new(brokerFlags).add(w, "x")
	new(logFlags).add(w)
	return w
}
func (c *console) brokerCommand() *cobra.Command   { return wip("broker") }
func (c *console) testCommand() *cobra.Command     { return wip("test") }
func (c *console) explainCommand() *cobra.Command  { return wip("explain") }
func (c *console) schemaCommand() *cobra.Command   { return wip("schema") }
func (c *console) deadCommand() *cobra.Command     { return wip("dead") }
func (c *console) unroutedCommand() *cobra.Command { return wip("unrouted") }

func (c *console) dial(*cobra.Command, *brokerFlags) (router.Broker, func(), error) {
	return nil, nil, nil
}
