package embedded_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// A client that reads nothing is handed no more than its connection and the broker's bound hold; when it reads, it gets the rest.
func TestAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	s := probe.New(t, amqptest.Broker(t).URL())
	const n, size = 1000, 64 << 10 // 64 MB, of which the sockets' buffers hold a few
	q := s.Queue(nil)
	body := make([]byte, size)
	for range n {
		if err := s.Ch.Publish("", q, false, false, amqp091.Publishing{Body: body}); err != nil {
			t.Fatal(err)
		}
	}
	probe.Within(t, "all to be there", func() bool { return s.Depth(q) == n })
	r := probe.Connect(t, s.URL, 0, probe.Limits(2047, 131072, 0))
	consume := wire.AppendShortString([]byte{0, 0}, q)
	consume = append(wire.AppendShortString(consume, "tag"), 0b10) // no-ack
	r.Method(1, wire.BasicConsume, wire.AppendTable(consume, nil))

	left, same := n, 0
	probe.Within(t, "the deliveries to stop", func() bool {
		now := s.Depth(q)
		if same++; now != left {
			left, same = now, 0
		}
		return same == 100
	})
	if left < n/2 {
		t.Errorf("%d of %d messages are on their way to a client that does not read", n-left, n)
	}
	r.Expect(wire.BasicConsumeOK)
	for got := 0; got < n; {
		var f wire.Frame
		if err := r.In.Read(&f); err != nil {
			t.Fatalf("after %d messages: %v", got, err)
		}
		if f.Type == wire.FrameHeader {
			got++
		}
	}
	probe.Equal(t, "left", s.Depth(q), 0)
}

// A message's frames claim a size long before they have brought it: what is kept is what has come.
func TestClaimedSizesAreNotAllocated(t *testing.T) {
	s := probe.New(t, amqptest.Broker(t).URL()) // not parallel: it looks at what is allocated
	q := s.Queue(nil)
	var clients []*probe.Raw
	for range 50 {
		clients = append(clients, probe.Connect(t, s.URL, 0, probe.Limits(2047, 131072, 0)))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, r := range clients {
		r.Method(1, wire.BasicPublish, probe.PublishTo(q))
		r.Write(wire.AppendFrame(nil, wire.FrameHeader, 1, probe.ContentHeader(16<<20)))
		r.Write(wire.AppendFrame(nil, wire.FrameBody, 1, []byte("x")))
		r.Method(2, wire.ChannelOpen, []byte{0}) // answered when the rest is obeyed
		r.Expect(wire.ChannelOpenOK)
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 50<<20 {
		t.Errorf("%d MiB were allocated for 50 bytes that came", took>>20)
	}
}

// Connections on which nothing is said take little memory, the client's side included.
func TestAQuietConnectionTakesLittle(t *testing.T) {
	url := amqptest.Broker(t).URL() // not parallel: it looks at what is in use
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	const n = 300
	before := inUse()
	for range n {
		probe.Connect(t, url, 0, probe.Limits(2047, 131072, 0))
	}
	if each := (inUse() - before) / n; each > 64<<10 {
		t.Errorf("a connection takes %d KiB", each>>10)
	} else {
		t.Logf("a connection takes %d KiB", each>>10)
	}
}

// Close leaves no goroutine, whatever goes on.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	b, err := embedded.Start(embedded.Options{}) // not parallel: it looks at all goroutines
	if err != nil {
		t.Fatal(err)
	}
	r := probe.Connect(t, b.URL(), 0, probe.Limits(2047, 131072, 1))
	s := probe.New(t, b.URL())
	q := s.Queue(amqp091.Table{"x-message-ttl": int32(1), "x-expires": int32(60000), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "none"})
	s.Send(q, "1", "2", "3")
	probe.Connect(t, b.URL(), wire.ConnectionTuneOK, nil) // in the midst of its handshake
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	r.Closed()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(probe.Patience); ; <-tick.C {
		buf := make([]byte, 1<<20)
		stacks := string(buf[:runtime.Stack(buf, true)])
		ours := strings.Count(stacks, "amqp/embedded.(*")
		if ours == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d goroutines are left:\n%s", ours, stacks)
		}
	}
}
