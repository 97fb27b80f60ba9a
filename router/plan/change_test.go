package plan_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventrouter/eventrouter/router/plan"
)

const changing = `
version: 1
name: shop
pipelines: {all: {}, billing: {}, mail: {}}
rules:
  - {name: all, pipelines: [all]}
  - {name: large, type: order.*, match: {data: {n: [{numeric: [">=", 5]}]}}, pipelines: [billing]}
  - {name: mails, type: mail.*, pipelines: [mail]}
`

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	t.Parallel()
	p := compile(t, read(t, "testdata/rules.yaml"))
	next := compile(t, changing).State()
	r := &plan.Record{
		Format: plan.RecordFormat, Serial: 3, By: "me", At: time.Now().UTC().Truncate(time.Second), Applied: p.State(), Next: &next, Stage: plan.Turned,
		Leftovers: []plan.Leftover{{Queue: "q", Pipelines: []string{"a"}}},
	}
	data, err := r.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := plan.DecodeRecord(data)
	if err != nil || !reflect.DeepEqual(again, r) {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, again, r)
	}
	if again.InForce().Digest != next.Digest {
		t.Error("after the turn, the new plan is not in force")
	}
	older := &plan.Record{Format: plan.RecordFormat, Serial: 2}
	first, err := older.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if latest, err := plan.Latest([][]byte{data, first}); err != nil || latest.Serial != 3 {
		t.Errorf("the latest of two: %v, %+v", err, latest)
	}
	if latest, err := plan.Latest(nil); latest != nil || err != nil {
		t.Errorf("of none: %v, %+v", err, latest)
	}
	if _, err := plan.DecodeRecord([]byte("x")); err == nil {
		t.Error("what is no record is read as one")
	}
}

