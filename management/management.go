// Package management asks RabbitMQ's management HTTP API what is on a broker: also what AMQP does not tell, such as arguments that a declaration
// does not compare, bindings and policies. It reads only.
package management

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// Timeout bounds each request, with its answer.
const Timeout = 30 * time.Second

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 1 << 30

// Client asks one management API about one virtual host. It is safe for concurrent use.
type Client struct {
	base  *url.URL // without user and password
	user  *url.Userinfo
	vhost string
	http  http.Client
}

// Options say how the API is reached. The zero value works.
type Options struct {
	CAFile string // PEM, for https: the certificates that sign the API's; default: the system's authorities
}

// New makes a client of the API at address, an http or https URL with user and password in it (guest without them). Nothing is asked yet.
func New(address, vhost string, o Options) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the URL of the management API cannot be read: write http://user:password@host:15672, with special characters as %XX") // the parser's words would show the password
	}
	rest := *u
	rest.User = nil
	// An @ in the rest ends what seems to be a host or a path and is a password. Nothing of the URL is shown.
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Contains(rest.String(), "@") {
		return nil, errors.New("the URL of the management API has to be http://HOST:PORT or https://HOST:PORT, with USER:PASSWORD@ before HOST, and special characters as %XX")
	}
	user := u.User
	if user == nil {
		user = url.UserPassword("guest", "guest")
	}
	c := &Client{base: u, user: user, vhost: vhost, http: http.Client{Timeout: Timeout}}
	if o.CAFile != "" {
		if err := c.trust(o.CAFile); err != nil {
			return nil, err
		}
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return c, nil
}

// trust has the API's certificate checked against those of a file.
func (c *Client) trust(path string) error {
	if c.base.Scheme != "https" {
		return fmt.Errorf("certificates are for https://, and the URL is %s", c.base.Redacted())
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return err // it names the path
	}
	authorities := x509.NewCertPool()
	if !authorities.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in PEM in %q", path)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authorities}
	c.http.Transport = t
	return nil
}

// Found is what is on a virtual host.
type Found struct {
	Exchanges []Exchange
	Queues    []Queue
	Bindings  []Binding
}

// Exchange is an exchange as the API tells of it.
type Exchange struct {
	Name       string         `json:"name"`
	Kind       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Internal   bool           `json:"internal"`
	Arguments  map[string]any `json:"arguments"`
	Policy     string         `json:"policy"` // the name of the one in force; "" without one
}

// Queue is a queue as the API tells of it.
type Queue struct {
	Name           string         `json:"name"`
	Durable        bool           `json:"durable"`
	AutoDelete     bool           `json:"auto_delete"`
	Exclusive      bool           `json:"exclusive"`
	Arguments      map[string]any `json:"arguments"`
	Policy         string         `json:"policy"`          // the name of the one in force; "" without one
	OperatorPolicy string         `json:"operator_policy"` // likewise
	Effective      Definition     `json:"effective_policy_definition"`
}

// Definition is what the policies in force on a queue set together.
type Definition map[string]any

// UnmarshalJSON takes no definition for an empty one: versions of RabbitMQ write it as {}, [] or "".
func (d *Definition) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] != '{' {
		return nil
	}
	return json.Unmarshal(data, (*map[string]any)(d))
}

// Binding is a binding as the API tells of it. One from the default exchange has no Source.
type Binding struct {
	Source      string         `json:"source"`
	Destination string         `json:"destination"`
	Kind        string         `json:"destination_type"` // queue or exchange
	Key         string         `json:"routing_key"`
	Arguments   map[string]any `json:"arguments"`
}

// Look asks for all exchanges, queues and bindings. Its errors name the URL without the password.
func (c *Client) Look(ctx context.Context) (*Found, error) {
	var f Found
	err := c.get(ctx, "exchanges", "name,type,durable,auto_delete,internal,arguments,policy", &f.Exchanges)
	if err == nil {
		err = c.get(ctx, "queues", "name,durable,auto_delete,exclusive,arguments,policy,operator_policy,effective_policy_definition", &f.Queues)
	}
	if err == nil {
		err = c.get(ctx, "bindings", "source,destination,destination_type,routing_key,arguments", &f.Bindings)
	}
	if err != nil {
		return nil, err
	}
	return &f, nil
}

// get reads a list of objects of the virtual host.
func (c *Client) get(ctx context.Context, kind, columns string, into any) error {
	u := c.base.JoinPath("api", kind, url.PathEscape(c.vhost))
	shown := u.String()
	u.RawQuery = url.Values{"columns": {columns}}.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("asking %s: %w", shown, err)
	}
	password, _ := c.user.Password()
	req.SetBasicAuth(c.user.Username(), password)
	answer, err := c.http.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, which is named already
		}
		if strings.Contains(err.Error(), "malformed HTTP response") {
			err = fmt.Errorf("%w; the management API has another port than AMQP, as a rule 15672", err)
		}
		return fmt.Errorf("asking %s: %w", shown, err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized:
		return fmt.Errorf("asking %s: user %q is refused: it needs the right password, and the tag monitoring or management", shown, c.user.Username())
	default:
		return fmt.Errorf("asking %s: the answer is %s", shown, answer.Status)
	}
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(into); err != nil {
		return fmt.Errorf("asking %s: the answer cannot be read: %w", shown, err)
	}
	return nil
}
