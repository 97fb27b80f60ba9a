//go:build linux || darwin

package ndjson

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/eventrouter/eventrouter/router"
)

// shortVariable makes the test binary a process whose files cannot grow: it holds the path of the file.
const shortVariable = "NDJSON_TEST_SHORT"

func TestMain(m *testing.M) {
	if path := os.Getenv(shortVariable); path != "" {
		if err := writeShort(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// writeShort appends three events, the second and the third of which only half fit at first.
func writeShort(path string) error {
	ctx := context.Background()
	signal.Ignore(syscall.SIGXFSZ)
	f, err := Open(path, true)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Handle(ctx, router.Event{ID: "1", Type: "a"}); err != nil {
		return err
	}
	for _, id := range []string{"2", "3"} {
		e := router.Event{ID: id, Type: "a"}
		release, err := confine(path, 20)
		if err != nil {
			return err
		}
		failed := f.Handle(ctx, e)
		if !errors.Is(failed, syscall.EFBIG) || !strings.Contains(failed.Error(), path) {
			return fmt.Errorf("event %s: %v", id, failed)
		}
		if failed := f.Handle(ctx, e); failed == nil {
			return fmt.Errorf("event %s fits", id)
		}
		if err := errors.Join(release(), f.Handle(ctx, e)); err != nil {
			return err
		}
	}
	return nil
}

// confine lets the process write more bytes into the file, and no more.
func confine(path string, more uint64) (release func() error, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var before syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before); err != nil {
		return nil, err
	}
	now := before
	now.Cur = uint64(info.Size()) + more
	return func() error { return syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before) }, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &now)
}

func TestAShortWriteIsAnErrorAndTheNextLineIsWhole(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "events.ndjson")
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), shortVariable+"="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const cut = "{\"specversion\":\"1.0\"\n" // 20 bytes of the line
	want(t, path, "1", cut, "2", cut, "3")
}

// Who locks the file keeps its lines together: ours waits for him, no longer than its context.
func TestALockedFileIsWaitedFor(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	f := opened(t, path, false)
	other, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_EX); err != nil {
		t.Skipf("there are no locks here: %v", err)
	}
	because := errors.New("the attempt took too long")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(because)
	if err := f.Handle(ctx, router.Event{ID: "1", Type: "a"}); !errors.Is(err, because) || !strings.Contains(err.Error(), path+": another holds its lock") {
		t.Errorf("got %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- f.Handle(t.Context(), router.Event{ID: "2", Type: "a"}) }()
	for _, half := range []string{`{"id":"x",`, `"type":"a"}` + "\n"} {
		if _, err := other.WriteString(half); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Flock(int(other.Fd()), syscall.LOCK_UN); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	want(t, path, "x", "2")
}