// FuzzRecord: what is read without an error is written and read again as it is.
func FuzzRecord(f *testing.F) {
	p := compile(f, read(f, "testdata/rules.yaml"))
	next := compile(f, changing).State()
	whole, err := json.Marshal(&plan.Record{Format: plan.RecordFormat, Serial: 3, Applied: p.State(), Next: &next, Stage: plan.Turned})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte(`{"format":99,"applied":null,"move":{"queue":{"arguments":{"x-max-length":1e99}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(text); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := plan.DecodeRecord(packed.Bytes())
		if err != nil {
			return
		}
		r.InForce().Routed()
		data, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := plan.DecodeRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		if written, err := again.Encode(); err != nil || !bytes.Equal(written, data) {
			t.Fatalf("%v\nread  %+v\nagain %+v", err, r, again)
		}
	})
}

func TestADigestIsOfWhereEventsGo(t *testing.T) {
	t.Parallel()
	digest := func(text string) string { return compile(t, text).State().Digest }
	same := digest(changing)
	if got := digest("# a comment\n" + changing); got != same {
		t.Error("a rule at another place is another plan")
	}
	if got := digest(strings.Replace(changing, "mail: {}}", "mail: {workers: 4}}", 1)); got != same {
		t.Error("other workers are another plan")
	}
	for _, change := range [][2]string{{"5]}", "6]}"}, {"mail.*", "mail.#"}, {"[billing]", "[mail]"}, {"mail: {}}", "mail: {queue: {type: classic}}}"}} {
		if digest(strings.Replace(changing, change[0], change[1], 1)) == same {
			t.Errorf("%s → %s is the same plan", change[0], change[1])
		}
	}
}

// TestAFeedThatChangesTurns holds for what package integration/changes tries with events.
func TestAFeedThatChangesTurns(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, old, now string
		turns          bool
		match          string
	}{
		{"a rule comes", "", "\n  - {name: more, type: x, pipelines: [mail]}", false, "shop.match"},
		{"a pipeline comes", "mail: {}}", "mail: {}, more: {}}", false, "shop.match"},
		{"a type of what waits", "", "\n  - {name: more, type: order.paid, pipelines: [mail]}", false, "shop.match"}, // all has it
		{"to the router", "mail.*, pipelines", "mail.*, where: data.n > 1, pipelines", true, "shop.match.2"},
		{"to the broker", `match: {data: {n: [{numeric: [">=", 5]}]}}, `, "", true, ""},
		{"another queue", "mail: {}}", "mail: {queue: {name: other}}}", true, "shop.match"},
		{"another name", "mail: {}}", "post: {}}", true, "shop.match"},
	} {
		now := changing + c.now
		if c.old != "" {
			now = strings.Replace(changing, c.old, c.now, 1)
		}
		if c.name == "another name" {
			now = strings.Replace(now, "[mail]", "[post]", 1)
		}
		rec := &plan.Record{Format: plan.RecordFormat, Applied: compile(t, changing).State()}
		change := plan.NewChange(rec, compile(t, now))
		if change.Turns != c.turns || change.Plan.Match != c.match {
			t.Errorf("%s: turns %v, match queue %q", c.name, change.Turns, change.Plan.Match)
		}
		if change.Settled || len(change.Lines()) == 0 {
			t.Errorf("%s: nothing is to be done", c.name)
		}
		left := slices.ContainsFunc(change.Leftovers, func(l plan.Leftover) bool { return l.Queue == "shop.match" })
		if left != (c.match != "shop.match") {
			t.Errorf("%s: leftovers %+v", c.name, change.Leftovers)
		}
	}
	rec := &plan.Record{Format: plan.RecordFormat, Applied: compile(t, changing).State()}
	if change := plan.NewChange(rec, compile(t, changing)); !change.Settled || len(change.Lines()) != 0 || len(change.Remove) != 0 {
		t.Errorf("the same rules: %+v", change.Lines())
	}
}

func TestEffects(t *testing.T) {
	t.Parallel()
	now := strings.NewReplacer("5]}", "6]}", "type: mail.*, pipelines: [mail]", "type: mail.*, pipelines: [mail, all]").Replace(changing) +
		"  - {name: gone, type: z, pipelines: [billing]}\n"
	rec := &plan.Record{Format: plan.RecordFormat, Applied: compile(t, now).State()}
	got := plan.NewChange(rec, compile(t, changing)).Effects()
	want := []plan.Effect{{Pipeline: "all", Gets: "fewer", Rules: []string{"mails"}}, {Pipeline: "billing", Gets: "other", Rules: []string{"large", "gone"}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// An event that was left to the router alone, and is now left to the broker, would be lost without a turn: nobody could say whether the broker has it.
func TestATypeOfEventsThatWaitTurns(t *testing.T) {
	t.Parallel()
	before := strings.Replace(changing, "  - {name: all, pipelines: [all]}\n", "  - {name: all, type: user.*, pipelines: [all]}\n", 1)
	for kind, turns := range map[string]bool{"order.paid": true, "order.#": true, `"*.paid"`: true, "user.#": false, "mail.sent": false, "order": false} {
		rec := &plan.Record{Format: plan.RecordFormat, Applied: compile(t, before).State()}
		c := plan.NewChange(rec, compile(t, before+"  - {name: more, type: "+kind+", pipelines: [mail]}\n"))
		if c.Turns != turns || (c.Plan.Match == "shop.match.2") != turns || (len(c.Leftovers) == 1) != turns {
			t.Errorf("%s: turns %v, match queue %q, leftovers %+v", kind, c.Turns, c.Plan.Match, c.Leftovers)
		}
		for i := range c.Leftovers {
			had := c.Leftovers[i].Delivered()
			for event, want := range map[string]bool{"mail.sent": true, "user.new": true, "order.paid": false} {
				if had("shop.events", event) != want {
					t.Errorf("the broker had taken %s to a pipeline: %v", event, !want)
				}
			}
		}
	}
	if old := (&plan.Leftover{Queue: "q"}).Delivered(); !old("shop.events", "order.paid") {
		t.Error("an event of a leftover that an older version noted comes to the unrouted ones")
	}
}

// TestOtherLimitsOfTheMatchQueueTurn: a queue cannot get others, so that another one takes its place, at one instant, and the first is worked off.
func TestOtherLimitsOfTheMatchQueueTurn(t *testing.T) {
	t.Parallel()
	before := compile(t, changing)
	limited := compile(t, strings.Replace(changing, "rules:", "match_queue: {max_length: 1000, max_bytes: 5000000}\nrules:", 1))
	record := func(p *plan.Plan) *plan.Record {
		data, err := (&plan.Record{Format: plan.RecordFormat, Applied: p.State()}).Encode()
		if err != nil {
			t.Fatal(err)
		}
		rec, err := plan.DecodeRecord(data)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	c := plan.NewChange(record(before), limited)
	if !c.Turns || c.Plan.Match != "shop.match.2" || len(c.Leftovers) != 1 || c.Leftovers[0].Queue != "shop.match" {
		t.Errorf("turns %v, to %s, with %+v left over", c.Turns, c.Plan.Match, c.Leftovers)
	}
	if c := plan.NewChange(record(c.Plan), limited); c.Turns || c.Plan.Match != "shop.match.2" {
		t.Errorf("the same limits: turns %v, to %s", c.Turns, c.Plan.Match)
	}
}
