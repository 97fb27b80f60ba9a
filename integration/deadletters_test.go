package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/pipelines/dead"
	"github.com/eventrouter/eventrouter/router/plan"
)

// TestDeadLettersInGreatNumber has one look at all of a long queue of dead letters, again and again, be interrupted and killed while one looks and while one replays, and keeps books.
// EVENTROUTER_TEST_DEAD_LETTERS (2,000) is how many.
func TestDeadLettersInGreatNumber(t *testing.T) {
	t.Parallel()
	for _, v := range []rabbit.Version{rabbit.V4, rabbit.V3} {
		t.Run(string(v), func(t *testing.T) {
			t.Parallel()
			count := changes.Setting(t, "EVENTROUTER_TEST_DEAD_LETTERS", 2000)
			s := server(t, v)
			rules, p := writeRules(t, newName(), "pipelines: {all: {}}\nrules: [{name: all, pipelines: [all]}]\n")
			b := connect(t, s.URL, p, amqp.Options{})
			if err := b.Declare(t.Context(), p.Topology); err != nil {
				t.Fatal(err)
			}
			path, err := plainBinary()
			if err != nil {
				t.Fatal(err)
			}
			l := &letters{t: t, path: path, rules: rules, url: s.URL, broker: b, plan: p, count: count}
			l.put()
			l.looked()
			l.lookedAtOften()
			l.interrupted()
			l.replayed()
		})
	}
}

// letters are the dead letters of a pipeline whose queue nobody consumes, with ids from 0.
type letters struct {
	t      *testing.T
	path   string // of eventrouter
	rules  string
	url    string
	broker *amqp.Broker
	plan   *plan.Plan
	count  int
}

// command is eventrouter with its broker and rules.
func (l *letters) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(l.t.Context(), l.path, append(args, "--rules", l.rules)...)
	cmd.Env = append(os.Environ(), "EVENTROUTER_BROKER="+l.url)
	return cmd
}

// run runs a command to its end, has its output read by read, and logs how long it took and how much memory it had, which is bounded whatever the number of letters is.
func (l *letters) run(in io.Reader, read func(out io.Reader), args ...string) {
	l.t.Helper()
	const limit = 120 // MiB
	var complaint strings.Builder
	cmd := l.command(args...)
	cmd.Stdin, cmd.Stderr = in, &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	peak, ended := 0, make(chan struct{})
	measured := make(chan struct{})
	go func() {
		defer close(measured)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				if now, err := peakOf(cmd.Process.Pid); err == nil {
					peak = max(peak, now)
				}
			}
		}
	}()
	read(out)
	close(ended)
	<-measured
	if err := cmd.Wait(); err != nil {
		l.t.Fatalf("eventrouter %v: %v\n%s", args, err, complaint.String())
	}
	l.t.Logf("%d letters: %s took %s and %d MiB of memory", l.count, strings.Join(args, " "), time.Since(began).Round(10*time.Millisecond), peak)
	if peak > limit {
		l.t.Errorf("eventrouter %v had %d MiB of memory; %d MiB are allowed for", args, peak, limit)
	}
}

// put imports the letters, of which each has a kilobyte.
func (l *letters) put() {
	l.t.Helper()
	in, lines := io.Pipe()
	go func() {
		filler := strings.Repeat("x", 1000)
		out := bufio.NewWriter(lines)
		for i := range l.count {
			fmt.Fprintf(out, `{"pipeline": "all", "exchange": "%s.events", "reason": "no such customer", "attempts": 5, "last_failure": "2026-01-02T03:04:05Z", "event": {"specversion": "1.0", "id": "%d", "type": "order.created", "source": "/test", "data": %q}}`+"\n",
				l.plan.Name, i, filler)
		}
		_ = lines.CloseWithError(out.Flush()) // an error is the reader's
	}()
	l.run(in, func(out io.Reader) {
		if said, err := io.ReadAll(out); err != nil || string(said) != fmt.Sprintf("confirmed: %d events; failed: 0\n", l.count) {
			l.t.Errorf("import printed %q, %v", said, err)
		}
	}, "dead", "import")
}

// inOrder fails the test unless the decoder finds all letters in their order.
func (l *letters) inOrder(out *json.Decoder) {
	l.t.Helper()
	for i := 0; ; i++ {
		var letter struct{ ID string }
		if !out.More() {
			if i != l.count {
				l.t.Errorf("%d of %d letters", i, l.count)
			}
			return
		}
		if err := out.Decode(&letter); err != nil {
			l.t.Fatal(err)
		}
		if letter.ID != fmt.Sprint(i) {
			l.t.Fatalf("letter %d is %q", i, letter.ID)
		}
	}
}

