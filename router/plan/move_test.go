package plan_test

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/eventrouter/eventrouter/router/plan"
)

// reshaped is the change by which the queue of billing becomes a classic one.
func reshaped(t *testing.T) (*plan.Change, plan.Queue) {
	t.Helper()
	old, now := compile(t, changing), compile(t, strings.Replace(changing, "billing: {}", "billing: {queue: {type: classic, max_length: 5}}", 1))
	c := plan.NewChange(&plan.Record{Applied: old.State()}, now)
	queues := c.Reshaped()
	if len(queues) != 1 || queues[0].Name != "shop.billing" {
		t.Fatalf("reshaped are %+v", queues)
	}
	return c, queues[0]
}

func TestAMoveIsCarriedOnFromEachOfItsRecords(t *testing.T) {
	t.Parallel()
	c, q := reshaped(t)
	m, err := c.Migrate(q)
	if err != nil {
		t.Fatal(err)
	}
	stages := 0
	for at, s := range m.Steps {
		if s.Note == nil || s.Note.Move == nil {
			continue
		}
		stages++
		s.Note.Format = s.Note.Form()
		data, err := s.Note.Encode()
		if err != nil {
			t.Fatal(err)
		}
		rec, err := plan.DecodeRecord(data)
		if err != nil || rec.Format != plan.RecordFormat || !rec.Moves(q.Name) {
			t.Fatalf("%v, %+v", err, rec)
		}
		rest := plan.Continue(rec).Steps
		if len(rest) != len(m.Steps)-at {
			t.Errorf("from %s on there are %d steps, not %d", rec.Move.Stage, len(rest), len(m.Steps)-at)
		}
		for i := range rest {
			if !reflect.DeepEqual(rest[i].Bind, m.Steps[at+i].Bind) || !reflect.DeepEqual(rest[i].Unbind, m.Steps[at+i].Unbind) || !reflect.DeepEqual(rest[i].Haul, m.Steps[at+i].Haul) {
				t.Errorf("step %d from %s on is %s, not %s", i, rec.Move.Stage, &rest[i], &m.Steps[at+i])
			}
		}
		if rec.Move.Stage == plan.Leaving && slices.ContainsFunc(rest[:3], func(s plan.Step) bool { return len(s.Bind) > 0 }) {
			t.Error("a queue that events have left may be bound again while it is emptied")
		}
	}
	if stages != 3 {
		t.Errorf("there are %d stages", stages)
	}
}

func TestAMovedQueueHasPredecessorsUntilTheyAreGone(t *testing.T) {
	t.Parallel()
	c, q := reshaped(t)
	m, err := c.Migrate(q)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"shop.billing.moved", "shop.billing.migrating"}
	if got := m.Final.First(q.Name); !slices.Equal(got, want) || m.Final.Move != nil || m.Final.Form() != plan.RecordFormat {
		t.Errorf("in the end: %v, %+v", got, m.Final)
	}
	for _, queue := range m.Final.Kept.Queues {
		if queue.Arguments["x-max-length"] != nil || queue.Arguments["x-queue-type"] != "classic" {
			t.Errorf("%s has the arguments %v", queue.Name, queue.Arguments)
		}
	}
	rest := c.Moved(m.Final, c.Plan)
	if len(rest.Reshaped()) > 0 || rest.Next(want[0]) != q.Name || !slices.Equal(rest.First(q.Name), want) {
		t.Errorf("after it: %+v, before %q", rest.Reshaped(), rest.Next(want[0]))
	}
	if lines := rest.Lines(); !slices.ContainsFunc(lines, func(l plan.Line) bool { return l.Mark == plan.Changed && l.Name == q.Name }) {
		t.Errorf("it does not tell of the queue: %+v", lines)
	}
	if last := rest.Final(plan.Topology{Queues: m.Final.Kept.Queues[1:]}, nil); !slices.Equal(last.First(q.Name), want[1:]) {
		t.Errorf("without the first: %v", last.First(q.Name))
	}
	if last := rest.Final(plan.Topology{}, nil); len(last.Predecessors) > 0 || last.Form() == plan.RecordFormat {
		t.Errorf("without both: %+v", last)
	}
	again, err := plan.NewChange(m.Final, compile(t, changing)).Migrate(plan.Queue{Name: q.Name})
	if err != nil || !slices.Equal(again.Final.First(q.Name), append(want, "shop.billing.moved.2", "shop.billing.migrating.2")) {
		t.Errorf("moved back: %v, %+v", err, again.Final.Predecessors)
	}
}

func TestOnlyPipelinesQueuesAreMoved(t *testing.T) {
	t.Parallel()
	c, _ := reshaped(t)
	if _, err := c.Migrate(plan.Queue{Name: "shop.unrouted"}); err == nil || !strings.Contains(err.Error(), "no pipeline's own") {
		t.Error(errors.Join(errors.New("not refused"), err))
	}
}
