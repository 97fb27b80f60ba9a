package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// receiver plays the services that the pipelines call, with the faults of real ones: notifications is overloaded once, and
// billing cannot read an invoice without a currency, until it is mended.
type receiver struct {
	listener net.Listener
	server   *http.Server

	mu         sync.Mutex
	overloaded map[string]bool // ids that got their one 503
	mended     bool
}

// newReceiver listens on a free port; Serve answers.
func newReceiver() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for webhooks: %w", err)
	}
	r := &receiver{listener: listener, overloaded: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /notifications", r.notifications)
	mux.HandleFunc("POST /automations", r.automations)
	mux.HandleFunc("POST /billing", r.billing)
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return r, nil
}

func (r *receiver) URL() string { return "http://" + r.listener.Addr().String() }

// Serve answers until Close.
func (r *receiver) Serve() error {
	if err := r.server.Serve(r.listener); err != http.ErrServerClosed {
		return err
	}
	return nil
}

func (r *receiver) Close() error { return r.server.Close() }

// notifications is too busy for the first reply to a quote that it sees, and says when to come again.
func (r *receiver) notifications(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	id := req.Header.Get("ce-id")
	r.mu.Lock()
	first := strings.Contains(string(body), "Re: quote") && !r.overloaded[id]
	if first {
		r.overloaded[id] = true
	}
	r.mu.Unlock()
	if first {
		w.Header().Set("Retry-After", "2")
		http.Error(w, "too many notifications at once", http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// automations takes its time.
func (r *receiver) automations(w http.ResponseWriter, req *http.Request) {
	select {
	case <-time.After(150 * time.Millisecond):
		w.WriteHeader(http.StatusAccepted)
	case <-req.Context().Done():
	}
}

func (r *receiver) billing(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(io.LimitReader(req.Body, 1<<20))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	mended := r.mended
	r.mu.Unlock()
	if !mended && !strings.Contains(string(body), `"currency"`) {
		http.Error(w, "an invoice line without a currency", http.StatusUnprocessableEntity)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// mend lets billing take a line without a currency, as if its team had put in a fix.
func (r *receiver) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mended = true
}