// looked looks at all letters in every way.
func (l *letters) looked() {
	l.t.Helper()
	for range 2 { // what comes back goes behind what came back before
		l.run(nil, func(out io.Reader) { l.inOrder(json.NewDecoder(out)) }, "dead", "export")
		l.run(nil, func(out io.Reader) {
			array := json.NewDecoder(out)
			if _, err := array.Token(); err != nil {
				l.t.Fatal(err)
			}
			l.inOrder(array)
			_, _ = io.Copy(io.Discard, out) // the bracket
		}, "dead", "list", "--limit", "0", "-o", "json")
	}
	l.run(nil, func(out io.Reader) {
		said, err := io.ReadAll(out)
		if err != nil || bytes.Count(said, []byte("\n")) != l.count+1 {
			l.t.Errorf("list printed %d lines, %v", bytes.Count(said, []byte("\n")), err)
		}
	}, "dead", "list", "--limit", "0")
	last := fmt.Sprint(l.count - 1)
	l.run(nil, func(out io.Reader) {
		if said, err := io.ReadAll(out); err != nil || !strings.Contains(string(said), `"id": "`+last+`"`) {
			l.t.Errorf("show printed %s, %v", said, err)
		}
	}, "dead", "show", "--id", last)
	l.kept()
}

// lookedAtOften looks at the first letters, and goes away, more often than RabbitMQ lets an event come back where a queue does not say otherwise.
func (l *letters) lookedAtOften() {
	l.t.Helper()
	box := dead.Letters(l.broker, l.plan, l.plan.Pipeline("all"))
	for range 50 {
		ctx, leave := context.WithCancel(l.t.Context())
		seen := 0
		err := box.Each(ctx, dead.Filter{}, func(dead.Letter) bool {
			if seen++; seen == 5 {
				leave()
			}
			return true
		})
		if leave(); !errors.Is(err, context.Canceled) || seen != 5 {
			l.t.Fatalf("%d letters seen: %v", seen, err)
		}
	}
	l.kept()
}

// interrupted ends a look when it has begun, with Ctrl-C and with kill -9.
func (l *letters) interrupted() {
	l.t.Helper()
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		cmd := l.command("dead", "export")
		out, err := cmd.StdoutPipe()
		if err != nil {
			l.t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			l.t.Fatal(err)
		}
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil { // it does not go on, as nobody reads the rest
			l.t.Fatal(err)
		}
		if err := cmd.Process.Signal(signal); err != nil {
			l.t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err == nil {
			l.t.Errorf("a look that was interrupted ends as one that was not")
		}
		l.kept()
	}
}

// kept waits until all letters are ready in their queue: none is lost, and none unacknowledged.
func (l *letters) kept() {
	l.t.Helper()
	queue := l.plan.Pipeline("all").DeadName
	n, err := 0, error(nil)
	waitFor(l.t, func() bool { n, err = l.broker.Depth(l.t.Context(), queue); return err == nil && n == l.count },
		func() string { return fmt.Sprintf("%d of %d letters are there: %v", n, l.count, err) })
}

// replayed interrupts and kills replays, lets the last one go through, and balances the books.
func (l *letters) replayed() {
	l.t.Helper()
	all := l.plan.Pipeline("all")
	depth := func(queue string) int {
		n, err := l.broker.Depth(l.t.Context(), queue)
		if err != nil {
			l.t.Fatal(err)
		}
		return n
	}
	if said, err := l.command("dead", "replay", "--all", "--dry-run").Output(); err != nil || !strings.HasSuffix(string(said), fmt.Sprintf("would be replayed: %d dead letters\n", l.count)) {
		l.t.Errorf("a dry run ends with %q, %v", said[max(0, len(said)-100):], err)
	}
	l.kept()
	for _, signal := range []os.Signal{os.Interrupt, os.Kill} {
		before := depth(all.QueueName)
		var complaint strings.Builder
		cmd := l.command("dead", "replay", "--all", "--rate", "1000")
		cmd.Stderr = &complaint
		if err := cmd.Start(); err != nil {
			l.t.Fatal(err)
		}
		waitFor(l.t, func() bool { return depth(all.QueueName) > before+100 }, func() string { return "nothing is replayed" })
		if err := cmd.Process.Signal(signal); err != nil {
			l.t.Fatal(err)
		}
		if _, ended := errors.AsType[*exec.ExitError](cmd.Wait()); !ended {
			l.t.Errorf("a replay that was interrupted ends as one that was not")
		}
		if signal == os.Interrupt && !strings.Contains(complaint.String(), "interrupted (replayed before that: ") {
			l.t.Errorf("it said %q", complaint.String())
		}
		waitFor(l.t, func() bool { return depth(all.QueueName)+depth(all.DeadName) >= l.count }, func() string { return "letters are missing" })
		// What is sent and not yet acknowledged comes again.
		if doubled := depth(all.QueueName) + depth(all.DeadName) - l.count; doubled > 100 {
			l.t.Errorf("%s doubled %d letters", signal, doubled)
		}
	}
	l.run(nil, func(out io.Reader) { _, _ = io.Copy(io.Discard, out) }, "dead", "replay", "--all")
	if n := depth(all.DeadName); n != 0 {
		l.t.Errorf("%d letters are left", n)
	}
	book := ledger.New()
	for i := range l.count {
		book.Confirmed(fmt.Sprint(i))
	}
	audit(l.t, l.broker, l.plan, book)
	book.BalanceExactly(l.t, func(string) [][]string { return [][]string{{all.QueueName}} })
}
