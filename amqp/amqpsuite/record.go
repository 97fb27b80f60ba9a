package amqpsuite

import (
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// newestRecord has several look at the record all the time while it is written again and again, by one holder of the lock after another.
func newestRecord(t *testing.T, c *client) {
	p := &plan.Plan{Name: c.name}
	name := p.RecordName()
	t.Cleanup(func() {
		c.direct(func(ch *amqp091.Channel) error {
			_, err := ch.QueueDelete(name, false, false, false)
			return errors.Join(err, ch.ExchangeDelete(name, false, false))
		})
	})
	const records, readers = 60, 4
	var written atomic.Int64
	var g sync.WaitGroup
	defer g.Wait()
	look := func(what string, r router.Recorder) {
		least := written.Load()
		all, err := r.Recorded(c.ctx, name)
		if err != nil {
			t.Error(err)
			return
		}
		if newest := newest(t, all); newest < least {
			t.Errorf("%s sees record %d, when %d is written", what, newest, least)
		}
	}
	for n := int64(1); n <= records; {
		lock, err := c.Lock(c.ctx, p.LockName())
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 {
			if err := lock.Declare(c.ctx, p.RecordTopology()); err != nil {
				t.Fatal(err)
			}
		}
		look("who holds the lock", lock)
		for range 3 {
			if err := lock.Write(c.ctx, name, strconv.AppendInt(nil, n, 10)); err != nil {
				t.Fatal(err)
			}
			if written.Store(n); n == 1 {
				for range readers {
					g.Go(func() {
						for written.Load() < records && !t.Failed() {
							look("a reader", c)
						}
					})
				}
			}
			n++
		}
		if err := lock.Unlock(); err != nil {
			t.Fatal(err)
		}
	}
	g.Wait()
	if all, err := c.Recorded(c.ctx, name); err != nil || len(all) != 1 || newest(t, all) != records {
		t.Errorf("%d records are left, the newest is %d, want %d alone: %v", len(all), newest(t, all), records, err)
	}
}

func newest(t *testing.T, records [][]byte) (newest int64) {
	for _, r := range records {
		n, err := strconv.ParseInt(string(r), 10, 64)
		if err != nil {
			t.Error(err)
		}
		newest = max(newest, n)
	}
	return newest
}
