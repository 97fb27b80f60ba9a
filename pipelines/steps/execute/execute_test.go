package execute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

func made(t *testing.T, o Options) pipelines.Handler {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func order() router.Event {
	return router.Event{ID: "17", Type: "order.placed", ContentType: "application/json", Data: []byte(`{"total": 1}`)}
}

func TestCommandGetsTheEvent(t *testing.T) {
	t.Parallel()
	to := filepath.Join(t.TempDir(), "seen")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := helping(t, "record", to, "$HOME; exit 1 | *", "two words")
	o.Env["GREETING"], o.Env["EVENTROUTER_ID"], o.Dir = "a=b c", "not this", dir
	e := order()
	e.Type = "order.\x00placed"
	if err := made(t, o)(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	var got seen
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	want, _ := e.MarshalJSON()
	if got.Input != string(want)+"\n" {
		t.Errorf("standard input is %q, want %q", got.Input, want)
	}
	if !slices.Equal(got.Args[1:], o.Command[2:]) || got.Dir != dir {
		t.Errorf("arguments %q in %q", got.Args, got.Dir)
	}
	for _, v := range []string{"GREETING=a=b c", "EVENTROUTER_TYPE=order.placed", "EVENTROUTER_ID=17", "EVENTROUTER_ATTEMPT=0", "EVENTROUTER_PIPELINE="} {
		if !slices.Contains(got.Env, v) {
			t.Errorf("the environment does not have %q", v)
		}
	}
	if path := "PATH=" + os.Getenv("PATH"); !slices.Contains(got.Env, path) {
		t.Error("the environment is not that of the process")
	}
}

// The broker's URL and the tokens are in eventrouter's environment, and are not for a command that is not given them by the rules.
func TestCommandGetsNoSettingsOfOurs(t *testing.T) {
	for name, value := range map[string]string{"EVENTROUTER_BROKER": "amqp://user:secret@h", "EVENTROUTER_HTTP_TOKENS": "secret", "OTHER_EVENTROUTER": "not ours"} {
		t.Setenv(name, value)
	}
	to := filepath.Join(t.TempDir(), "seen")
	o := helping(t, "record", to)
	o.Env["EVENTROUTER_HTTP_USERS"] = "given"
	if err := made(t, o)(t.Context(), order()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "secret") || !strings.Contains(string(text), "EVENTROUTER_HTTP_USERS=given") || !strings.Contains(string(text), "OTHER_EVENTROUTER=not ours") {
		t.Errorf("the command has %s", text)
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code              int
		option            bool
		failed, permanent bool
	}{
		{0, false, false, false}, {0, true, false, false},
		{1, false, true, false}, {1, true, true, true},
		{75, false, true, false}, {75, true, true, false},
		{127, false, true, false}, {127, true, true, true},
	} {
		t.Run(fmt.Sprintf("%d %v", tt.code, tt.option), func(t *testing.T) {
			t.Parallel()
			o := helping(t, "exit", fmt.Sprint(tt.code), " no such customer\n")
			o.Permanent = tt.option
			e := order()
			e.Data = make([]byte, 1<<20) // more than a pipe holds, which nobody reads
			err := made(t, o)(t.Context(), e)
			if (err != nil) != tt.failed || pipelines.IsPermanent(err) != tt.permanent {
				t.Fatalf("permanent %v: %v", pipelines.IsPermanent(err), err)
			}
			if want := fmt.Sprintf("command %q: exit status %d: no such customer", o.Command[0], tt.code); err != nil && err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		})
	}
}

func TestErrorHasTheEndOfALongComplaint(t *testing.T) {
	t.Parallel()
	err := made(t, helping(t, "flood"))(t.Context(), order())
	if err == nil || !strings.HasSuffix(err.Error(), "ää\nthe end") || strings.Contains(err.Error(), "beginning") {
		t.Fatalf("got %v", err)
	}
	if n := len(err.Error()); n < 2<<10-10 || n > 2<<10+500 {
		t.Errorf("the error is %d bytes long", n)
	}
}

// accepted waits for a helper that hangs.
func accepted(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func listener(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestCommandIsKilledWithAllItStarted(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("only Unix has process groups")
	}
	l := listener(t)
	o := helping(t, "family", l.Addr().String())
	o.Permanent = true
	because := errors.New("the attempt took too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	done := make(chan error, 1)
	go func() { done <- made(t, o)(ctx, order()) }()
	family := []net.Conn{accepted(t, l), accepted(t, l)}
	cancel(because)
	if err := <-done; !errors.Is(err, because) || pipelines.IsPermanent(err) || !strings.Contains(err.Error(), "was killed") {
		t.Errorf("permanent %v: %v", pipelines.IsPermanent(err), err)
	}
	for _, c := range family {
		if err := c.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("a process of the command goes on")
		}
	}
}

// What the command leaves behind on purpose keeps standard error open; its own exit code counts.
func TestCommandThatLeavesAProcessBehindIsDone(t *testing.T) {
	t.Parallel()
	l := listener(t)
	done := make(chan error, 1)
	h := made(t, helping(t, "orphan", l.Addr().String()))
	go func() { done <- h(t.Context(), order()) }()
	left := accepted(t, l)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := left.Close(); err != nil {
		t.Error(err)
	}
}

func TestNothingRunsAfterTheContextsEnd(t *testing.T) {
	t.Parallel()
	to := filepath.Join(t.TempDir(), "seen")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := made(t, helping(t, "record", to))(ctx, order()); !errors.Is(err, context.Canceled) || pipelines.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the command ran")
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		o    Options
		want string
	}{
		{"no command", Options{}, "command is empty"},
		{"empty command", Options{Command: []string{"", "x"}}, "command is empty"},
		{"not in PATH", Options{Command: []string{"no-such-tool"}}, `command "no-such-tool": executable file not found`},
		{"not in the folder", Options{Command: []string{"./no-such-tool"}, Dir: dir}, `command "./no-such-tool": `},
		{"not executable", Options{Command: []string{plain}}, "permission denied"},
		{"no folder", Options{Command: []string{self}, Dir: filepath.Join(dir, "none")}, "dir "},
		{"folder is a file", Options{Command: []string{self}, Dir: plain}, "is not a folder"},
		{"variable", Options{Command: []string{self}, Env: map[string]string{"A=B": "1"}}, `"A=B"`},
		{"value", Options{Command: []string{self}, Env: map[string]string{"A": "\x00"}}, `"A"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := New(tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

// A program with a path is looked for from the folder where it runs.
func TestProgramInTheFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "tool")); err != nil {
		t.Fatal(err)
	}
	o := helping(t, "exit", "0", "")
	o.Command[0], o.Dir = "./tool", dir
	if err := made(t, o)(t.Context(), order()); err != nil {
		t.Error(err)
	}
}
