package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/management"
)

// TestDriftIsTold changes by hand what was applied: the management API tells it all, and nothing of what others bind to exchanges of ours.
func TestDriftIsTold(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			s := server(t, v)
			if s.Management == "" {
				t.Skip("the management API of this RabbitMQ is not known")
			}
			name := newName()
			p := changes.Compile(t, name, changes.Pairs[0].Old)
			b, _ := changes.Connect(t, s.URL, amqp.Options{})
			defer changes.Forget(t, b, p)
			changes.Apply(t, b, p)
			changes.Compare(t, s.Management, p)

			byHand(t, s.URL, name)
			client, err := management.New(s.Management, "/", management.Options{})
			if err != nil {
				t.Fatal(err)
			}
			exchange, _ := p.Source("")
			want := []management.Difference{
				{Kind: "queue", Name: name + ".billing", Detail: "x-consumer-timeout: none → 600000"},
				{Kind: "binding", Name: exchange + ` → ` + name + `.all with "#"`, Detail: "applied, and not on the broker"},
				{Kind: "binding", Name: exchange + ` → ` + name + `.mail with "by.hand"`, Detail: "on the broker, and not applied"},
			}
			var got []management.Difference
			changes.Until(t, func() bool {
				found, err := client.Look(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got = management.Drift(&p.Topology, &p.Topology, found)
				return slices.Equal(got, want)
			}, "the drift is not told")
		})
	}
}

// byHand changes things as somebody with a client of AMQP would.
func byHand(t *testing.T, url, name string) {
	t.Helper()
	p := changes.Compile(t, name, changes.Pairs[0].Old)
	exchange, _ := p.Source("")
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	billing := name + ".billing"
	arguments := amqp091.Table{"x-consumer-timeout": int64(600000)}
	for _, q := range p.Topology.Queues {
		if q.Name == billing {
			for argument, value := range q.Arguments {
				arguments[argument] = value
			}
		}
	}
	_, err = ch.QueueDelete(billing, false, false, false)
	must(err)
	_, err = ch.QueueDeclare(billing, true, false, false, false, arguments)
	must(err)
	for _, b := range p.Topology.Bindings {
		if b.Queue == billing {
			must(ch.QueueBind(b.Queue, b.Key, b.Exchange, false, nil))
		}
	}
	must(ch.QueueUnbind(name+".all", "#", exchange, nil))
	must(ch.QueueBind(name+".mail", "by.hand", exchange, false, nil))
	theirs, err := ch.QueueDeclare("", false, true, true, false, nil)
	must(err)
	must(ch.QueueBind(theirs.Name, "#", exchange, false, nil))
}

// TestPoliciesInForceAreTold sets policies on queues of ours and of others: those on ours are told, with what they set, by `plan` too.
func TestPoliciesInForceAreTold(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			s := server(t, v)
			if !s.Own() || s.Management == "" {
				t.Skip("policies cannot be set on a server that the environment names")
			}
			name := newName()
			path, p := writeRules(t, name, changes.Pairs[0].Old)
			b, _ := changes.Connect(t, s.URL, amqp.Options{})
			defer changes.Forget(t, b, p)
			changes.Apply(t, b, p)
			policy := func(kind, policy, pattern, sets, to string) {
				control(t, s, "set_"+kind, "--apply-to", to, name+policy, pattern, sets)
				t.Cleanup(func() {
					if err := s.Control(context.Background(), "clear_"+kind, name+policy); err != nil {
						t.Error(err)
					}
				})
			}
			policy("policy", "ttl", "^"+name+`\.(billing|all)$`, `{"message-ttl": 60000, "max-length": 5, "dead-letter-exchange": "theirs"}`, "queues")
			policy("policy", "theirs", "^their"+name, `{"max-length": 1}`, "queues")
			policy("policy", "events", "^"+name+`\.events$`, `{"alternate-exchange": "theirs"}`, "exchanges")
			policy("operator_policy", "limit", "^"+name+`\.billing$`, `{"max-length": 3}`, "queues")
			anotherQueue(t, s.URL, "their"+name)

			lines := []string{
				fmt.Sprintf("! exchange %s.events   policy %q is in force\n", name, name+"events"),
				fmt.Sprintf("! queue %s.all   policy %q is in force: dead-letter-exchange \"theirs\", max-length 5, message-ttl 60000\n", name, name+"ttl"),
				fmt.Sprintf("! queue %s.billing   policy %q and operator policy %q are in force: dead-letter-exchange \"theirs\", max-length 3, message-ttl 60000\n", name, name+"ttl", name+"limit"),
			}
			want := "nothing to change: the broker has what the rules need\n\ndrift: on the broker, other than applied\n  " + strings.Join(lines, "  ")
			var out string
			waitFor(t, func() bool {
				out = planned(t, path, "EVENTROUTER_BROKER="+s.URL, "EVENTROUTER_MANAGEMENT="+s.Management)
				return out == want
			}, func() string { return "plan says\n" + out + "and not\n" + want })
		})
	}
}

// planned returns what `eventrouter plan` says.
func planned(t *testing.T, rules string, env ...string) string {
	t.Helper()
	path, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, "plan", "--rules", rules)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("plan: %v", err)
	}
	return string(out)
}

// anotherQueue declares a queue that somebody else has.
func anotherQueue(t *testing.T, url, name string) {
	t.Helper()
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare(name, true, false, false, false, amqp091.Table{"x-queue-type": "classic"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			t.Error(err)
		}
	})
}
