package embedded

import (
	"fmt"
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
	switch kind, _ := r.text("x-queue-type"); kind {
	case "", "classic":
	case "quorum":
		s.quorum = true
	case "stream":
		return s, wire.Errorf(wire.NotImplemented, "queue '%s': the embedded broker has no streams", queue)
	default:
		r.fail("x-queue-type", fmt.Sprintf("%q", "unsupported queue type '"+kind+"'"))
	}
	s.ttl = milliseconds(r.number("x-message-ttl", 0, -1))
	s.expires = max(0, milliseconds(r.number("x-expires", 1, -1)))
	s.maxLength = r.number("x-max-length", 0, -1)
	s.maxBytes = r.number("x-max-length-bytes", 0, -1)
	r.overflow(&s)
	s.deadExchange, s.deadLetters = r.text("x-dead-letter-exchange")
	s.deadKey, s.deadHasKey = r.text("x-dead-letter-routing-key")
	if s.deadHasKey && !s.deadLetters {
		r.fail("x-dead-letter-routing-key", "routing_key_but_no_dlx_defined")
	}
	r.strategy(&s)
	s.single = r.flag("x-single-active-consumer")
	s.deliveryLimit = -1
	if s.quorum {
		s.deliveryLimit = r.number("x-delivery-limit", -1, defaultDeliveryLimit)
	}
	return s, r.only(&s)
}

// milliseconds keeps a time that no clock reaches from running over.
func milliseconds(n int64) time.Duration {
	const most = int64(200 * 365 * 24 * time.Hour / time.Millisecond)
	return time.Duration(min(n, most)) * time.Millisecond
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

// only refuses arguments that the other queue type has, and those that nothing here has.
func (r *argumentReader) only(s *shape) *wire.Error {
	if r.err != nil {
		return r.err
	}
	kind, foreign := "rabbit_classic_queue", []string{"x-delivery-limit", "x-dead-letter-strategy", "x-quorum-initial-group-size"}
	if s.quorum {
		kind, foreign = "rabbit_quorum_queue", []string{"x-max-priority", "x-queue-mode"}
	}
	for _, name := range foreign {
		if _, there := r.args[name]; there {
			return wire.Errorf(wire.PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s' of queue type %s", name, r.queue, r.vhost, kind)
		}
	}
	if _, there := r.args["x-max-priority"]; there {
		return wire.Errorf(wire.NotImplemented, "queue '%s': the embedded broker has no x-max-priority", r.queue)
	}
	return nil
}

// compared are the arguments of a queue that a later declaration has to give alike, in RabbitMQ's order.
var compared = []string{
	"x-expires", "x-message-ttl", "x-max-length", "x-max-length-bytes", "x-single-active-consumer", "x-dead-letter-exchange",
	"x-dead-letter-routing-key", "x-dead-letter-strategy", "x-overflow", "x-delivery-limit", "x-max-priority",
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
