package main

import (
	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/rules"
)

func (c *console) schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of the rules file, for editors",
		Long: `Print the JSON Schema (draft 2020-12) of the rules file, for editors. With the YAML language server, for
instance, a rules file begins with: # yaml-language-server: $schema=./rules.schema.json`,
		Example: `  eventrouter schema > rules.schema.json`,
		Args:    arguments(0, 0, ""),
		RunE: func(*cobra.Command, []string) error {
			_, err := c.out.Write(rules.Schema())
			return err
		},
	}
}
