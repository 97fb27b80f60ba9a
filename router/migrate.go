package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/eventrouter/eventrouter/router/plan"
)

// ShapeError: an object is on the broker in another shape than is wanted.
type ShapeError struct {
	Kind, Name string // exchange or queue
	Argument   string // of those that differ, one
	Is, Want   string
}

// Error implements error.
func (e *ShapeError) Error() string {
	text := fmt.Sprintf("%s %q is on the broker with %s %s, and the rules want %s: it cannot be changed in place; ", e.Kind, e.Name, e.Argument, e.Is, e.Want)
	if e.Kind == "queue" {
		return text + "'eventrouter apply --migrate' moves its events to a queue of the new shape; or give the rules another name for the queue"
	}
	return text + fmt.Sprintf("give the rules another name for the %s, or delete it when nothing is bound to it", e.Kind)
}

// Moved is a queue that was moved into another shape.
type Moved struct {
	Queue    string `json:"queue"`
	Events   int    `json:"events"`             // that it held
	Consumed bool   `json:"consumed,omitempty"` // somebody went on consuming it meanwhile: its events are not in order
}

// Moved are the queues that were moved.
func (a *Application) Moved() []Moved { return a.moved }

// Moving are the queues that Add will move: who consumes them lets go of them first.
func (a *Application) Moving() (names []string) {
	if a.record != nil && a.record.Move != nil {
		names = append(names, a.record.Move.Queue.Name)
	}
	for _, q := range a.reshaped {
		names = append(names, q.Name)
	}
	return names
}

// findReshaped finds the queues that have to be moved, or refuses them where they are not to be. The broker is asked, whatever the record says, as somebody
// may have declared a queue by hand. While a move is recorded it comes first.
func (a *Application) findReshaped(ctx context.Context) error {
	if a.record == nil || a.record.Move != nil {
		return nil
	}
	asked := a.Change.Reshaped()
	if a.options.Migrate {
		asked = a.Change.Ours()
	}
	if len(asked) == 0 {
		return nil
	}
	err := a.lock.Declare(ctx, plan.Topology{Queues: asked})
	if err == nil {
		return nil
	}
	shapes, others := shapeErrors(err)
	if !a.options.Migrate {
		for _, e := range shapes {
			if was, want := a.Change.Retyped(e.Name); e.Kind == "queue" && was != want {
				e.Argument, e.Is, e.Want = "x-queue-type", was, want // what the rules say, and not one of the arguments that come of it
			}
		}
		return err
	}
	for _, e := range shapes {
		at := slices.IndexFunc(asked, func(q plan.Queue) bool { return q.Name == e.Name })
		if at < 0 || e.Kind != "queue" {
			others = errors.Join(others, e)
			continue
		}
		if _, err := a.Change.Migrate(asked[at]); err != nil {
			others = errors.Join(others, err)
		}
		a.reshaped = append(a.reshaped, asked[at])
	}
	return others
}

// shapeErrors takes an error that several were joined to apart.
func shapeErrors(err error) (shapes []*ShapeError, others error) {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		for _, one := range many.Unwrap() {
			more, rest := shapeErrors(one)
			shapes, others = append(shapes, more...), errors.Join(others, rest)
		}
		return shapes, others
	}
	if e, ok := errors.AsType[*ShapeError](err); ok {
		return []*ShapeError{e}, nil
	}
	return nil, err
}

// migrate carries on the move that is recorded, and then makes those that are wanted.
func (a *Application) migrate(ctx context.Context) error {
	carriedOn, err := a.carryOn(ctx)
	if err != nil {
		return err
	}
	if carriedOn {
		if err := a.findReshaped(ctx); err != nil {
			return err
		}
	}
	for _, q := range a.reshaped {
		m, err := a.Change.Migrate(q)
		if err != nil {
			return err
		}
		if _, _, there, err := a.lock.Count(ctx, q.Name); err != nil {
			return err
		} else if !there {
			m.Gone()
		}
		if err := a.move(ctx, m); err != nil {
			return err
		}
	}
	a.reshaped = nil
	return nil
}

