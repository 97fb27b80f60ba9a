package ledger

import (
	"fmt"
	"strings"
	"testing"
)

// recorder is a test that only remembers what it was told.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper()             {}
func (r *recorder) Logf(string, ...any) {}
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
	if b.Total() != 3 || b.At("billing") != 2 {
		t.Errorf("%d confirmed, %d at billing", b.Total(), b.At("billing"))
	}
}
