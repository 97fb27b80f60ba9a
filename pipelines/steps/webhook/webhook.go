// Package webhook is the step that sends each event to a URL, as CloudEvents over HTTP.
package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/eventrouter/eventrouter/pipelines"
)

// Options say where events are sent, and how. URL is needed. None of them is ever taken from an event.
type Options struct {
	// URL is one of http or https. Errors show its scheme and host, and no more of it.
	URL        string
	Structured bool // the whole event as a JSON document; else its data is the body and its attributes are headers
	// Secret signs each request by the Standard Webhooks scheme: whsec_ and base64, or any other text. Empty: not signed.
	Secret string
	// Headers are more request headers. Those that the step itself sets are an error; a Content-Type is for events without one.
	Headers map[string]string
	// Hide are more texts that errors do not show where a receiver's answer repeats them, such as what variables hold; those of less than 6 bytes are
	// shown. What the other options hold is hidden without that.
	Hide      []string
	Timeout   time.Duration // of one request with its answer, default 15s
	Workers   int           // requests at once, for which connections are kept; default 2
	UserAgent string        // default Go's
}

const (
	defaultTimeout   = 15 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 90 * time.Second
	leastIdle        = 2
)

// New makes the step, which may be called by any number of goroutines. 2xx is done; 408, 429, 5xx and network errors are
// tried again, no sooner than Retry-After says; anything else, redirects among it, which are not followed, is permanent.
// closeIdle lets the connections go that no request is using.
func New(o Options) (h pipelines.Handler, closeIdle func(), err error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, nil, errors.New("url is not one of http or https") // url.Parse's own error shows all of it
	}
	if err := checkHeaders(o); err != nil {
		return nil, nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	w := &webhook{
		Options: o,
		shown:   shown(u),
		hidden:  hidden(u, &o),
		client:  &http.Client{Transport: direct{transport(o.Workers)}, Timeout: o.Timeout},
	}
	if o.Secret != "" {
		if w.signer, err = signer(o.Secret); err != nil {
			return nil, nil, err
		}
	}
	return w.send, w.client.CloseIdleConnections, nil
}

type webhook struct {
	Options
	shown  string            // of the URL
	hidden *strings.Replacer // takes out what is
	client *http.Client
	signer *standardwebhooks.Webhook // nil: not signed
}

// shown is what errors show of a URL: many services have their secret in the path.
func shown(u *url.URL) string { return u.Scheme + "://" + u.Host }

// transport keeps a connection for each worker.
func transport(workers int) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    handshakeTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    max(leastIdle, workers),
		MaxResponseHeaderBytes: maxAnswer,
	}
}

// direct hides where a redirect leads from the client, which would go there.
type direct struct{ *http.Transport }

func (d direct) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := d.Transport.RoundTrip(req)
	if err == nil && res.StatusCode/100 == 3 {
		res.Header.Del("Location")
	}
	return res, err
}

func signer(secret string) (*standardwebhooks.Webhook, error) {
	encoded, isEncoded := strings.CutPrefix(secret, "whsec_")
	if !isEncoded {
		return standardwebhooks.NewWebhookRaw([]byte(secret))
	}
	s, err := standardwebhooks.NewWebhook(encoded)
	if err != nil || encoded == "" {
		return nil, errors.New("secret is not base64 after whsec_")
	}
	return s, nil
}

// own are the headers that options cannot set: the step does, or net/http does whatever they say.
var own = map[string]bool{"Content-Length": true, "Transfer-Encoding": true, "Trailer": true, headerAttempt: true}

func checkHeaders(o Options) error {
	for name, value := range o.Headers {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !isToken(name):
			return fmt.Errorf("header %q is no name of a header", name)
		case own[canonical], strings.HasPrefix(canonical, "Ce-"), strings.HasPrefix(canonical, "Webhook-"),
			canonical == "Content-Type" && o.Structured:
			return fmt.Errorf("header %q is set by the step itself", name)
		case encode(value, isValue) != value:
			return fmt.Errorf("header %q: its value holds a character that cannot stand in a header", name)
		}
	}
	return nil
}
