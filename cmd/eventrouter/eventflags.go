package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/eventrouter/eventrouter/router/event"
)

// eventFlags describe one event on the command line.
type eventFlags struct {
	eventType   string
	data        string
	contentType string
	id          string
	source      string
	subject     string
	headers     []string
	attributes  []string
}

func (e *eventFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&e.eventType, "type", "", "type of the event, such as order.created")
	flags.StringVar(&e.data, "data", "", "the event's data; @FILE reads it from a file")
	flags.StringVar(&e.contentType, "content-type", "application/json", "content type of the data")
	flags.StringVar(&e.id, "id", "", "id of the event (made if missing)")
	flags.StringVar(&e.source, "source", "", "where the event comes from, a URI such as /orders")
	flags.StringVar(&e.subject, "subject", "", "what the event is about")
	flags.StringArrayVar(&e.headers, "header", nil, "a header of the message, NAME=VALUE; may be repeated")
	flags.StringArrayVar(&e.attributes, "attr", nil, "an extension attribute of CloudEvents, name=value; may be repeated")
	scope(cmd, "event", "type", "data", "content-type", "id", "source", "subject", "header", "attr")
}

// given reports whether the flags describe an event.
func (e *eventFlags) given() bool { return e.eventType != "" }

// check refuses flags that describe an event without its type.
func (e *eventFlags) check(cmd *cobra.Command) error {
	for _, name := range []string{"data", "content-type", "id", "source", "subject", "header", "attr"} {
		if !e.given() && cmd.Flags().Changed(name) {
			return usagef(cmd, "--%s describes an event, and an event needs its --type", name)
		}
	}
	return nil
}

// event makes the event that the flags describe; its id is empty where none is given.
func (e *eventFlags) event(cmd *cobra.Command) (*event.Event, error) {
	made := &event.Event{ID: e.id, Type: e.eventType, Source: e.source, Subject: e.subject}
	if e.data != "" {
		data := []byte(e.data)
		if path, isFile := strings.CutPrefix(e.data, "@"); isFile {
			var err error
			if data, err = os.ReadFile(path); err != nil {
				return nil, fmt.Errorf("reading --data: %w", err)
			}
		} else if strings.HasPrefix(e.contentType, "application/json") && !json.Valid(data) {
			return nil, usagef(cmd, "--data is not JSON (for other data, give its --content-type)")
		}
		made.Data, made.ContentType = data, e.contentType
	}
	for _, h := range e.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" {
			return nil, usagef(cmd, "--header %q is not of the form NAME=VALUE", h)
		}
		if made.Headers == nil {
			made.Headers = map[string]any{}
		}
		made.Headers[name] = value
	}
	for _, a := range e.attributes {
		name, value, ok := strings.Cut(a, "=")
		if !ok {
			return nil, usagef(cmd, "--attr %q is not of the form name=value", a)
		}
		if made.Attributes == nil {
			made.Attributes = map[string]any{}
		}
		made.Attributes[name] = value
	}
	if err := made.Check(); err != nil {
		return nil, usageError{err, cmd}
	}
	return made, nil
}
