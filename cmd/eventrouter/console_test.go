package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// waitFor returns when the buffer holds the text.
func (b *buffer) waitFor(t *testing.T, text string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !strings.Contains(b.String(), text) {
		if time.Now().After(deadline) {
			t.Fatalf("waited 2 minutes for %q, have:\n%s", text, b.String())
		}
		pause(t)
	}
}

// pause waits a moment between two looks at something.
func pause(t *testing.T) {
	t.Helper()
	select {
	case <-time.After(5 * time.Millisecond):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// session is one command line in the test, in the same process.
type session struct {
	*console
	out, err *buffer
}

func newSession(in io.Reader, env map[string]string) *session {
	s := &session{out: &buffer{}, err: &buffer{}}
	s.console = &console{in: in, out: s.out, err: s.err, env: func(name string) (string, bool) {
		value, set := env[name]
		return value, set
	}}
	return s
}

// eventrouter runs a command line to its end, with no input and an empty environment.
func eventrouter(t *testing.T, args ...string) (code int, out, err string) {
	t.Helper()
	return eventrouterIn(t, "", args...)
}

func eventrouterIn(t *testing.T, in string, args ...string) (code int, out, err string) {
	t.Helper()
	s := newSession(strings.NewReader(in), nil)
	code = s.execute(t.Context(), args)
	return code, s.out.String(), s.err.String()
}

// start runs a command line beside the test; wait returns its exit code, stop asks it to end.
func (s *session) start(t *testing.T, args ...string) (wait func() int, stop context.CancelCauseFunc) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	code := make(chan int, 1)
	go func() { code <- s.execute(ctx, args) }()
	t.Cleanup(func() { cancel(nil) })
	return func() int {
		t.Helper()
		select {
		case n := <-code:
			return n
		case <-time.After(2 * time.Minute):
			t.Fatalf("%v did not end within 2 minutes; it said:\n%s", args, s.err.String())
			return -1
		}
	}, cancel
}

// golden compares with testdata/NAME, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (run with -update to write it)", err)
	}
	if got != string(want) {
		t.Errorf("not as in %s (run with -update if it should be); got:\n%s\nwant:\n%s", path, got, want)
	}
}

// write puts a file into the test's own folder and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
