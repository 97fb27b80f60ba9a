package embedded

import (
	"fmt"
	"maps"
	"time"

	"github.com/eventrouter/eventrouter/amqp/embedded/internal/wire"
)

// shape is what a queue's arguments say.
type shape struct {
	quorum        bool
	ttl           time.Duration // of messages; negative: none
	expires       time.Duration // of the queue when it is not used; 0: none
	maxLength     int64         // negative: none
	maxBytes      int64         // negative: none
	reject        bool          // x-overflow: reject-publish
	deadExchange  string
	deadKey       string
	deadLetters   bool
	deadHasKey    bool
	atLeastOnce   bool
	deliveryLimit int64 // negative: none
	single        bool
	ackTimeout    time.Duration // in which consumers have to settle; 0: as long as they like
}

// defaultDeliveryLimit is RabbitMQ 4's for quorum queues.
const defaultDeliveryLimit = 20

func integer(v any) (int64, bool) {
	switch v := v.(type) {
	case int8:
		return int64(v), true
	case uint8:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int32:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int64:
		return v, true
	}
	return 0, false
}

// typeName is RabbitMQ's name for a value's type.
func typeName(v any) string {
	switch v.(type) {
	case bool:
		return "bool"
	case int8:
		return "byte"
	case uint8:
		return "unsignedbyte"
	case int16:
		return "short"
	case uint16:
		return "unsignedshort"
	case int32:
		return "signedint"
	case uint32:
		return "unsignedint"
	case int64:
		return "long"
	case float32:
		return "float"
	case float64:
		return "double"
	case wire.Decimal:
		return "decimal"
	case string:
		return "longstr"
	case []byte:
		return "binary"
	case []any:
		return "array"
	case time.Time:
		return "timestamp"
	case wire.Table:
		return "table"
	}
	return "void"
}

// argumentReader reads a queue's arguments, and keeps the first thing that is wrong with them.
type argumentReader struct {
	queue string
	vhost string
	args  wire.Table
	err   *wire.Error
}

