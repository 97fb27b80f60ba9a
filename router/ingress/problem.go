package ingress

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// problem is an answer that is no success, as a problem document (RFC 9457).
type problem struct {
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail"`
	Errors []eventError `json:"errors,omitempty"` // of a batch
	// Confirmed are the ids of a batch's events that the broker has taken all the same: sent again, they come twice.
	Confirmed []string `json:"confirmed,omitempty"`

	retryAfter int // seconds, of the header; 0: of 503 the least, else none
}

// eventError is what is wrong with one event of a batch.
type eventError struct {
	Index  int    `json:"index"` // from 0
	ID     string `json:"id,omitempty"`
	Detail string `json:"detail"`
}

// soon is when a client may try again that was refused for the moment, in seconds.
const soon = 1

func (p problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	if p.Status == http.StatusServiceUnavailable && p.retryAfter == 0 {
		p.retryAfter = soon
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	hurry(w)
	w.WriteHeader(p.Status)
	_ = json.NewEncoder(w).Encode(p) // a client that is gone needs no answer
}

func badRequest(detail string) *problem {
	return &problem{Title: "Not an event", Status: http.StatusBadRequest, Detail: detail}
}

func unavailable(detail string) problem {
	return problem{Title: "Not taken", Status: http.StatusServiceUnavailable, Detail: detail}
}

func notFound(detail string) problem {
	return problem{Title: "Not found", Status: http.StatusNotFound, Detail: detail}
}

// quote writes a client's text into an answer, cut to a bearable length.
func quote(s string) string {
	if len(s) > 100 {
		s = s[:100] + "…"
	}
	return strconv.Quote(s)
}
