package amqp

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/eventrouter/eventrouter/router"
)

// RabbitMQ's words for a declaration that differs from what is there; 3.10 and 4.x name types, and only where there are values:
// inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': received the value '2' of type 'long' but current is none.
var inequivalent = regexp.MustCompile(`inequivalent arg '([^']*)' for (\w+) '(.*)' in vhost '.*': received (.*) but current is (.*)$`)

var valueText = regexp.MustCompile(`^(?:the value )?'(.*?)'(?: of type '[^']*')?$`)

// mismatch turns a 406 of a declaration into a sentence that names the argument and both values.
func mismatch(err error, kind, name string) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*amqp091.Error](err); ok && e.Code == amqp091.PreconditionFailed {
		if m := inequivalent.FindStringSubmatch(e.Reason); m != nil {
			return &router.ShapeError{Kind: kind, Name: name, Argument: m[1], Is: value(m[5]), Want: value(m[4])}
		}
	}
	return fmt.Errorf("declaring %s %q: %w", kind, name, err)
}

func value(text string) string {
	if m := valueText.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return strings.TrimPrefix(text, "the ")
}

// notThere turns a 404 of a passive declaration into a sentence.
func notThere(err error, kind, name string) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*amqp091.Error](err); ok && e.Code == amqp091.NotFound {
		return fmt.Errorf("%s %q is not on the broker, and the rules say that somebody else declares it (declare: false)", kind, name)
	}
	return fmt.Errorf("checking %s %q: %w", kind, name, err)
}
