// Package ledger keeps books in tests of what must not be lost: publishers note what the broker has confirmed, pipelines what they have handled, and in the
// end the two have to balance, with what is found in the broker's queues.
package ledger

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Book is a ledger. Its methods are safe for concurrent use.
type Book struct {
	mu        sync.Mutex
	confirmed map[string]time.Time
	entries   map[string][]entry // by id
	marks     []entry            // what happened to all events at once
	counts    map[string]int     // by place and id
	distinct  map[string]int     // by place
}

// entry is something that happened to an event.
type entry struct {
	at   time.Time
	what string
}

// New opens an empty book.
func New() *Book {
	return &Book{confirmed: map[string]time.Time{}, entries: map[string][]entry{}, counts: map[string]int{}, distinct: map[string]int{}}
}

// Confirmed notes that the broker has confirmed the event.
func (b *Book) Confirmed(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.confirmed[id] = time.Now()
}

// Seen notes that the event is or was at a place: a pipeline, or a queue.
func (b *Book) Seen(place, id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[id] = append(b.entries[id], entry{time.Now(), "seen at " + place})
	at := key(place, id)
	if b.counts[at]++; b.counts[at] == 1 {
		b.distinct[place]++
	}
}

// Note adds something that happened to an event to its history, which decides nothing.
func (b *Book) Note(id, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[id] = append(b.entries[id], entry{time.Now(), what})
}

// Mark adds something to the history of all events, such as a fault.
func (b *Book) Mark(what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.marks = append(b.marks, entry{time.Now(), what})
}

// Total is the number of events confirmed.
func (b *Book) Total() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.confirmed)
}

// At is the number of different events seen at a place.
func (b *Book) At(place string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.distinct[place]
}

// IDs are the events confirmed so far.
func (b *Book) IDs() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.confirmed))
}

// Has tells whether an event was seen at one of the places.
func (b *Book) Has(id string, places []string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen(id, places)
}

func (b *Book) seen(id string, places []string) bool {
	return slices.ContainsFunc(places, func(place string) bool { return b.counts[key(place, id)] > 0 })
}

// History is what happened to an event, a line each, and besides it what was marked from a little before it was confirmed on.
func (b *Book) History(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history(id)
}

// maxListed is how many missing events are listed with their histories.
const maxListed = 5

// Balance fails the test for each confirmed event that was not seen at any of the places that stand for where it belongs. belongs gives these for an event:
// each of them is a list of places of which one is enough, such as a pipeline and its dead letters. It reports how many events were doubled where, and the
// history of the one that was seen most often.
func (b *Book) Balance(t testing.TB, belongs func(id string) [][]string) {
	t.Helper()
	b.balance(t, belongs, false)
}

// BalanceExactly is Balance, and fails the test also for each confirmed event that was seen where only others belong.
func (b *Book) BalanceExactly(t testing.TB, belongs func(id string) [][]string) {
	t.Helper()
	b.balance(t, belongs, true)
}

func (b *Book) balance(t testing.TB, belongs func(id string) [][]string, exactly bool) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	missing, stray := 0, 0
	wanted, known := map[string]bool{}, map[string]bool{} // by place and id, and by place
	for _, id := range slices.Sorted(maps.Keys(b.confirmed)) {
		for _, places := range belongs(id) {
			for _, place := range places {
				wanted[key(place, id)], known[place] = true, true
			}
			if b.seen(id, places) {
				continue
			}
			if missing++; missing <= maxListed {
				t.Errorf("event %s was confirmed, and is missing at %s; its history:\n%s", id, strings.Join(places, " and "), b.history(id))
			}
		}
	}
	doubled, most := map[string]int{}, ""
	for at, n := range b.counts {
		place, id, _ := strings.Cut(at, "\x00")
		if _, confirmed := b.confirmed[id]; exactly && confirmed && known[place] && !wanted[at] {
			if stray++; stray <= maxListed {
				t.Errorf("event %s was seen at %s, where no rule wants it; its history:\n%s", id, place, b.history(id))
			}
		}
		if n > 1 {
			doubled[place]++
			if n > b.counts[most] {
				most = at
			}
		}
	}
	if more := max(0, missing-maxListed) + max(0, stray-maxListed); more > 0 {
		t.Errorf("and %d more are missing or astray", more)
	}
	t.Logf("%d confirmed, %d missing; seen %v; more than once %v", len(b.confirmed), missing, b.distinct, doubled)
	if place, id, ok := strings.Cut(most, "\x00"); ok {
		t.Logf("most often: event %s, %d times at %s; its history:\n%s", id, b.counts[most], place, b.history(id))
	}
}

func key(place, id string) string { return place + "\x00" + id }

// Times is how often an event was seen at a place.
func (b *Book) Times(place, id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[key(place, id)]
}

// Once fails the test for each event that was seen more than once at a place, or at a place where it may not be.
func (b *Book) Once(t testing.TB, may func(place, id string) bool) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	wrong := 0
	for _, at := range slices.Sorted(maps.Keys(b.counts)) {
		place, id, _ := strings.Cut(at, "\x00")
		allowed := may(place, id)
		if n := b.counts[at]; n > 1 || !allowed {
			if wrong++; wrong <= maxListed {
				t.Errorf("event %s was seen %d times at %s, where it may be: %v; its history:\n%s", id, n, place, allowed, b.history(id))
			}
		}
	}
	if wrong > maxListed {
		t.Errorf("and %d more", wrong-maxListed)
	}
}

func (b *Book) history(id string) string {
	confirmed := b.confirmed[id]
	all := append([]entry{{confirmed, "confirmed"}}, b.entries[id]...)
	for _, m := range b.marks {
		if m.at.After(confirmed.Add(-5 * time.Second)) {
			all = append(all, m)
		}
	}
	slices.SortStableFunc(all, func(x, y entry) int { return x.at.Compare(y.at) })
	var out strings.Builder
	for _, e := range all {
		fmt.Fprintf(&out, "  %s %s\n", e.at.Format("15:04:05.000"), e.what)
	}
	return out.String()
}
