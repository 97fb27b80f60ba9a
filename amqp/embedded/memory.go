package embedded

import (
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// memoryShare of the machine's memory is the limit where none is given. RabbitMQ's is 0.6 of what its process takes; here messages are
	// counted, and Go's garbage collector lets the process take about twice that.
	memoryShare = 0.4
	// unknownMemory is the limit on a machine that does not say what it has.
	unknownMemory = 1 << 30
	// lowMemory is RabbitMQ's reason for taking no more messages.
	lowMemory = "low on memory"
)

// memory counts what the queues' messages take, and closes the gate while that is too much.
type memory struct {
	gate  *gate
	warnf func(format string, args ...any)
	limit int64
	used  atomic.Int64
	low   atomic.Bool
	mu    sync.Mutex // taken to turn low
}

func newMemory(g *gate, limit int64, warnf func(string, ...any)) *memory {
	switch {
	case limit == 0:
		limit = defaultMemoryLimit("/")
	case limit < 0:
		limit = math.MaxInt64
	}
	return &memory{gate: g, limit: limit, warnf: warnf}
}

// hold counts a message that a queue takes; release undoes it. A message in several queues counts once, its items each.
func (m *memory) hold(msg *message) {
	n := int64(itemOverhead)
	if msg.holders.Add(1) == 1 {
		n += msg.weight()
	}
	if m.used.Add(n) >= m.limit && !m.low.Load() {
		m.turn()
	}
}

func (m *memory) release(msg *message) {
	n := int64(itemOverhead)
	if msg.holders.Add(-1) == 0 {
		n += msg.weight()
	}
	if m.used.Add(-n) < m.again() && m.low.Load() {
		m.turn()
	}
}

// again is below what publishers may go on: a tenth under the limit, so that they do not stop and go with every message.
func (m *memory) again() int64 { return m.limit - m.limit/10 }

func (m *memory) turn() {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch used := m.used.Load(); {
	case used >= m.limit && !m.low.Load():
		m.low.Store(true)
		m.gate.close(ofMemory, lowMemory)
		m.warnf("the queues' messages take %d bytes, which is the limit: publishers are held back", used)
	case used < m.again() && m.low.Load():
		m.low.Store(false)
		m.gate.open(ofMemory)
		m.warnf("the queues' messages take %d bytes, 10 %% less than the limit: publishers go on", used)
	}
}

// defaultMemoryLimit is a share of what the process may have: of the machine's memory, of what its control groups allow, and of GOMEMLIMIT,
// whichever is least. Root is where the machine's files are.
func defaultMemoryLimit(root string) int64 {
	least := debug.SetMemoryLimit(-1) // which only asks
	for _, n := range append(groupLimits(root), machineMemory(root)) {
		if n > 0 {
			least = min(least, n)
		}
	}
	if least == math.MaxInt64 {
		return unknownMemory
	}
	return int64(float64(least) * memoryShare)
}

// machineMemory is MemTotal; 0: unknown.
func machineMemory(root string) int64 {
	b, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == "MemTotal:" {
			return number(fields[1]) << 10
		}
	}
	return 0
}

// groupLimits are the limits of the control groups that the process is in, of version 2 and 1, up to the root.
func groupLimits(root string) []int64 {
	b, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return nil
	}
	var out []int64
	for line := range strings.Lines(string(b)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := filepath.Join(root, "sys/fs/cgroup"), "memory.max"
		switch parts[1] {
		case "":
		case "memory":
			base, file = filepath.Join(base, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		for group := filepath.Clean("/" + parts[2]); ; group = filepath.Dir(group) {
			if b, err := os.ReadFile(filepath.Join(base, group, file)); err == nil {
				out = append(out, number(strings.TrimSpace(string(b))))
			}
			if group == "/" {
				break
			}
		}
	}
	return out
}

// number reads a size; 0 where it is none, such as "max".
func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}
