package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
)

const (
	maxAnswer   = 64 << 10 // bytes that are read of an answer, so that the connection can be used again
	shownAnswer = 200      // bytes of it that an error shows
	// maxRetryAfter bounds what a receiver may ask for.
	maxRetryAfter = 24 * time.Hour
)

// send makes one attempt.
func (w *webhook) send(ctx context.Context, e router.Event) error {
	req, err := w.request(ctx, e)
	if err != nil {
		return pipelines.Permanent(fmt.Errorf("%s: %w", w.shown, err))
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
	return w.failure(res, answer, err)
}

// withoutURL takes the URL off an error, as it may hold secrets.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// failure is what an answer other than 2xx means; broken is why it could not be read to its end.
func (w *webhook) failure(res *http.Response, answer []byte, broken error) error {
	err := fmt.Errorf("%s: %d %s", w.shown, res.StatusCode, http.StatusText(res.StatusCode))
	if text := w.show(answer); text != "" {
		err = fmt.Errorf("%w: %s", err, text)
	}
	if broken != nil {
		err = fmt.Errorf("%w (the answer broke off: %w)", err, broken)
	}
	switch code := res.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooManyRequests, code >= 500:
		if wait := retryAfter(res.Header.Get("Retry-After"), time.Now()); wait > 0 {
			return pipelines.RetryAfter(err, wait)
		}
		return err
	}
	return pipelines.Permanent(err)
}

// show is an answer's beginning on one line, without the secrets that it repeats.
func (w *webhook) show(answer []byte) string {
	text := w.hidden.Replace(strings.ToValidUTF8(string(answer), "\uFFFD"))
	text = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text))
	if len(text) <= shownAnswer {
		return text
	}
	return strings.ToValidUTF8(text[:shownAnswer], "") + "…"
}

// retryAfter reads the header's seconds or date (RFC 9110, section 10.2.3); 0 where it says nothing.
func retryAfter(value string, now time.Time) time.Duration {
	seconds, err := strconv.ParseUint(value, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}
