// Package event holds the event and its written forms: what eventrouter routes, whatever way it came.
package event

import "time"

// Event is one event, in the terms of CloudEvents 1.0. A message of any AMQP publisher is an event too:
// its routing key is the Type, its headers that are not CloudEvents' are the Headers.
//
// An Event's maps and bytes are shared by everybody who holds it: they are read, never changed.
type Event struct {
	ID          string    // never empty once the event is in the router
	Type        string    // the routing key: at most 255 bytes
	Source      string    // empty where the publisher gave none
	Subject     string    // empty where there is none
	Time        time.Time // zero where there is none
	ContentType string    // of Data; empty where the publisher gave none
	Data        []byte    // the body; nil and empty are alike

	// Attributes are CloudEvents' extension attributes (and dataschema) by name:
	// string, bool, a whole number of 32 bits in any type, []byte or time.Time. traceparent and tracestate are among them.
	Attributes map[string]any

	// Headers are all other headers of the message, those among them that are no right attribute by their name or value, as the wire has them: string, bool, integers, floats, []byte,
	// time.Time, []any, map[string]any and nil. CC and BCC are not among them.
	Headers map[string]any

	// Properties are what AMQP says about a message besides; they are handed on as they came.
	Properties Properties
}

// Properties are the AMQP properties that have no place in CloudEvents. They survive routing, retries and dead letters.
// Expiration and user-id do not: both would take effect anew on each publish.
type Properties struct {
	ContentEncoding string
	CorrelationID   string
	ReplyTo         string
	AppID           string
	MessageType     string // AMQP's own "type" property
	Priority        uint8
	Timestamp       time.Time // seconds; zero where there is none
	Transient       bool      // delivery mode 1
}
