package ingress

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/event/jsonscan"
)

// The content types of CloudEvents' HTTP binding (version 1.0.2, section 3).
const (
	structured = "application/cloudevents+json"
	batch      = "application/cloudevents-batch+json"
	anyEvents  = "application/cloudevents"
)

// decode reads the events of a request: in structured mode, in batch mode, or else in binary mode.
func (d *door) decode(r *http.Request) ([]*event.Event, *problem) {
	contentType := r.Header.Get("Content-Type")
	media, _, err := mime.ParseMediaType(contentType)
	if contentType != "" && err != nil {
		return nil, unsupported("the content type " + quote(contentType) + " cannot be read")
	}
	if encoding := r.Header.Get("Content-Encoding"); strings.HasPrefix(media, anyEvents) && encoding != "" && encoding != "identity" {
		return nil, unsupported("the content encoding " + quote(encoding) + " is not supported")
	}
	if strings.HasPrefix(media, anyEvents) && media != structured && media != batch {
		return nil, unsupported("of CloudEvents' formats only JSON is supported, not " + quote(media))
	}
	body, err := readBody(r)
	if err != nil {
		return nil, d.bodyProblem(err)
	}
	switch media {
	case structured:
		return one(readStructured(body))
	case batch:
		return d.readBatch(body)
	}
	return one(readBinary(r.Header, contentType, body))
}

// readBody reads into memory that is allocated as the bytes come, and once where the client says how many those are and they are few.
func readBody(r *http.Request) ([]byte, error) {
	const few = 1 << 20
	var b bytes.Buffer
	if r.ContentLength > 0 {
		b.Grow(int(min(r.ContentLength, few)) + bytes.MinRead)
	}
	_, err := b.ReadFrom(r.Body)
	return b.Bytes(), err
}

func one(e *event.Event, err error) ([]*event.Event, *problem) {
	if err != nil {
		return nil, badRequest(err.Error())
	}
	return []*event.Event{e}, nil
}

func unsupported(detail string) *problem {
	return &problem{
		Title: "Unsupported media type", Status: http.StatusUnsupportedMediaType,
		Detail: detail + "; send " + structured + ", " + batch + ", or any data with ce- headers",
	}
}

