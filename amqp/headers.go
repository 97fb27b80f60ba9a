package amqp

import (
	"fmt"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
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
// router, retries and dead letters add notes of ours.
func checkHeaders(m *router.Message, size, limit int) error {
	if m.Trail.Type == "" {
		limit /= 2
	}
	if limit > 0 && size > limit {
		return fmt.Errorf("%w: its attributes and headers are %d bytes; the limit is %d", router.ErrInvalid, size, limit)
	}
	return nil
}
