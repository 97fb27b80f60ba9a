package amqp

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
)

// Options say how the broker is reached. The zero value works for a plain connection.
type Options struct {
	Name  string // shown to the broker's operators; default "eventrouter"
	TLS   TLSOptions
	Hooks router.Hooks

	Heartbeat      time.Duration // default 10s: a peer that is gone is noticed within two or three of them
	ConfirmTimeout time.Duration // a connection on which a confirm is due for so long is given up; default 30s
	StuckTimeout   time.Duration // a consumer with nothing in hand that gets nothing for so long, though its queue has events, is made anew; default 20s
	Window         int           // messages published and not confirmed at most, default 2048
	WindowBytes    int           // bytes of their bodies, default 64 MiB; a larger message goes alone
	MinBackoff     time.Duration // before the first redial, then doubling, with jitter; default 50ms
	MaxBackoff     time.Duration // default 1s, which is how late a broker that comes back may be noticed
}

// TLSOptions are for amqps URLs. The zero value trusts the system's authorities. TLS 1.2 is the least that is spoken.
type TLSOptions struct {
	CAFile     string // PEM, instead of the system's authorities
	CertFile   string // PEM, the client's certificate; the broker then may take the user from it
	KeyFile    string // PEM
	ServerName string // expected in the broker's certificate, if not the URL's host
}

func (o *Options) defaults() {
	set(&o.Name, "eventrouter")
	set(&o.Heartbeat, 10*time.Second)
	set(&o.ConfirmTimeout, 30*time.Second)
	set(&o.StuckTimeout, 20*time.Second)
	set(&o.Window, 2048)
	set(&o.WindowBytes, 64<<20)
	set(&o.MinBackoff, 50*time.Millisecond)
	set(&o.MaxBackoff, time.Second)
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// endpoint is one URL of the broker.
type endpoint struct {
	url      string
	redacted string
	config   amqp091.Config
}

// parseURLs reads URLs that commas part. Its errors name a URL by its number and show nothing of it: where a character of a password is not escaped,
// what seems to be a host, a path or the next URL may be the rest of the password.
func parseURLs(urls string, o *Options) ([]endpoint, error) {
	var given []string
	for raw := range strings.SplitSeq(urls, ",") {
		if raw = strings.TrimSpace(raw); raw != "" {
			given = append(given, raw)
		}
	}
	if len(given) == 0 {
		return nil, errors.New("no broker URL is given")
	}
	var out []endpoint
	for i, raw := range given {
		u, err := parseURL(raw)
		switch {
		case err != nil && len(given) > 1:
			return nil, fmt.Errorf("broker URL %d of %d: %w", i+1, len(given), err)
		case err != nil:
			return nil, fmt.Errorf("broker URL: %w", err)
		}
		e := endpoint{url: raw, redacted: u.Redacted()}
		if e.config, err = o.config(u); err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

func parseURL(raw string) (*url.URL, error) {
	const escape = "in user and password, special characters are written as %XX, a comma too"
	if scheme, _, _ := strings.Cut(raw, "://"); !strings.EqualFold(scheme, "amqp") && !strings.EqualFold(scheme, "amqps") {
		return nil, errors.New("it begins with amqp:// or amqps://; " + escape)
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("it cannot be parsed: write amqp://user:password@host:5672/vhost; " + escape)
	}
	if port, err := strconv.Atoi(u.Port()); u.Port() != "" && (err != nil || port < 1 || port > 65535) || strings.Count(u.Host, ":") > 1 && u.Host[0] != '[' {
		return nil, errors.New("after the host comes a port up to 65535, and an IPv6 address is in brackets; " + escape)
	}
	rest := *u
	rest.User = nil
	if strings.Contains(rest.String(), "@") {
		return nil, errors.New("there is an @ after the host; " + escape)
	}
	if _, err := amqp091.ParseURI(raw); err != nil { // its words would show what they are about
		return nil, errors.New("there are no spaces in it, and heartbeat, connection_timeout and channel_max are whole numbers; " + escape)
	}
	return u, nil
}

// config is that of connections to a URL.
func (o *Options) config(u *url.URL) (amqp091.Config, error) {
	c := amqp091.Config{Heartbeat: o.Heartbeat, Locale: "en_US"}
	if u.Scheme != "amqps" {
		return c, nil
	}
	var err error
	if c.TLSClientConfig, err = o.TLS.config(u.Hostname()); err != nil {
		return c, err
	}
	if o.TLS.CertFile != "" && u.User == nil {
		c.SASL = []amqp091.Authentication{&amqp091.ExternalAuth{}}
	}
	return c, nil
}

func (o TLSOptions) config(host string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	if o.ServerName != "" {
		c.ServerName = o.ServerName
	}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("certificate authority: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("certificate authority: no certificate in PEM in %q", o.CAFile)
		}
	}
	if o.CertFile != "" || o.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// VHost is the virtual host that a broker's URL names; "/" where it names none. The error does not show the URL.
func VHost(url string) (string, error) {
	u, err := amqp091.ParseURI(url)
	if err != nil {
		return "", errors.New("the broker's URL cannot be read")
	}
	return u.Vhost, nil
}
