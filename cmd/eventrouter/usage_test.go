package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestWrongUsageExitsWithTwoAndSaysWhatIsMeant(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		args []string
		want string
	}{
		{"unknown command", []string{"chekc"}, `unknown command "chekc" for "eventrouter"; did you mean "check"?`},
		{"unknown command, none near", []string{"frobnicate"}, `unknown command "frobnicate" for "eventrouter"`},
		{"beginning of a command", []string{"pub"}, `did you mean "publish"?`},
		{"unknown subcommand", []string{"dead", "lsit"}, `unknown command "lsit" for "eventrouter dead"; did you mean "list"?`},
		{"unknown flag", []string{"run", "--brokr", "amqp://x"}, `unknown flag "--brokr" for "eventrouter run"; did you mean "--broker"?`},
		{"unknown flag of the root", []string{"--verbose"}, `unknown flag "--verbose" for "eventrouter"`},
		{"unknown short flag", []string{"check", "-x"}, `unknown shorthand flag: 'x' in -x`},
		{"flag without its value", []string{"run", "--broker"}, `flag needs an argument: --broker`},
		{"argument where there is none", []string{"version", "now"}, `"eventrouter version" takes no argument, but got "now"`},
		{"rules as an argument", []string{"apply", "rules.yaml"}, `"eventrouter apply" takes no argument, but got "rules.yaml"; rules files are named by --rules`},
		{"less than no time", []string{"apply", "--settle", "-1s"}, `--settle cannot be less than 0`},
		{"no time to wait", []string{"apply", "--lock-timeout", "0"}, `--lock-timeout has to be more than 0`},
		{"exit code without a broker", []string{"plan", "--offline", "--exit-code"}, `--offline asks no broker, and so cannot tell --exit-code of a difference`},
		{"event without its type", []string{"explain", "--data", "{}"}, `--data describes an event, and an event needs its --type`},
		{"events as an argument", []string{"explain", "events.ndjson"}, `not from arguments ("events.ndjson"): < FILE`},
		{"wrong form of output", []string{"version", "-o", "xml"}, `--output "xml" is neither text nor json`},
		{"URL of something else", []string{"run", "--broker", "http://localhost"}, `begins with amqp:// or amqps://`},
		{"certificate without its key", []string{"run", "--broker", "amqps://x", "--broker-cert", "c.pem"}, `--broker-cert and --broker-key go together`},
		{"log level", []string{"run", "--log-level", "loud"}, `--log-level "loud" is none of debug, info, warn, error`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, out, err := eventrouter(t, tt.args...)
			if code != exitUsage || out != "" || !strings.Contains(err, tt.want) {
				t.Errorf("exit code %d, standard output %q, standard error:\n%s\nwant code 2 and %q", code, out, err, tt.want)
			}
			if !strings.Contains(err, "--help' for usage.") {
				t.Errorf("does not say where the help is:\n%s", err)
			}
		})
	}
}

func TestPasswordsInWrongURLsAreNotPrinted(t *testing.T) {
	t.Parallel()
	publish := []string{"publish", "--exchange", "e", "--type", "t"}
	for _, url := range []string{
		"http://user:geheim@host", "amqp://user:geheim@host:99999999", "amqp://user:geh%eim@host", "user:geheim@host:5672", "amqp:user:geheim@host",
		"amqp://user:1,geheim@host", "amqp://user:1/geheim@host", `amqp://user:"geheim@host`, `amqp://user:geheim"@host`,
	} {
		for name, tt := range map[string]struct {
			args []string
			env  map[string]string
		}{
			"flag":                   {append(publish, "--broker", url), nil},
			"variable":               {publish, map[string]string{"EVENTROUTER_BROKER": url}},
			"argument":               {[]string{"run", url}, nil},
			"one argument too many":  {[]string{"dead", "list", "p", url}, nil},
			"event":                  {[]string{"explain", url}, nil},
			"command":                {[]string{url}, nil},
			"short flag":             {append(publish, "-b"+url), nil},
			"flag without its name":  {append(publish, "--="+url), nil},
			"flag that is not there": {append(publish, "--brokre="+url), nil},
		} {
			s := newSession(nil, tt.env)
			code := s.execute(t.Context(), tt.args)
			if got := s.err.String() + s.out.String(); code == exitOK || got == "" || strings.Contains(got, "geheim") || strings.Contains(got, "geh%eim") {
				t.Errorf("%s, %s: exit code %d, printed %q", name, url, code, got)
			}
		}
	}
	s := newSession(nil, map[string]string{"EVENTROUTER_BROKER": `amqp://user:"@host`})
	if code := s.execute(t.Context(), publish); code != exitUsage || !strings.Contains(s.err.String(), "environment variable EVENTROUTER_BROKER: what is given for --broker cannot be read") {
		t.Errorf("exit code %d, %s", code, s.err)
	}
}

