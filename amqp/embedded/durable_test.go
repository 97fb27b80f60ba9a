package embedded_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/amqp/embedded/internal/probe"
)

// keeping starts a broker on a folder; it is to be closed by the test, or ends with it.
func keeping(t *testing.T, dir string) (*embedded.Broker, *probe.Session) {
	t.Helper()
	b := amqptest.Start(t, embedded.Options{Data: dir, VHosts: []string{"other"}})
	return b, probe.New(t, b.URL())
}

func persistent(text string) amqp091.Publishing {
	return amqp091.Publishing{DeliveryMode: 2, Body: []byte(text)}
}

func closeBroker(t *testing.T, b *embedded.Broker) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDurableOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, s := keeping(t, dir)
	for _, x := range []struct{ name, kind string }{{"topics", "topic"}, {"heads", "headers"}, {"inner", "fanout"}, {"rest", "fanout"}} {
		args := amqp091.Table{}
		if x.name == "topics" {
			args["alternate-exchange"] = "rest"
		}
		if err := s.Ch.ExchangeDeclare(x.name, x.kind, true, false, false, false, args); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Ch.ExchangeDeclare("passing", "fanout", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"one", "two", "unrouted", "gone"} {
		s.Declare(q, amqp091.Table{"x-max-length": int32(100)})
	}
	if _, err := s.Ch.QueueDeclare("transient", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	s.Bind("one", "order.*", "topics", nil)
	s.Bind("one", "stale", "topics", nil)
	s.Bind("two", "", "heads", amqp091.Table{"x-match": "all", "n": int32(1)})
	s.Bind("two", "", "inner", nil)
	s.Bind("unrouted", "", "rest", nil)
	if err := s.Ch.ExchangeBind("inner", "#.eu", "topics", false, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Ch.QueueUnbind("one", "stale", "topics", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Ch.QueueDelete("gone", false, false, false); err != nil {
		t.Fatal(err)
	}
	full := amqp091.Publishing{
		DeliveryMode: 2, ContentType: "text/plain", MessageId: "id", Priority: 3, Headers: amqp091.Table{"n": int32(1), "CC": []any{"order.copy"}},
		Body: []byte("full"),
	}
	s.Publish("topics", "order.eu", full)
	s.Publish("", "one", amqp091.Publishing{Body: []byte("not persistent")})
	s.Publish("", "transient", persistent("in a transient queue"))
	for i := range 5 {
		s.Publish("", "one", persistent(fmt.Sprint(i)))
	}
	s.Take("one") // the first
	closeBroker(t, b)

	b, s = keeping(t, dir)
	probe.Equal(t, "one", s.Texts("one"), []string{"0", "1", "2", "3", "4"})
	d := s.Take("two")
	if d.ContentType != "text/plain" || d.MessageId != "id" || d.Priority != 3 || d.Exchange != "topics" || d.RoutingKey != "order.eu" || string(d.Body) != "full" {
		t.Errorf("got %+v", d)
	}
	probe.Equal(t, "headers", d.Headers, full.Headers)
	for queue, publish := range map[string]func(text string){
		"one": func(text string) { s.Publish("topics", "order.de", persistent(text)) },
		"two": func(text string) {
			s.Publish("heads", "", amqp091.Publishing{Headers: amqp091.Table{"n": int32(1)}, Body: []byte(text)})
		},
		"unrouted": func(text string) { s.Publish("topics", "stale", persistent(text)) },
	} {
		publish("to " + queue)
		probe.Equal(t, queue, s.Texts(queue), []string{"to " + queue})
	}
	for _, name := range []string{"gone", "transient"} {
		if text, _ := s.Fault(func(ch *amqp091.Channel) error {
			_, err := ch.QueueDeclarePassive(name, false, false, false, false, nil)
			return err
		}); !strings.HasPrefix(text, "NOT_FOUND") {
			t.Errorf("queue %q: %q", name, text)
		}
	}
	s.Declare("one", amqp091.Table{"x-max-length": int32(100)}) // alike
	closeBroker(t, b)
}

// What a message went through is known after a start: places, returns, deaths, deadlines.
func TestHistoryOutlivesTheBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, s := keeping(t, dir)
	s.Declare("work", amqp091.Table{"x-queue-type": "quorum", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
	s.Declare("dead", nil)
	s.Declare("short", amqp091.Table{"x-message-ttl": int32(1)})
	s.Declare("long", amqp091.Table{"x-message-ttl": int32(600_000)})
	for _, text := range []string{"rejected", "returned", "untouched"} {
		s.Publish("", "work", persistent(text))
	}
	s.Publish("", "long", persistent("stays"))
	d, _, err := s.Ch.Get("work", false)
	if err != nil || d.Reject(false) != nil {
		t.Fatal(err)
	}
	if d, _, err = s.Ch.Get("work", false); err != nil || d.Nack(false, true) != nil {
		t.Fatal(err)
	}
	probe.Within(t, "the dead letter", func() bool { return s.Depth("dead") == 1 })
	s.Publish("", "short", persistent("late"))
	closeBroker(t, b)

	_, s = keeping(t, dir)
	probe.Equal(t, "short", s.Depth("short"), 0)
	probe.Equal(t, "long", s.Texts("long"), []string{"stays"})
	d = s.Take("work")
	probe.Equal(t, "the first", string(d.Body), "returned")
	probe.Equal(t, "its count", d.Headers["x-delivery-count"], any(int64(1)))
	if d = s.Take("work"); string(d.Body) != "untouched" || d.Redelivered || d.Headers["x-delivery-count"] != nil {
		t.Errorf("got %q, redelivered %v, headers %v", d.Body, d.Redelivered, d.Headers)
	}
	d = s.Take("dead")
	deaths, _ := d.Headers["x-death"].([]any)
	if len(deaths) != 1 || deaths[0].(amqp091.Table)["queue"] != "work" || deaths[0].(amqp091.Table)["reason"] != "rejected" {
		t.Errorf("x-death is %v", d.Headers["x-death"])
	}
}

func TestDataFolderIsForOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b, _ := keeping(t, dir)
	if _, err := embedded.Start(embedded.Options{Data: dir}); err == nil || !strings.Contains(err.Error(), "another process has it open") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second broker: %v", err)
	}
	closeBroker(t, b)
	keeping(t, dir)
}

func TestDataFolderThatIsRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		spoil func(dir string) error
		want  string
	}{
		{"newer", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("eventrouter broker data, format 2\n"), 0o600)
		}, "is of format 2, of a newer eventrouter"},
		{"format damaged", func(dir string) error { return os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("what"), 0o600) }, "FORMAT is damaged"},
		{"format missing", func(dir string) error { return os.Remove(filepath.Join(dir, "FORMAT")) }, "FORMAT is missing"},
		{"confirmed missing", func(dir string) error { return os.Remove(filepath.Join(dir, "CONFIRMED")) }, "CONFIRMED"},
		{"database missing", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "db")) }, "manifest is missing"},
		{"log missing", func(dir string) error {
			logs, err := filepath.Glob(filepath.Join(dir, "db", "*.log"))
			for _, log := range logs {
				err = os.Remove(log)
			}
			return err
		}, "was confirmed"},
		{"somebody else's", func(dir string) error {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, "photo.jpg"), nil, 0o600)
		}, "it is not a broker's"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, dir, _ := killedFolder(t, 10)
			if err := tt.spoil(dir); err != nil {
				t.Fatal(err)
			}
			b, err := embedded.Start(embedded.Options{Data: dir})
			if err == nil {
				b.Close()
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
		})
	}
}

