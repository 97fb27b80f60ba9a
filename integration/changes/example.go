package changes

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Example is the rules of the example, and what they may become: a pipeline goes, one comes, a queue is renamed, a rule stands elsewhere. root is the folder of the module.
func Example(t testing.TB, root string) Pair {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, "examples", "workspace", "rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	e := &editor{t, string(data)}
	e.remove("version: 1\n", "\nexchanges:")
	e.text = strings.ReplaceAll(e.text, "single_active_consumer: true", "delivery_limit: 20") // what is in those queues cannot be collected without being their consumer
	old := e.text
	e.remove("  trust:\n", "  audit:\n")
	e.remove("  - name: dangerous attachments\n", "  - name: bounces\n")
	e.remove("  - name: mail with a program in it", "  - name: a signed installer")
	e.insert("  audit:\n", "  welcome:\n    queue: {name: NAME.newcomers}\n\n")
	e.insert("  - name: bounces\n", "  - {name: newcomers, type: member.#, match: {data: {role: [owner]}}, pipelines: [welcome]}\n\n")
	moved := e.remove("  - name: money\n", "  - name: access\n")
	e.insert("  - name: mail for the inbox\n", moved)
	e.insert("    retry: {attempts: 8,", "    queue: {name: NAME.charges}\n")
	return Pair{"the example", old, e.text}
}

// editor changes a text, and fails the test where what it looks for is not there.
type editor struct {
	t    testing.TB
	text string
}

func (e *editor) at(what string) int {
	e.t.Helper()
	i := strings.Index(e.text, what)
	if i < 0 {
		e.t.Fatalf("the example has no %q any more", what)
	}
	return i
}

// remove takes away what stands from one text up to another.
func (e *editor) remove(from, to string) string {
	e.t.Helper()
	begin := e.at(from)
	end := begin + strings.Index(e.text[begin:], to)
	if end < begin {
		e.t.Fatalf("the example has no %q behind %q any more", to, from)
	}
	removed := e.text[begin:end]
	e.text = e.text[:begin] + e.text[end:]
	return removed
}

func (e *editor) insert(before, text string) {
	e.t.Helper()
	i := e.at(before)
	e.text = e.text[:i] + text + e.text[i:]
}