// commands returns every command of the tree that is ours.
func commands(c *console) []*cobra.Command {
	var all []*cobra.Command
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		all = append(all, cmd)
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(c.newRoot())
	return all
}

func TestEveryFlagHasAVariable(t *testing.T) {
	t.Parallel()
	meaning := map[string]string{}
	for _, cmd := range commands(newSession(nil, nil).console) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Name == "help" {
				return
			}
			name := envName(f)
			value := sample(t, f)
			s := newSession(nil, map[string]string{name: value})
			fresh, _, err := s.newRoot().Find(strings.Fields(cmd.CommandPath())[1:])
			if err != nil {
				t.Fatal(err)
			}
			if err := s.fromEnvironment(fresh); err != nil {
				t.Errorf("%s --%s from %s: %v", cmd.CommandPath(), f.Name, name, err)
			}
			got := fresh.Flags().Lookup(f.Name)
			if !got.Changed || strings.Trim(got.Value.String(), "[]") != value {
				t.Errorf("%s: %s=%s leaves --%s at %q", cmd.CommandPath(), name, value, f.Name, got.Value)
			}
			usage, _, _ := strings.Cut(f.Usage, " (without it: ") // what stands for it where it is not given may differ
			if other, seen := meaning[name]; seen && other != usage {
				t.Errorf("%s means two things: %q and %q", name, other, usage)
			}
			meaning[name] = usage
		})
	}
	if len(meaning) < 20 {
		t.Errorf("only %d variables found: is the tree walked?", len(meaning))
	}
}

// sample returns a value that the flag takes and that is not its default.
func sample(t *testing.T, f *pflag.Flag) string {
	t.Helper()
	switch f.Value.Type() {
	case "bool":
		if f.DefValue == "true" {
			return "false"
		}
		return "true"
	case "int", "int64", "float64":
		return "37"
	case "duration":
		return "37s"
	case "string", "stringSlice", "stringArray":
		return "thirty-seven"
	}
	t.Fatalf("--%s has a type %q that this test does not know", f.Name, f.Value.Type())
	return ""
}

func TestCommandLineWinsOverEnvironment(t *testing.T) {
	t.Parallel()
	s := newSession(nil, map[string]string{"EVENTROUTER_OUTPUT": "json"})
	if code := s.execute(t.Context(), []string{"version", "-o", "text"}); code != exitOK || !strings.HasPrefix(s.out.String(), "eventrouter ") {
		t.Errorf("code %d, printed %q", code, s.out)
	}
	s = newSession(nil, map[string]string{"EVENTROUTER_OUTPUT": "json"})
	if code := s.execute(t.Context(), []string{"version"}); code != exitOK || !strings.HasPrefix(s.out.String(), "{") {
		t.Errorf("code %d, printed %q", code, s.out)
	}
}

func TestWrongVariableIsNamed(t *testing.T) {
	t.Parallel()
	s := newSession(nil, map[string]string{"EVENTROUTER_DRAIN": "soon"})
	code := s.execute(t.Context(), []string{"run"})
	if code != exitUsage || !strings.Contains(s.err.String(), `environment variable EVENTROUTER_DRAIN: invalid argument "soon"`) {
		t.Errorf("code %d, printed %q", code, s.err)
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	t.Parallel()
	for _, cmd := range commands(newSession(nil, nil).console) {
		path := strings.Fields(cmd.CommandPath())[1:]
		code, out, errs := eventrouter(t, append(path, "--help")...)
		if code != exitOK || errs != "" {
			t.Errorf("%v --help: exit code %d, %s", path, code, errs)
		}
		if cmd.Example == "" && !cmd.HasAvailableSubCommands() && cmd.Parent().Name() != "completion" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		name := "help/eventrouter"
		for _, word := range path {
			name += "-" + word
		}
		golden(t, name+".txt", out)
	}
}

// Everybody on a machine can read command lines, and examples are copied.
func TestNoExampleHasAPasswordOnTheCommandLine(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for _, cmd := range commands(newSession(nil, nil).console) {
		texts[cmd.CommandPath()] = cmd.Example
	}
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no docs: %v", err)
	}
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		texts[page] = string(text)
	}
	shown := regexp.MustCompile(`eventrouter .*(--password[ =]["$\w]|--(broker|management)[ =]\S*@).*`)
	for where, text := range texts {
		if line := shown.FindString(text); line != "" {
			t.Errorf("%s: %s", where, line)
		}
	}
}
