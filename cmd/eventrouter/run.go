package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/eventrouter/eventrouter/amqp"
	"github.com/eventrouter/eventrouter/amqp/embedded"
	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/pipelines/steps"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/ingress"
	"github.com/eventrouter/eventrouter/router/metrics"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// runOptions are the flags of run.
type runOptions struct {
	rules    rulesFlag
	broker   brokerFlags
	log      logFlags
	embedded string
	http     string
	connect  time.Duration
	drain    time.Duration
	maxBody  int64
	inFlight int
	confirm  time.Duration
	noRun    bool
}

func (c *console) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Declare what the rules need, route events, and run the pipelines",
		Long: `Declare on the broker what the rules need, route events, run the pipelines that have steps, and serve HTTP:

  POST /events    takes CloudEvents, and answers 202 when the broker has confirmed them
  GET  /healthz   the process is alive
  GET  /readyz    the broker is connected and takes events
  GET  /metrics   for Prometheus

Without --broker it starts a broker of its own, which keeps events in memory only: for trying, not for keeping.

On SIGTERM or Ctrl-C it stops taking events, finishes what is in hand, for no longer than --drain, and ends;
what is not finished by then goes back to its queue. A second signal ends it at once.`,
		Example: `  eventrouter run
  eventrouter run --broker amqp://user:pass@rabbit-1,amqp://user:pass@rabbit-2 --rules /etc/eventrouter
  EVENTROUTER_BROKER=amqps://user:pass@rabbit eventrouter run --broker-ca ca.pem --http :8080`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd, &o) },
	}
	o.rules.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.http, "http", "127.0.0.1:8080", "address to serve HTTP on; empty: no HTTP")
	flags.Int64Var(&o.maxBody, "http-max-body", 1<<20, "largest body of a request, in bytes")
	flags.IntVar(&o.inFlight, "http-max-requests", 1024, "requests worked on at once; one more is answered with 503")
	flags.DurationVar(&o.confirm, "http-confirm-timeout", 10*time.Second, "time until the events of a request are confirmed; over it: 503")
	flags.StringVar(&o.embedded, "embedded-listen", defaultListen, "address of the embedded broker, where no --broker is given")
	flags.DurationVar(&o.connect, "connect-timeout", 30*time.Second, "how long to wait for the broker at the start")
	flags.DurationVar(&o.drain, "drain", 30*time.Second, "how long to finish what is in hand at the end")
	flags.BoolVar(&o.noRun, "no-pipelines", false, "route, but leave the pipelines to other programs")
	o.broker.add(cmd, "one is started in this process")
	o.log.add(cmd)
	return cmd
}

// running is one `run`.
type running struct {
	*runOptions
	console *console
	plan    *plan.Plan
	log     *zap.Logger
	metrics *metrics.Metrics
	broker  *amqp.Broker
}

func (c *console) run(cmd *cobra.Command, o *runOptions) error {
	log, err := o.log.logger(c, cmd)
	if err != nil {
		return err
	}
	if err := o.broker.validate(cmd); err != nil {
		return err
	}
	if o.broker.given() {
		if _, err := o.broker.open(cmd, "", router.Hooks{}); err != nil { // before the rules, as it is quicker to mend
			return err
		}
	}
	file, p, err := o.rules.load(c, cmd, nil)
	if err != nil {
		return err
	}
	url, stopBroker, err := o.startBroker(log)
	if err != nil {
		return err
	}
	defer stopBroker()
	r := &running{runOptions: o, console: c, plan: p, log: log, metrics: metrics.New()}
	hooks := router.Join(logHooks(log), r.metrics.Hooks())
	if r.broker, err = o.broker.open(cmd, url, hooks); err != nil {
		return err
	}
	return r.run(cmd.Context(), file, hooks)
}

// startBroker starts the embedded broker where no other is named.
func (o *runOptions) startBroker(log *zap.Logger) (url string, stop func(), err error) {
	if o.broker.given() {
		return "", func() {}, nil
	}
	b, err := embedded.Start(embedded.Options{Addr: o.embedded, Logf: func(format string, args ...any) {
		log.Debug("embedded broker: " + fmt.Sprintf(format, args...))
	}})
	if err != nil {
		return "", nil, err
	}
	log.Warn("no --broker is given: the embedded broker keeps events in memory only, they are lost when this process ends",
		zap.String("url", "amqp://guest:guest@"+b.Addr()))
	return b.URL(), func() {
		if err := b.Close(); err != nil {
			log.Warn("embedded broker", zap.Error(err))
		}
	}, nil
}

