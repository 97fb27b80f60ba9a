package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/router"
)

// defaultListen is where the embedded broker of `run` and `broker` listens, and so where commands look for a broker
// when they are given none.
const defaultListen = "127.0.0.1:5672"

// brokerFlags say which broker, and how to trust it.
type brokerFlags struct {
	urls       []string
	ca         string
	cert       string
	key        string
	serverName string
}

func (b *brokerFlags) add(cmd *cobra.Command, without string) {
	cmd.Flags().StringSliceVar(&b.urls, "broker", nil, "URL of the broker, amqp:// or amqps://; several by comma are tried in turn (without it: "+without+")")
	secret(cmd, "broker")
	cmd.Flags().StringVar(&b.ca, "broker-ca", "", "file with the certificates (PEM) that sign the broker's; the system's without it")
	cmd.Flags().StringVar(&b.cert, "broker-cert", "", "file with our certificate (PEM), for a broker that asks for one")
	cmd.Flags().StringVar(&b.key, "broker-key", "", "file with the key of our certificate (PEM)")
	cmd.Flags().StringVar(&b.serverName, "broker-server-name", "", "name that the broker's certificate must be for; the URL's host without it")
}

// given reports whether a broker was named at all.
func (b *brokerFlags) given() bool { return len(b.urls) > 0 }

// url is the broker's URL, several by comma.
func (b *brokerFlags) url() string { return strings.Join(b.urls, ",") }

// options are those of the connection. A wrong URL or certificate is told by [amqp.New].
func (b *brokerFlags) options(hooks router.Hooks) amqp.Options {
	return amqp.Options{
		Hooks: hooks,
		TLS:   amqp.TLSOptions{CAFile: b.ca, CertFile: b.cert, KeyFile: b.key, ServerName: b.serverName},
	}
}

// causeOf returns why ctx is over: the signal, where it was one.
func causeOf(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return ctx.Err()
}
