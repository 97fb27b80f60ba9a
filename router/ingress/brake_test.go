package ingress

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

// TestAFullQueueIsTriedSeldom: each attempt at an event that one queue refuses puts it into the others once more.
func TestAFullQueueIsTriedSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full, tried := true, 0
		b := &broker{answer: func(m router.Message) error {
			if m.Event.Type != "order" {
				return nil
			}
			if tried++; full {
				return fmt.Errorf("queue full: %w", router.ErrRefused)
			}
			return nil
		}}
		h := newDoor(b, nil)
		refused := 0
		for range 600 { // in a minute
			w, p := do(h, request("POST", "/events", "", "ce-type: order"))
			if w.Code != 503 || w.Header().Get("Retry-After") == "" {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			if strings.Contains(p.Detail, `refuses events of type "order"`) {
				refused++
			}
			if w, _ := do(h, request("POST", "/events", "", "ce-type: mail")); w.Code != 202 {
				t.Fatalf("another type: %d %s", w.Code, w.Body)
			}
			time.Sleep(100 * time.Millisecond)
		}
		// After 1, 2, 4, and then every 8 seconds.
		if tried < 8 || tried > 12 || refused != 600-tried {
			t.Errorf("tried %d times, %d were told to come again", tried, refused)
		}
		batch := `[{"type":"mail","id":"1"},{"type":"order","id":"2"}]`
		before := tried
		if w, _ := do(h, request("POST", "/events", batch, "content-type: application/cloudevents-batch+json")); w.Code != 503 || tried != before {
			t.Errorf("a batch: %d %s", w.Code, w.Body)
		}
		full = false
		time.Sleep(8 * time.Second)
		for range 100 {
			if w, _ := do(h, request("POST", "/events", "", "ce-type: order")); w.Code != 202 {
				t.Fatalf("when there is room again: %d %s", w.Code, w.Body)
			}
		}
	})
}

// TestRoomInAFullQueueIsFilledLittleByLittle: as many requests are tried at once as have gone well, and one more.
func TestRoomInAFullQueueIsFilledLittleByLittle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		waiting := make(chan func(error), 100)
		h := newDoor(publisherFunc(func(_ context.Context, _ router.Message, done func(error)) { waiting <- done }), nil)
		send := func() {
			go do(h, request("POST", "/events", "", "ce-type: order"))
			synctest.Wait()
		}
		answer := func(err error) {
			(<-waiting)(err)
			synctest.Wait()
		}
		send()
		answer(router.ErrRefused)
		time.Sleep(time.Second)
		for most := 1; most <= 5; most++ {
			for range 10 {
				send()
			}
			if len(waiting) != most {
				t.Fatalf("%d are tried at once, want %d", len(waiting), most)
			}
			for len(waiting) > 1 {
				answer(fmt.Errorf("the connection is lost"))
			}
			answer(nil)
		}
	})
}