func (r *argumentReader) fail(name, what string) {
	if r.err == nil {
		r.err = wire.Errorf(wire.PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s': %s", name, r.queue, r.vhost, what)
	}
}

// number reads an argument that is at least least; def where there is none.
func (r *argumentReader) number(name string, least, def int64) int64 {
	v, there := r.args[name]
	if !there {
		return def
	}
	n, ok := integer(v)
	switch {
	case !ok:
		r.fail(name, fmt.Sprintf("%q", "expected integer, got "+typeName(v)))
	case n < 0 && n < least:
		r.fail(name, fmt.Sprintf("{value_negative,%d}", n))
	case n < least:
		r.fail(name, "{value_zero,0}")
	default:
		return n
	}
	return def
}

func (r *argumentReader) text(name string) (string, bool) {
	v, there := r.args[name]
	if !there {
		return "", false
	}
	s, ok := v.(string)
	if !ok {
		r.fail(name, fmt.Sprintf("{unacceptable_type,%s}", typeName(v)))
	}
	return s, ok
}

func (r *argumentReader) flag(name string) bool {
	v, there := r.args[name]
	if !there {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		r.fail(name, fmt.Sprintf("{unacceptable_type,%s}", typeName(v)))
	}
	return b
}

// readShape reads the arguments of a queue. Arguments that RabbitMQ does not know are ignored, as there; those that it knows and this broker
// does not have are refused.
func readShape(vhost, queue string, args wire.Table) (shape, *wire.Error) {
	r := &argumentReader{queue: queue, vhost: vhost, args: args}
	var s shape
	switch kind, there := r.text("x-queue-type"); {
	case !there, kind == "classic":
	case kind == "quorum":
		s.quorum = true
	case kind == "stream":
		return s, wire.Errorf(wire.NotImplemented, "queue '%s': the embedded broker has no streams", queue)
	default:
		r.fail("x-queue-type", fmt.Sprintf("%q", "unsupported queue type '"+kind+"'"))
	}
	r.only(s.quorum)
	r.deadLetters(&s)
	s.ttl = r.milliseconds("x-message-ttl", 0)
	s.expires = max(0, r.milliseconds("x-expires", 1))
	s.maxLength = r.number("x-max-length", 0, -1)
	s.maxBytes = r.number("x-max-length-bytes", 0, -1)
	r.overflow(&s)
	r.placement()
	r.strategy(&s)
	if n, ok := integer(args["x-consumer-timeout"]); ok && n > 0 { // RabbitMQ takes any other value, and heeds none
		s.ackTimeout = time.Duration(min(n, longest)) * time.Millisecond
	}
	s.single = r.flag("x-single-active-consumer")
	s.deliveryLimit = -1
	if s.quorum {
		s.deliveryLimit = deliveryLimit(args)
	}
	return s, r.err
}

// deliveryLimit reads a quorum queue's limit. RabbitMQ takes any value, and one that is no number is never reached.
func deliveryLimit(args wire.Table) int64 {
	v, there := args["x-delivery-limit"]
	if !there {
		return defaultDeliveryLimit
	}
	if n, ok := integer(v); ok {
		return n
	}
	return -1
}

func (r *argumentReader) deadLetters(s *shape) {
	if v, there := r.args["x-dead-letter-exchange"]; there {
		if s.deadExchange, s.deadLetters = v.(string); !s.deadLetters && r.err == nil {
			r.err = wire.Errorf(wire.PreconditionFailed, "invalid type '%s' for arg 'x-dead-letter-exchange' in queue '%s' in vhost '%s'", typeName(v), r.queue, r.vhost)
		}
	}
	s.deadKey, s.deadHasKey = r.text("x-dead-letter-routing-key")
	if s.deadHasKey && !s.deadLetters {
		r.fail("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
	}
}

// longest is the longest time that RabbitMQ takes, ten years in milliseconds.
const longest = 10 * 365 * 24 * 60 * 60 * 1000

// milliseconds reads a time; it is negative where there is none.
func (r *argumentReader) milliseconds(name string, least int64) time.Duration {
	n := r.number(name, least, -1)
	if n > longest {
		r.fail(name, fmt.Sprintf("{value_too_large,%d}", n))
		return 0
	}
	return time.Duration(n) * time.Millisecond
}

func (r *argumentReader) overflow(s *shape) {
	switch how, there := r.text("x-overflow"); {
	case !there, how == "drop-head":
	case how == "reject-publish":
		s.reject = true
	case how == "reject-publish-dlx":
		if r.err == nil {
			r.err = wire.Errorf(wire.NotImplemented, "queue '%s': the embedded broker has no x-overflow reject-publish-dlx", r.queue)
		}
	default:
		r.fail("x-overflow", "invalid_overflow")
	}
}

func (r *argumentReader) strategy(s *shape) {
	switch how, there := r.text("x-dead-letter-strategy"); {
	case !there, how == "at-most-once":
	case how == "at-least-once":
		s.atLeastOnce = s.quorum && s.reject && s.deadLetters
	default:
		r.fail("x-dead-letter-strategy", "invalid_dlx_strategy")
	}
}

// Arguments that queues of one type do not have.
var (
	notClassic = []string{
		"x-delivery-limit", "x-dead-letter-strategy", "x-quorum-initial-group-size", "x-max-in-memory-length", "x-max-in-memory-bytes",
		"x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size",
	}
	notQuorum = []string{
		"x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator", "x-max-age", "x-stream-max-segment-size-bytes",
		"x-initial-cluster-size",
	}
)

// only refuses arguments that queues of the other types have, and those that nothing here has.
func (r *argumentReader) only(quorum bool) {
	kind, foreign := "rabbit_classic_queue", notClassic
	if quorum {
		kind, foreign = "rabbit_quorum_queue", notQuorum
	}
	for _, name := range foreign {
		if _, there := r.args[name]; there && r.err == nil {
			r.err = wire.Errorf(wire.PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s' of queue type %s", name, r.queue, r.vhost, kind)
		}
	}
	if r.number("x-max-priority", 0, -1) >= 0 && r.err == nil {
		r.err = wire.Errorf(wire.NotImplemented, "queue '%s': the embedded broker has no x-max-priority", r.queue)
	}
}

// placement checks arguments that are about nodes and memory, and so change nothing here.
func (r *argumentReader) placement() {
	for _, name := range []string{"x-max-in-memory-length", "x-max-in-memory-bytes", "x-quorum-initial-group-size", "x-queue-version"} {
		r.number(name, 0, 0)
	}
	r.text("x-queue-mode")
	switch where, there := r.text("x-queue-leader-locator"); {
	case !there, where == "client-local", where == "balanced":
	default:
		r.fail("x-queue-leader-locator", "invalid_queue_locator_arg")
	}
}

// comparedClassic and comparedQuorum are the arguments that a later declaration of the queue has to give alike, in RabbitMQ's order.
var (
	comparedClassic = []string{
		"x-expires", "x-message-ttl", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-max-length", "x-max-length-bytes", "x-overflow",
		"x-queue-mode", "x-queue-version", "x-single-active-consumer", "x-queue-type", "x-queue-master-locator", "x-queue-leader-locator",
	}
	comparedQuorum = []string{
		"x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy", "x-expires", "x-max-length", "x-max-length-bytes",
		"x-max-in-memory-length", "x-max-in-memory-bytes", "x-overflow", "x-single-active-consumer", "x-queue-type", "x-quorum-initial-group-size",
		"x-delivery-limit", "x-message-ttl", "x-queue-leader-locator",
	}
)

// withType are a queue's arguments with its type among them, which is classic where it is not said.
func withType(arguments wire.Table) wire.Table {
	if _, there := arguments["x-queue-type"]; there {
		return arguments
	}
	out := wire.Table{"x-queue-type": "classic"}
	maps.Copy(out, arguments)
	return out
}

// inequivalent compares a declaration's arguments with those of what is there.
func inequivalent(kind, name, vhost string, names []string, received, current wire.Table) *wire.Error {
	for _, argument := range names {
		a, sent := received[argument]
		b, there := current[argument]
		switch {
		case !sent && !there, sent && there && sameValue(a, b):
			continue
		case sent && there:
			return differ(argument, kind, name, vhost, fmt.Sprintf("'%v'", a), fmt.Sprintf("'%v'", b))
		case sent:
			return differ(argument, kind, name, vhost, fmt.Sprintf("the value '%v' of type '%s'", a, typeName(a)), "none")
		default:
			return differ(argument, kind, name, vhost, "none", fmt.Sprintf("the value '%v' of type '%s'", b, typeName(b)))
		}
	}
	return nil
}

func differ(argument, kind, name, vhost, received, current string) *wire.Error {
	return wire.Errorf(wire.PreconditionFailed, "inequivalent arg '%s' for %s '%s' in vhost '%s': received %s but current is %s",
		argument, kind, name, vhost, received, current)
}
