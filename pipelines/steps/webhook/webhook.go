// Package webhook is the step that sends each event to a URL, as CloudEvents over HTTP.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

// Options say where events are sent, and how. URL is needed. None of them is ever taken from an event.
type Options struct {
	URL        string // http or https
	Structured bool   // the whole event as a JSON document; else its data is the body and its attributes are headers
	// Secret signs each request by the Standard Webhooks scheme: whsec_ and base64, or any other text. Empty: not signed.
	Secret    string
	Headers   map[string]string
	Timeout   time.Duration // of one request, default 15s
	Workers   int           // requests at once, for which connections are kept; default 1
	UserAgent string
}

const (
	defaultTimeout = 15 * time.Second
	maxAnswer      = 64 << 10 // bytes that are read of an answer, so that the connection can be used again
	shownAnswer    = 200      // bytes of it that an error shows
)

// New makes the step. 2xx is done; 408, 429, 5xx and network errors are tried again, no sooner than Retry-After says; anything else, redirects
// among it, which are not followed, is permanent. close lets the connections go.
func New(o Options) (h pipelines.Handler, closeIdle func(), err error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, errors.New("url is not one of http or https")
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = max(2, o.Workers)
	w := &webhook{Options: o, shown: shown(u), client: &http.Client{
		Transport:     transport,
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if o.Secret != "" {
		if w.signer, err = signer(o.Secret); err != nil {
			return nil, nil, err
		}
	}
	return w.send, transport.CloseIdleConnections, nil
}

func signer(secret string) (*standardwebhooks.Webhook, error) {
	if strings.HasPrefix(secret, "whsec_") {
		s, err := standardwebhooks.NewWebhook(secret)
		if err != nil {
			return nil, errors.New("secret is not base64 after whsec_")
		}
		return s, nil
	}
	return standardwebhooks.NewWebhookRaw([]byte(secret))
}

// shown is the URL without what may be secret in it.
func shown(u *url.URL) string {
	short := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	return short.String()
}

type webhook struct {
	Options
	shown  string
	client *http.Client
	signer *standardwebhooks.Webhook
}

func (w *webhook) send(ctx context.Context, e router.Event) error {
	req, err := w.request(ctx, &e)
	if err != nil {
		return pipelines.Permanent(err)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", w.shown, withoutURL(err))
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 == 2 {
		return nil // it has been taken, whatever became of the answer's rest
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", w.shown, res.Status, err)
	}
	return w.failure(res, answer)
}

// withoutURL takes the URL off an error, as it may hold secrets.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

func (w *webhook) failure(res *http.Response, answer []byte) error {
	text := strings.TrimSpace(strings.ToValidUTF8(string(answer[:min(len(answer), shownAnswer)]), "\uFFFD"))
	err := fmt.Errorf("%s: %s", w.shown, res.Status)
	if text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	switch code := res.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		return pipelines.RetryAfter(err, retryAfter(res.Header.Get("Retry-After"), time.Now()))
	}
	return pipelines.Permanent(err)
}

// maxRetryAfter bounds what a receiver may ask for.
const maxRetryAfter = 24 * time.Hour

// retryAfter reads the header's seconds or date (RFC 9110, section 10.2.3); 0 where it says nothing.
func retryAfter(value string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return min(time.Duration(seconds)*time.Second, maxRetryAfter)
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}

func (w *webhook) request(ctx context.Context, e *router.Event) (*http.Request, error) {
	body := e.Data
	if w.Structured {
		var err error
		if body, err = e.MarshalJSON(); err != nil {
			return nil, err
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the request cannot be made")
	}
	if w.Structured {
		req.Header.Set("Content-Type", "application/cloudevents+json")
	} else {
		binaryHeaders(req.Header, e)
	}
	if a := pipelines.AttemptOf(ctx); a.Number > 0 {
		req.Header.Set("Eventrouter-Attempt", strconv.Itoa(a.Number))
	}
	if w.UserAgent != "" {
		req.Header.Set("User-Agent", w.UserAgent)
	}
	for name, value := range w.Headers {
		req.Header.Set(name, value)
	}
	return req, w.sign(req, e, body)
}

// sign adds the headers of Standard Webhooks 1.0: the id is the same with every attempt, so that the receiver can tell.
func (w *webhook) sign(req *http.Request, e *router.Event, body []byte) error {
	if w.signer == nil {
		return nil
	}
	now := time.Now()
	id := headerText(e.ID)
	signature, err := w.signer.Sign(id, now, body)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	req.Header.Set(standardwebhooks.HeaderWebhookID, id)
	req.Header.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(standardwebhooks.HeaderWebhookSignature, signature)
	return nil
}
