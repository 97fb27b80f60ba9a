package main

import (
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/eventrouter/eventrouter/router"
)

// logFlags say how a long-running command logs.
type logFlags struct {
	level  string
	format string
}

func (l *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.level, "log-level", "info", "least level that is logged: debug (each event), info, warn or error")
	cmd.Flags().StringVar(&l.format, "log-format", "auto", "console, json, or auto: console on a terminal, else json")
	complete(cmd, "log-level", "debug", "info", "warn", "error")
	complete(cmd, "log-format", "auto", "console", "json")
}

// logger makes the log, on standard error.
func (l *logFlags) logger(c *console, cmd *cobra.Command) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(l.level)
	if err != nil {
		return nil, usagef(cmd, "--log-level %q is none of debug, info, warn, error", l.level)
	}
	var encoder zapcore.Encoder
	switch {
	case l.format == "console", l.format == "auto" && c.errTerm:
		config := zap.NewDevelopmentEncoderConfig()
		config.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		config.EncodeDuration = zapcore.StringDurationEncoder
		if c.errTerm {
			config.EncodeLevel = zapcore.CapitalColorLevelEncoder
		}
		encoder = zapcore.NewConsoleEncoder(config)
	case l.format == "json", l.format == "auto":
		config := zap.NewProductionEncoderConfig()
		config.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		config.EncodeDuration = zapcore.StringDurationEncoder
		encoder = zapcore.NewJSONEncoder(config)
	default:
		return nil, usagef(cmd, "--log-format %q is none of auto, console, json", l.format)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(c.err)), level)), nil
}

// logHooks is the log's listener on what happens to events. What happens to every event is at level debug.
func logHooks(log *zap.Logger) router.Hooks {
	lost := newSeldom(10 * time.Second)
	// While a queue is full each event that waits for it is refused again and again: hundreds of lines a second that say the same. The metrics count them all.
	refusals := log.WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, 10*time.Second, 10, 0)
	}))
	of := func(err error) *zap.Logger {
		if errors.Is(err, router.ErrRefused) {
			return refusals
		}
		return log
	}
	return router.Hooks{
		Connected: func(role, url string) {
			lost.forget(role)
			log.Info("connected to the broker", zap.String("for", role), zap.String("url", url))
		},
		Disconnected: func(role string, err error) {
			if lost.now(role, err.Error()) {
				log.Warn("lost the broker, dialling again", zap.String("for", role), zap.Error(err))
			}
		},
		Blocked: func(reason string) {
			if reason == "" {
				log.Info("the broker takes events again")
				return
			}
			log.Warn("the broker takes no events for now: publishers wait", zap.String("reason", reason))
		},
		Published: func(m router.Message, took time.Duration, err error) {
			if err != nil {
				of(err).Warn("not confirmed", eventField(m.Event), zap.String("exchange", m.Exchange), zap.Duration("took", took), zap.Error(err))
				return
			}
			log.Debug("confirmed", eventField(m.Event), zap.String("exchange", m.Exchange), zap.Duration("took", took))
		},
		Routed: func(e *router.Event, rules, pipelines []string, took time.Duration) {
			log.Debug("routed", eventField(e), zap.Strings("rules", rules), zap.Strings("pipelines", pipelines), zap.Duration("took", took))
		},
		Unrouted: func(e *router.Event, reason string) {
			log.Info("unrouted", eventField(e), zap.String("reason", reason))
		},
		NotEvaluated: func(e *router.Event, rule string, err error) {
			log.Debug("where not evaluated: the rule does not hold", zap.String("rule", rule), eventField(e), zap.Error(err))
		},
		Handled: func(pipeline string, e *router.Event, attempt int, took time.Duration, err error) {
			if err == nil {
				log.Debug("handled", zap.String("pipeline", pipeline), eventField(e), zap.Int("attempt", attempt), zap.Duration("took", took))
			} // an error is told by Retried or Dead
		},
		Retried: func(pipeline string, e *router.Event, attempt int, delay time.Duration, err error) {
			log.Warn("failed, to be tried again", zap.String("pipeline", pipeline), eventField(e),
				zap.Int("attempt", attempt), zap.Duration("in", delay), zap.Error(err))
		},
		Dead: func(pipeline string, e *router.Event, attempts int, err error) {
			log.Error("given up: kept as a dead letter", zap.String("pipeline", pipeline), eventField(e),
				zap.Int("attempts", attempts), zap.Error(err))
		},
		Duplicate: func(pipeline string, e *router.Event) {
			log.Debug("dropped: handled already", zap.String("pipeline", pipeline), eventField(e))
		},
		Problem: func(where string, err error) {
			of(err).Warn("problem, to be tried again", zap.String("where", where), zap.Error(err))
		},
	}
}

// seldom keeps what is said again and again from filling the log.
type seldom struct {
	every time.Duration
	mu    sync.Mutex
	said  map[string]saying // by subject
}

type saying struct {
	text string // without ports
	when time.Time
}

// ports are in the errors of a lost connection: each has another one of ours.
var ports = regexp.MustCompile(`:[0-9]+`)

func newSeldom(every time.Duration) *seldom { return &seldom{every: every, said: map[string]saying{}} }

// now tells whether the text is to be said of the subject: where it is not the last one, or was said long ago.
func (s *seldom) now(subject, text string) bool {
	text = ports.ReplaceAllString(text, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.said[subject]
	if last.text == text && time.Since(last.when) < s.every {
		return false
	}
	s.said[subject] = saying{text, time.Now()}
	return true
}

// forget has the next text about the subject said.
func (s *seldom) forget(subject string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.said, subject)
}

// eventField names an event in a log line.
func eventField(e *router.Event) zap.Field {
	return zap.Object("event", zapcore.ObjectMarshalerFunc(func(o zapcore.ObjectEncoder) error {
		if e == nil {
			return fmt.Errorf("no event")
		}
		o.AddString("id", e.ID)
		o.AddString("type", e.Type)
		return nil
	}))
}
