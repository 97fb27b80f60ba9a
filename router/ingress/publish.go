package ingress

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// publish hands the events to the broker and answers when it has spoken of them all.
func (d *door) publish(w http.ResponseWriter, r *http.Request, exchange string, events []*event.Event) {
	passage, p := d.brakes.enter(exchange, events)
	if p != nil {
		p.write(w)
		return
	}
	ctx, cancel := context.WithTimeoutCause(r.Context(), d.Timeout, fmt.Errorf("no confirm within %s", d.Timeout))
	defer cancel()
	errs := make([]error, len(events))
	var pending sync.WaitGroup
	for i, e := range events {
		pending.Add(1)
		d.Publisher.Publish(ctx, router.Message{Event: e, Exchange: exchange, Key: e.Type, Mandatory: true}, func(err error) {
			errs[i] = err
			pending.Done()
		})
	}
	pending.Wait()
	passage.leave(events, errs)
	if errors.Join(errs...) != nil {
		failure(events, errs).write(w)
		return
	}
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	w.Header().Set("Content-Type", "application/json")
	hurry(w)
	w.WriteHeader(http.StatusAccepted)
	_ = json.NewEncoder(w).Encode(map[string][]string{"ids": ids}) // a client that is gone needs no answer
}

// failure is the answer where not all events are confirmed.
func failure(events []*event.Event, errs []error) problem {
	var p problem
	for i, err := range errs {
		if err == nil {
			p.Confirmed = append(p.Confirmed, events[i].ID)
			continue
		}
		// What may be mended by sending again outweighs what may not.
		if status, title := statusOf(err); p.Status == 0 || status == http.StatusServiceUnavailable {
			p.Status, p.Title = status, title
		}
		p.Errors = append(p.Errors, eventError{Index: i, ID: events[i].ID, Detail: err.Error()})
	}
	p.Detail = p.Errors[0].Detail
	if len(events) > 1 {
		p.Detail = fmt.Sprintf("%d of %d events are not confirmed; the first: %s", len(p.Errors), len(events), p.Detail)
	} else {
		p.Errors = nil
	}
	if len(p.Confirmed) > 0 {
		p.Detail += "; those that are listed as confirmed come twice if they are sent again"
	}
	return p
}

func statusOf(err error) (status int, title string) {
	switch {
	case errors.Is(err, router.ErrTooLarge):
		return http.StatusRequestEntityTooLarge, "Too large"
	case errors.Is(err, router.ErrInvalid):
		return http.StatusBadRequest, "Not an event"
	case errors.Is(err, router.ErrUnroutable):
		return http.StatusUnprocessableEntity, "No queue takes it"
	}
	return http.StatusServiceUnavailable, "Not confirmed"
}
