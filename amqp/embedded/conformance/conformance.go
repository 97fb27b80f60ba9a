// Package conformance is what an AMQP broker has to do to be taken for a RabbitMQ: checks, each named after a behaviour. They run on the embedded
// broker and on RabbitMQ itself, so that each expectation is known to be RabbitMQ's.
package conformance

import (
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// check is one behaviour.
type check struct {
	name  string
	run   func(t *testing.T, s *probe.Session)
	only4 string // why RabbitMQ 3.10 is not asked: what it does otherwise
}

// Run checks the broker at a URL, which has to have the user guest. Each check has names of its own on it, and deletes what it made; they run at once. A
// RabbitMQ before 4.0 is not asked for what is known to be otherwise there.
func Run(t *testing.T, url string) {
	old := probe.Version(t, url) < "4"
	for _, group := range groups {
		t.Run(group.name, func(t *testing.T) {
			t.Parallel()
			for _, c := range group.checks {
				if old && c.only4 != "" {
					t.Logf("%q is not checked before RabbitMQ 4: %s", c.name, c.only4)
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.run(t, probe.New(t, url))
				})
			}
		})
	}
}

// each runs a case of a check with a client of its own.
func each(t *testing.T, s *probe.Session, name string, run func(t *testing.T, s *probe.Session)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		t.Parallel()
		run(t, probe.New(t, s.URL))
	})
}
