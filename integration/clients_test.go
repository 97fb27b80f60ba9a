package integration

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
)

// otherClients installs clients in other languages, of Debian's packages, where they are not there.
var otherClients = sync.OnceValue(func() error {
	if exec.Command("/usr/bin/python3", "-c", "import pika").Run() == nil {
		if _, err := exec.LookPath("amqp-publish"); err == nil {
			return nil
		}
	}
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return errors.New("python3-pika and amqp-tools are not installed, and only root on Debian can install them")
	}
	out, err := exec.Command("sh", "-c", "export DEBIAN_FRONTEND=noninteractive; apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-pika amqp-tools").CombinedOutput()
	if err != nil {
		return fmt.Errorf("installing python3-pika and amqp-tools: %w: %s", err, out[max(0, len(out)-500):])
	}
	return nil
})

// needClients skips a test where the clients are not to be had; with CI set that is a failure.
func needClients(t *testing.T) {
	t.Helper()
	switch err := otherClients(); {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal(err)
	default:
		t.Skip(err)
	}
}

func TestPythonClient(t *testing.T) {
	t.Parallel()
	needClients(t)
	b := amqptest.Broker(t)
	out, err := exec.Command("/usr/bin/python3", "testdata/client.py", b.URL()+"%2F").CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != "ok" {
		t.Errorf("%v\n%s", err, out)
	}
}

// The tools of librabbitmq, which is written in C.
func TestCClient(t *testing.T) {
	t.Parallel()
	needClients(t)
	b := amqptest.Broker(t)
	run := func(input, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, append([]string{"--url=" + b.URL() + "%2F"}, args...)...)
		cmd.Stdin = strings.NewReader(input)
		var errs strings.Builder
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %v: %v\n%s", name, args, err, errs.String())
		}
		return string(out)
	}
	if got := run("", "amqp-declare-queue", "--queue=jobs", "--durable"); strings.TrimSpace(got) != "jobs" {
		t.Errorf("declared %q", got)
	}
	long := strings.Repeat("long ", 100_000) // in several frames
	for _, body := range []string{"first", long, "third"} {
		run(body, "amqp-publish", "--routing-key=jobs", "--persistent")
	}
	if q, _ := b.Queue("/", "jobs"); q.Ready != 3 {
		t.Errorf("%d messages are there", q.Ready)
	}
	if got := run("", "amqp-get", "--queue=jobs"); got != "first" {
		t.Errorf("got %q", got)
	}
	if got := run("", "amqp-consume", "--queue=jobs", "--count=2", "cat"); got != long+"third" {
		t.Errorf("consumed %d bytes", len(got))
	}
	if got := strings.TrimSpace(run("", "amqp-delete-queue", "--queue=jobs")); got != "0" {
		t.Errorf("deleted with %q messages", got)
	}
}
