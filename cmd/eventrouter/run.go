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
	"sync/atomic"
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
	http     httpFlags
	embedded string
	data     string
	memory   int64
	connect  time.Duration
	drain    time.Duration
	settle   settleFlag
	noRun    bool
	guard    string
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

/events and /metrics ask for a bearer token, or a user and password, where any are given: in files, one a
line, or in EVENTROUTER_HTTP_TOKENS and EVENTROUTER_HTTP_USERS (name:password), parted by commas.

It reloads the rules on SIGHUP, and when a file of them changes, while events flow. Rules with a problem are not
taken: the old ones stay in force. Where somebody applies other rules to the broker, it says so and stops routing.

Without --broker it starts a broker of its own, which keeps events in memory only, unless --data names a folder for them.

On SIGTERM or Ctrl-C it stops taking events, finishes what is in hand, for no longer than --drain, and ends;
what is not finished by then goes back to its queue. A second signal ends it at once.`,
		Example: `  eventrouter run
  EVENTROUTER_BROKER=amqp://user:pass@rabbit-1,amqp://user:pass@rabbit-2 eventrouter run --rules /etc/eventrouter
  EVENTROUTER_BROKER=amqps://user:pass@rabbit eventrouter run --broker-ca ca.pem --http :8080`,
		Args: arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd, &o) },
	}
	o.rules.add(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.embedded, "embedded-listen", defaultListen, "address of the embedded broker, where no --broker is given")
	addKeepFlags(cmd, &o.data, &o.memory)
	flags.DurationVar(&o.connect, "connect-timeout", 30*time.Second, "how long to wait for the broker at the start")
	flags.DurationVar(&o.drain, "drain", 30*time.Second, "how long to finish what is in hand at the end")
	o.settle.add(flags)
	flags.BoolVar(&o.noRun, "no-pipelines", false, "route, but leave the pipelines to other programs")
	flags.StringVar(&o.guard, "guard", "", "file of recorded events (NDJSON): rules by which one of them reaches no pipeline any more are not reloaded")
	o.http.add(cmd)
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
	address string               // of HTTP, as a URL
	doorway *doorway             // nil without HTTP
	who     ingress.Options      // who may use it: secrets as they were at the start
	made    map[string]madeSteps // by pipeline
	paths   []string             // of the rules
	seen    string               // their fingerprint when they were read last
}

func (c *console) run(cmd *cobra.Command, o *runOptions) error {
	log, err := o.log.logger(c, cmd)
	if err != nil {
		return err
	}
	if err := o.broker.validate(cmd); err != nil {
		return err
	}
	if err := o.settle.validate(cmd); err != nil {
		return err
	}
	if err := o.http.validate(c, cmd); err != nil {
		return err
	}
	if o.broker.given() && o.data != "" {
		return usagef(cmd, "--data is for the embedded broker, and --broker names another")
	}
	if o.broker.given() {
		if _, err := o.broker.open(cmd, "", router.Hooks{}); err != nil { // before the rules, as it is quicker to mend
			return err
		}
	}
	paths, err := o.rules.find(cmd, nil)
	if err != nil {
		return err
	}
	seen := fingerprint(paths) // before they are read, so that what changes from now on is seen
	file, p, err := o.rules.load(c, cmd, nil)
	if err != nil {
		return err
	}
	url, stopBroker, err := o.startBroker(log)
	if err != nil {
		return err
	}
	defer stopBroker()
	r := &running{runOptions: o, console: c, plan: p, log: log, metrics: metrics.New(), paths: paths, seen: seen}
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
	b, err := embedded.Start(embedded.Options{
		Addr: o.embedded, Data: o.data, MemoryLimit: o.memory,
		Logf:  func(format string, args ...any) { log.Debug("embedded broker: " + fmt.Sprintf(format, args...)) },
		Warnf: func(format string, args ...any) { log.Warn("embedded broker: " + fmt.Sprintf(format, args...)) },
	})
	if err != nil {
		return "", nil, err
	}
	url = "amqp://guest:guest@" + b.Addr()
	if o.data != "" {
		log.Info("no --broker is given: the embedded broker is used", zap.String("url", url), zap.String("data", o.data))
	} else {
		log.Warn("no --broker is given: the embedded broker keeps events in memory only, they are lost when this process ends (--data keeps them)",
			zap.String("url", url))
	}
	return b.URL(), func() {
		if err := b.Close(); err != nil {
			log.Warn("embedded broker", zap.Error(err))
		}
	}, nil
}

