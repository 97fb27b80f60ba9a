package steps

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/rules"
)

// maxLogged is how much of an event's data is logged, in bytes.
const maxLogged = 4 << 10

func (b *builder) log(l *rules.Log) pipelines.Handler {
	write, pipeline := b.Log, b.pipeline.Name
	return func(_ context.Context, e router.Event) error {
		data := ""
		if l.Data {
			data = loggable(e.Data)
		}
		write(l.Level, pipeline, &e, data)
		return nil
	}
}

// loggable is data as a log can hold it.
func loggable(data []byte) string {
	if !utf8.Valid(data) {
		return fmt.Sprintf("%d bytes that are no text", len(data))
	}
	if len(data) > maxLogged {
		return strings.ToValidUTF8(string(data[:maxLogged]), "") + "…"
	}
	return string(data)
}
