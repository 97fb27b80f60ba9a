package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/amqp/embedded"
)

func (c *console) brokerCommand() *cobra.Command {
	var o embedded.Options
	var verbose bool
	var secure brokerTLS
	cmd := &cobra.Command{
		Use:   "broker",
		Short: "Run the embedded broker alone, for any AMQP 0-9-1 client",
		Long: `Run the embedded broker alone. It speaks AMQP 0-9-1 as RabbitMQ 4 does, to clients in any language.

Without --data it keeps everything in memory: events are lost when it ends. With --data, durable exchanges, queues
and bindings and persistent messages are kept in that folder too, and outlive a stop and a crash: a persistent
message is confirmed when it is on disk.`,
		Example: `  eventrouter broker
  eventrouter broker --data /var/lib/eventrouter
  EVENTROUTER_PASSWORD="$PASSWORD" eventrouter broker --listen 0.0.0.0:5672 --user dev
  EVENTROUTER_PASSWORD="$PASSWORD" eventrouter broker --listen 0.0.0.0:5671 --tls-cert broker.pem --tls-key broker.key --user dev`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if verbose {
				o.Logf = func(format string, args ...any) { fmt.Fprintf(c.err, format+"\n", args...) }
			}
			var err error
			if o.TLS, err = secure.config(); err != nil {
				return err
			}
			o.Warnf = func(format string, args ...any) { fmt.Fprintf(c.err, format+"\n", args...) }
			b, err := embedded.Start(o)
			if err != nil {
				return err
			}
			scheme, where := "amqp", "in memory: events are lost when it ends"
			if o.TLS != nil {
				scheme = "amqps"
			}
			if o.Data != "" {
				where = "durable and persistent: in " + o.Data
			}
			fmt.Fprintf(c.out, "listening on %s://%s:***@%s (%s)\n", scheme, o.User, b.Addr(), where)
			<-cmd.Context().Done()
			return b.Close()
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.Addr, "listen", defaultListen, "address to listen on; beyond this machine only with a password")
	flags.StringVar(&o.User, "user", "guest", "user name")
	flags.StringVar(&o.Password, "password", "", "password; better given as EVENTROUTER_PASSWORD, which no process list shows (guest without it)")
	secret(cmd, "password")
	secure.add(cmd)
	addKeepFlags(cmd, &o.Data, &o.MemoryLimit)
	flags.BoolVarP(&verbose, "verbose", "v", false, "tell of clients' errors")
	return cmd
}

// brokerTLS says with which certificates the broker speaks TLS.
type brokerTLS struct{ cert, key, ca string }

func (b *brokerTLS) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&b.cert, "tls-cert", "", "file with the broker's certificate (PEM): it then speaks TLS, and only that")
	flags.StringVar(&b.key, "tls-key", "", "file with the key of the broker's certificate (PEM)")
	flags.StringVar(&b.ca, "tls-ca", "", "file with certificates (PEM) that sign clients': one with the user's name as its common name is then as good as the password (EXTERNAL)")
}

// config is nil where there is no certificate.
func (b *brokerTLS) config() (*tls.Config, error) {
	switch {
	case b.cert == "" && b.key == "" && b.ca == "":
		return nil, nil
	case b.cert == "" || b.key == "":
		return nil, errors.New("TLS needs both --tls-cert and --tls-key")
	}
	pair, err := tls.LoadX509KeyPair(b.cert, b.key)
	if err != nil {
		return nil, fmt.Errorf("reading the broker's certificate: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if b.ca == "" {
		return c, nil
	}
	pem, err := os.ReadFile(b.ca)
	if err != nil {
		return nil, fmt.Errorf("reading what signs clients' certificates: %w", err)
	}
	c.ClientCAs, c.ClientAuth = x509.NewCertPool(), tls.VerifyClientCertIfGiven
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", b.ca)
	}
	return c, nil
}

// addKeepFlags are the flags that say where and how much an embedded broker keeps.
func addKeepFlags(cmd *cobra.Command, data *string, memory *int64) {
	flags := cmd.Flags()
	flags.StringVar(data, "data", "", "folder in which the embedded broker keeps what is durable; without it, all is lost when it ends")
	flags.Int64Var(memory, "memory-limit", 0, "bytes that the embedded broker's messages may take before publishers are held back; 0: 40 % of the memory there is, negative: no limit")
	scope(cmd, "embedded", "data") // EVENTROUTER_DATA is that of an event
}
