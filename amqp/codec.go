package amqp

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// CloudEvents attributes travel as headers of this prefix (CloudEvents AMQP binding, binary mode); some SDKs write the second.
const (
	attributePrefix    = "cloudEvents:"
	attributePrefixAlt = "cloudEvents_"
)

// Our own notes travel as headers of this prefix.
const (
	trailPrefix       = "eventrouter-"
	trailType         = trailPrefix + "type"
	trailExchange     = trailPrefix + "exchange"
	trailPipeline     = trailPrefix + "pipeline"
	trailAttempts     = trailPrefix + "attempts"
	trailFirstFailure = trailPrefix + "first-failure"
	trailLastFailure  = trailPrefix + "last-failure"
	trailNotBefore    = trailPrefix + "not-before"
	trailError        = trailPrefix + "error"
	trailRules        = trailPrefix + "rules"
	trailWhole        = trailPrefix + "whole" // the body is the event, with its headers
)

// How much of an error's text and of the rules' names travels, in bytes.
const (
	maxError = 2 << 10
	maxRules = 8 << 10
)

// brokers lists headers that a broker writes, and acts on or believes when they are published again.
func brokers(name string) bool {
	switch name {
	case "CC", "BCC", "x-death", "x-delivery-count", "x-acquired-count", "x-delivery-limit":
		return true
	}
	return strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
}

// encode writes a message as AMQP has it: the event's attributes and the trail are headers, data is the body.
func encode(m *router.Message) amqp091.Publishing {
	e := m.Event
	h := make(amqp091.Table, len(e.Headers)+len(e.Attributes)+8)
	for name, v := range e.Headers {
		if !brokers(name) && !strings.HasPrefix(name, trailPrefix) {
			h[name] = toWire(v)
		}
	}
	for name, v := range e.Attributes {
		h[attributePrefix+name] = toWire(v)
	}
	if e.Source != "" {
		// It is a CloudEvent, which has a source always. Any other event stays as plain as it came, with its type in the routing key and its id in
		// the message-id: headers cost a broker about as much as the rest of a small message.
		h[attributePrefix+"specversion"] = "1.0"
		put(h, attributePrefix+"type", e.Type)
		put(h, attributePrefix+"id", e.ID)
		put(h, attributePrefix+"source", e.Source)
	}
	put(h, attributePrefix+"subject", e.Subject)
	if !e.Time.IsZero() {
		h[attributePrefix+"time"] = e.Time.Format(time.RFC3339Nano)
	}
	encodeTrail(h, &m.Trail)
	if len(m.BCC) > 0 {
		bcc := make([]any, len(m.BCC))
		for i, key := range m.BCC {
			bcc[i] = key
		}
		h["BCC"] = bcc
	}
	p := &e.Properties
	mode := amqp091.Persistent
	if p.Transient {
		mode = amqp091.Transient
	}
	return amqp091.Publishing{
		Headers: h, ContentType: e.ContentType, ContentEncoding: p.ContentEncoding, DeliveryMode: mode, Priority: p.Priority,
		CorrelationId: p.CorrelationID, ReplyTo: p.ReplyTo, MessageId: e.ID, Timestamp: p.Timestamp,
		Type: p.MessageType, AppId: p.AppID, Body: e.Data,
	}
}

func put(h amqp091.Table, name, value string) {
	if value != "" {
		h[name] = value
	}
}

func encodeTrail(h amqp091.Table, t *router.Trail) {
	put(h, trailType, t.Type)
	put(h, trailExchange, t.Exchange)
	put(h, trailPipeline, t.Pipeline)
	if t.Attempts > 0 {
		h[trailAttempts] = int64(t.Attempts)
	}
	for name, at := range map[string]time.Time{trailFirstFailure: t.FirstFailure, trailLastFailure: t.LastFailure, trailNotBefore: t.NotBefore} {
		if !at.IsZero() {
			h[name] = at.UnixMilli()
		}
	}
	text := t.Error
	if len(text) > maxError {
		text = strings.ToValidUTF8(text[:maxError], "") + "…"
	}
	put(h, trailError, text)
	if len(t.Rules) > 0 {
		names, size := make([]any, 0, len(t.Rules)), 0
		for _, name := range t.Rules {
			if size += len(name); size > maxRules {
				break
			}
			names = append(names, name)
		}
		h[trailRules] = names
	}
}

// toWire turns an event's header value into one that the client library writes.
func toWire(v any) any {
	switch v := v.(type) {
	case map[string]any:
		t := make(amqp091.Table, len(v))
		for name, inner := range v {
			t[name] = toWire(inner)
		}
		return t
	case []any:
		list := make([]any, len(v))
		for i, inner := range v {
			list[i] = toWire(inner)
		}
		return list
	case int:
		return int64(v)
	case uint:
		return int64(v)
	}
	return v
}

