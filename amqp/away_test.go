package amqp_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// haunted passes on what clients and the broker at address say to each other, but closes the connection with an internal error when the queue zombie is
// consumed, as RabbitMQ does where it has lost the queue's process. It returns its own address, and counts connections.
func haunted(t *testing.T, address string) (string, *atomic.Int64) {
	t.Helper()
	consume := []byte("\x00\x3c\x00\x14\x00\x00\x06zombie")
	reason := "\x02\x1d\x0eINTERNAL_ERROR\x00\x00\x00\x00"
	closing := []byte("\x01\x00\x00\x00\x00\x00" + string(rune(4+len(reason))) + "\x00\x0a\x00\x32" + reason + "\xce")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			connections.Add(1)
			server, err := net.Dial("tcp", address)
			if err != nil {
				client.Close()
				continue
			}
			wg.Go(func() {
				defer client.Close()
				_, _ = io.Copy(client, server)
			})
			wg.Go(func() {
				defer server.Close()
				b := make([]byte, 64<<10)
				for {
					n, err := client.Read(b)
					if err != nil {
						return
					}
					if bytes.Contains(b[:n], consume) {
						_, _ = client.Write(closing)
						_, _ = io.Copy(io.Discard, client)
						return
					}
					if _, err := server.Write(b[:n]); err != nil {
						return
					}
				}
			})
		}
	})
	return l.Addr().String(), &connections
}

// A queue that brings the connection down whenever it is consumed is left alone longer and longer, and the others are consumed.
func TestAQueueThatBringsConnectionsDownIsLeftAlone(t *testing.T) {
	t.Parallel()
	server := amqptest.Broker(t)
	address, connections := haunted(t, server.Addr())
	var told atomic.Int64
	b := connect(t, strings.Replace(server.URL(), server.Addr(), address, 1), amqp.Options{Hooks: router.Hooks{Problem: func(where string, err error) {
		if where == "consume zombie" && strings.Contains(err.Error(), "which is left alone for 4s: see the broker's log") {
			told.Add(1)
		}
	}}})
	if err := b.Declare(t.Context(), plan.Topology{Exchanges: topology.Exchanges, Queues: append([]plan.Queue{{Name: "zombie"}}, topology.Queues...), Bindings: topology.Bindings}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var consumers sync.WaitGroup
	defer consumers.Wait()
	defer stop()
	var handled atomic.Int64
	for _, name := range []string{"zombie", queue} {
		consumers.Go(func() {
			if err := b.Consume(ctx, router.Subscription{Queue: name}, func(d *router.Delivery) {
				if d.Ack() == nil {
					handled.Add(1)
				}
			}); err != nil {
				t.Error(err)
			}
		})
	}
	waitFor(t, "the queue is not left alone", func() bool { return told.Load() > 0 })
	if n := connections.Load(); n > 20 {
		t.Errorf("%d connections were made", n)
	}
	for i := range 20 {
		if err := send(t.Context(), b, message(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the other queue is not consumed", func() bool { return handled.Load() >= 20 })
}
