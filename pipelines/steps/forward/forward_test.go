package forward

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// publisher hands on what is published; a broker's answer is for the test to give.
type publisher func(ctx context.Context, m router.Message, done func(error))

func (p publisher) Publish(ctx context.Context, m router.Message, done func(error)) { p(ctx, m, done) }

func TestWhereItPublishes(t *testing.T) {
	t.Parallel()
	e := router.Event{ID: "17", Type: "order.placed", Data: []byte("x"), Headers: map[string]any{"a": "b"}}
	for key, want := range map[string]string{"": "order.placed", "audit": "audit"} {
		var got router.Message
		h := New(publisher(func(_ context.Context, m router.Message, done func(error)) { got = m; done(nil) }), "others", key)
		if err := h(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if got.Exchange != "others" || got.Key != want || !got.Mandatory || got.Event.ID != "17" || string(got.Event.Data) != "x" || got.Event.Headers["a"] != "b" {
			t.Errorf("key %q: published %+v", key, got)
		}
		if got.Trail.Attempts != 0 || got.Trail.Pipeline != "" {
			t.Errorf("key %q: it takes notes of ours along: %+v", key, got.Trail)
		}
	}
}

func TestWhatTheAnswersMean(t *testing.T) {
	t.Parallel()
	for answer, permanent := range map[error]bool{
		router.ErrUnroutable: true, router.ErrExchange: true, router.ErrInvalid: true, router.ErrTooLarge: true,
		router.ErrRefused: false, errors.New("connection lost"): false,
	} {
		answer = fmt.Errorf("publish: %w", answer)
		h := New(publisher(func(_ context.Context, _ router.Message, done func(error)) { done(answer) }), "others", "audit")
		err := h(t.Context(), router.Event{Type: "order.placed"})
		if !errors.Is(err, answer) || pipelines.IsPermanent(err) != permanent || !strings.Contains(err.Error(), `exchange "others", key "audit"`) {
			t.Errorf("permanent %v: %v", pipelines.IsPermanent(err), err)
		}
	}
}

func TestItIsNotDoneBeforeTheConfirm(t *testing.T) {
	t.Parallel()
	published := make(chan func(error), 1)
	h := New(publisher(func(_ context.Context, _ router.Message, done func(error)) { published <- done }), "others", "")
	result := make(chan error, 1)
	go func() { result <- h(t.Context(), router.Event{Type: "order.placed"}) }()
	confirm := <-published
	select {
	case err := <-result:
		t.Fatalf("done before the confirm: %v", err)
	default:
	}
	confirm(nil)
	if err := <-result; err != nil {
		t.Error(err)
	}
}

func TestItWaitsNoLongerThanTheContext(t *testing.T) {
	t.Parallel()
	because := errors.New("the service is ending")
	ctx, cancel := context.WithCancelCause(t.Context())
	late := make(chan func(error), 1)
	h := New(publisher(func(_ context.Context, _ router.Message, done func(error)) { late <- done; cancel(because) }), "others", "")
	err := h(ctx, router.Event{Type: "order.placed"})
	if !errors.Is(err, because) || pipelines.IsPermanent(err) {
		t.Errorf("permanent %v: %v", pipelines.IsPermanent(err), err)
	}
	(<-late)(nil) // holds nobody up
}

func TestAConfirmCountsAfterTheContextsEnd(t *testing.T) {
	t.Parallel()
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		h := New(publisher(func(_ context.Context, _ router.Message, done func(error)) { done(nil); cancel() }), "others", "")
		if err := h(ctx, router.Event{Type: "order.placed"}); err != nil {
			t.Fatal(err)
		}
	}
}