// run does the work until ctx is over.
func (r *running) run(ctx context.Context, file *rules.File, hooks router.Hooks) error {
	handlers, closeSteps, err := r.handlers(file)
	if err != nil {
		return err
	}
	defer func() {
		if err := closeSteps(); err != nil {
			r.log.Warn("closing steps", zap.Error(err))
		}
	}()
	door, listener, err := r.door()
	if err != nil {
		return err
	}

	// The connections outlive all that works with them.
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	var connection errgroup.Group
	connection.Go(func() error { return r.broker.Run(connected) })
	defer func() {
		disconnect()
		_ = connection.Wait() // it has nothing to say but that it ended
	}()
	if err := r.connect(ctx); err != nil {
		return errors.Join(err, listener.Close())
	}

	work, ctx := errgroup.WithContext(ctx)
	service := &pipelines.Service{
		Plan: r.plan, Broker: r.broker, Handlers: handlers, Hooks: hooks, Drain: r.drain,
		Ready: func() {
			r.log.Info("running", zap.Int("rules", len(r.plan.Rules)), zap.Strings("pipelines", slices.Sorted(maps.Keys(handlers))), zap.String("http", r.http))
			work.Go(func() error { return serve(ctx, door, listener, r.drain) })
		},
	}
	work.Go(func() error { return service.Run(ctx) })
	err = work.Wait()
	_ = listener.Close() // where it was never served; else it is closed already
	if err == nil {
		r.log.Info("ended", zap.NamedError("because", causeOf(ctx)))
	}
	return err
}

// connect waits for the broker, for a while.
func (r *running) connect(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, r.runOptions.connect, fmt.Errorf("tried for %s", r.runOptions.connect))
	defer cancel()
	return r.broker.Connect(limited)
}

// handlers makes those of all pipelines that have steps.
func (r *running) handlers(file *rules.File) (map[string]pipelines.Handler, func() error, error) {
	handlers := map[string]pipelines.Handler{}
	var closers []func() error
	closeAll := func() error {
		var errs []error
		for _, f := range closers {
			errs = append(errs, f())
		}
		return errors.Join(errs...)
	}
	needs := steps.Needs{Lookup: r.console.env, Publisher: r.broker, Log: r.logStep, UserAgent: "eventrouter/" + currentVersion()}
	var failed error
	for _, p := range file.Pipelines {
		if len(p.Steps) == 0 || r.noRun {
			continue
		}
		h, closeSteps, err := steps.Build(p, needs)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		handlers[p.Name] = h
		closers = append(closers, closeSteps)
	}
	if failed != nil {
		return nil, nil, errors.Join(failed, closeAll())
	}
	return handlers, closeAll, nil
}

// logStep is the step `log`.
func (r *running) logStep(level, pipeline string, e *router.Event, data string) {
	fields := []zap.Field{zap.String("pipeline", pipeline), eventField(e)}
	if data != "" {
		fields = append(fields, zap.String("data", data))
	}
	switch level {
	case "debug":
		r.log.Debug("event", fields...)
	case "warn":
		r.log.Warn("event", fields...)
	case "error":
		r.log.Error("event", fields...)
	default:
		r.log.Info("event", fields...)
	}
}

// nowhere is the listener of a run without HTTP.
type nowhere struct{}

func (nowhere) Close() error { return nil }

// door makes the HTTP server and begins to listen, so that an address in use is told before anything is done.
func (r *running) door() (*http.Server, io.Closer, error) {
	if r.http == "" {
		return nil, nowhere{}, nil
	}
	listener, err := net.Listen("tcp", r.http)
	if err != nil {
		return nil, nil, fmt.Errorf("--http: %w", err)
	}
	r.http = "http://" + listener.Addr().String()
	first, _ := r.plan.Source("")
	exchanges := map[string]string{}
	for _, x := range r.plan.Exchanges {
		exchanges[x.Key] = x.Name
	}
	return ingress.Server(ingress.New(ingress.Options{
		Publisher: r.broker, Default: first, Exchanges: exchanges, Ready: r.broker.Connected, Metrics: r.metrics.Handler(),
		MaxBody: r.maxBody, MaxInFlight: r.inFlight, Timeout: r.confirm,
	})), listener, nil
}

// serve answers requests until ctx is over, and then finishes those that have come.
func serve(ctx context.Context, server *http.Server, l io.Closer, drain time.Duration) error {
	listener, ok := l.(net.Listener)
	if !ok {
		return nil
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return fmt.Errorf("http: %w", err)
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(limited); err != nil {
		return errors.Join(fmt.Errorf("http: %w", err), server.Close())
	}
	<-ended
	return nil
}
