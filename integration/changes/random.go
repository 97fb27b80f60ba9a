package changes

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// Random makes a pair by chance. The same seed makes the same pair.
func Random(seed uint64) Pair {
	m := &maker{Rand: rand.New(rand.NewPCG(seed, 1))}
	old := m.file(nil)
	return Pair{fmt.Sprintf("random pair %d", seed), old.String(), m.file(old).String()}
}

// RandomPair is a pair by chance, whose rules are told where the test fails. EVENTROUTER_TEST_SEED=N makes it again.
func RandomPair(t testing.TB) Pair {
	t.Helper()
	seed := Setting(t, "EVENTROUTER_TEST_SEED", rand.IntN(1_000_000_000))
	pair := Random(uint64(seed))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("EVENTROUTER_TEST_SEED=%d makes these rules again; the old ones:\n%s\nthe new ones:\n%s", seed, pair.Old, pair.New)
		}
	})
	return pair
}

// written is a rules file: each pipeline and rule as it stands there, by its name.
type written struct {
	audit     bool // has a second exchange
	pipelines map[string]string
	rules     map[string]string
}

func (f *written) String() string {
	var b strings.Builder
	b.WriteString("exchanges: {events: {}")
	if f.audit {
		b.WriteString(", audit: {}")
	}
	b.WriteString("}\npipelines:\n")
	for _, name := range sorted(f.pipelines) {
		fmt.Fprintf(&b, "  %s: %s\n", name, f.pipelines[name])
	}
	b.WriteString("rules:\n")
	for _, name := range sorted(f.rules) {
		fmt.Fprintf(&b, "  - {name: %s, %s}\n", name, f.rules[name])
	}
	return b.String()
}

func sorted(m map[string]string) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// maker draws rules files whose parts meet often.
type maker struct{ *rand.Rand }

// one of several.
func (m *maker) one(of ...string) string { return of[m.IntN(len(of))] }

// file draws a file, of which half is as in the one before it, if there is one. Shapes of queues stay as they are.
func (m *maker) file(before *written) *written {
	f := &written{audit: m.IntN(3) == 0, pipelines: map[string]string{}, rules: map[string]string{}}
	for _, name := range []string{"a", "b", "c", "d"} {
		if before != nil && m.IntN(2) == 0 {
			if was, there := before.pipelines[name]; there {
				f.pipelines[name] = was
			}
		} else if m.IntN(4) > 0 {
			f.pipelines[name] = m.one("{}", "{}", "{retry: {delays: [7m]}}", "{retry: {attempts: 1}}", "{queue: {name: NAME."+name+".renamed}}")
		}
	}
	if len(f.pipelines) == 0 {
		f.pipelines["a"] = "{}"
	}
	names := sorted(f.pipelines)
	for i := range 6 {
		name := fmt.Sprintf("r%d", i)
		was, there := "", false
		if before != nil && m.IntN(2) == 0 {
			was, there = before.rules[name]
		}
		if !there || !f.takes(was) {
			if m.IntN(3) == 0 && i > 0 {
				continue
			}
			was = m.rule(names, f.audit)
		}
		f.rules[name] = was
	}
	return f
}

// takes reports whether a rule names nothing that the file has not.
func (f *written) takes(rule string) bool {
	if strings.Contains(rule, "audit") && !f.audit {
		return false
	}
	_, list, _ := strings.Cut(rule, "pipelines: [")
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "]"), ", ") {
		if f.pipelines[name] == "" {
			return false
		}
	}
	return true
}

func (m *maker) rule(pipelines []string, audit bool) string {
	parts := []string{"type: " + m.one(`"#"`, "order.*", "order.paid", "mail.*", "mail.sent", "user.#", `"*"`, `"*.new"`)}
	if audit && m.IntN(3) == 0 {
		parts = append(parts, "from: ["+m.one("events", "audit", "events, audit")+"]")
	}
	if m.IntN(2) == 0 {
		parts = append(parts, m.one(
			fmt.Sprintf(`match: {data: {n: [{numeric: [">=", %d]}]}}`, m.IntN(11)),
			fmt.Sprintf(`match: {data: {n: [%d, %d]}}`, m.IntN(5), 5+m.IntN(5)),
			fmt.Sprintf(`where: data.n > %d`, m.IntN(10)),
			`where: "type.startsWith('mail') || data.n == 7"`))
	}
	to := slices.Clone(pipelines)
	m.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	return strings.Join(append(parts, "pipelines: ["+strings.Join(to[:1+m.IntN(min(2, len(to)))], ", ")+"]"), ", ")
}