func (d *door) bodyProblem(err error) *problem {
	if _, over := errors.AsType[*http.MaxBytesError](err); over {
		return &problem{Title: "Too large", Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the body is over %d bytes", d.MaxBody)}
	}
	return badRequest("the body could not be read: " + err.Error())
}

// readStructured reads one event in CloudEvents' JSON format, by which specversion, id, source and type are needed. We go without the source
// and make an id.
func readStructured(body []byte) (*event.Event, error) {
	e := &event.Event{}
	if err := e.UnmarshalJSON(bytes.TrimPrefix(body, []byte("\ufeff"))); err != nil {
		return nil, err
	}
	return withID(e), nil
}

func withID(e *event.Event) *event.Event {
	if e.ID == "" {
		e.ID = event.NewID()
	}
	return e
}

// readBatch reads a JSON array of events. All that are wrong are named; none is published then.
func (d *door) readBatch(body []byte) ([]*event.Event, *problem) {
	raw, n, ok := elements(body, d.MaxBatch)
	if !ok {
		return nil, badRequest("a batch is a JSON array of events")
	}
	if n > d.MaxBatch {
		return nil, &problem{Title: "Too large", Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("the batch has %d events; the limit is %d", n, d.MaxBatch)}
	}
	events := make([]*event.Event, 0, len(raw))
	var wrong []eventError
	for i, text := range raw {
		e, err := readStructured(text)
		if err != nil {
			wrong = append(wrong, eventError{Index: i, Detail: err.Error()})
			continue
		}
		events = append(events, e)
	}
	if len(wrong) > 0 {
		p := badRequest(fmt.Sprintf("%d of %d events are none; nothing was published", len(wrong), len(raw)))
		p.Errors = wrong
		return nil, p
	}
	return events, nil
}

// elements finds the elements of a JSON array where they lie. It counts them all and returns the first most of them: a body has room for half a million
// of them, which as slices of their own would be many times its size.
func elements(array []byte, most int) (first [][]byte, n int, ok bool) {
	i := jsonscan.Space(array, 0)
	if i == len(array) || array[i] != '[' {
		return nil, 0, false
	}
	if i = jsonscan.Space(array, i+1); i < len(array) && array[i] == ']' {
		return nil, 0, jsonscan.End(array, i+1)
	}
	for {
		begin := jsonscan.Space(array, i)
		if i, ok = jsonscan.Value(array, begin, 1); !ok {
			return nil, 0, false
		}
		if n++; n <= most {
			first = append(first, array[begin:i])
		}
		if i = jsonscan.Space(array, i); i == len(array) {
			return nil, 0, false
		}
		if array[i] != ',' {
			return first, n, array[i] == ']' && jsonscan.End(array, i+1)
		}
		i++
	}
}

const headerPrefix = "Ce-"

// readBinary reads an event whose attributes are headers and whose data is the body.
func readBinary(h http.Header, contentType string, body []byte) (*event.Event, error) {
	e := &event.Event{ContentType: contentType, Data: body}
	for name, values := range h {
		attribute, ours := strings.CutPrefix(textproto.CanonicalMIMEHeaderKey(name), headerPrefix)
		if !ours {
			continue
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("header %q is there %d times", strings.ToLower(name), len(values))
		}
		value, err := headerValue(values[0])
		if err != nil {
			return nil, fmt.Errorf("header %q: %w", strings.ToLower(name), err)
		}
		if err := setAttribute(e, strings.ToLower(attribute), value); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{"traceparent", "tracestate"} {
		if v := h.Get(name); v != "" && e.Attributes[name] == nil {
			if err := setAttribute(e, name, v); err != nil {
				return nil, err
			}
		}
	}
	if e.Type == "" {
		return nil, errors.New(`header "ce-type" is missing: an event in binary mode has its attributes in headers ("ce-type: order.created"); ` +
			`for an event that is a JSON document as a whole, the content type is ` + structured)
	}
	if err := e.Check(); err != nil {
		return nil, err
	}
	return withID(e), nil
}

// headerValue decodes a header as the HTTP binding has it: UTF-8 with percent-encoding, in quotes if the client wants.
func headerValue(s string) (string, error) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		var b strings.Builder
		for i := 1; i < len(s)-1; i++ {
			if s[i] == '\\' && i < len(s)-2 {
				i++
			}
			b.WriteByte(s[i])
		}
		s = b.String()
	}
	if strings.Contains(s, "%") {
		decoded, err := url.PathUnescape(s)
		if err != nil {
			return "", errors.New("its percent-encoding is not valid")
		}
		s = decoded
	}
	if !utf8.ValidString(s) {
		return "", errors.New("it is not UTF-8")
	}
	return s, nil
}

func setAttribute(e *event.Event, name, value string) error {
	switch name {
	case "specversion":
		if value != "1.0" {
			return fmt.Errorf(`header "ce-specversion" is 1.0, not %s`, quote(value))
		}
	case "type":
		e.Type = value
	case "id":
		e.ID = value
	case "source":
		e.Source = value
	case "subject":
		e.Subject = value
	case "time":
		t, err := time.Parse(time.RFC3339Nano, value)
		if err != nil {
			return fmt.Errorf(`header "ce-time" is an RFC 3339 time such as 2026-01-31T12:00:00Z, not %s`, quote(value))
		}
		e.Time = t
	case "datacontenttype", "data":
		return fmt.Errorf(`header "ce-%s": the data and its content type are the request's own`, name)
	default:
		if err := event.CheckAttribute(name); err != nil {
			return fmt.Errorf(`header "ce-%s": %w`, name, err)
		}
		if e.Attributes == nil {
			e.Attributes = map[string]any{}
		}
		e.Attributes[name] = value
	}
	return nil
}
