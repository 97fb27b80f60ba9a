package amqp

import (
	"encoding/base64"
	"fmt"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
)

// headerFrame is the size of the frame that holds a message's properties and headers, in bytes (AMQP 0-9-1, 4.2.6.1 and 4.2.5). Bodies are cut into frames of
// the size that the two sides agreed on; this one is not, and a broker closes the connection where it is larger.
func headerFrame(p *amqp091.Publishing) int {
	const (
		frame = 8             // type, channel, length, end
		fixed = 2 + 2 + 8 + 2 // class, weight, length of the body, flags
		small = 1 + 1 + 8     // delivery mode, priority, timestamp
	)
	size := frame + fixed + small + tableSize(p.Headers)
	for _, text := range [...]string{p.ContentType, p.ContentEncoding, p.CorrelationId, p.ReplyTo, p.Expiration, p.MessageId, p.Type, p.UserId, p.AppId} {
		size += 1 + len(text)
	}
	return size
}

func tableSize(t amqp091.Table) int {
	size := 4
	for name, v := range t {
		size += 1 + len(name) + 1 + valueSize(v)
	}
	return size
}

func valueSize(v any) int {
	switch v := v.(type) {
	case nil:
		return 0
	case string:
		return 4 + len(v)
	case []byte:
		return 4 + len(v)
	case amqp091.Table:
		return tableSize(v)
	case []any:
		size := 4
		for _, inner := range v {
			size += 1 + valueSize(inner)
		}
		return size
	}
	return 8 // the most that any other takes
}

// checkHeaders reports headers that are too large for a frame of limit bytes (0: there is none). What is published for the first time may have half of it: the
// router, retries and dead letters add notes of ours, and the broker its own.
func checkHeaders(m *router.Message, size, limit int) error {
	if m.Trail.Type == "" {
		limit /= 2
	}
	if limit > 0 && size > limit {
		return fmt.Errorf("%w: its attributes and headers are %d bytes; the limit is %d", router.ErrInvalid, size, limit)
	}
	return nil
}

// brokersShare is for what a broker writes into the headers of a message that it dead-letters or delivers again. It does not look at the size of the frame
// then, but the client library (1.16) gives the connection up by which a frame comes that is too large.
const brokersShare = 8 << 10

// isCrowded reports whether the headers of a message that is on its way between our queues leave too little of a frame of limit bytes to the broker. Its
// publisher was another AMQP client then.
func isCrowded(m *router.Message, size, limit int) bool {
	return m.Trail.Type != "" && limit > 0 && size > limit-min(brokersShare, limit/8)
}

// wholeType is the content type of a message whose body is the event itself, in CloudEvents' JSON format (AMQP binding, structured mode).
const wholeType = "application/cloudevents+json; charset=UTF-8"

// encodeWhole writes a message with the event in the body, headers and all, so that the headers are ours only. [decodeWhole] undoes it.
func encodeWhole(m *router.Message) (amqp091.Publishing, error) {
	bare := *m.Event
	bare.Data = nil
	body, err := bare.MarshalJSON()
	if err != nil {
		return amqp091.Publishing{}, err
	}
	if len(m.Event.Data) > 0 { // byte for byte, which JSON within JSON would not be
		body = append(body[:len(body)-1], `,"data_base64":"`...)
		body = base64.StdEncoding.AppendEncode(body, m.Event.Data)
		body = append(body, `"}`...)
	}
	around := *m
	around.Event = &event.Event{ID: m.Event.ID, Type: m.Event.Type, ContentType: wholeType, Data: body, Properties: m.Event.Properties}
	p := encode(&around)
	p.Headers[trailWhole] = true
	return p, nil
}

// decodeWhole returns the event that is the data of another. One that cannot be read stays as it is.
func decodeWhole(around *event.Event) *event.Event {
	var e event.Event
	if e.UnmarshalJSON(around.Data) != nil {
		return around
	}
	e.Properties = around.Properties
	return &e
}
