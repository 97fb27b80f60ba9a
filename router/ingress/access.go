package ingress

import (
	"crypto/sha256"
	"crypto/subtle"
	"math"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

// access says who may send events and read metrics: whoever knows one of the secrets, or everybody, where there are none. Secrets are kept and
// compared as hashes, all of them each time, so that how long an answer takes tells nothing about them.
type access struct {
	tokens, users [][sha256.Size]byte
}

func newAccess(tokens []string, users map[string]string) *access {
	a := &access{}
	for _, t := range tokens {
		a.tokens = append(a.tokens, sha256.Sum256([]byte(t)))
	}
	for name, password := range users {
		a.users = append(a.users, sha256.Sum256([]byte(name+":"+password)))
	}
	return a
}

// guard lets requests through to h that know a secret.
func (a *access) guard(h http.Handler) http.Handler {
	if len(a.tokens)+len(a.users) == 0 {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.allows(r) {
			h.ServeHTTP(w, r)
			return
		}
		if len(a.tokens) > 0 {
			w.Header().Add("WWW-Authenticate", `Bearer realm="eventrouter"`)
		}
		if len(a.users) > 0 {
			w.Header().Add("WWW-Authenticate", `Basic realm="eventrouter", charset="UTF-8"`)
		}
		problem{Title: "Unauthorized", Status: http.StatusUnauthorized, Detail: "this needs " + a.wanted()}.write(w)
	})
}

func (a *access) wanted() string {
	switch {
	case len(a.users) == 0:
		return "a bearer token that is known here"
	case len(a.tokens) == 0:
		return "a user and password that are known here"
	}
	return "a bearer token, or a user and password, that are known here"
}

// allows holds of requests with a secret that is known; where there are none, of none.
func (a *access) allows(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		token = strings.TrimSpace(token)
		return token != "" && among(a.tokens, token) // an empty one is that of a program whose own variable was empty
	}
	name, password, ok := r.BasicAuth()
	return ok && among(a.users, name+":"+password)
}

func among(secrets [][sha256.Size]byte, given string) bool {
	hash := sha256.Sum256([]byte(given))
	found := 0
	for i := range secrets {
		found |= subtle.ConstantTimeCompare(secrets[i][:], hash[:])
	}
	return found == 1
}

// pace bounds how many events are taken in a second, over all clients.
type pace struct{ limiter *rate.Limiter }

// newPace allows bursts of a second's events, and of whole batches. perSecond 0 is no limit.
func newPace(perSecond float64, largest int) *pace {
	if perSecond <= 0 {
		return &pace{rate.NewLimiter(rate.Inf, 0)}
	}
	return &pace{rate.NewLimiter(rate.Limit(perSecond), max(int(math.Ceil(perSecond)), largest))}
}

// take reports nil where n events may be taken now, and otherwise when they may.
func (p *pace) take(n int) *problem {
	now := time.Now()
	reserved := p.limiter.ReserveN(now, n)
	wait := reserved.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	reserved.CancelAt(now)
	return &problem{
		Title: "Too many events", Status: http.StatusTooManyRequests, retryAfter: int(math.Ceil(wait.Seconds())),
		Detail: "more events come than are taken in a second; none of this request was published",
	}
}
