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
	counts    map[string]int     // by place and id
	distinct  map[string]int     // by place
}

// entry is something that happened to an event.
type entry struct {
	at    time.Time
	place string
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
	b.entries[id] = append(b.entries[id], entry{time.Now(), place})
	key := place + "\x00" + id
	if b.counts[key]++; b.counts[key] == 1 {
		b.distinct[place]++
	}
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
			if slices.ContainsFunc(places, func(place string) bool { return b.counts[place+"\x00"+id] > 0 }) {
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

func (b *Book) history(id string) string {
	var out strings.Builder
	fmt.Fprintf(&out, "  %s confirmed\n", b.confirmed[id].Format("15:04:05.000"))
	for _, e := range b.entries[id] {
		fmt.Fprintf(&out, "  %s seen at %s\n", e.at.Format("15:04:05.000"), e.place)
	}
	return out.String()
}
