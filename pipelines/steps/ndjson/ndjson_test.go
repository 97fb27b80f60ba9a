package ndjson

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

func opened(t *testing.T, path string, sync bool) *File {
	t.Helper()
	f, err := Open(path, sync)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func add(t *testing.T, f *File, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := f.Handle(t.Context(), router.Event{ID: id, Type: "a"}); err != nil {
			t.Fatal(err)
		}
	}
}

// ids are those of the events in a file; a line that is no event is shown as it is.
func ids(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range bytes.Lines(text) {
		var e event.Event
		if !bytes.HasSuffix(line, []byte("\n")) || e.UnmarshalJSON(line) != nil {
			out = append(out, string(line))
			continue
		}
		out = append(out, e.ID)
	}
	return out
}

func want(t *testing.T, path string, want ...string) {
	t.Helper()
	if got := ids(t, path); !slices.Equal(got, want) {
		t.Errorf("%s holds %q, want %q", filepath.Base(path), got, want)
	}
}

func TestEventsAreAppendedAsLines(t *testing.T) {
	t.Parallel()
	for _, sync := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "events.ndjson")
		e := router.Event{
			ID: "17", Type: "order.placed", ContentType: "application/json", Data: []byte("{\n \"total\": 1\n}"),
			Attributes: map[string]any{"note": "two\nlines"}, Headers: map[string]any{"a": "b"},
		}
		f := opened(t, path, sync)
		if err := f.Handle(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		add(t, opened(t, path, sync), "18")
		text, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer text.Close()
		r := event.NewReader(text)
		var first, second event.Event
		if err := errors.Join(r.Next(&first), r.Next(&second)); err != nil {
			t.Fatal(err)
		}
		if string(first.Data) != `{"total":1}` || first.Attributes["note"] != "two\nlines" || first.Headers["a"] != "b" || second.ID != "18" {
			t.Errorf("read %+v and %+v", first, second)
		}
		if err := r.Next(&first); !errors.Is(err, io.EOF) {
			t.Errorf("there is more: %v", err)
		}
	}
}

// Two steps with one path are two files in one process, or in two.
func TestWorkersShareAFile(t *testing.T) {
	t.Parallel()
	const workers, each = 8, 100
	path := filepath.Join(t.TempDir(), "events.ndjson")
	files := []*File{opened(t, path, false), opened(t, path, false)}
	data := bytes.Repeat([]byte("x"), 8<<10) // more than a page
	var done sync.WaitGroup
	for w := range workers {
		done.Go(func() {
			for i := range each {
				e := router.Event{ID: fmt.Sprintf("%d-%d", w, i), Type: "a", ContentType: "text/plain", Data: data}
				if err := files[w%2].Handle(t.Context(), e); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done.Wait()
	next := make([]int, workers)
	for _, id := range ids(t, path) {
		var w, i int
		if _, err := fmt.Sscanf(id, "%d-%d", &w, &i); err != nil {
			t.Fatalf("line %.80q", id)
		}
		if i != next[w] {
			t.Fatalf("event %s comes when %d is next", id, next[w])
		}
		next[w]++
	}
	for w, n := range next {
		if n != each {
			t.Errorf("worker %d has %d events in the file", w, n)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	for name, rotate := range map[string]func(path string) error{
		"moved":   func(path string) error { return os.Rename(path, path+".1") },
		"removed": os.Remove,
		"cut":     func(path string) error { return os.Truncate(path, 0) },
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".1"), os.WriteFile(path, nil, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "events.ndjson")
			f := opened(t, path, false)
			add(t, f, "1", "2")
			if err := rotate(path); err != nil {
				t.Fatal(err)
			}
			add(t, f, "3", "4")
			want(t, path, "3", "4")
			if _, err := os.Stat(path + ".1"); err == nil {
				want(t, path+".1", "1", "2")
			}
		})
	}
}

// While its folder is away each event is an error; after that all goes on.
func TestFolderGoesAndComesBack(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "log")
	path := filepath.Join(folder, "events.ndjson")
	mkdir := func() {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mkdir()
	f := opened(t, path, true)
	add(t, f, "1")
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := f.Handle(t.Context(), router.Event{ID: "2", Type: "a"}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) {
			t.Errorf("got %v", err)
		}
	}
	mkdir()
	add(t, f, "2")
	want(t, path, "2")
}

func TestALineCutShortByACrashIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	if err := os.WriteFile(path, []byte(`{"id":"1","ty`), 0o600); err != nil {
		t.Fatal(err)
	}
	add(t, opened(t, path, false), "2", "3")
	want(t, path, "{\"id\":\"1\",\"ty\n", "2", "3")
}

// Another writer's short write, as a full disk makes it, costs no event of ours that comes after it, and no more lines than it has to.
func TestALineThatAnotherWriterCutShortIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	f := opened(t, path, false)
	other, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	write := func(text string) {
		t.Helper()
		if _, err := other.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	add(t, f, "1")
	write(`{"id":"x","ty`)
	add(t, f, "2", "3")
	write(`{"id":"y"`)
	write("\n")
	add(t, f, "4")
	want(t, path, "1", "{\"id\":\"x\",\"ty\n", "2", "3", "{\"id\":\"y\"\n", "4")
	if err := os.Truncate(path, 5); err != nil {
		t.Fatal(err)
	}
	add(t, f, "5")
	want(t, path, `{"spe`+"\n", "5")
}

func BenchmarkAppend(b *testing.B) {
	f, err := Open(filepath.Join(b.TempDir(), "events.ndjson"), false)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	e := router.Event{ID: "17", Type: "order.placed", ContentType: "application/json", Data: []byte(`{"total":1}`)}
	for b.Loop() {
		if err := f.Handle(b.Context(), e); err != nil {
			b.Fatal(err)
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	const full = "/dev/full"
	if _, err := os.Stat(full); err != nil {
		t.Skipf("there is no %s here: %v", full, err)
	}
	f := opened(t, full, false)
	if err := f.Handle(t.Context(), router.Event{ID: "1", Type: "a"}); err == nil || !strings.Contains(err.Error(), full+": no space left") {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for path, part := range map[string]string{"": "path is empty", dir: dir, filepath.Join(dir, "none", "x"): "none"} {
		if f, err := Open(path, false); err == nil || f != nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestClosedFileTakesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "events.ndjson")
	f := opened(t, path, false)
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := f.Handle(t.Context(), router.Event{ID: "1", Type: "a"}); !errors.Is(err, os.ErrClosed) || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v", err)
	}
	want(t, path)
}
