package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules/topic"
)

// tailOptions are the flags of tail.
type tailOptions struct {
	rules  rulesFlag
	broker brokerFlags
	kind   string
	most   int
	last   time.Duration
}

func (c *console) tailCommand() *cobra.Command {
	var o tailOptions
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Record events as they are published",
		Long: `Record events that are published from now on to the exchanges of the rules: a JSON document a line on standard
output, which 'diff', 'route', 'explain' and 'test' read. It ends after --count events, after --for, or on Ctrl-C.

It listens with a queue of its own, which is gone when it ends, and takes nothing away from any pipeline. Where events
come faster than they are written, the oldest are left out. It hears what the bindings in force let through, and what no
rule wants; when the rules on the broker change, it ends.`,
		Example: `  eventrouter tail --count 10000 > recorded.ndjson
  eventrouter tail --type 'order.#' --for 10m >> recorded.ndjson
  eventrouter tail --count 1 | eventrouter explain`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.tail(cmd, &o) },
	}
	o.rules.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.kind, "type", "#", "only events whose type matches this topic pattern")
	flags.IntVar(&o.most, "count", 1000, "events to record at most; 0 is no limit")
	flags.DurationVar(&o.last, "for", 0, "how long to record at most; 0 is no limit")
	o.broker.add(cmd, "the one on "+defaultListen)
	scope(cmd, "tail", "type", "count", "for")
	return cmd
}

// errRulesChanged ends a tail: what it listens by may be what nobody else is bound by any more.
var errRulesChanged = errors.New("the rules on the broker change: ended")

func (c *console) tail(cmd *cobra.Command, o *tailOptions) error {
	_, p, err := o.rules.load(c, cmd, nil)
	if err != nil {
		return err
	}
	b, closeBroker, err := c.dial(cmd, &o.broker)
	if err != nil {
		return err
	}
	defer closeBroker()
	rec, err := router.Applied(cmd.Context(), b, p)
	if err != nil {
		return err
	}
	if rec == nil || rec.Next != nil || rec.Move != nil {
		return fmt.Errorf("the rules called %q are not applied to the broker, or not wholly: 'eventrouter apply' does that", p.Name)
	}
	ctx, stop := context.WithCancelCause(cmd.Context())
	defer stop(nil)
	if o.last > 0 {
		var end context.CancelFunc
		ctx, end = context.WithTimeout(ctx, o.last)
		defer end()
	}
	watched := make(chan error, 1)
	go func() {
		watched <- b.Watch(ctx, p.RecordName(), func(record []byte) {
			if record != nil {
				stop(errRulesChanged)
			}
		})
	}()
	bar := c.newProgress("recording")
	defer bar.finish()
	enc := json.NewEncoder(c.out)
	enc.SetEscapeHTML(false)
	n := 0
	var failed error
	err = b.Tap(ctx, p.Name+".tail."+event.NewID(), tapBindings(&rec.Applied), func() { fmt.Fprintln(c.err, "recording") }, func(e *event.Event) bool {
		if !topic.Match(o.kind, e.Type) {
			return true
		}
		failed = enc.Encode(e)
		bar.add()
		n++
		return failed == nil && n != o.most
	})
	if context.Cause(ctx) == errRulesChanged {
		err = errRulesChanged
	}
	stop(nil)
	return errors.Join(err, failed, <-watched)
}

// tapBindings are those by which every event is heard, and none of them is kept from the exchange of unrouted events: those of the topic exchanges that are
// there anyway, and the unrouted events themselves.
func tapBindings(s *plan.State) []plan.Binding {
	topical := map[string]bool{}
	for _, x := range s.Topology.Exchanges {
		topical[x.Name] = x.Kind == "topic"
	}
	out, seen := []plan.Binding{{Exchange: s.Unrouted}}, map[plan.Binding]bool{}
	for _, b := range s.Topology.Bindings {
		key := plan.Binding{Exchange: b.Exchange, Key: b.Key}
		if topical[b.Exchange] && !seen[key] {
			seen[key] = true
			out = append(out, key)
		}
	}
	return out
}
