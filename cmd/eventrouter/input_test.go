package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestInterruptiblePassesOnWhatIsRead(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 100_000)
	emptied := 0
	r := &interruptible{ctx: t.Context(), in: strings.NewReader(text), empty: func() { emptied++ }}
	if err := iotest.TestReader(r, []byte(text)); err != nil {
		t.Error(err)
	}
	if emptied == 0 {
		t.Error("the caller was never told that a read may block")
	}
}

func TestInterruptiblePassesOnErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken pipe")
	r := &interruptible{ctx: t.Context(), in: io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken))}
	if got, err := io.ReadAll(r); string(got) != "a" || !errors.Is(err, broken) {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestInterruptibleEndsWithTheContextThoughTheInputBlocks(t *testing.T) {
	t.Parallel()
	in, out := io.Pipe()
	defer out.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := (&interruptible{ctx: ctx, in: in}).Read(make([]byte, 8)); !errors.Is(err, why) {
		t.Fatalf("got %v, want %v", err, why)
	}
}
