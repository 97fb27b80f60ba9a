package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/amqp/embedded"
)

func (c *console) brokerCommand() *cobra.Command {
	var o embedded.Options
	var verbose bool
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run the embedded broker alone, for any AMQP 0-9-1 client",
		Long: `Run the embedded broker alone. It speaks AMQP 0-9-1 as RabbitMQ 4 does, to clients in any language, and
keeps everything in memory: events are lost when it ends. It is for development and tests.`,
		Example: `  eventrouter broker
  eventrouter broker --listen 0.0.0.0:5672 --user dev --password "$PASSWORD"`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verbose {
				o.Logf = func(format string, args ...any) { fmt.Fprintf(c.err, format+"\n", args...) }
			}
			b, err := embedded.Start(o)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.out, "listening on amqp://%s:***@%s (in memory: events are lost when it ends)\n", o.User, b.Addr())
			<-cmd.Context().Done()
			return b.Close()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Addr, "listen", defaultListen, "address to listen on; beyond this machine only with a password")
	flags.StringVar(&o.User, "user", "guest", "user name")
	flags.StringVar(&o.Password, "password", "", "password; better given as EVENTROUTER_PASSWORD, which no process list shows (guest without it)")
	flags.BoolVarP(&verbose, "verbose", "v", false, "tell of clients' errors")
	return cmd
}
