package amqp_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded/amqptest"
	"github.com/eventrouter/eventrouter/router"
)

const (
	basicConsume = 60<<16 | 20
	basicGet     = 60<<16 | 70
)

// deaf stands between a client and the broker, and swallows one method for as long as it is told to, as a node seems to that waits for another one.
func deaf(t *testing.T, url string, method uint32, silent *atomic.Bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	_, rest, _ := strings.Cut(url, "@")
	address, vhost, _ := strings.Cut(rest, "/")
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", address)
			if err != nil {
				client.Close()
				continue
			}
			go func() {
				defer client.Close()
				_, _ = io.Copy(client, server)
			}()
			go func() {
				defer server.Close()
				forward(server, bufio.NewReader(client), func(m uint32) bool { return m != method || !silent.Load() })
			}()
		}
	}()
	return strings.Replace(url, rest, l.Addr().String()+"/"+vhost, 1)
}

// forward copies frames of a client, but for those of methods that are not to pass.
func forward(to io.Writer, from *bufio.Reader, pass func(method uint32) bool) {
	if _, err := io.CopyN(to, from, 8); err != nil { // AMQP 0-9-1
		return
	}
	for {
		frame := make([]byte, 7)
		if _, err := io.ReadFull(from, frame); err != nil {
			return
		}
		rest := make([]byte, binary.BigEndian.Uint32(frame[3:])+1)
		if _, err := io.ReadFull(from, rest); err != nil {
			return
		}
		if frame[0] == 1 && !pass(binary.BigEndian.Uint32(rest)) {
			continue
		}
		if _, err := to.Write(append(frame, rest...)); err != nil {
			return
		}
	}
}

// TestABrokerThatDoesNotAnswerIsDialledAgain has the broker not answer on the first connection, as a node of a cluster does whose neighbour has just gone.
// Where there is a choice of nodes, another is tried sooner.
func TestABrokerThatDoesNotAnswerIsDialledAgain(t *testing.T) {
	t.Parallel()
	lost := func(o *amqp.Options, silent *atomic.Bool, limit string) *atomic.Int64 {
		var times atomic.Int64
		o.Hooks.Disconnected = func(_ string, err error) {
			if strings.Contains(err.Error(), "has not answered") {
				times.Add(1)
				silent.Store(false)
				if !strings.Contains(err.Error(), "for "+limit+" ") {
					t.Errorf("given up after another time than %s: %v", limit, err)
				}
			}
		}
		return &times
	}
	t.Run("consume, of several nodes", func(t *testing.T) {
		t.Parallel()
		server := amqptest.Broker(t)
		connect(t, server.URL(), amqp.Options{})
		var o amqp.Options
		var silent atomic.Bool
		silent.Store(true)
		times := lost(&o, &silent, "3s")
		url := deaf(t, server.URL(), basicConsume, &silent)
		b := start(t, url+","+url, o)
		ctx, stop := context.WithCancel(t.Context())
		got := make(chan string, 1)
		ended := make(chan error, 1)
		go func() {
			ended <- b.Consume(ctx, router.Subscription{Queue: queue}, func(d *router.Delivery) {
				got <- d.Event.ID
				_ = d.Ack()
			})
		}()
		if err := send(t.Context(), b, message("one")); err != nil {
			t.Fatal(err)
		}
		if id := <-got; id != "one" || times.Load() != 1 {
			t.Errorf("got %q after the connection was given up %d times, expected one time", id, times.Load())
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Run("read the plan, of one", func(t *testing.T) {
		t.Parallel()
		server := amqptest.Broker(t)
		connect(t, server.URL(), amqp.Options{})
		var o amqp.Options
		var silent atomic.Bool
		silent.Store(true)
		times := lost(&o, &silent, "10s")
		b := start(t, deaf(t, server.URL(), basicGet, &silent), o)
		if _, err := b.Recorded(t.Context(), queue); err == nil {
			t.Error("read from a connection that was given up")
		}
		waitFor(t, "nobody says that the broker does not answer", func() bool { return times.Load() == 1 })
		if _, err := b.Recorded(t.Context(), queue); err != nil || times.Load() != 1 {
			t.Errorf("%v, after the connection was given up %d times, expected one time", err, times.Load())
		}
	})
}
