package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/pipelines/dead"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

func (k *kept) export() *cobra.Command {
	var f keptFlags
	cmd := k.command("export", "Write "+k.noun+"s as NDJSON", "Write "+k.noun+`s to standard output, a JSON document a line: the event, and why it is here, as
show -o json has it. They stay where they are; import reads the lines again. What JSON cannot tell is not written:
the properties that AMQP alone has, such as the priority or the content encoding, the types of headers (bytes and times
become texts), and the space in a body that is JSON.`,
		"  NAME export > letters.ndjson\n  NAME export --older 720h > old.ndjson", &f, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return k.session(cmd, &f, args, func(ctx context.Context, boxes []*dead.Box) error {
			out := bufio.NewWriter(k.c.out)
			progress := k.c.newProgress("exporting")
			defer progress.finish()
			for _, box := range boxes {
				var failed error
				if err := box.Each(ctx, f.filter(), func(l dead.Letter) bool {
					s := shownOf(&l)
					s.Event = l.Event
					failed = json.NewEncoder(out).Encode(s)
					progress.add()
					return failed == nil
				}); err != nil || failed != nil {
					return errors.Join(firstError(failed, err), out.Flush())
				}
			}
			return out.Flush()
		})
	}
	return cmd
}

// importFlags are those of import, which has no filter.
type importFlags struct {
	broker  brokerFlags
	rules   rulesFlag
	output  outputFlag
	timeout time.Duration
	dry     bool
}

func (k *kept) imports() *cobra.Command {
	var f importFlags
	cmd := &cobra.Command{
		Use: "import", Short: "Put exported " + k.noun + "s back", Args: arguments(0, 0, ""),
		Long: "Read " + k.noun + `s from standard input, as export has written them, and put them back where they were, each when the broker
has confirmed it. Those that are there already are there twice then. A line that is none ends it with exit code 1.`,
		Example: "  eventrouter " + k.name + " import < letters.ndjson",
	}
	cmd.Flags().DurationVar(&f.timeout, "confirm-timeout", 30*time.Second, "how long to wait for a connection, and for each confirm")
	cmd.Flags().BoolVar(&f.dry, "dry-run", false, "only tell which they would be")
	f.rules.add(cmd)
	f.broker.add(cmd, "the one on "+defaultListen)
	f.output.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return k.doImport(cmd, &f) }
	return cmd
}

func (k *kept) doImport(cmd *cobra.Command, f *importFlags) error {
	return k.session(cmd, &keptFlags{broker: f.broker, rules: f.rules, output: f.output}, nil, func(ctx context.Context, boxes []*dead.Box) error {
		t := &tally{publisher: boxes[0].Broker, timeout: f.timeout, progress: k.c.newProgress("importing")}
		if !f.output.json() {
			t.said = k.c.err
		}
		checked, err := readLetters(&interruptible{ctx: ctx, in: k.c.in}, boxes, func(m router.Message, line int) {
			if !f.dry {
				t.send(ctx, m, line)
			}
		})
		t.wait()
		t.progress.finish()
		if f.dry && err == nil {
			return k.report(f.output.json(), "imported", checked, true)
		}
		if reportErr := t.report(k.c, f.output.json()); err == nil {
			err = reportErr
		}
		return err
	})
}

// importedLetter is a line of an export.
type importedLetter struct {
	Pipeline     string       `json:"pipeline"`
	Exchange     string       `json:"exchange"`
	Reason       string       `json:"reason"`
	Attempts     int          `json:"attempts"`
	FirstFailure time.Time    `json:"first_failure"`
	LastFailure  time.Time    `json:"last_failure"`
	Rules        []string     `json:"rules"`
	Event        *event.Event `json:"event"`
}

// readLetters calls put for each line, and returns how many there were. An error names the line.
func readLetters(in io.Reader, boxes []*dead.Box, put func(m router.Message, line int)) (int, error) {
	byPipeline := map[string]*dead.Box{}
	for _, b := range boxes {
		byPipeline[b.Pipeline()] = b
	}
	lines := event.NewLines(in)
	for n := 0; ; n++ {
		text, err := lines.Next()
		if err == io.EOF {
			return n, nil
		} else if err != nil {
			return n, err
		}
		m, err := readLetter(text, byPipeline)
		if err != nil {
			return n, fmt.Errorf("line %d: %w", lines.Line(), err)
		}
		put(m, lines.Line())
	}
}

func readLetter(text []byte, boxes map[string]*dead.Box) (router.Message, error) {
	var l importedLetter
	if err := json.Unmarshal(text, &l); err != nil {
		return router.Message{}, fmt.Errorf("not as export writes it: %w", err)
	}
	switch {
	case l.Event == nil:
		return router.Message{}, errors.New(`not as export writes it: there is no "event"`)
	case l.Event.ID == "":
		return router.Message{}, errors.New("the event has no id")
	}
	box := boxes[l.Pipeline]
	switch {
	case box == nil && l.Pipeline == "":
		return router.Message{}, errors.New("this is an unrouted event, not a dead letter")
	case box == nil:
		return router.Message{}, fmt.Errorf("pipeline %q is not in the rules, or this is not the place for its dead letters", l.Pipeline)
	}
	return box.Message(&dead.Letter{Event: l.Event, Exchange: l.Exchange, Trail: router.Trail{
		Attempts: l.Attempts, FirstFailure: l.FirstFailure, LastFailure: l.LastFailure, Error: l.Reason, Rules: l.Rules,
	}}), nil
}
