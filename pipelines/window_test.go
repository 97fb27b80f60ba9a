package pipelines

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/rules"
)

func (w *window) numbered(n int) identity {
	return w.identify(&router.Event{Source: "/test", ID: fmt.Sprint(n)})
}

// handle claims an event that nobody has in hand, and releases it.
func (w *window) handle(t *testing.T, n int, done bool) claim {
	t.Helper()
	got := w.claim(t.Context(), w.numbered(n))
	if got == claimed {
		w.release(w.numbered(n), done)
	}
	return got
}

func TestAnEventIsADuplicateForAsLongAsTheWindowLasts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWindow(rules.Dedup{Window: 10 * time.Minute, Entries: 100})
		for _, step := range []struct {
			after time.Duration
			event int
			done  bool
			want  claim
		}{
			{0, 1, false, claimed},            // it fails
			{time.Second, 1, true, claimed},   // which is no reason to drop the next
			{time.Second, 2, true, claimed},   // another
			{time.Minute, 1, true, duplicate}, //
			{538 * time.Second, 1, true, duplicate},
			{time.Second - 1, 1, true, duplicate}, // for a nanosecond more
			{1, 1, true, claimed},                 // ten minutes after it was handled
			{0, 2, true, duplicate},
			{time.Second, 2, true, claimed},
			{9 * time.Minute, 1, true, duplicate}, // the window begins with what was handled last
		} {
			time.Sleep(step.after)
			if got := w.handle(t, step.event, step.done); got != step.want {
				t.Errorf("event %d, %s later: %d, want %d", step.event, step.after, got, step.want)
			}
		}
		time.Sleep(10 * time.Minute)
		w.handle(t, 3, true)
		if w.size() != 1 {
			t.Errorf("%d events are remembered; all but one are too old", w.size())
		}
	})
}

func TestSourceAndIDTogetherTellEvents(t *testing.T) {
	t.Parallel()
	w := newWindow(rules.Dedup{Window: time.Minute, Entries: 100})
	seen := map[identity]string{}
	for _, e := range []router.Event{
		{ID: "1"}, {ID: "2"}, {Source: "1"}, {Source: "a", ID: "1"}, {Source: "a1"}, {ID: "a1"}, {Source: "\x01", ID: "1"}, {Source: "1", ID: "\x01"},
	} {
		id, name := w.identify(&e), fmt.Sprintf("%q %q", e.Source, e.ID)
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s are taken for one", name, other)
		}
		seen[id] = name
		again := e
		again.Type, again.Data = "other", []byte("x")
		if w.identify(&again) != id {
			t.Errorf("%s is another with other data", name)
		}
	}
	if other := newWindow(rules.Dedup{}); other.identify(&router.Event{ID: "1"}) == w.identify(&router.Event{ID: "1"}) {
		t.Error("two processes have the same hash")
	}
}

func TestOverItsBoundAWindowForgetsTheOldestAndSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWindow(rules.Dedup{Window: time.Minute, Entries: 3})
		told := 0
		for n := range 10 {
			w.claim(t.Context(), w.numbered(n))
			if w.release(w.numbered(n), true) {
				told++
			}
		}
		if w.size() != 3 || told != 1 {
			t.Errorf("%d are remembered, told %d times", w.size(), told)
		}
		for n, want := range map[int]claim{6: claimed, 7: duplicate, 8: duplicate, 9: duplicate} {
			if got := w.handle(t, n, false); got != want {
				t.Errorf("event %d: %d, want %d", n, got, want)
			}
		}
		time.Sleep(30 * time.Second)
		w.set(rules.Dedup{Window: 20 * time.Second, Entries: 5}) // what a reload does
		if got := w.handle(t, 9, false); got != claimed {
			t.Error("a window that is shorter now still knows an older event")
		}
		w.handle(t, 20, true)
		w.handle(t, 21, true)
		w.set(rules.Dedup{Window: time.Hour, Entries: 1})
		if w.size() != 1 || w.handle(t, 21, false) != duplicate {
			t.Errorf("a smaller window does not keep the newest: %d", w.size())
		}
	})
}

