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
	key := place + "\x00" + id
	if b.counts[key]++; b.counts[key] == 1 {
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
	return slices.ContainsFunc(places, func(place string) bool { return b.counts[place+"\x00"+id] > 0 })
}

// History is what happened to an event, a line each, and besides it what was marked from a little before it was confirmed on.
func (b *Book) History(id string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.history(id)
}

// maxListed is how many missing events are listed with their histories.
const maxListed = 5

// Balance fails the test for each confirmed event that was not seen at any of the places that stand for where it belongs. belongs gives these for an event: each of them is a list of
// places of which one is enough, such as a pipeline and its dead letters. It reports how many events were doubled where.
func (b *Book) Balance(t testing.TB, belongs func(id string) [][]string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	missing := 0
	for _, id := range slices.Sorted(maps.Keys(b.confirmed)) {
		for _, places := range belongs(id) {
			if b.seen(id, places) {
				continue
			}
			if missing++; missing <= maxListed {
				t.Errorf("event %s was confirmed, and is missing at %s; its history:\n%s", id, strings.Join(places, " and "), b.history(id))
			}
		}
	}
	if missing > maxListed {
		t.Errorf("and %d more are missing", missing-maxListed)
	}
	doubled := map[string]int{}
	for key, n := range b.counts {
		if n > 1 {
			place, _, _ := strings.Cut(key, "\x00")
			doubled[place]++
		}
	}
	t.Logf("%d confirmed, %d missing; seen %v; more than once %v", len(b.confirmed), missing, b.distinct, doubled)
}

// Times is how often an event was seen at a place.
func (b *Book) Times(place, id string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.counts[place+"\x00"+id]
}

// Once fails the test for each event that was seen more than once at a place, or at a place where it may not be.
func (b *Book) Once(t testing.TB, may func(place, id string) bool) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	wrong := 0
	for _, key := range slices.Sorted(maps.Keys(b.counts)) {
		place, id, _ := strings.Cut(key, "\x00")
		allowed := may(place, id)
		if n := b.counts[key]; n > 1 || !allowed {
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
