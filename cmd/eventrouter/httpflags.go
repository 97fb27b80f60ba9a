package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/eventrouter/eventrouter/router/ingress"
)

// httpFlags say how HTTP is served, and to whom.
type httpFlags struct {
	listen   string
	maxBody  int64
	inFlight int
	confirm  time.Duration
	rate     float64
	tokens   string
	users    string
	cert     string
	key      string
}

// The variables that hold secrets themselves; there are no flags for those, as everybody on a machine can read command lines.
const (
	tokensVariable = "EVENTROUTER_HTTP_TOKENS"
	usersVariable  = "EVENTROUTER_HTTP_USERS"
)

func (h *httpFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&h.listen, "http", "127.0.0.1:8080", "address to serve HTTP on; empty: no HTTP")
	flags.Int64Var(&h.maxBody, "http-max-body", 1<<20, "largest body of a request, in bytes")
	flags.IntVar(&h.inFlight, "http-max-requests", 1024, "requests worked on at once; one more is answered with 503")
	flags.DurationVar(&h.confirm, "http-confirm-timeout", 10*time.Second, "time until the events of a request are confirmed; over it: 503")
	flags.Float64Var(&h.rate, "http-rate", 0, "events a second that are taken, over all clients; over it: 429; 0 is no limit")
	flags.StringVar(&h.tokens, "http-token-file", "", "file with the bearer tokens that open /events and /metrics, one a line")
	flags.StringVar(&h.users, "http-user-file", "", "file with users that may do so, name:password, one a line")
	flags.StringVar(&h.cert, "http-cert", "", "file with the certificate (PEM) to serve HTTPS with")
	flags.StringVar(&h.key, "http-key", "", "file with its key (PEM)")
}

// validate reports a file of secrets that is given as nothing, such as an empty variable of a script: without one, the door would be open.
func (h *httpFlags) validate(c *console, cmd *cobra.Command) error {
	for _, name := range []string{"http-token-file", "http-user-file"} {
		f := cmd.Flags().Lookup(name)
		if _, set := c.env(envName(f)); h.listen != "" && f.Value.String() == "" && (f.Changed || set) {
			return usagef(cmd, "--%s (%s) is given and empty: name a file, or leave it out to have none", name, envName(f))
		}
	}
	return nil
}

// access fills in who may use the door.
func (h *httpFlags) access(c *console, o *ingress.Options) error {
	tokens, err := secrets(c, tokensVariable, "--http-token-file", h.tokens)
	if err != nil {
		return err
	}
	users, err := secrets(c, usersVariable, "--http-user-file", h.users)
	if err != nil {
		return err
	}
	for i, line := range users {
		name, password, ok := strings.Cut(line, ":")
		if !ok || name == "" || password == "" {
			return fmt.Errorf("users for HTTP: number %d is not written as name:password", i+1)
		}
		if o.Users == nil {
			o.Users = map[string]string{}
		}
		o.Users[name] = password
	}
	o.Tokens, o.Rate = tokens, h.rate
	return nil
}

// secrets reads a list from a variable, where commas part it, and from a file, where lines do.
func secrets(c *console, variable, flag, path string) ([]string, error) {
	var out []string
	add := func(s string) {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	value, set := c.env(variable)
	for s := range strings.SplitSeq(value, ",") {
		add(s)
	}
	if set && len(out) == 0 {
		return nil, fmt.Errorf("environment variable %s is set, and nothing is in it: everybody could come in; unset it to have none", variable)
	}
	if path == "" {
		return out, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	before := len(out)
	for line := range strings.Lines(string(text)) {
		add(line)
	}
	if len(out) == before {
		return nil, fmt.Errorf("%s: %q is empty: nobody could come in, or, without it, everybody", flag, path)
	}
	return out, nil
}

// encrypt has the server speak TLS, where a certificate is given.
func (h *httpFlags) encrypt(l net.Listener) (listener net.Listener, scheme string, err error) {
	if h.cert == "" && h.key == "" {
		return l, "http://", nil
	}
	pair, err := tls.LoadX509KeyPair(h.cert, h.key)
	if err != nil {
		return nil, "", fmt.Errorf("--http-cert and --http-key: %w", err)
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"},
	}), "https://", nil
}

// warnOpen tells of a door that other machines can reach and that asks for nothing.
func warnOpen(log *zap.Logger, addr net.Addr, o *ingress.Options) {
	tcp, ok := addr.(*net.TCPAddr)
	if ok && !tcp.IP.IsLoopback() && len(o.Tokens)+len(o.Users) == 0 {
		log.Warn("HTTP is open to every machine that reaches it: anybody can send events and read metrics; see --http-token-file",
			zap.String("http", addr.String()))
	}
}

// serverWith makes the server, whose own complaints go to the log.
func serverWith(log *zap.Logger, h http.Handler) *http.Server {
	s := ingress.Server(h)
	s.ErrorLog, _ = zap.NewStdLogAt(log.Named("http"), zap.DebugLevel) // the level is one that there is
	return s
}
