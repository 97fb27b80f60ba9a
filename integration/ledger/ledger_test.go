package ledger

import (
	"fmt"
	"strings"
	"testing"
)

// recorder is a test that only remembers what it was told.
type recorder struct {
	testing.TB
	errors, logs []string
}

func (r *recorder) Helper() {}
func (r *recorder) Logf(format string, args ...any) {
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestBalanceNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	b := New()
	for _, id := range []string{"1", "2", "3"} {
		b.Confirmed(id)
	}
	b.Seen("billing", "1")
	b.Seen("billing", "1")
	b.Seen("billing.dead", "2")
	b.Seen("archive", "3")
	b.Seen("billing", "never confirmed")
	r := &recorder{TB: t}
	b.Balance(r, func(string) [][]string { return [][]string{{"billing", "billing.dead"}} })
	if len(r.errors) != 1 || !strings.Contains(r.errors[0], "event 3") || !strings.Contains(r.errors[0], "seen at archive") {
		t.Errorf("said %q", r.errors)
	}
	if len(r.logs) != 2 || !strings.Contains(r.logs[0], "more than once map[billing:1]") || !strings.HasPrefix(r.logs[1], "most often: event 1, 2 times at billing") {
		t.Errorf("told %q", r.logs)
	}
	if b.Total() != 3 || b.At("billing") != 2 {
		t.Errorf("%d confirmed, %d at billing", b.Total(), b.At("billing"))
	}
}

func TestBalanceExactlyNamesWhatIsAstray(t *testing.T) {
	t.Parallel()
	b := New()
	for _, id := range []string{"1", "2"} {
		b.Confirmed(id)
		b.Seen("all", id)
		b.Seen("large", id)
		b.Seen("large tried", id)
	}
	r := &recorder{TB: t}
	b.BalanceExactly(r, func(id string) [][]string {
		if id == "1" {
			return [][]string{{"all"}, {"large"}}
		}
		return [][]string{{"all"}}
	})
	if len(r.errors) != 1 || !strings.HasPrefix(r.errors[0], "event 2 was seen at large, where no rule wants it") {
		t.Errorf("said %q", r.errors)
	}
}

func TestOnceNamesWhatIsDoubledOrMayNotBeThere(t *testing.T) {
	t.Parallel()
	b := New()
	for _, id := range []string{"1", "2", "2", "3"} {
		b.Seen("all", id)
	}
	r := &recorder{TB: t}
	b.Once(r, func(_, id string) bool { return id != "3" })
	if len(r.errors) != 2 || !strings.HasPrefix(r.errors[0], "event 2 was seen 2 times at all") || !strings.HasPrefix(r.errors[1], "event 3 was seen 1 times at all, where it may be: false") {
		t.Errorf("said %q", r.errors)
	}
}
