package integration

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/changes"
	"github.com/eventrouter/eventrouter/integration/ledger"
	"github.com/eventrouter/eventrouter/integration/rabbit"
)

// TestABurstOfWebhooksWhileTheBrokerIsKilled has 500 connections send events at once, each again until it is answered 202, and kills RabbitMQ when half of
// them are. EVENTROUTER_TEST_BURST is how many events (10,000).
func TestABurstOfWebhooksWhileTheBrokerIsKilled(t *testing.T) {
	t.Parallel()
	const clients = 500
	count := changes.Setting(t, "EVENTROUTER_TEST_BURST", 10_000)
	s := rabbit.NewOwn(t, rabbit.V4)
	path, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	book := ledger.New()
	r := receiver(t, book, nil)
	rules, p := writeRules(t, newName(), webhooks)
	exchange, _ := p.Source("")
	run := startBinary(t, path, s.URL, rules, "RECEIVER="+r.URL, "SECRET="+secret)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	declared := time.Now()
	var again atomic.Int64
	var load sync.WaitGroup
	for c := range clients {
		load.Go(func() {
			for i := c; i < count && t.Context().Err() == nil; i += clients {
				e := order(fmt.Sprint(i), i)
				for {
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					status, err := postTyped(ctx, client, run.http, e.ID, e.Type, string(e.Data))
					cancel()
					if err == nil && status == http.StatusAccepted {
						book.Confirmed(e.ID)
						break
					}
					if err == nil && status != http.StatusServiceUnavailable {
						t.Errorf("event %s: status %d", e.ID, status)
						return
					}
					again.Add(1)
					<-time.After(100 * time.Millisecond)
				}
			}
		})
	}
	waitFor(t, func() bool { return book.Total() > count/2 && time.Since(declared) > settling }, func() string { return "half of the burst is not confirmed:\n" + run.said() })
	book.Mark("the broker is to be killed")
	if err := s.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	book.Mark("the broker is back")
	load.Wait()
	took := time.Since(declared)
	b := connect(t, s.URL, nil, amqp.Options{})
	settled(t, b, p)
	peak := run.peak()
	run.terminate()
	audit(t, b, p, book)
	if book.Total() != count {
		t.Errorf("%d of %d were accepted", book.Total(), count)
	}
	t.Logf("%d events over %d connections in %s, %d times sent again, eventrouter had %d MiB", count, clients, took.Round(time.Second/10), again.Load(), peak)
	book.BalanceExactly(t, func(id string) [][]string {
		var i int
		if _, err := fmt.Sscan(id, &i); err != nil {
			t.Fatal(err)
		}
		return belongs(p, exchange, order(id, i))
	})
}
