package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

const rootLong = `eventrouter routes events on RabbitMQ by their type and content into pipelines.

One rules file says which events exist, which pipelines want them, and how each pipeline works.
Try it with nothing installed: without --broker, 'run' starts a broker of its own on this machine.`

const rootExample = `  eventrouter check                     # is rules.yaml right, and do its tests pass?
  eventrouter run                       # route events and run the pipelines
  eventrouter publish --type order.created --data '{"total": 1500}'
  eventrouter explain --type order.created --data '{"total": 1500}'
  eventrouter dead list                 # what failed for good, and why`

// The groups under which help lists the commands.
const (
	groupRules  = "rules"
	groupEvents = "events"
	groupServe  = "serve"
)

// newRoot builds the command tree.
func (c *console) newRoot() *cobra.Command {
	root := group(&cobra.Command{
		Use:     "eventrouter",
		Short:   "Route events on RabbitMQ by type and content into pipelines",
		Long:    rootLong,
		Example: rootExample,
		// Errors are printed by execute, in one form; usage only where it was asked for.
		SilenceErrors: true,
		SilenceUsage:  true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return c.fromEnvironment(cmd)
		},
	})
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetFlagErrorFunc(flagError)
	root.AddGroup(
		&cobra.Group{ID: groupServe, Title: "Run:"},
		&cobra.Group{ID: groupRules, Title: "Rules, without a broker:"},
		&cobra.Group{ID: groupEvents, Title: "Events on a broker:"},
	)
	add := func(id string, commands ...*cobra.Command) {
		for _, cmd := range commands {
			cmd.GroupID = id
			root.AddCommand(cmd)
		}
	}
	add(groupServe, c.runCommand(), c.brokerCommand(), c.planCommand(), c.applyCommand())
	add(groupRules, c.checkCommand(), c.testCommand(), c.explainCommand(), c.routeCommand(), c.diffCommand(), c.graphCommand(), c.schemaCommand())
	add(groupEvents, c.publishCommand(), c.tailCommand(), c.deadCommand(), c.unroutedCommand())
	root.AddCommand(c.versionCommand())
	root.SetUsageFunc(printUsage)
	return root
}

// complete offers values for a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// The error is only for a flag that does not exist or is registered twice, and each caller has just made it.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// outputFlag is -o: the form of a command's result.
type outputFlag struct{ form string }

func (o *outputFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.form, "output", "o", "text", "form of the result: text, or json for programs")
	complete(cmd, "output", "text", "json")
}

func (o *outputFlag) validate(cmd *cobra.Command) error {
	if o.form != "text" && o.form != "json" {
		return usagef(cmd, "--output %q is neither text nor json", o.form)
	}
	return nil
}

func (o *outputFlag) json() bool { return o.form == "json" }

// writeJSON writes v as indented JSON, without the escapes that are for browsers.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
