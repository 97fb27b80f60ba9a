// Command demo shows eventrouter at work: it starts `eventrouter run` on the example of a productivity platform, sends a burst
// of events in, and tells what went where and why, with one retry that succeeds and one dead letter. Then it goes on,
// for the reader to send events. Everything it tells comes from eventrouter's own commands and log.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one showing.
type demo struct {
	binary string // the eventrouter command
	shown  string // how the reader calls it
	rules  string
	events string
	broker string // URL; empty where the embedded broker is to be started
	listen string // of the embedded broker
	http   string // address of the HTTP door
	folder string // where the pipelines write their files
	recv   *receiver
	watch  *watch
	tell   *teller
}

// routed is a line of `eventrouter route`.
type routed struct {
	ID        string   `json:"id"`
	Rules     []string `json:"rules"`
	Pipelines []string `json:"pipelines"`
	Type      string   `json:"-"`
}

func run(ctx context.Context) error {
	binary := flag.String("eventrouter", "bin/eventrouter", "the eventrouter command")
	rules := flag.String("rules", "examples/workspace/rules.yaml", "rules file")
	events := flag.String("events", "examples/workspace/events.ndjson", "events to send, a JSON document a line")
	once := flag.Bool("once", false, "end when the story is told")
	flag.Parse()

	d := &demo{shown: *binary, rules: *rules, events: *events, broker: os.Getenv("EVENTROUTER_BROKER"), watch: newWatch(), tell: newTeller(os.Stdout)}
	for _, path := range []*string{binary, rules, events} {
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = absolute
	}
	d.binary, d.rules = *binary, *rules
	folder, err := os.MkdirTemp("", "eventrouter-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	d.folder = folder
	if d.recv, err = newReceiver(); err != nil {
		return err
	}
	defer d.recv.Close()
	go d.recv.Serve()
	return d.show(ctx, *events, *once)
}

// show starts eventrouter, tells the story, and keeps it running until ctx is over.
func (d *demo) show(ctx context.Context, events string, once bool) error {
	d.listen, d.http = freeAddress("127.0.0.1:5672"), freeAddress("127.0.0.1:8080")
	router, err := d.start()
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- router.Wait() }()
	told := make(chan error, 1)
	telling, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { told <- d.story(telling, events) }()

	for {
		select {
		case err := <-ended:
			return fmt.Errorf("eventrouter ended: %w", errors.Join(err, errors.New(d.tell.lastWords())))
		case err := <-told:
			if err != nil || once {
				cancel()
				return errors.Join(err, d.stop(router, ended))
			}
			told = nil
		case <-ctx.Done():
			d.tell.printf("\n\nEnding: eventrouter finishes what it has in hand.\n")
			return d.stop(router, ended)
		}
	}
}

// start runs `eventrouter run` in a folder of its own, its log read by the watch.
func (d *demo) start() (*exec.Cmd, error) {
	cmd := exec.Command(d.binary, "run", "--rules", d.rules, "--http", d.http, "--log-format", "json", "--log-level", "debug")
	if d.broker == "" {
		cmd.Args = append(cmd.Args, "--embedded-listen", d.listen)
	}
	cmd.Dir = d.folder
	cmd.Env = append(os.Environ(), "RECEIVER_URL="+d.recv.URL(), "RECEIVER_SECRET=whsec_c2VjcmV0LW9mLXRoZS1kZW1vLW9ubHk=")
	log, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	apart(cmd)
	d.watch.listen(d.tell.remember)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %q (`make build` makes it): %w", d.binary, err)
	}
	go d.watch.follow(log)
	return cmd, nil
}

func (d *demo) stop(router *exec.Cmd, ended <-chan error) error {
	if err := askToStop(router.Process); err != nil {
		return err
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(40 * time.Second):
		return errors.Join(errors.New("eventrouter did not end within 40s"), router.Process.Kill())
	}
}

// story sends the events in and tells what became of them.
func (d *demo) story(ctx context.Context, events string) error {
	if err := d.ready(ctx); err != nil {
		return err
	}
	input, err := os.ReadFile(events)
	if err != nil {
		return err
	}
	lines, err := d.route(ctx, input)
	if err != nil {
		return err
	}
	d.tell.opening(d, len(lines))
	if _, err := d.eventrouter(ctx, input, "publish", "--rules", d.rules); err != nil {
		return err
	}
	if !d.watch.settled(ctx, lines, 60*time.Second) {
		return errors.Join(ctx.Err(), errors.New("the pipelines were not done after a minute; "+d.tell.lastWords()))
	}
	d.tell.table(lines, d.watch)
	if err := d.explain(ctx, input); err != nil {
		return err
	}
	dead, err := d.eventrouter(ctx, nil, "dead", "list", "--rules", d.rules)
	if err != nil {
		return err
	}
	d.tell.command(d.shown+" dead list --rules "+d.rulesShown(), dead)
	d.recv.mend()
	d.tell.closing(d)
	d.watch.listen(d.tell.live)
	return nil
}

// route asks which rules hold for each event, as anybody can without a broker.
func (d *demo) route(ctx context.Context, input []byte) ([]routed, error) {
	out, err := d.eventrouter(ctx, input, "route", "--rules", d.rules)
	if err != nil {
		return nil, err
	}
	var lines []routed
	written := bytes.Split(bytes.TrimSpace(input), []byte("\n"))
	for i, l := range strings.Split(strings.TrimSpace(out), "\n") {
		var r routed
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			return nil, fmt.Errorf("reading what `route` said: %w", err)
		}
		var e struct{ Type string }
		if err := json.Unmarshal(written[i], &e); err != nil {
			return nil, err
		}
		r.Type = e.Type
		lines = append(lines, r)
	}
	return lines, nil
}

// explain shows why one mail went to the trust team.
func (d *demo) explain(ctx context.Context, input []byte) error {
	for _, l := range bytes.Split(input, []byte("\n")) {
		if !bytes.Contains(l, []byte(`"Unpaid customs fee"`)) {
			continue
		}
		out, err := d.eventrouter(ctx, l, "explain", "--rules", d.rules)
		if err != nil {
			return err
		}
		d.tell.command("grep 'Unpaid customs fee' "+d.events+" | "+d.shown+" explain --rules "+d.rulesShown(), out)
	}
	return nil
}

// eventrouter runs a command to its end and returns what it printed.
func (d *demo) eventrouter(ctx context.Context, input []byte, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, d.binary, args...)
	cmd.Env = append(os.Environ(), "EVENTROUTER_BROKER="+d.brokerURL())
	cmd.Stdin = bytes.NewReader(input)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("eventrouter %s: %w: %s", args[0], err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

func (d *demo) brokerURL() string {
	if d.broker != "" {
		return d.broker
	}
	return "amqp://" + d.listen
}

// rulesShown is the rules file as the reader can name it.
func (d *demo) rulesShown() string {
	here, err := os.Getwd()
	if err != nil {
		return d.rules
	}
	if short, err := filepath.Rel(here, d.rules); err == nil {
		return short
	}
	return d.rules
}

// ready waits until eventrouter says that it is.
func (d *demo) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+d.http+"/readyz", nil)
		if err != nil {
			return err
		}
		if res, err := http.DefaultClient.Do(req); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("eventrouter is not ready: %w; %s", ctx.Err(), d.tell.lastWords())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// freeAddress returns the address, or one with another port where somebody listens on it.
func freeAddress(wanted string) string {
	for _, address := range []string{wanted, "127.0.0.1:0"} {
		if listener, err := net.Listen("tcp", address); err == nil {
			defer listener.Close()
			return listener.Addr().String()
		}
	}
	return wanted
}
