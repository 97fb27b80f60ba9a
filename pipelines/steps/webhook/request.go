package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

const (
	headerAttempt = "Eventrouter-Attempt"
	// noSource stands for the source of an event that has none: CloudEvents demands one.
	noSource = "/"
)

// request makes the request of an event: where it goes and what it is allowed to do come from the options alone.
func (w *webhook) request(ctx context.Context, e router.Event) (*http.Request, error) {
	if e.Source == "" {
		e.Source = noSource
	}
	body := e.Data
	if w.Structured {
		e.Headers = nil // they are its publisher's and the broker's, and no CloudEvents attributes
		var err error
		if body, err = e.MarshalJSON(); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the request cannot be made") // the cause would show the URL
	}
	w.optionHeaders(req)
	if w.Structured {
		req.Header.Set("Content-Type", "application/cloudevents+json")
	} else if err := binaryHeaders(req.Header, &e); err != nil {
		return nil, err
	}
	if a := pipelines.AttemptOf(ctx); a.Number > 0 {
		req.Header.Set(headerAttempt, strconv.Itoa(a.Number))
	}
	return req, w.sign(req, e.ID, body)
}

func (w *webhook) optionHeaders(req *http.Request) {
	if w.UserAgent != "" {
		req.Header.Set("User-Agent", w.UserAgent)
	}
	for name, value := range w.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
}

// sign adds the headers of Standard Webhooks 1.0: the id is the same with every attempt, so that the receiver can tell.
func (w *webhook) sign(req *http.Request, id string, body []byte) error {
	if w.signer == nil {
		return nil
	}
	now := time.Now()
	id = headerText(id)
	signature, err := w.signer.Sign(id, now, body)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}
