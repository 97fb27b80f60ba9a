package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// teller prints the story, in colour where that is wanted.
type teller struct {
	mu     sync.Mutex
	out    io.Writer
	colour bool
	last   []string // lines of the log, for when something goes wrong
}

func newTeller(out *os.File) *teller {
	return &teller{out: out, colour: term.IsTerminal(int(out.Fd())) && os.Getenv("NO_COLOR") == ""}
}

func (t *teller) printf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	fmt.Fprintf(t.out, format, args...)
}

func (t *teller) paint(code, text string) string {
	if !t.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (t *teller) bold(s string) string   { return t.paint("1", s) }
func (t *teller) dim(s string) string    { return t.paint("2", s) }
func (t *teller) red(s string) string    { return t.paint("31", s) }
func (t *teller) green(s string) string  { return t.paint("32", s) }
func (t *teller) yellow(s string) string { return t.paint("33", s) }

// remember keeps the last lines of the log.
func (t *teller) remember(l line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last = append(t.last, l.raw); len(t.last) > 5 {
		t.last = t.last[1:]
	}
}

func (t *teller) lastWords() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return "its last words:\n" + strings.Join(t.last, "\n")
}

func (t *teller) opening(d *demo, events int) {
	broker := "embedded, on " + d.brokerURL() + t.dim("  (in memory: events are lost when it ends)")
	if d.broker != "" {
		broker = "from EVENTROUTER_BROKER"
	}
	t.printf("\n%s: a productivity platform in a burst\n\n", t.bold("eventrouter"))
	t.printf("  broker   %s\n  rules    %s\n  events   %s, %d of them, going in now\n\n", broker, d.rulesShown(), d.events, events)
}

// table tells for each event which rules held and what became of it in each pipeline.
func (t *teller) table(lines []routed, w *watch) {
	t.printf("  %s\n", t.bold(fmt.Sprintf("%-42s %-28s %s", "EVENT", "RULES THAT HOLD", "PIPELINES")))
	for _, l := range lines {
		event := fmt.Sprintf("%-22s %s", l.Type, t.dim(fmt.Sprintf("%-19s", shorten(l.ID, 19))))
		var fates []string
		for _, p := range l.Pipelines {
			fates = append(fates, t.fate(p, w.outcome(l.ID, p)))
		}
		rules := l.Rules
		if len(rules) == 0 {
			rules, fates = []string{t.dim(fmt.Sprintf("%-28s", "none"))}, []string{t.yellow("kept in workspace.unrouted")}
		}
		for i := range max(len(rules), len(fates)) {
			rule, fate := "", ""
			if i < len(rules) {
				rule = rules[i]
			}
			if i < len(fates) {
				fate = fates[i]
			}
			t.printf("  %s %s %s\n", event, pad(rule, 28), fate)
			event = strings.Repeat(" ", 42)
		}
	}
	t.printf("\n")
}

// fate is what became of an event in a pipeline, in a few words.
func (t *teller) fate(pipeline string, o outcome) string {
	switch {
	case o.Dead:
		return t.red(fmt.Sprintf("✗ %s: dead letter after attempt %d: %s", pipeline, o.Attempt, shorten(o.Errors[len(o.Errors)-1], 70)))
	case len(o.Errors) > 0:
		return t.yellow(fmt.Sprintf("↻ %s: done at attempt %d, after: %s", pipeline, o.Attempt, shorten(o.Errors[0], 70)))
	}
	return t.green("✓ " + pipeline)
}

// command shows a command of eventrouter with what it printed.
func (t *teller) command(line, out string) {
	t.printf("%s %s\n", t.dim("$"), t.bold(line))
	for _, l := range strings.Split(strings.TrimRight(out, "\n"), "\n") {
		t.printf("  %s\n", l)
	}
	t.printf("\n")
}

func (t *teller) closing(d *demo) {
	broker := ""
	if d.broker == "" && d.listen != "127.0.0.1:5672" {
		broker = " --broker " + d.brokerURL()
	}
	t.printf("%s Send an event of your own from another terminal, and watch it here:\n\n", t.bold("It keeps running."))
	t.printf(`  curl -i http://%s/events -H 'content-type: application/json' \
    -H 'ce-specversion: 1.0' -H 'ce-id: mine-1' -H 'ce-source: /me' -H 'ce-type: mail.received' \
    -d '{"folder": "inbox", "spam_score": 1.5, "to": ["me@example.com"], "attachments": [{"name": "hello.exe"}]}'

`, d.http)
	rules := " --rules " + d.rulesShown()
	t.printf("Billing has been mended by now: send its dead letter back to it, and look at what no rule wanted:\n\n")
	t.printf("  %s dead replay billing --all%s%s\n", d.shown, rules, broker)
	t.printf("  %s unrouted list%s%s\n\n", d.shown, rules, broker)
	t.printf("Files of the pipelines: %s    metrics: http://%s/metrics    Ctrl-C ends it.\n\n", d.folder, d.http)
}

// live tells what happens to events after the story.
func (t *teller) live(l line) {
	t.remember(l)
	name := fmt.Sprintf("%-22s %s", l.Event.Type, t.dim(fmt.Sprintf("%-19s", shorten(l.Event.ID, 19))))
	switch l.Message {
	case saysHandled:
		o := outcome{Done: true, Attempt: l.Attempt}
		t.printf("  %s %s\n", name, t.fate(l.Pipeline, o))
	case saysRetried:
		t.printf("  %s %s\n", name, t.yellow(fmt.Sprintf("↻ %s: again in %s, after: %s", l.Pipeline, l.In, l.Error)))
	case saysDead:
		t.printf("  %s %s\n", name, t.fate(l.Pipeline, outcome{Dead: true, Attempt: l.Attempts, Errors: []string{l.Error}}))
	case saysUnrouted:
		t.printf("  %s %s\n", name, t.yellow("no rule holds: kept in workspace.unrouted"))
	default:
		if l.Level == "warn" || l.Level == "error" {
			t.printf("  %s %s\n", t.yellow(l.Message), l.Error+l.Reason)
		}
	}
}

// pad fills s up to n characters on the screen; colour codes and what is too long are left alone.
func pad(s string, n int) string {
	if missing := n - len([]rune(s)); missing > 0 && !strings.Contains(s, "\x1b") {
		return s + strings.Repeat(" ", missing)
	}
	return s
}

func shorten(s string, n int) string {
	runes := []rune(strings.TrimSpace(s))
	if len(runes) <= n {
		return string(runes)
	}
	return string(runes[:n-1]) + "…"
}