// killedFolder is a copy of the folder of a broker at work, all of whose messages are confirmed. Some are in tables, some in the log.
func killedFolder(t *testing.T, count int) (parent, dir string, confirmed []string) {
	t.Helper()
	parent = t.TempDir()
	at := filepath.Join(parent, "live")
	for range 2 {
		b, s := keeping(t, at)
		s.Declare("q", nil)
		for range count {
			confirmed = append(confirmed, fmt.Sprintf("message %d", len(confirmed)))
			s.Publish("", "q", persistent(confirmed[len(confirmed)-1]))
		}
		dir = filepath.Join(parent, "killed")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(at)); err != nil {
			t.Fatal(err)
		}
		closeBroker(t, b)
	}
	return parent, dir, confirmed
}

// Whatever byte of a data folder is changed, and wherever a file of it is cut, the broker says so, or has all that was confirmed.
func TestDamageIsNeverSilent(t *testing.T) {
	t.Parallel()
	parent, clean, confirmed := killedFolder(t, 100)
	var files []string
	err := filepath.WalkDir(clean, func(path string, d fs.DirEntry, err error) error {
		if info, err := d.Info(); err == nil && d.Type().IsRegular() && info.Size() > 0 {
			files = append(files, path[len(clean):])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	trials := 100
	if testing.Short() {
		trials = 20
	}
	refused := 0
	for range trials {
		dir := filepath.Join(parent, "damaged")
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.CopyFS(dir, os.DirFS(clean)); err != nil {
			t.Fatal(err)
		}
		what := damage(t, dir, files[rand.IntN(len(files))])
		b, err := embedded.Start(embedded.Options{Data: dir})
		if err != nil {
			refused++
			if !strings.Contains(err.Error(), dir) {
				t.Errorf("%s: the error does not name the folder: %v", what, err)
			}
			continue
		}
		if got := wholeQueue(t, b.URL()); !slices.Equal(got, confirmed) {
			t.Errorf("%s: %d of %d messages are there, and nothing was said", what, len(got), len(confirmed))
		}
		closeBroker(t, b)
	}
	t.Logf("%d of %d damaged folders were refused", refused, trials)
	if refused == 0 {
		t.Error("no damage was found")
	}
}

// damage flips a byte of a file, or cuts it, and says what it did.
func damage(t *testing.T, dir, file string) string {
	t.Helper()
	name := filepath.Join(dir, file)
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	written := len(b) // a log is longer than what was written to it
	for written > 1 && b[written-1] == 0 {
		written--
	}
	at := rand.IntN(written)
	what := fmt.Sprintf("%s: byte %d of %d flipped", file, at, written)
	if rand.IntN(2) == 0 {
		b[at] ^= 1 << rand.IntN(8)
	} else {
		what = fmt.Sprintf("%s: cut at %d of %d", file, at, written)
		b = b[:at]
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return what
}

func wholeQueue(t *testing.T, url string) []string {
	t.Helper()
	s := probe.New(t, url)
	defer s.Conn.Close()
	return s.Texts("q")
}

// The folder does not grow with what went through, and shrinks when a long queue is emptied.
func TestDiskIsBoundedByWhatIsQueued(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	b := amqptest.Start(t, embedded.Options{Data: dir})
	s := probe.New(t, b.URL())
	s.Declare("q", nil)
	const messageSize, few, many = 10_000, 1000, 12_000
	source := rand.NewChaCha8([32]byte{}) // no two are alike, since the disk's copy is compressed
	body := make([]byte, messageSize)
	fill := func(count int) {
		for range count {
			_, _ = source.Read(body) // which never fails
			if err := s.Ch.Publish("", "q", false, false, amqp091.Publishing{DeliveryMode: 2, Body: body}); err != nil {
				t.Fatal(err)
			}
		}
		probe.Within(t, "all are there", func() bool { return s.Depth("q") == count })
	}
	empty := func() {
		if _, err := s.Ch.QueuePurge("q", false); err != nil {
			t.Fatal(err)
		}
	}
	for range 8 { // 80 MB in all
		fill(few)
		empty()
		if n := size(t, dir); n > 120<<20 {
			t.Fatalf("the folder grew to %d MB, for %d MB at a time", n>>20, few*messageSize>>20)
		}
	}
	fill(many) // 120 MB at once
	if n := size(t, dir); n < many*messageSize {
		t.Errorf("%d MB are kept in %d MB", many*messageSize>>20, n>>20)
	}
	empty()
	fill(1) // something happens
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(time.Minute); size(t, dir) > 120<<20; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("the folder keeps %d MB for one message", size(t, dir)>>20)
		}
	}
}

func size(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, _ error) error {
		if d == nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil { // it may have gone
			sum += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// Over its limit the broker holds publishers back, and takes messages again when consumers have made room.
func TestLowOnMemoryBlocksPublishers(t *testing.T) {
	t.Parallel()
	b := amqptest.Start(t, embedded.Options{MemoryLimit: 1 << 20})
	in, out := probe.New(t, b.URL()), probe.New(t, b.URL())
	q := in.Queue(nil)
	told := in.Conn.NotifyBlocked(make(chan amqp091.Blocking, 10))
	body := make([]byte, 10_000)
	published := make(chan error, 1)
	const count = 300 // three times what there is room for
	go func() {
		for range count {
			if err := in.Ch.Publish("", q, false, false, amqp091.Publishing{Body: body}); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	select {
	case blocked := <-told:
		if !blocked.Active || blocked.Reason != "low on memory" {
			t.Fatalf("got %+v", blocked)
		}
	case <-time.After(probe.Patience):
		t.Fatal("nobody is blocked")
	}
	if n := out.Depth(q); n > 110 {
		t.Errorf("%d messages are in the queue", n)
	}
	deliveries, err := out.Ch.Consume(q, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range count {
		probe.Next(t, deliveries)
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
	in.Send(q, "the broker takes more")
	probe.Within(t, "the publisher is unblocked", func() bool {
		select {
		case blocked := <-told:
			return !blocked.Active
		default:
			return false
		}
	})
}
