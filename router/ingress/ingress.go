// Package ingress is the HTTP door: it takes CloudEvents, publishes them, and answers when the broker has confirmed them.
package ingress

import (
	"net/http"
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
	Timeout     time.Duration // until all of a request's events are confirmed, default 10s
}

const (
	defaultBody     = 1 << 20
	defaultBatch    = 1000
	defaultInFlight = 1024
	defaultTimeout  = 10 * time.Second
	// bodyTime is how long a client may take for its body.
	bodyTime = 30 * time.Second
)

// door is a handler at work.
type door struct {
	Options
	slots chan struct{} // one for each request that is worked on
}

// New makes the handler of POST /events, POST /events/{exchange}, GET /healthz, GET /readyz and GET /metrics. It is safe for concurrent use.
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
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	d := &door{Options: o, slots: make(chan struct{}, o.MaxInFlight)}
	mux := http.NewServeMux()
	mux.HandleFunc("/events", d.events)
	mux.HandleFunc("/events/{exchange}", d.events)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeText(w, "ok\n") })
	mux.HandleFunc("GET /readyz", d.ready)
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		notFound("there is nothing here: events go to POST /events").write(w)
	})
	return mux
}

// Server makes a server with limits against clients that are slow or send too much of what is no body.
func Server(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

func (d *door) ready(w http.ResponseWriter, _ *http.Request) {
	if d.Ready != nil {
		if err := d.Ready(); err != nil {
			unavailable(err.Error()).write(w)
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
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	default:
		unavailable("too many requests are being worked on; send it again in a moment").write(w)
		return
	}
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)); err == nil {
		defer func() { _ = http.NewResponseController(w).SetReadDeadline(time.Time{}) }() // of the next request
	}
	r.Body = http.MaxBytesReader(w, r.Body, d.MaxBody)
	events, p := d.decode(r)
	if p != nil {
		p.write(w)
		return
	}
	d.publish(w, r, exchange, events)
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
