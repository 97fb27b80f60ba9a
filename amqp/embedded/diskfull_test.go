package embedded

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

// smallDisk is a file system that can be full.
type smallDisk struct {
	vfs.FS
	full atomic.Bool
}

func (d *smallDisk) Unwrap() vfs.FS { return d.FS }

func (d *smallDisk) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return smallFile{f, d}, nil
}

func (d *smallDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if d.full.Load() {
		return nil, syscall.ENOSPC
	}
	return d.wrap(d.FS.Create(name, c))
}

func (d *smallDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return d.wrap(d.FS.ReuseForWrite(old, name, c))
}

type smallFile struct {
	vfs.File
	disk *smallDisk
}

// Write fits a few bytes in before the disk is full.
func (f smallFile) Write(b []byte) (int, error) {
	if !f.disk.full.Load() {
		return f.File.Write(b)
	}
	n, err := f.File.Write(b[:min(10, len(b)/2)])
	if err != nil {
		return n, err
	}
	return n, syscall.ENOSPC
}

// logbook keeps what a broker says.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logbook) logf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *logbook) says(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool { return strings.Contains(line, text) })
}

// fullClient publishes to a broker whose disk may be full.
type fullClient struct {
	t  *testing.T
	ch *amqp091.Channel
}

func newFullClient(t *testing.T, b *Broker) fullClient {
	t.Helper()
	conn, err := amqp091.Dial(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return fullClient{t, ch}
}

func (c fullClient) publish(text string, mode uint8) (taken bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	d, err := c.ch.PublishWithDeferredConfirm("", "q", false, false, amqp091.Publishing{DeliveryMode: mode, Body: []byte(text)})
	if err != nil {
		c.t.Fatal(err)
	}
	if taken, err = d.WaitContext(ctx); err != nil {
		c.t.Fatalf("%q: no answer: %v", text, err)
	}
	return taken
}

func (c fullClient) texts() (out []string) {
	c.t.Helper()
	for {
		d, ok, err := c.ch.Get("q", true)
		if err != nil {
			c.t.Fatal(err)
		}
		if !ok {
			return out
		}
		out = append(out, string(d.Body))
	}
}

// While the disk is full, persistent messages are refused and the broker says why; acknowledging and transient messages go on. When there is
// room again, all goes on, and nothing that was confirmed is missing after a start.
func TestFullDiskRefusesAndRecovers(t *testing.T) {
	t.Parallel()
	for _, endFull := range []bool{false, true} {
		t.Run(fmt.Sprintf("closed while full %v", endFull), func(t *testing.T) {
			t.Parallel()
			dir, disk, book := t.TempDir(), &smallDisk{FS: vfs.Default}, &logbook{}
			b, err := Start(Options{Data: dir, Logf: book.logf, fs: disk})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			c := newFullClient(t, b)
			if _, err := c.ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
				t.Fatal(err)
			}
			if !c.publish("before", 2) {
				t.Fatal("refused with room on the disk")
			}
			disk.full.Store(true)
			for range 3 {
				if c.publish("while full", 2) {
					t.Fatal("confirmed on a full disk")
				}
			}
			if !book.says("the disk is full") {
				t.Errorf("the broker says nothing of it: %q", book.lines)
			}
			if !c.publish("transient", 1) {
				t.Error("a transient message is refused")
			}
			want := []string{"before"}
			if !endFull {
				disk.full.Store(false)
				deadline := time.Now().Add(2 * time.Minute)
				for !c.publish("after", 2) {
					if time.Now().After(deadline) {
						t.Fatal("refused for ever")
					}
				}
				if !book.says("there is room") {
					t.Errorf("the broker says nothing of the room: %q", book.lines)
				}
				want = append(want, "after")
			}
			if err := b.Close(); err != nil && !endFull {
				t.Fatal(err)
			}

			b, err = Start(Options{Data: dir})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { b.Close() })
			got := newFullClient(t, b).texts()
			// What was refused while it was being written may be there nevertheless.
			got = slices.DeleteFunc(got, func(text string) bool { return text == "while full" })
			if !slices.Equal(got, want) {
				t.Errorf("after a start there is %q, want %q", got, want)
			}
		})
	}
}
