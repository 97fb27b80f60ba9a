package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/management"
	"github.com/eventrouter/eventrouter/router/plan"
)

// managementFlag names the management API that drift is read from.
type managementFlag struct {
	url string
	ca  string
}

func (m *managementFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&m.url, "management", "", "URL of RabbitMQ's management API, http://user:pass@host:15672 or https://: tell drift too")
	cmd.Flags().StringVar(&m.ca, "management-ca", "", "file with the certificates (PEM) that sign the API's, for https; the system's without it")
	secret(cmd, "management")
}

// client is nil where no API is named. The virtual host is the broker's.
func (m *managementFlag) client(cmd *cobra.Command, broker *brokerFlags) (*management.Client, error) {
	if m.url == "" {
		return nil, nil
	}
	vhost := "/"
	if broker.given() {
		var err error
		if vhost, err = amqp.VHost(broker.urls[0]); err != nil {
			return nil, usagef(cmd, "--broker: %v", err)
		}
	}
	client, err := management.New(m.url, vhost, management.Options{})
	if err != nil {
		return nil, usageError{fmt.Errorf("--management: %w", err), cmd}
	}
	if m.ca != "" {
		if client, err = management.New(m.url, vhost, management.Options{CAFile: m.ca}); err != nil {
			return nil, usageError{fmt.Errorf("--management-ca: %w", err), cmd}
		}
	}
	return client, nil
}

// drift compares the broker with what is recorded. It returns nil where that cannot be: nothing is recorded, or a change was interrupted.
func drift(ctx context.Context, client *management.Client, c *plan.Change) ([]management.Difference, error) {
	rec := c.Before
	if rec == nil || rec.Next != nil || rec.Move != nil {
		return nil, nil
	}
	found, err := client.Look(ctx)
	if _, refused := errors.AsType[*tls.CertificateVerificationError](err); refused {
		err = fmt.Errorf("%w; --management-ca names a file with the certificates that sign it", err)
	}
	if err != nil {
		return nil, err
	}
	applied, record := rec.Applied.Topology, c.Plan.RecordTopology()
	applied.Exchanges = slices.Concat(applied.Exchanges, record.Exchanges)
	applied.Queues = slices.Concat(applied.Queues, record.Queues)
	applied.Bindings = slices.Concat(applied.Bindings, record.Bindings)
	return append([]management.Difference{}, management.Drift(&applied, &rec.Kept, found)...), nil
}

// driftText is the section of drift for people.
func driftText(all []management.Difference) string {
	switch {
	case all == nil:
		return "\ndrift\n    unknown: nothing is recorded on the broker, or a change was interrupted; 'apply' comes first\n"
	case len(all) == 0:
		return "\ndrift\n    none: the broker has what was applied\n"
	}
	var b strings.Builder
	b.WriteString("\ndrift: on the broker, other than applied\n")
	for _, d := range all {
		fmt.Fprintf(&b, "  ! %s %s   %s\n", d.Kind, d.Name, d.Detail)
	}
	return b.String()
}
