// Command bench measures eventrouter against hand-written code and against watermill on one RabbitMQ, all in one run, and prints a table of ratios.
// docs/benchmarks.md tells what each contender does.
package main

import (
	"context"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"

	"github.com/eventrouter/eventrouter/integration/rabbit"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// setting is one line of the table.
type setting struct {
	url       string
	events    int
	pipelines int
	others    int // rules that look at content besides, and hold for no event
}

// contender moves the setting's events, from before the first is published (or taken from the queue) until the last is acknowledged, and returns how long that took.
type contender struct {
	key, name string
	run       func(context.Context, setting) (time.Duration, error)
}

var contenders = []contender{
	{"a", "amqp091-go by hand: publish, consume", publishByHand},
	{"b", "eventrouter: publish, pipelines by type", publishByRouter},
	{"c", "amqp091-go by hand: consume, publish with BCC, confirm, ack", loopByHand},
	{"d", "eventrouter: routing loop", loopByRouter},
	{"e", "watermill-amqp: publish, subscribe", watermill},
	{"f", "eventrouter: routing loop with 10,000 rules more", loopByRouter},
}

func run(ctx context.Context) error {
	events := flag.Int("events", 20_000, "events of each run")
	rounds := flag.Int("rounds", 3, "runs of each contender; the median counts")
	pipelines := flag.String("pipelines", "1,3,10", "numbers of pipelines")
	only := flag.String("only", "", "keys of contenders, such as ab")
	flag.Parse()
	server, err := rabbit.Get(ctx, rabbit.V4)
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Printf("RabbitMQ %s (%s), %d events of 1 KiB, median of %d runs, in turns\n\n", server.Version, server.How, *events, *rounds)
	began := time.Now()
	results := map[string]map[int]float64{}
	var counts []int
	for text := range strings.SplitSeq(*pipelines, ",") {
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			return fmt.Errorf("--pipelines %q: %w", text, err)
		}
		counts = append(counts, n)
		s := setting{url: server.URL, events: *events, pipelines: n}
		if err := measure(ctx, s, *rounds, *only, results); err != nil {
			return err
		}
		fmt.Printf("%2d pipelines are measured, after %s\n", n, time.Since(began).Round(time.Second))
	}
	fmt.Printf("\n%s\n", render(results, counts))
	return nil
}

// measure runs the contenders in turns, so that a slow moment of the machine meets them all.
func measure(ctx context.Context, s setting, rounds int, only string, results map[string]map[int]float64) error {
	times := map[string][]float64{}
	for round := range rounds + 1 {
		for _, c := range contenders {
			if only != "" && !strings.Contains(only, c.key) {
				continue
			}
			own := s
			if c.key == "e" {
				own.events = max(1, s.events/10) // it is slower, and its rate does not depend on the number
			}
			if c.key == "f" {
				own.others = 10_000
			}
			took, err := c.run(ctx, own)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 { // the first is for warming up
				times[c.key] = append(times[c.key], float64(own.events)/took.Seconds())
			}
		}
	}
	for key, list := range times {
		slices.Sort(list)
		if results[key] == nil {
			results[key] = map[int]float64{}
		}
		results[key][s.pipelines] = list[len(list)/2]
	}
	return nil
}

func render(results map[string]map[int]float64, counts []int) string {
	t := table.NewWriter()
	header := table.Row{"", "events/s with pipelines:"}
	for _, n := range counts {
		header = append(header, n)
	}
	t.AppendHeader(header)
	for _, c := range contenders {
		row := table.Row{c.key, c.name}
		for _, n := range counts {
			row = append(row, measured("%.0f", results[c.key][n]))
		}
		t.AppendRow(row)
	}
	t.AppendSeparator()
	for _, ratio := range []struct{ top, bottom, least string }{{"b", "a", "0.9"}, {"d", "c", "0.9"}, {"b", "e", "5"}, {"f", "d", "0.9"}} {
		row := table.Row{ratio.top + "/" + ratio.bottom, "wanted: at least " + ratio.least}
		for _, n := range counts {
			row = append(row, measured("%.2f", results[ratio.top][n]/results[ratio.bottom][n]))
		}
		t.AppendRow(row)
	}
	return t.Render()
}

// measured writes a figure, or a dash for one that comes of nothing: -only leaves contenders out.
func measured(format string, v float64) string {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	return fmt.Sprintf(format, v)
}