// run does the work until ctx is over.
func (r *running) run(ctx context.Context, file *rules.File, hooks router.Hooks) error {
	handlers, made, err := r.handlers(file)
	if err != nil {
		return err
	}
	r.made = made
	defer func() { r.closeSteps(r.made) }()
	if err := r.refuseStray(r.plan); err != nil { // so that a file that cannot be read is told now
		return fmt.Errorf("--guard: %w", err)
	}
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
	defer context.AfterFunc(ctx, func() {
		r.log.Info("ending: what is in hand is finished, and no more is taken", zap.NamedError("because", causeOf(ctx)), zap.Duration("within", r.drain))
	})()
	ready := make(chan struct{})
	service := &pipelines.Service{
		Plan: r.plan, Broker: r.broker, Handlers: handlers, Hooks: hooks, Drain: r.drain,
		Ready: func() {
			r.log.Info("running", zap.Int("rules", len(r.plan.Rules)), zap.Strings("pipelines", slices.Sorted(maps.Keys(handlers))), zap.String("http", r.address))
			work.Go(func() error { return serve(ctx, r.log, door, listener, r.drain) })
			close(ready)
		},
		Apply: router.ApplyOptions{By: author(), Settle: r.settle.option()},
		Kept: func(kept []router.Kept) {
			for _, k := range kept {
				r.log.Info("kept, to be deleted later", zap.String("kind", k.Kind), zap.String("name", k.Name), zap.String("because", k.Why))
			}
		},
	}
	work.Go(func() error { return service.Run(ctx) })
	reloads := &reloader{running: r, service: service}
	work.Go(func() error {
		select {
		case <-ready:
			return reloads.run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
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

// madeSteps are the steps of a pipeline, made from its part of the file.
type madeSteps struct {
	of    rules.Pipeline
	close func() error
}

// handlers makes those of pipelines that have steps and are new, or other than they were; and nil for those that have none any more.
func (r *running) handlers(file *rules.File) (map[string]pipelines.Handler, map[string]madeSteps, error) {
	handlers, made := map[string]pipelines.Handler{}, map[string]madeSteps{}
	needs := steps.Needs{Lookup: r.console.env, Publisher: r.broker, Log: r.logStep, UserAgent: "eventrouter/" + currentVersion()}
	var failed error
	for _, p := range file.Pipelines {
		before, there := r.made[p.Name]
		if len(p.Steps) == 0 || r.noRun {
			if there {
				handlers[p.Name] = nil
			}
			continue
		}
		if there && plan.Alike(before.of, p) {
			continue
		}
		h, closeSteps, err := steps.Build(p, needs)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		handlers[p.Name], made[p.Name] = h, madeSteps{p, closeSteps}
	}
	if failed != nil {
		r.closeSteps(made)
		return nil, nil, failed
	}
	return handlers, made, nil
}

// closeSteps lets go of what steps hold, such as files.
func (r *running) closeSteps(made map[string]madeSteps) {
	for _, name := range slices.Sorted(maps.Keys(made)) {
		if err := made[name].close(); err != nil {
			r.log.Warn("closing steps", zap.String("pipeline", name), zap.Error(err))
		}
	}
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
	if r.http.listen == "" {
		return nil, nowhere{}, nil
	}
	if err := r.http.access(r.console, &r.who); err != nil {
		return nil, nil, err
	}
	r.doorway = &doorway{}
	r.doorway.open(ingress.New(r.ingress()))
	plain, err := net.Listen("tcp", r.http.listen)
	if err != nil {
		return nil, nil, fmt.Errorf("--http: %w", err)
	}
	listener, scheme, err := r.http.encrypt(plain)
	if err != nil {
		return nil, nil, errors.Join(err, plain.Close())
	}
	r.address = scheme + plain.Addr().String()
	warnOpen(r.log, plain.Addr(), &r.who)
	return serverWith(r.log, r.doorway), listener, nil
}

// ingress is the way in for events, to the exchanges of the rules in force.
func (r *running) ingress() ingress.Options {
	o := r.who
	o.Publisher, o.Ready, o.Metrics = r.broker, r.broker.Connected, r.metrics.Handler()
	o.MaxBody, o.MaxInFlight, o.Timeout = r.http.maxBody, r.http.inFlight, r.http.confirm
	o.Default, _ = r.plan.Source("")
	o.Exchanges = map[string]string{}
	for _, x := range r.plan.Exchanges {
		o.Exchanges[x.Key] = x.Name
	}
	return o
}

// doorway is a handler that another can take the place of.
type doorway struct{ now atomic.Pointer[http.Handler] }

func (d *doorway) open(h http.Handler) { d.now.Store(&h) }

func (d *doorway) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*d.now.Load()).ServeHTTP(w, r) }

// serve answers requests until ctx is over, and then finishes those that have come, for no longer than drain: to the client what is cut off is not taken,
// and so nothing is lost.
func serve(ctx context.Context, log *zap.Logger, server *http.Server, l io.Closer, drain time.Duration) error {
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
		log.Warn("HTTP: requests that are not finished are cut off", zap.Duration("after", drain), zap.NamedError("closing", server.Close()))
	}
	<-ended
	return nil
}
