package integration

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/integration/network"
	"github.com/eventrouter/eventrouter/integration/rabbit"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/plan"
)

// TestInstancesThatShareAPipelineKeepItsOrder has two instances share a pipeline with order_by and a single active consumer. Under load, the one at work loses its
// connection, is killed, and ends by SIGTERM, and the other takes over.
func TestInstancesThatShareAPipelineKeepItsOrder(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version rabbit.Version
		key     string
	}{{rabbit.V4, "skip"}, {rabbit.V4, "wait"}, {rabbit.V3, "wait"}} {
		t.Run(string(c.version)+" "+c.key, func(t *testing.T) {
			t.Parallel()
			takeOvers(t, server(t, c.version), c.key)
		})
	}
}

// pair are two instances that share a pipeline, and what they have done.
type pair struct {
	t       *testing.T
	plan    *plan.Plan
	rules   string // file
	url     string // of the receiver
	waits   bool
	proxies [2]*network.Proxy
	run     [2]*process

	mu    sync.Mutex
	tried []string // in the order of the requests
	done  map[string]int
	by    [2]int // done by each
	last  int    // who sent a request last
	wrong []string
}

func takeOvers(t *testing.T, s *rabbit.Server, key string) {
	p := &pair{t: t, waits: key == "wait", done: map[string]int{}}
	hooks := receiver(t, nil, p.answer)
	p.url = hooks.URL
	p.rules, p.plan = writeRules(t, newName(), `
pipelines:
  ordered:
    workers: 4
    order_by: subject
    queue: {single_active_consumer: true}
    retry: {attempts: 10, delays: [50ms], key: `+key+`}
    steps: [{webhook: {url: "${RECEIVER}"}}]
rules: [{name: all, pipelines: [ordered]}]
`)
	defer cleanUp(t, s.URL, p.plan)
	for i := range p.run {
		p.proxies[i] = network.NewProxy(t, s.URL)
		p.start(i)
	}
	keys := []string{"a", "b", "c", "d", "e"}
	b := connect(t, s.URL, nil, amqp.Options{})
	exchange, _ := p.plan.Source("")
	loading, endLoad := context.WithCancel(t.Context())
	defer endLoad()
	sent := make(chan int, 1)
	go func() {
		pace := time.NewTicker(2 * time.Millisecond)
		defer pace.Stop()
		n := 0
		for ; loading.Err() == nil; n++ {
			<-pace.C
			e := &event.Event{ID: fmt.Sprintf("%s-%d", keys[n%len(keys)], n/len(keys)), Source: "/test", Type: "t", Subject: keys[n%len(keys)]}
			if err := send(t.Context(), b, exchange, e); err != nil {
				t.Error(err)
			}
		}
		sent <- n
	}()
	p.goesOn(0, 1)
	for range 2 {
		active := p.active()
		p.proxies[active].Reset()
		p.goesOn(1 - active)

		active = p.active()
		if err := p.run[active].cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		p.goesOn(1 - active)
		_ = p.run[active].wait() // it says that it was killed
		p.start(active)

		active = p.active()
		p.run[active].terminate()
		p.goesOn(1 - active)
		p.start(active)
	}
	endLoad()
	all := <-sent
	waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.done) == all },
		func() string { return fmt.Sprintf("%d events of %d are done", len(p.done), all) })
	settled(t, b, p.plan)
	for _, run := range p.run {
		run.terminate()
	}
	p.check(keys, all)
}

// start runs an instance, behind its part of the network.
func (p *pair) start(i int) {
	p.t.Helper()
	p.run[i] = startProcess(p.t, p.proxies[i].URL, p.rules, fmt.Sprintf("RECEIVER=%s/%d", p.url, i))
}

// answer is the receiver: every tenth event of a key fails twice. It notes what begins before the one before it is done.
func (p *pair) answer(w http.ResponseWriter, r *http.Request, _ []byte) {
	instance := int(r.URL.Path[1] - '0')
	id := r.Header.Get("ce-id")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = instance
	p.tried = append(p.tried, id)
	var n int
	if key, number, _ := strings.Cut(id, "-"); p.waits {
		_, _ = fmt.Sscan(number, &n)
		if before := fmt.Sprintf("%s-%d", key, n-1); n > 0 && p.done[before] == 0 {
			p.wrong = append(p.wrong, fmt.Sprintf("%s began before %s was done", id, before))
		}
	}
	times := 0
	for _, other := range p.tried[max(0, len(p.tried)-1000):] {
		if other == id {
			times++
		}
	}
	if strings.HasSuffix(id, "7") && times < 3 && p.done[id] == 0 {
		http.Error(w, "not yet", http.StatusServiceUnavailable)
		return
	}
	p.done[id]++
	p.by[instance]++
}

// active is who is at work.
func (p *pair) active() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// goesOn waits until one of some instances has done 100 events more.
func (p *pair) goesOn(instances ...int) {
	p.t.Helper()
	count := func() (n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, i := range instances {
			n += p.by[i]
		}
		return n
	}
	before := count()
	waitFor(p.t, func() bool { return count() >= before+100 }, func() string {
		return fmt.Sprintf("%v does not take over:\n%s\n%s", instances, p.run[0].said(), p.run[1].said())
	})
}

// check compares the order in which the events of each key came first with that in which they were sent.
func (p *pair) check(keys []string, all int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.wrong {
		p.t.Error(text)
	}
	seen := map[string]bool{}
	first := map[string][]string{}
	for _, id := range p.tried {
		if key, number, _ := strings.Cut(id, "-"); !seen[id] {
			seen[id] = true
			first[key] = append(first[key], number)
		}
	}
	for i, key := range keys {
		var want []string
		for n := 0; n*len(keys)+i < all; n++ {
			want = append(want, fmt.Sprint(n))
		}
		if !slices.Equal(first[key], want) {
			p.t.Errorf("key %s came in the order %v", key, first[key])
		}
	}
	twice := 0
	for _, n := range p.done {
		twice += n - 1
	}
	p.t.Logf("%d events in %d requests, done by the two %v; done more than once: %d", all, len(p.tried), p.by, twice)
	if p.by[0] < 300 || p.by[1] < 300 {
		p.t.Error("the two did not take over from each other")
	}
}