func fromWire(v any) any {
	switch v := v.(type) {
	case amqp091.Table:
		m := make(map[string]any, len(v))
		for name, inner := range v {
			m[name] = fromWire(inner)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, inner := range v {
			list[i] = fromWire(inner)
		}
		return list
	case amqp091.Decimal:
		return decimal(v)
	}
	return v
}

func decimal(d amqp091.Decimal) float64 {
	f := float64(d.Value)
	for range d.Scale {
		f /= 10
	}
	return f
}

// decode reads a delivery. A trail on a message that came straight from one of sources is not ours, and left out; nor is what such a message says of its deaths: whoever published it may have
// had it from a dead-letter queue of his own, or may lie.
// An event without an id gets one, so that all who handle it further on call it alike.
func decode(d *amqp091.Delivery, sources []string) *router.Delivery {
	e := &event.Event{
		ID: d.MessageId, Type: d.RoutingKey, ContentType: d.ContentType, Data: d.Body,
		Properties: event.Properties{
			ContentEncoding: d.ContentEncoding, CorrelationID: d.CorrelationId, ReplyTo: d.ReplyTo, AppID: d.AppId,
			MessageType: d.Type, Priority: d.Priority, Timestamp: d.Timestamp, Transient: d.DeliveryMode == amqp091.Transient,
		},
	}
	out := &router.Delivery{Event: e, Exchange: d.Exchange, Redelivered: d.Redelivered}
	ours := !slices.Contains(sources, d.Exchange)
	headerType := ""
	for name, v := range d.Headers {
		switch {
		case outdone(name, d.Headers):
		case strings.HasPrefix(name, attributePrefix) || strings.HasPrefix(name, attributePrefixAlt):
			plain := name[len(attributePrefix):]
			if !decodeAttribute(e, plain, v) {
				keep(e, name, v, len(d.Headers))
			} else if plain == "type" {
				headerType, _ = v.(string)
			}
		case strings.HasPrefix(name, trailPrefix):
			if ours {
				decodeTrail(&out.Trail, name, v)
			}
		case brokers(name):
		default:
			keep(e, name, v, len(d.Headers))
		}
	}
	if whole, _ := d.Headers[trailWhole].(bool); whole && ours {
		e = decodeWhole(e)
		out.Event = e
	}
	if ours {
		decodeDeaths(out, d.Headers["x-death"], sources)
	}
	if out.Trail.Exchange != "" {
		out.Exchange = out.Trail.Exchange
	}
	switch {
	case out.Trail.Type != "":
		e.Type = out.Trail.Type
	case d.Exchange == "" && out.Deaths == "" && headerType != "":
		e.Type = headerType // sent to the queue by its name
	}
	if e.ID == "" {
		e.ID = event.NewID()
	}
	return out
}

// keep keeps a header as one that says nothing to us, of so many.
func keep(e *event.Event, name string, v any, of int) {
	if e.Headers == nil {
		e.Headers = make(map[string]any, of)
	}
	e.Headers[name] = fromWire(v)
}

// outdone reports whether there is a header with the first prefix for the attribute of one with the second.
func outdone(name string, h amqp091.Table) bool {
	plain, second := strings.CutPrefix(name, attributePrefixAlt)
	if !second {
		return false
	}
	_, first := h[attributePrefix+plain]
	return first
}

// decodeAttribute takes a CloudEvents attribute. It reports false where the name or the value is not right for one: then it is a header like any other, and goes on as it came.
func decodeAttribute(e *event.Event, name string, v any) bool {
	text, isText := v.(string)
	switch name {
	case "specversion", "datacontenttype", "type":
		return true
	case "id":
		if e.ID == "" {
			e.ID = text
		}
		return true
	case "source":
		e.Source = text
		return isText
	case "subject":
		e.Subject = text
		return isText
	case "time":
		at, ok := v.(time.Time)
		if isText {
			var err error
			at, err = time.Parse(time.RFC3339Nano, text)
			ok = err == nil
		} else {
			at = at.UTC()
		}
		if !ok || !writable(at) {
			return false
		}
		e.Time = at
		return true
	}
	if event.CheckAttribute(name) != nil || !isAttribute(v) {
		return false
	}
	if e.Attributes == nil {
		e.Attributes = map[string]any{}
	}
	e.Attributes[name] = v
	return true
}

// isAttribute reports whether CloudEvents has such values of attributes.
func isAttribute(v any) bool {
	switch v := v.(type) {
	case string, bool, int8, uint8, int16, uint16, int32, []byte:
		return true
	case uint32:
		return v <= math.MaxInt32
	case int64:
		return v == int64(int32(v))
	case time.Time:
		return writable(v)
	}
	return false
}

func decodeTrail(t *router.Trail, name string, v any) {
	text, _ := v.(string)
	number, _ := v.(int64)
	switch name {
	case trailType:
		t.Type = text
	case trailExchange:
		t.Exchange = text
	case trailPipeline:
		t.Pipeline = text
	case trailAttempts:
		t.Attempts = int(max(0, number))
	case trailFirstFailure:
		t.FirstFailure = decodeTime(v)
	case trailLastFailure:
		t.LastFailure = decodeTime(v)
	case trailNotBefore:
		t.NotBefore = decodeTime(v)
	case trailError:
		t.Error = text
	case trailRules:
		list, _ := v.([]any)
		for _, item := range list {
			if s, ok := item.(string); ok {
				t.Rules = append(t.Rules, s)
			}
		}
	}
}

// decodeTime reads milliseconds. What is no time that can be written again is none, and not the beginning of time.
func decodeTime(v any) time.Time {
	number, _ := v.(int64)
	if t := time.UnixMilli(number); number > 0 && writable(t) {
		return t
	}
	return time.Time{}
}

// writable reports whether RFC 3339 has the time.
func writable(t time.Time) bool { return t.Year() >= 0 && t.Year() <= 9999 }

// decodeDeaths reads x-death, newest first: why the broker moved the message last, and where it was published before it came to a queue of ours. That is the newest exchange of sources, as
// deaths behind it are of queues that it was in before it was published there; where there is none, the oldest exchange.
func decodeDeaths(out *router.Delivery, v any, sources []string) {
	deaths, _ := v.([]any)
	for i, v := range deaths {
		death, ok := v.(amqp091.Table)
		if !ok {
			continue
		}
		if i == 0 {
			out.Deaths, _ = death["reason"].(string)
			if at, ok := death["time"].(time.Time); ok && writable(at) {
				out.Died = at
			}
		}
		exchange, ok := death["exchange"].(string)
		source := slices.Contains(sources, exchange)
		if !source && i < len(deaths)-1 {
			continue
		}
		if ok {
			out.Exchange = exchange
		}
		if keys, _ := death["routing-keys"].([]any); len(keys) > 0 {
			if key, ok := keys[0].(string); ok {
				out.Event.Type = key
			}
		}
		if source {
			return
		}
	}
}

// maxShort is AMQP's limit on names, keys and short properties, in bytes.
const maxShort = 255

// check reports what the broker would answer with an error that closes the channel, or the connection.
func check(m *router.Message) error {
	e, p := m.Event, &m.Event.Properties
	for _, f := range [...]struct{ name, value string }{
		{"routing key", m.Key}, {"exchange", m.Exchange}, {"id", e.ID}, {"content type", e.ContentType},
		{"content encoding", p.ContentEncoding}, {"correlation id", p.CorrelationID}, {"reply-to", p.ReplyTo},
		{"app id", p.AppID}, {"type property", p.MessageType},
	} {
		if err := checkShort(f.name, f.value); err != nil {
			return err
		}
	}
	for _, key := range m.BCC {
		if err := checkShort("routing key", key); err != nil {
			return err
		}
	}
	const ours = 32 // headers of a message that are not the event's, at most
	if n := len(e.Headers) + len(e.Attributes); n > maxElements-ours {
		return fmt.Errorf("%w: it has %d headers and attributes; the limit is %d", router.ErrInvalid, n, maxElements-ours)
	}
	for name, v := range e.Headers {
		if err := checkHeader(name, v); err != nil {
			return err
		}
	}
	for name, v := range e.Attributes {
		if err := checkHeader(attributePrefix+name, v); err != nil {
			return err
		}
	}
	return nil
}

func checkShort(name, value string) error {
	if len(value) > maxShort {
		return fmt.Errorf("%w: %s %q… is %d bytes long; the limit is %d", router.ErrInvalid, name, value[:32], len(value), maxShort)
	}
	return nil
}

func checkHeader(name string, v any) error {
	if err := checkShort("header", name); err != nil {
		return err
	}
	if err := (amqp091.Table{"": toWire(v)}).Validate(); err != nil {
		return fmt.Errorf("%w: header %q: %w", router.ErrInvalid, name, err)
	}
	return checkInner(v, 0)
}

// What the client library reads (1.16): it gives up the connection by which more comes.
const (
	maxDepth    = 32   // tables and lists within each other, below the headers' own
	maxElements = 8192 // of one of them
)

// checkInner reports what makes the client library give the connection up when it writes a header's value, by names that are too long, or reads it again.
func checkInner(v any, depth int) error {
	var inner []any
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			if err := checkShort("header", name); err != nil {
				return err
			}
		}
		inner = slices.Collect(maps.Values(v))
	case []any:
		inner = v
	default:
		return nil
	}
	if depth == maxDepth || len(inner) > maxElements {
		return fmt.Errorf("%w: a header has %d values at depth %d; the limits are %d and %d", router.ErrInvalid, len(inner), depth+1, maxElements, maxDepth)
	}
	for _, v := range inner {
		if err := checkInner(v, depth+1); err != nil {
			return err
		}
	}
	return nil
}
