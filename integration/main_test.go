// Package integration tests eventrouter on a real RabbitMQ, as its users run it.
package integration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// shared is a server that tests share which leave it as it was; each test has names of its own on it.
var shared = map[rabbit.Version]func() (*rabbit.Server, error){
	rabbit.V4: sync.OnceValues(func() (*rabbit.Server, error) { return rabbit.Get(context.Background(), rabbit.V4) }),
	rabbit.V3: sync.OnceValues(func() (*rabbit.Server, error) { return rabbit.Get(context.Background(), rabbit.V3) }),
}

var started sync.Map // of the versions in shared

// folder holds the binary under test.
var folder string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if folder, err = os.MkdirTemp("", "eventrouter-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	defer started.Range(func(v, _ any) bool {
		if s, err := shared[v.(rabbit.Version)](); err == nil {
			if err := s.Close(); err != nil {
				fmt.Fprintln(os.Stderr, err)
			}
		}
		return true
	})
	code := m.Run()
	if left := leftBehind(); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines of the product are left after all tests:\n%s\n", left)
		return 1
	}
	return code
}

// leftBehind are the goroutines of the product that do not end, once all that the tests have started is stopped. Those of the Docker client are not its matter.
func leftBehind() string {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); ; <-tick.C {
		err := goleak.Find()
		if err == nil {
			return ""
		}
		var ours []string
		for stack := range strings.SplitSeq(err.Error(), "\n\n") {
			for _, name := range []string{"amqp", "router", "pipelines", "management"} {
				if strings.Contains(stack, "github.com/eventrouter/eventrouter/"+name) {
					ours = append(ours, stack)
					break
				}
			}
		}
		if len(ours) == 0 {
			return ""
		}
		if time.Now().After(deadline) {
			return strings.Join(ours, "\n\n")
		}
	}
}

// server returns the shared RabbitMQ of a version.
func server(t testing.TB, v rabbit.Version) *rabbit.Server {
	t.Helper()
	started.Store(v, true)
	s, err := shared[v]()
	if err != nil {
		rabbit.Missing(t, err)
	}
	return s
}

// newest is server for tests of what is so since RabbitMQ 4.
func newest(t testing.TB) *rabbit.Server {
	t.Helper()
	s := server(t, rabbit.V4)
	if strings.HasPrefix(s.Version, "3.") {
		rabbit.Missing(t, fmt.Errorf("RabbitMQ 4 is needed, and this is %s (%s)", s.Version, s.How))
	}
	return s
}

// The eventrouter command, built once: with the race detector where the tests have it, and as its users have it.
var (
	binary      = sync.OnceValues(func() (string, error) { return build("eventrouter-test", raceDetector) })
	plainBinary = sync.OnceValues(func() (string, error) { return build("eventrouter", false) })
)

func build(name string, race bool) (string, error) {
	path := filepath.Join(folder, name)
	args := []string{"build", "-o", path}
	if race {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "github.com/eventrouter/eventrouter/cmd/eventrouter")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// newName makes a name for a rules file, so that tests are apart on one broker.
func newName() string { return "t" + event.NewID() }

// compile makes the plan of rules, which go without their version and name.
func compile(t testing.TB, name, text string) (*rules.File, *plan.Plan) {
	t.Helper()
	file, problems := rules.Parse(rules.Source{Name: "rules.yaml", Text: []byte("version: 1\nname: " + name + "\n" + text)})
	if file == nil {
		t.Fatal(problems)
	}
	p, err := plan.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return file, p
}

// connect runs a connection for the test, and deletes the plan's objects in the end.
func connect(t testing.TB, url string, p *plan.Plan, o amqp.Options) *amqp.Broker {
	t.Helper()
	b, err := amqp.New(url, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if p != nil {
			cleanUp(t, url, p)
		}
	})
	waiting, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Connect(waiting); err != nil {
		t.Fatal(err)
	}
	return b
}

// cleanUp deletes what a plan has put on a broker; of several URLs the first is taken.
func cleanUp(t testing.TB, url string, p *plan.Plan) {
	t.Helper()
	url, _, _ = strings.Cut(url, ",")
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Logf("cleaning up: %v", err)
		return
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Error(err)
		return
	}
	for _, q := range p.Topology.Queues {
		if _, err := ch.QueueDelete(q.Name, false, false, false); err != nil {
			t.Errorf("deleting queue %q: %v", q.Name, err)
			return
		}
	}
	for _, x := range p.Topology.Exchanges {
		if err := ch.ExchangeDelete(x.Name, false, false); err != nil {
			t.Errorf("deleting exchange %q: %v", x.Name, err)
			return
		}
	}
}

// patience is how long tests wait for what is to come. It is long, as a test that passes does not use it, and a machine may be slow.
const patience = 5 * time.Minute

// waitFor looks again and again until ok, or until the test's patience ends.
func waitFor(t testing.TB, ok func() bool, otherwise func() string) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited %s: %s", patience, otherwise())
		}
	}
}

// send publishes an event until the broker has confirmed it, as a publisher does that must not lose any.
func send(ctx context.Context, b router.Publisher, exchange string, e *event.Event) error {
	for {
		done := make(chan error, 1)
		b.Publish(ctx, router.Message{Event: e, Exchange: exchange, Key: e.Type, Mandatory: true}, func(err error) { done <- err })
		err := <-done
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}
