// Package metrics counts what happens to events, for Prometheus. Labels come from the rules and from the code, never from events, so that
// their number is bounded.
package metrics

import (
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/eventrouter/eventrouter/router"
)

// Metrics are the counters of one process. They are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	published   *prometheus.CounterVec
	confirmTime prometheus.Histogram
	routed      prometheus.Counter
	routeTime   prometheus.Histogram
	ruleHeld    *prometheus.CounterVec
	whereErrors *prometheus.CounterVec
	fed         *prometheus.CounterVec
	unrouted    prometheus.Counter
	handled     *prometheus.CounterVec
	handleTime  *prometheus.HistogramVec
	inHand      *prometheus.GaugeVec
	retried     *prometheus.CounterVec
	dead        *prometheus.CounterVec
	duplicates  *prometheus.CounterVec
	problems    prometheus.Counter
	connected   *prometheus.GaugeVec
	lost        *prometheus.CounterVec
	blocked     prometheus.Gauge
}

// buckets are from half a millisecond to a minute.
var buckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}

// New makes the counters, with those of the Go runtime and the process beside them.
func New() *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.published = m.counters("published_total", "Messages published, by what the broker said.", "result")
	m.confirmTime = m.histogram("publish_seconds", "Time from publishing to the confirm.")
	m.routed = m.counter("routed_total", "Events that the router has handed on.")
	m.routeTime = m.histogram("route_seconds", "Time from an event's delivery to the router until it was handed on.")
	m.ruleHeld = m.counters("rule_held_total", "Events seen by the router for which the rule held.", "rule")
	m.whereErrors = m.counters("where_errors_total", "Events for which the rule's where could not be evaluated: the rule did not hold.", "rule")
	m.fed = m.counters("pipeline_routed_total", "Events that the router found to belong to the pipeline.", "pipeline")
	m.unrouted = m.counter("unrouted_total", "Events that the router kept aside because no rule held.")
	m.handled = m.counters("handled_total", "Attempts at events, by pipeline and result.", "pipeline", "result")
	m.handleTime = m.histograms("handle_seconds", "Time of an attempt.", "pipeline")
	m.inHand = m.gauges("in_hand", "Attempts under way.", "pipeline")
	m.retried = m.counters("retried_total", "Failed attempts that are tried again.", "pipeline")
	m.dead = m.counters("dead_total", "Events that became dead letters.", "pipeline")
	m.duplicates = m.counters("duplicates_total", "Events that were dropped because the pipeline had handled them already.", "pipeline")
	m.problems = m.counter("problems_total", "Things that went wrong and are tried again.")
	m.connected = m.gauges("broker_connected", "1 while the connection is up.", "role")
	m.lost = m.counters("broker_disconnects_total", "Connections lost, and dials that failed.", "role")
	m.blocked = prometheus.NewGauge(opts[prometheus.GaugeOpts]("broker_blocked", "1 while the broker takes no messages."))
	m.registry.MustRegister(m.blocked)
	return m
}

// Handler serves GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}

// Hooks count.
func (m *Metrics) Hooks() router.Hooks {
	return router.Hooks{
		Connected: func(role, _ string) { m.connected.WithLabelValues(role).Set(1) },
		Disconnected: func(role string, _ error) {
			m.connected.WithLabelValues(role).Set(0)
			m.lost.WithLabelValues(role).Inc()
		},
		Blocked: func(reason string) { m.blocked.Set(flag(reason != "")) },
		Published: func(_ router.Message, took time.Duration, err error) {
			m.published.WithLabelValues(result(err)).Inc()
			m.confirmTime.Observe(took.Seconds())
		},
		Routed: func(_ *router.Event, rules, pipelines []string, took time.Duration) {
			m.routed.Inc()
			m.routeTime.Observe(took.Seconds())
			for _, name := range rules {
				m.ruleHeld.WithLabelValues(name).Inc()
			}
			for _, name := range pipelines {
				m.fed.WithLabelValues(name).Inc()
			}
		},
		Unrouted: func(*router.Event, string) { m.unrouted.Inc() },
		NotEvaluated: func(_ *router.Event, rule string, _ error) {
			m.whereErrors.WithLabelValues(rule).Inc()
		},
		Started: func(pipeline string, _ *router.Event, _ int) { m.inHand.WithLabelValues(pipeline).Inc() },
		Handled: func(pipeline string, _ *router.Event, _ int, took time.Duration, err error) {
			m.inHand.WithLabelValues(pipeline).Dec()
			m.handled.WithLabelValues(pipeline, attemptResult(err)).Inc()
			m.handleTime.WithLabelValues(pipeline).Observe(took.Seconds())
		},
		Retried: func(pipeline string, _ *router.Event, _ int, _ time.Duration, _ error) {
			m.retried.WithLabelValues(pipeline).Inc()
		},
		Dead: func(pipeline string, _ *router.Event, _ int, _ error) { m.dead.WithLabelValues(pipeline).Inc() },
		Duplicate: func(pipeline string, _ *router.Event) {
			m.duplicates.WithLabelValues(pipeline).Inc()
		},
		Problem: func(string, error) { m.problems.Inc() },
	}
}

// result sorts what the broker said of a message.
func result(err error) string {
	switch {
	case err == nil:
		return "confirmed"
	case errors.Is(err, router.ErrUnroutable):
		return "unroutable"
	case errors.Is(err, router.ErrRefused), errors.Is(err, router.ErrExchange):
		return "refused"
	case errors.Is(err, router.ErrTooLarge), errors.Is(err, router.ErrInvalid):
		return "invalid"
	}
	return "unknown"
}

func attemptResult(err error) string {
	if err != nil {
		return "error"
	}
	return "ok"
}

func flag(on bool) float64 {
	if on {
		return 1
	}
	return 0
}
