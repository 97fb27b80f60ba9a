// Package rabbit gets a real RabbitMQ for tests and benchmarks: the one at EVENTROUTER_TEST_AMQP_URL; else one in a container, from an image that is
// there, or can be pulled, or can be built from Debian's packages; else one from an installed rabbitmq-server; else, on Debian as root, it installs that.
package rabbit

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// Version names a release line.
type Version string

const (
	V4 Version = "4"    // the newest at hand: 4.x, or where nothing but an older one is installed, that
	V3 Version = "3.10" // the oldest that is supported
)

// Server is a RabbitMQ. Where it was made here it can be killed and started again, with what it has on disk.
type Server struct {
	URL        string // amqp://guest:guest@…/
	Management string // URL of its management API; "" where it is not known
	How        string // how it was found or made
	Version    string // as it says itself

	kill  func(context.Context) error // nil where it is not ours
	start func(context.Context) error
	stop  func(context.Context) error // nil where it is no container
	ctl   func(ctx context.Context, args ...string) error
	end   func() error

	container string // its id; "" where it is none
}

// source is one way to a RabbitMQ.
type source struct {
	name string
	get  func(context.Context, Version) (*Server, error)
}

// Get finds or makes a server, and waits until it takes connections. EVENTROUTER_TEST_BROKER names one way (url, docker, binary or debian) for trying it.
func Get(ctx context.Context, v Version) (*Server, error) {
	var errs []error
	only := os.Getenv("EVENTROUTER_TEST_BROKER")
	for _, s := range []source{{"url", given}, {"docker", inDocker}, {"binary", installed}, {"debian", install}} {
		if only != "" && s.name != only {
			continue
		}
		server, err := s.get(ctx, v)
		if err == nil {
			server.How = s.name + ": " + server.How
			if err = server.Ready(ctx); err == nil {
				return server, nil
			}
			err = errors.Join(err, server.Close())
		}
		errs = append(errs, fmt.Errorf("%s: %w", s.name, err))
		if !errors.Is(err, errNotGiven) {
			fmt.Fprintf(os.Stderr, "RabbitMQ %s: %v\n", v, errs[len(errs)-1]) // another may be found, but not the one that was looked for first
		}
	}
	if len(errs) == 0 {
		return nil, fmt.Errorf("EVENTROUTER_TEST_BROKER is %q, and not url, docker, binary or debian", only)
	}
	return nil, fmt.Errorf("no RabbitMQ %s: %w", v, errors.Join(errs...))
}

var errNotGiven = errors.New("EVENTROUTER_TEST_AMQP_URL is not set")

// given is the server that the environment names.
func given(_ context.Context, v Version) (*Server, error) {
	url := os.Getenv("EVENTROUTER_TEST_AMQP_URL")
	if url == "" {
		return nil, errNotGiven
	}
	if v != V4 {
		return nil, errors.New("EVENTROUTER_TEST_AMQP_URL counts for version 4 only")
	}
	return &Server{URL: url, How: "EVENTROUTER_TEST_AMQP_URL"}, nil
}

// Own reports whether the server was made here, so that it can be killed.
func (s *Server) Own() bool { return s.kill != nil }

// Kill ends the server as kill -9 does.
func (s *Server) Kill(ctx context.Context) error { return s.kill(ctx) }

// Start starts a killed server again and waits until it takes connections.
func (s *Server) Start(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	return s.Ready(ctx)
}

// Control runs rabbitmqctl on a server that was made here.
func (s *Server) Control(ctx context.Context, args ...string) error { return s.ctl(ctx, args...) }

// Ready waits until the server takes connections, for two minutes at most.
func (s *Server) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := amqp091.DialConfig(s.URL, amqp091.Config{Dial: amqp091.DefaultDial(5 * time.Second)})
		if err == nil {
			s.Version, _ = conn.Properties["version"].(string)
			return conn.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("RabbitMQ (%s) takes no connections: %w", s.How, err)
		case <-tick.C:
		}
	}
}

// Close ends the server, if it was made here, and deletes all that it had.
func (s *Server) Close() error {
	if s.end == nil {
		return nil
	}
	return s.end()
}

// New gets a server for one test. Where there is none the test is skipped, with the reason; in CI it fails.
func New(t testing.TB, v Version) *Server {
	t.Helper()
	s, err := Get(t.Context(), v)
	if err != nil {
		Missing(t, err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("ending RabbitMQ: %v", err)
		}
	})
	t.Logf("RabbitMQ %s, %s", s.Version, s.How)
	return s
}

// NewOwn is New for tests that kill the server.
func NewOwn(t testing.TB, v Version) *Server {
	t.Helper()
	s := New(t, v)
	if !s.Own() {
		Missing(t, errors.New("the RabbitMQ at EVENTROUTER_TEST_AMQP_URL cannot be killed"))
	}
	return s
}

// Missing ends a test that lacks what it needs.
func Missing(t testing.TB, err error) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// freePort finds a port of the loopback interface that nobody listens on.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func url(port int) string { return fmt.Sprintf("amqp://guest:guest@127.0.0.1:%d/", port) }
