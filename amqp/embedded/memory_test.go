package embedded

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// A million messages of 100 bytes cost a known amount each, and what they took is given back when they are gone.
func TestAMillionMessages(t *testing.T) { // not parallel: it measures the heap
	const count = 1_000_000
	b, err := Start(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	q := plainQueue(t, b.vhosts["/"], "q", nil)
	before := heap()
	to := &address{"", "q"}
	body := make([]byte, 100)
	for range count {
		if taken, _ := q.enqueue(newMessage(to, &wire.Properties{}, body)); !taken {
			t.Fatal("refused")
		}
	}
	full := heap()
	each := float64(full-before) / count
	t.Logf("%.0f bytes a message; counted: %d", each, b.memory.used.Load()/count)
	if each > 320 {
		t.Errorf("a message of 100 bytes takes %.0f bytes", each)
	}
	if counted := float64(b.memory.used.Load()) / count; counted < 0.8*each || counted > 1.5*each {
		t.Errorf("%.0f bytes are counted for a message that takes %.0f", counted, each)
	}
	got := 0
	for q.get(true, func(*item, int) {}) != nil {
		got++
	}
	if got != count {
		t.Errorf("%d messages came back", got)
	}
	if used := b.memory.used.Load(); used != 0 {
		t.Errorf("%d bytes are counted for an empty queue", used)
	}
	if left := heap(); left > before+(full-before)/20 {
		t.Errorf("%d of %d bytes are still taken by an empty queue", left-before, full-before)
	}
	runtime.KeepAlive(b)
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestDefaultMemoryLimitIsAShareOfTheLeast(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, unknownMemory},
		{"the machine", map[string]string{"proc/meminfo": "MemTotal:  1000 kB\nMemFree: 1 kB\n"}, 409600},
		{"no limit in the group", map[string]string{
			"proc/meminfo": "MemTotal: 1000 kB\n", "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n",
		}, 409600},
		{"the group above", map[string]string{
			"proc/meminfo": "MemTotal: 1000 kB\n", "proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "100000\n",
			"sys/fs/cgroup/a/b/memory.max": "200000\n",
		}, 40000},
		{"a container's root", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "50000\n"}, 20000},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/x\n", "sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "60000\n",
		}, 24000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			for name, text := range tt.files {
				name = filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if got := defaultMemoryLimit(root); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
