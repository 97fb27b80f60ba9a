package embedded_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/eventrouter/eventrouter/amqp/embedded"
)

// childData names the data folder, in a process of the tests that is nothing but a broker.
const childData = "EMBEDDED_TEST_DATA"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childData); dir != "" {
		os.Exit(serveForEver(dir))
	}
	goleak.VerifyTestMain(m)
}

func serveForEver(dir string) int {
	b, err := embedded.Start(embedded.Options{Data: dir, Logf: func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The parent finds the URL whole or not at all.
	name := filepath.Join(dir, "..", "url")
	if err := os.WriteFile(name+".new", []byte(b.URL()), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.Rename(name+".new", name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	select {}
}

// process is a broker in a process of its own, which can be killed.
type process struct {
	url string
	cmd *exec.Cmd
	log *strings.Builder
}

// startProcess starts a broker on parent/data.
func startProcess(t *testing.T, parent string) *process {
	t.Helper()
	name := filepath.Join(parent, "url")
	if err := os.RemoveAll(name); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(os.Args[0]), log: &strings.Builder{}}
	p.cmd.Env = append(os.Environ(), childData+"="+filepath.Join(parent, "data"))
	p.cmd.Stderr = p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	ended := make(chan struct{})
	go func() {
		_ = p.cmd.Wait() // it is killed
		close(ended)
	}()
	deadline := time.After(2 * time.Minute)
	for {
		if b, err := os.ReadFile(name); err == nil {
			p.url = string(b)
			return p
		}
		select {
		case <-ended:
			t.Fatalf("the broker does not start: %s", p.log)
		case <-deadline:
			t.Fatal("the broker does not start")
		case <-time.After(time.Millisecond):
		}
	}
}

// kill ends the broker as kill -9 does.
func (p *process) kill() { _ = p.cmd.Process.Kill() } // it may have ended
