// Package ingress is the HTTP door: it takes CloudEvents, publishes them, and answers when the broker has confirmed them.
package ingress

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/eventrouter/eventrouter/router"
)

// Options say what the door does. Publisher and Default are needed.
type Options struct {
	Publisher router.Publisher
	Default   string            // exchange of POST /events, by its name on the broker
	Exchanges map[string]string // exchanges of POST /events/{exchange}: key in the rules, to name on the broker
	Ready     func() error      // nil: events can be taken; else why not
	Metrics   http.Handler      // of GET /metrics; nil: there is none

	MaxBody     int64         // bytes of a request's body, default 1 MiB
	MaxBatch    int           // events of a batch, default 1000
	MaxInFlight int           // requests worked on at once, default 1024; one more is told to come again
	MaxBuffered int64         // bytes of the bodies of those, default 128 MiB or MaxBody; with more, too
	Timeout     time.Duration // until all of a request's events are confirmed, default 10s

	// Who may send events and read metrics: whoever gives one of the bearer Tokens, or one of the Users (name to password) by basic authentication;
	// everybody, where there are neither. /healthz and /readyz are always open; only who gives a secret is told by /readyz why not.
	Tokens []string
	Users  map[string]string
	Rate   float64 // events a second that are taken, over all clients; 0 is no limit. Over it: 429
}

const (
	defaultBody     = 1 << 20
	defaultBatch    = 1000
	defaultInFlight = 1024
	defaultBuffered = 128 << 20
	defaultTimeout  = 10 * time.Second
	// clientTime is how long a client may take to send its request.
	clientTime = 30 * time.Second
	// answerTime is how long it may take for the answer. It is longer, as net/http reads what is left of a body before it writes.
	answerTime = clientTime + 10*time.Second
)

// door is a handler at work.
type door struct {
	Options
	slots    chan struct{} // one for each request that is worked on
	buffered atomic.Int64  // bytes that their bodies may have
	pace     *pace
	brakes   brakes
	access   *access
}

// New makes the handler of POST /events, POST /events/{exchange}, GET /healthz, GET /readyz and GET /metrics. It is safe for concurrent use.
// [Server] bounds how long requests may take to come; another server needs a ReadTimeout for that.
func New(o Options) http.Handler {
	if o.MaxBody <= 0 {
		o.MaxBody = defaultBody
	}
	if o.MaxBatch <= 0 {
		o.MaxBatch = defaultBatch
	}
	if o.MaxInFlight <= 0 {
		o.MaxInFlight = defaultInFlight
	}
	if o.MaxBuffered <= 0 {
		o.MaxBuffered = defaultBuffered
	}
	o.MaxBuffered = max(o.MaxBuffered, o.MaxBody)
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	a := newAccess(o.Tokens, o.Users)
	d := &door{Options: o, slots: make(chan struct{}, o.MaxInFlight), pace: newPace(o.Rate, o.MaxBatch), brakes: brakes{braked: map[kind]*brake{}}, access: a}
	events := a.guard(http.HandlerFunc(d.events))
	mux := http.NewServeMux()
	mux.Handle("/events", events)
	mux.Handle("/events/{exchange}", events)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, "ok\n") })
	mux.HandleFunc("GET /readyz", d.ready)
	if o.Metrics != nil {
		mux.Handle("GET /metrics", a.guard(o.Metrics))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		notFound("there is nothing here: events go to POST /events").write(w)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hurry(w)
		mux.ServeHTTP(w, r)
	})
}

// hurry gives the client answerTime from now to take the answer. It is called at the beginning, and once more where the answer was waited for.
func hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTime)) // what has no deadlines is no connection
}

// Server makes a server with limits against clients that are slow or send too much of what is no body. ReadTimeout is for the whole request, also for a
// body that nobody asks for and that net/http reads to its end; it is over with the last byte, and so does not bound how long confirms take.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       clientTime,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

// ready tells everybody whether events can be taken, and why not whoever has shown a secret: the reason may name hosts and users.
func (d *door) ready(w http.ResponseWriter, r *http.Request) {
	if d.Ready != nil {
		if err := d.Ready(); err != nil {
			detail := "not ready"
			if d.access.allows(r) {
				detail = err.Error()
			}
			unavailable(detail).write(w)
			return
		}
	}
	writeText(w, "ready\n")
}

func writeText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(text)) // a client that is gone needs no answer
}

// events takes the events of one request.
func (d *door) events(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		problem{Status: http.StatusMethodNotAllowed, Title: "Method not allowed", Detail: "events are sent with POST"}.write(w)
		return
	}
	exchange, p := d.exchange(r.PathValue("exchange"))
	if p != nil {
		p.write(w)
		return
	}
	leave, ok := d.enter(r)
	if !ok {
		unavailable("too many requests are being worked on; send it again in a moment").write(w)
		return
	}
	defer leave()
	r.Body = http.MaxBytesReader(w, r.Body, d.MaxBody)
	events, p := d.decode(r)
	if p != nil {
		p.write(w)
		return
	}
	if p := d.pace.take(len(events)); p != nil {
		p.write(w)
		return
	}
	d.publish(w, r, exchange, events)
}

// enter takes a slot for a request and room for its body, until leave is called.
func (d *door) enter(r *http.Request) (leave func(), ok bool) {
	size := d.MaxBody // where the client does not say
	if r.ContentLength >= 0 {
		size = min(size, r.ContentLength)
	}
	select {
	case d.slots <- struct{}{}:
	default:
		return nil, false
	}
	leave = func() {
		d.buffered.Add(-size)
		<-d.slots
	}
	if d.buffered.Add(size) > d.MaxBuffered {
		leave()
		return nil, false
	}
	return leave, true
}

func (d *door) exchange(key string) (string, *problem) {
	if key == "" {
		return d.Default, nil
	}
	if name, ok := d.Exchanges[key]; ok {
		return name, nil
	}
	p := notFound("the rules have no exchange " + quote(key))
	return "", &p
}