// carryOn makes the rest of a move that was interrupted.
func (a *Application) carryOn(ctx context.Context) (bool, error) {
	if a.record == nil || a.record.Move == nil {
		return false, nil
	}
	m := plan.Continue(a.record)
	if a.record.Move.Stage == plan.Raising {
		if _, _, there, err := a.lock.Count(ctx, a.record.Move.Queue.Name); err != nil {
			return false, err
		} else if !there {
			m.Gone()
		}
	}
	return true, a.move(ctx, m)
}

// move makes the steps of a move.
func (a *Application) move(ctx context.Context, m *plan.Migration) error {
	a.moved = append(a.moved, Moved{Queue: m.Record.Move.Queue.Name})
	for i := range m.Steps {
		if f := a.options.Progress; f != nil {
			f(i, len(m.Steps), m.Steps[i].String())
		}
		if err := a.do(ctx, &m.Steps[i]); err != nil {
			return fmt.Errorf("moving queue %q: %w", m.Record.Move.Queue.Name, err)
		}
	}
	a.record = m.Final
	if a.Change != nil {
		a.Change = a.Change.Moved(a.record, a.plan)
		a.leftovers = a.Change.Leftovers
	}
	return nil
}

// defaultLetGo is longer than services take to finish what they have in hand.
const defaultLetGo = 45 * time.Second

// settleTime is how long what the broker was sent may take to be in its queues.
const settleTime = 300 * time.Millisecond

// backTime is how long what a consumer gave back, when it let go of a queue, may take to be there again.
const backTime = time.Second

// haul moves the events of a queue that gets no more, but for those that go back to it from who consumed it. Who consumes the queue has heard of it by the
// record, and is waited for: what he was sent and has not begun goes back, and belongs before the rest. What he has begun he finishes, before he
// goes on with what is moved. Who has heard of nothing and stays is waited for as long again when all else is moved, as the broker sends him no more by then.
func (a *Application) haul(ctx context.Context, h *plan.Haul) error {
	at := &a.moved[len(a.moved)-1]
	wait := a.options.LetGo
	if wait <= 0 {
		wait = defaultLetGo
	}
	haul := *h
	for end := time.Now().Add(wait); ; {
		_, consumers, _, err := a.lock.Count(ctx, h.From)
		if err != nil {
			return err
		}
		held, late := false, time.Now().After(end)
		if consumers == 0 || late {
			if held, err = a.isHeld(ctx, a.plan.HeldName(h.From)); err != nil {
				return err
			}
		}
		if consumers == 0 && !held {
			if err := pause(ctx, backTime); err != nil {
				return err
			}
			break
		}
		if late && !held { // one of ours that ends is waited for as long as that takes
			at.Consumed, haul.Beside = true, wait
			break
		}
		if err := pause(ctx, lockPoll); err != nil {
			return err
		}
	}
	return a.lock.Haul(ctx, haul, func(done, left int) {
		at.Events = done
		if f := a.options.Progress; f != nil {
			f(done, done+left, "move the events of "+h.From)
		}
	})
}

// isHeld reports whether somebody of ours ends, and has events of a queue in hand yet. He says so, by consuming the queue of that name, before he ends his consumer: it is to be asked after it is
// seen that there is none.
func (a *Application) isHeld(ctx context.Context, name string) (bool, error) {
	if name == "" {
		return false, nil
	}
	_, consumers, _, err := a.lock.Count(ctx, name)
	return consumers > 0, err
}

// Resume carries on a move whose maker is gone, and changes nothing else. It reports whether there was one. While another holds the lock it is an
// error that wraps [ErrLocked].
func Resume(ctx context.Context, b Changer, p *plan.Plan, o ApplyOptions) (resumed bool, err error) {
	if o.By == "" {
		o.By = Process()
	}
	lock, err := b.Lock(ctx, p.LockName())
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	rec, err := Applied(ctx, lock, p)
	if err != nil || rec == nil {
		return false, err
	}
	a := &Application{options: o, lock: lock, plan: p, record: rec, serial: afterSerial(rec)}
	return a.carryOn(ctx)
}
