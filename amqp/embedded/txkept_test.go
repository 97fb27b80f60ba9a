package embedded

import (
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	amqp091 "github.com/rabbitmq/amqp091-go"
)

// A commit is answered when what it published is on disk, and refused where that cannot be.
func TestACommitIsOnDisk(t *testing.T) {
	t.Parallel()
	dir, disk := t.TempDir(), &smallDisk{FS: vfs.Default}
	b, err := Start(Options{Data: dir, fs: disk})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := amqp091.Dial(b.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	commit := func(texts ...string) error {
		ch, err := conn.Channel()
		if err != nil {
			t.Fatal(err)
		}
		if err := ch.Tx(); err != nil {
			t.Fatal(err)
		}
		if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		for _, text := range texts {
			if err := ch.Publish("", "q", false, false, amqp091.Publishing{DeliveryMode: 2, Body: []byte(text)}); err != nil {
				t.Fatal(err)
			}
		}
		return ch.TxCommit()
	}
	if err := commit("1", "2"); err != nil {
		t.Fatal(err)
	}
	b.journal.mu.Lock()
	if left := len(b.journal.changes); b.journal.committed == 0 || left > 0 {
		t.Errorf("answered with %d changes that are not on disk", left)
	}
	b.journal.mu.Unlock()
	disk.full.Store(true)
	if err := commit("3"); err == nil || !strings.Contains(err.Error(), "partial tx completion") {
		t.Errorf("a commit with a full disk: %v", err)
	}
	disk.full.Store(false)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err = Start(Options{Data: dir}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if messages := b.Messages("/", "q"); len(messages) < 2 || string(messages[0].Body) != "1" || string(messages[1].Body) != "2" {
		t.Errorf("after a start: %v", messages)
	}
}
