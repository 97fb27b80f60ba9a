package integration

import (
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/integration/rabbit"
)

// TestSoak does to one router under load what happens to routers, one thing after another by chance, for as long as EVENTROUTER_TEST_SOAK says (10m), and
// balances the books in the end. Without that it is skipped: `make soak` sets it.
func TestSoak(t *testing.T) {
	text := os.Getenv("EVENTROUTER_TEST_SOAK")
	if text == "" {
		t.Skip("EVENTROUTER_TEST_SOAK says for how long")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("EVENTROUTER_TEST_SOAK: %v", err)
	}
	s := rabbit.NewOwn(t, rabbit.V4)
	control(t, s, "add_user", "rig", "secret")
	control(t, s, "set_permissions", "rig", ".*", ".*", ".*")
	r := newRig(t, s, "rig:secret")
	done := map[string]int{}
	for end := time.Now().Add(length); time.Now().Before(end); {
		f := faultsUnderLoad[rand.IntN(len(faultsUnderLoad))]
		r.process.forget() // faults look for what is said of them
		r.goesOn(50)
		r.book.Mark(f.name)
		t.Log(f.name)
		f.do(t, r)
		r.flows()
		done[f.name]++
	}
	r.goesOn(50)
	r.balance()
	t.Logf("faults: %v", done)
}