func TestADuplicateWaitsForTheOutcomeOfTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWindow(rules.Dedup{Window: time.Minute, Entries: 10})
		id := w.numbered(1)
		claims := make(chan claim, 3)
		if w.claim(t.Context(), id) != claimed {
			t.Fatal("not the first")
		}
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 {
			go func() { claims <- w.claim(t.Context(), id) }()
		}
		go func() { claims <- w.claim(ctx, id) }()
		synctest.Wait()
		if len(claims) != 0 {
			t.Fatal("a duplicate went on before the first was done")
		}
		cancel()
		if got := <-claims; got != unknown {
			t.Errorf("one whose context is over: %d", got)
		}
		w.release(id, false) // it failed: one of the others is handled
		if got := <-claims; got != claimed {
			t.Errorf("after a failure: %d", got)
		}
		synctest.Wait()
		if len(claims) != 0 {
			t.Fatal("two have it in hand")
		}
		w.release(id, true)
		if got := <-claims; got != duplicate {
			t.Errorf("after it was done: %d", got)
		}
	})
}

// The slow, obviously right meaning: an event is a duplicate if it was handled less than the window ago and is among the newest that were.
func TestAWindowMeansWhatItSays(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		d := rules.Dedup{Window: time.Duration(rapid.IntRange(1, 50).Draw(t, "window")) * time.Hour, Entries: rapid.IntRange(1, 20).Draw(t, "entries")}
		w := newWindow(d)
		type past struct {
			n  int
			at time.Duration
		}
		var history []past // handled, oldest first
		var now time.Duration
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			// Time passes by what is remembered growing older.
			pass := time.Duration(rapid.IntRange(0, 5).Draw(t, "hours")) * time.Hour
			now += pass
			for i := range w.order {
				w.order[i].at = w.order[i].at.Add(-pass)
			}
			n := rapid.IntRange(0, 30).Draw(t, "event")
			want := claimed
			for i, p := range history {
				if p.n == n && now-p.at < d.Window && len(history)-i <= d.Entries {
					want = duplicate
				}
			}
			got := w.claim(context.Background(), w.numbered(n))
			if got != want {
				t.Fatalf("event %d at %s: %d, want %d; history %v", n, now, got, want, history)
			}
			if got == claimed {
				done := rapid.Bool().Draw(t, "done")
				w.release(w.numbered(n), done)
				if done {
					history = append(history, past{n, now})
				}
			}
			if w.size() > d.Entries || len(w.inHand) > 0 {
				t.Fatalf("%d remembered of %d, %d in hand", w.size(), d.Entries, len(w.inHand))
			}
		}
	})
}

func TestAWindowIsSafeForManyWorkers(t *testing.T) {
	t.Parallel()
	w := newWindow(rules.Dedup{Window: time.Hour, Entries: 1000})
	var mu sync.Mutex
	handled := map[int]int{}
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for i := range 500 {
				if w.claim(t.Context(), w.numbered(i)) != claimed {
					continue
				}
				done := (i+worker)%3 > 0 || worker == 15
				if done {
					mu.Lock()
					handled[i]++
					mu.Unlock()
				}
				w.release(w.numbered(i), done)
			}
		})
	}
	wg.Wait()
	for i := range 500 {
		if handled[i] != 1 {
			t.Errorf("event %d was handled %d times", i, handled[i])
		}
	}
}

// BenchmarkWindow tells what a full window of the default size takes: time for an event, and memory for all.
func BenchmarkWindow(b *testing.B) {
	const most = 1_000_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := newWindow(rules.Dedup{Window: time.Hour, Entries: most})
	events := make([]router.Event, 1000)
	n := 0
	one := func() {
		e := &events[n%len(events)]
		*e = router.Event{Source: "/shop/eu", ID: fmt.Sprintf("0190a3c2-7b1e-7c40-8f00-%012d", n)}
		n++
		id := w.identify(e)
		if w.claim(context.Background(), id) == claimed {
			w.release(id, true)
		}
	}
	for range 3 * most {
		one()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportAllocs()
	for b.Loop() {
		one()
	}
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
	runtime.KeepAlive(w)
}
