package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

func (b *builder) tests(v values) {
	n, _, ok := v.has("tests")
	if !ok {
		return
	}
	for _, item := range v.w.items(n, "tests") {
		b.out.Tests = append(b.out.Tests, b.test(v.w.object(item, testObject)))
	}
}

func (b *builder) test(t values) Test {
	test := Test{Pos: t.w.pos(t.node), Name: t.string("name"), Event: t.document("event"), From: t.string("from")}
	said := t.nodes["fails"] != nil
	for _, list := range []struct {
		key, kind string
		to        *[]string
	}{
		{"pipelines", "pipeline", &test.Pipelines}, {"rules", "rule", &test.Rules}, {"includes", "pipeline", &test.Includes},
		{"excludes", "pipeline", &test.Excludes}, {"holds", "rule", &test.Holds},
	} {
		var nodes []*yaml.Node
		*list.to, nodes = t.stringNodes(list.key)
		b.refer(t.w, list.kind, nodes)
		said = said || t.nodes[list.key] != nil
	}
	test.Fails = b.reasons(t)
	if !said && len(t.nodes) > 0 {
		t.w.error(t.node, "the test says nothing", "it needs pipelines, rules, includes, excludes, holds or fails")
	}
	if n, _, ok := t.has("from"); ok {
		b.refer(t.w, "exchange", []*yaml.Node{n})
	}
	b.events(t, &test)
	return test
}

// events reads where the events of a test are.
func (b *builder) events(t values, test *Test) {
	switch event, events := t.keys["event"], t.keys["events"]; {
	case event == nil && events == nil && len(t.nodes) > 0:
		t.w.error(t.node, `a test has no "event", which it needs`, "event: {type: order.created}, or a file of them: events: orders.ndjson")
	case event != nil && events != nil:
		t.w.error(events, "a test has either an event or a file of events", "make two tests of it")
	}
	n, _, ok := t.has("events")
	if !ok {
		return
	}
	if test.EventsFile = t.string("events"); test.EventsFile == "" {
		if n.Kind == yaml.ScalarNode {
			t.w.error(n, "events is the path of a file, and this one is empty", "")
		}
		return
	}
	test.file = quoted{t.w.pos(n), t.w.line(n.Line)}
	if !filepath.IsAbs(test.EventsFile) {
		test.EventsFile = filepath.Join(filepath.Dir(t.w.file), test.EventsFile)
	}
}

// reasons reads the rules that are not to hold, and why.
func (b *builder) reasons(t values) []Reason {
	n, _, ok := t.has("fails")
	if !ok {
		return nil
	}
	out := []Reason{}
	for _, e := range t.w.entries(n, "fails") {
		b.refer(t.w, "rule", []*yaml.Node{e.key})
		value := t.w.follow(e.value)
		r := Reason{Rule: e.key.Value}
		if !isNull(value) {
			r.Path = t.w.string(value, &field{name: "the condition that fails"})
		}
		out = append(out, r)
	}
	return out
}

// ReadEvents reads the files of events of all tests. It is apart from [Load], so that a rules file can be used where
// those files are not.
func (f *File) ReadEvents() Problems {
	var problems Problems
	read := map[string][]TestEvent{}
	for i := range f.Tests {
		t := &f.Tests[i]
		if t.EventsFile == "" {
			continue
		}
		events, seen := read[t.EventsFile]
		if !seen {
			var wrong Problems
			if events, wrong = readEvents(t); len(wrong) > 0 {
				problems = append(problems, wrong...)
			}
			read[t.EventsFile] = events
		}
		t.Events = events
	}
	return problems
}

// maxWrongEvents is how many lines of one file are complained of.
const maxWrongEvents = 10

func readEvents(t *Test) ([]TestEvent, Problems) {
	problem := func(message string) Problems {
		return Problems{{Pos: t.file.pos, Source: t.file.line, Message: fmt.Sprintf("the events of test %q: %s: %s", t.Name, t.EventsFile, message)}}
	}
	source, err := readFile(t.EventsFile)
	if err != nil {
		return nil, problem("cannot be read: " + cause(err).Error())
	}
	var events []TestEvent
	var problems Problems
	number := 0
	for line := range bytes.SplitSeq(bytes.TrimPrefix(source.Text, []byte("\ufeff")), []byte("\n")) {
		number++
		if line = bytes.TrimRight(line, "\r \t"); len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		at := Pos{File: t.EventsFile, Line: number, Column: 1}
		doc, column, err := eventLine(line)
		if err != nil {
			at.Column = column
			problems = append(problems, Problem{Pos: at, Source: string(line), Message: err.Error()})
			if len(problems) == maxWrongEvents {
				break
			}
			continue
		}
		events = append(events, TestEvent{Pos: at, Event: doc})
	}
	if len(events) == 0 && len(problems) == 0 {
		return nil, problem("has no event in it")
	}
	return events, problems
}

// eventLine reads one event's document; where that fails, also the column.
func eventLine(line []byte) (doc map[string]any, column int, err error) {
	if !utf8.Valid(line) {
		return nil, 1, errors.New("the event is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		offset := len(line)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok && !errors.Is(err, io.ErrUnexpectedEOF) {
			offset = int(syntax.Offset)
		}
		return nil, max(1, utf8.RuneCount(line[:offset])), fmt.Errorf("an event is a JSON object: %w", err)
	}
	if rest := bytes.TrimLeft(line[d.InputOffset():], " \t"); len(rest) > 0 {
		return nil, utf8.RuneCount(line[:len(line)-len(rest)]) + 1, errors.New("an event is a line of its own, and something follows it")
	}
	doc, ok := value.(map[string]any)
	if !ok {
		return nil, 1, errors.New("an event is a JSON object, and this is another value")
	}
	if s, ok := doc["type"].(string); !ok || s == "" {
		return nil, 1, errors.New(`an event has no "type", which it needs`)
	}
	return doc, 0, nil
}
