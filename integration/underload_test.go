package integration

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// faultsUnderLoad are what happens to routers, besides the kill of the broker, which has a test of its own. Each is over when its function returns.
var faultsUnderLoad = []struct {
	name string
	user bool // eventrouter has a user of its own, called rig
	do   func(t *testing.T, r *rig)
}{
	{"the broker closes all connections", false, func(t *testing.T, r *rig) {
		r.control("close_all_connections", "tried in a test")
	}},
	{"the network resets all connections", false, func(t *testing.T, r *rig) {
		r.book.Mark("reset")
		r.network.Reset()
	}},
	{"the network drops all packets of the connections", false, func(t *testing.T, r *rig) {
		r.book.Mark("silence")
		r.network.Silence()
	}},
	{"the broker is stopped and started", false, func(t *testing.T, r *rig) {
		r.control("stop_app")
		r.control("start_app")
	}},
	{"the broker is killed", false, func(t *testing.T, r *rig) {
		waitFor(t, func() bool { return time.Since(r.declared) > settling }, func() string { return "the queues are too young" })
		r.book.Mark("the broker is to be killed")
		if err := r.server.Kill(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.book.Mark("the broker is dead")
		if err := r.server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.book.Mark("the broker is back")
	}},
	{"the broker's disk is nearly full for a while", false, func(t *testing.T, r *rig) {
		r.control("set_disk_free_limit", "1000000000000000")
		isBlocked(t, r)
		r.control("set_disk_free_limit", "50MB")
	}},
	{"the broker is short of memory for a while", false, func(t *testing.T, r *rig) {
		r.control("set_vm_memory_high_watermark", "absolute", "1000")
		isBlocked(t, r)
		r.control("set_vm_memory_high_watermark", "0.6")
	}},
	{"eventrouter is killed", false, func(t *testing.T, r *rig) { r.kill() }},
	{"one of two eventrouters is killed", false, func(t *testing.T, r *rig) {
		another := startProcess(t, r.url, r.rules, r.env...)
		r.goesOn(100)
		r.book.Mark("the second eventrouter is killed")
		if err := another.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = another.wait() // it says that it was killed
	}},
	{"eventrouter is asked to end", false, func(t *testing.T, r *rig) {
		r.book.Mark("SIGTERM")
		if err := r.process.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := r.process.wait(); err != nil {
			t.Errorf("ended with %v:\n%s", err, r.process.said())
		}
		r.restart()
	}},
	{"handlers hang for longer than the broker waits for acknowledgements", false, func(t *testing.T, r *rig) {
		r.control("eval", "application:set_env(rabbit, consumer_timeout, 2000), application:set_env(rabbit, channel_tick_interval, 500).")
		defer r.control("eval", "application:set_env(rabbit, consumer_timeout, 1800000), application:set_env(rabbit, channel_tick_interval, 60000).")
		r.network.Reset() // new channels go by that
		release := make(chan struct{})
		r.setHang(func(req *http.Request) {
			if req.URL.Path == "/large" {
				<-release
			}
		})
		waitFor(t, func() bool { return strings.Contains(r.process.said(), "delivery acknowledgement on channel") },
			func() string { return "the broker closes no channel:\n" + r.process.said() })
		r.setHang(nil)
		close(release)
	}},
	{"a queue is deleted", false, func(t *testing.T, r *rig) {
		// What is in the queue is the operator's to lose: nothing is, when it is deleted.
		r.pause()
		direct(t, r.server.URL, func(ch *amqp091.Channel) error {
			_, err := ch.QueueDelete(r.plan.Pipeline("large").QueueName, false, false, false)
			return err
		})
		waitFor(t, func() bool { return consumers(t, r.server.URL, r.plan.Pipeline("large").QueueName) > 0 },
			func() string { return "the queue does not come back:\n" + r.process.said() })
		r.declared = time.Now()
		r.resume()
	}},
	{"a queue is made anew in another shape", false, func(t *testing.T, r *rig) {
		queues := r.plan.Topology.Queues
		large := queues[slices.IndexFunc(queues, func(q plan.Queue) bool { return q.Name == r.plan.Pipeline("large").QueueName })]
		r.remake(plan.Queue{Name: large.Name})
		r.network.Reset()
		r.flows()
		r.remake(large)
	}},
	{"an exchange is deleted", false, func(t *testing.T, r *rig) {
		// The first event brings it back, with its bindings. Others wait until then: while bindings are missing, the broker confirms what fewer pipelines get.
		r.pause()
		direct(t, r.server.URL, func(ch *amqp091.Channel) error { return ch.ExchangeDelete(r.exchange, false, false) })
		first := r.order("first-"+event.NewID(), 1)
		waitFor(t, func() bool { return r.post(t.Context(), first) == nil }, func() string { return "the exchange does not come back:\n" + r.process.said() })
		r.book.Confirmed(first.ID)
		r.resume()
	}},
	{"a message is over the broker's limit", false, func(t *testing.T, r *rig) {
		large := &event.Event{ID: "too large", Type: "order.created", Data: []byte(`"` + strings.Repeat("x", 17<<20) + `"`)}
		done := make(chan error, 1)
		r.outside.Publish(t.Context(), router.Message{Event: large, Exchange: r.exchange, Key: large.Type, Mandatory: true}, func(err error) { done <- err })
		if err := <-done; !errors.Is(err, router.ErrTooLarge) {
			t.Errorf("AMQP: %v", err)
		}
		status, err := postBody(t.Context(), http.DefaultClient, r.process.http, large.ID, string(large.Data))
		if err == nil && status != http.StatusRequestEntityTooLarge {
			t.Errorf("HTTP: status %d", status)
		}
	}},
	{"the credentials are changed", true, func(t *testing.T, r *rig) {
		r.control("change_password", "rig", "another")
		r.network.Reset()
		waitFor(t, func() bool { return strings.Contains(r.process.said(), "refused the user name or password") },
			func() string { return "it does not say why:\n" + r.process.said() })
		r.control("change_password", "rig", "secret")
	}},
	{"the user may not read for a while", true, func(t *testing.T, r *rig) {
		r.control("set_permissions", "rig", ".*", ".*", "^$")
		r.network.Reset()
		waitFor(t, func() bool { return strings.Contains(r.process.said(), "ACCESS_REFUSED") },
			func() string { return "it does not say why:\n" + r.process.said() })
		r.control("set_permissions", "rig", ".*", ".*", ".*")
	}},
	{"the user may not enter the virtual host", true, func(t *testing.T, r *rig) {
		r.control("clear_permissions", "rig")
		r.network.Reset()
		waitFor(t, func() bool { return strings.Contains(r.process.said(), "virtual host") },
			func() string { return "it does not say why:\n" + r.process.said() })
		r.control("set_permissions", "rig", ".*", ".*", ".*")
	}},
}

// TestNothingIsLostUnderFaults does to a router under load what happens to routers, keeps books, and says how long it takes until events flow again.
func TestNothingIsLostUnderFaults(t *testing.T) {
	t.Parallel()
	s := rabbit.NewOwn(t, rabbit.V4)
	control(t, s, "add_user", "rig", "secret")
	control(t, s, "set_permissions", "rig", ".*", ".*", ".*")
	for _, f := range faultsUnderLoad {
		t.Run(f.name, func(t *testing.T) {
			user := ""
			if f.user {
				user = "rig:secret"
			}
			r := newRig(t, s, user)
			r.goesOn(50)
			f.do(t, r)
			r.flows()
			r.goesOn(50)
			r.balance()
		})
	}
}

// isBlocked waits until the alarm holds publishers back, and the router has been told.
func isBlocked(t *testing.T, r *rig) {
	t.Helper()
	waitFor(t, func() bool { return strings.Contains(r.process.said(), "blocked") },
		func() string { return "publishers are not blocked:\n" + r.process.said() })
}

// direct does something to the broker as an operator.
func direct(t *testing.T, url string, do func(*amqp091.Channel) error) {
	t.Helper()
	conn, err := amqp091.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := do(ch); err != nil {
		t.Fatal(err)
	}
}

// consumers is how many a queue has; of one that is not there it is 0.
func consumers(t *testing.T, url, queue string) (n int) {
	t.Helper()
	direct(t, url, func(ch *amqp091.Channel) error {
		if q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil); err == nil {
			n = q.Consumers
		}
		return nil
	})
	return n
}
