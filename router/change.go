package router

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/eventrouter/eventrouter/router/plan"
)

// ApplyOptions say how a change is made. The zero value works.
type ApplyOptions struct {
	Force    bool                                                    // overwrite what a newer version of eventrouter has applied
	Migrate  bool                                                    // move queues of another shape than is wanted; else they are an error
	LetGo    time.Duration                                           // how long a queue that is moved waits for its consumers to let go; default 45s
	Drain    time.Duration                                           // how long to wait for queues that are to be deleted to become empty; 0: not at all
	Settle   time.Duration                                           // how long such a queue stays empty before it is deleted, see [DefaultSettle]; below 0: not at all
	Wait     time.Duration                                           // how long to wait for another who is changing the topology; default 30s
	Waiting  func()                                                  // called now and then while another is changing it; may be nil
	By       string                                                  // who applies, for the record; default: the process
	Progress func(done, all int, what string)                        // called before each step; may be nil
	Wrap     func(Lock) Lock                                         // may stand before the lock, in tests; may be nil
	Check    func(ctx context.Context, l Lock, c *plan.Change) error // may refuse the change before anything is done; may be nil
}

// DefaultSettle is how long a queue has to be empty before it is deleted, where it is that of a delay or events may come back to it from one.
// What RabbitMQ could not hand on when its delay was over, because a queue was full or not there yet, it tries again later, and until then it does not
// count it as in the queue. It looks each dead_letter_worker_publisher_confirm_timeout, which is three minutes, and tries what it last tried so long ago at
// least (rabbit_fifo_dlx_worker.erl, redeliver_messages): just under six minutes may pass in between.
const DefaultSettle = 7 * time.Minute

// Applied returns what is recorded on the broker for a plan's name; nil if nothing is. With an error that wraps [plan.ErrNewer]
// the record is there, as far as this version understands it.
func Applied(ctx context.Context, b Recorder, p *plan.Plan) (*plan.Record, error) {
	records, err := b.Recorded(ctx, p.RecordName())
	if err != nil {
		return nil, err
	}
	return plan.Latest(records)
}

// Application is a change under way, by the one who holds the lock. Add, Remove and Close are called in this order; whoever
// stops in between leaves what the next one goes on from.
type Application struct {
	Change *plan.Change

	options   ApplyOptions
	lock      Lock
	plan      *plan.Plan // as it was wanted
	record    *plan.Record
	reshaped  []plan.Queue // to be moved
	moved     []Moved
	serial    int64
	leftovers []plan.Leftover
	settled   bool // see dropQueue
	declared  bool // the queue of the record
	done      int
	kept      plan.Topology
	quiet     map[string]time.Time // since when stale queues are empty
	reports   []Kept
}

// Kept is a stale object that was not deleted, and why.
type Kept struct {
	Kind string `json:"kind"` // queue or exchange
	Name string `json:"name"`
	Why  string `json:"why"`

	// After is when it may be deleted, if nothing comes to it until then; zero: not known.
	After time.Time `json:"after,omitzero"`
}

// Begin takes the lock and finds out what there is to do. Nothing is changed yet.
func Begin(ctx context.Context, b Changer, p *plan.Plan, o ApplyOptions) (*Application, error) {
	if o.Wait <= 0 {
		o.Wait = defaultLockWait
	}
	if o.By == "" {
		o.By = Process()
	}
	if o.Settle == 0 {
		o.Settle = DefaultSettle
	}
	lock, err := take(ctx, b, p.LockName(), &o)
	if err != nil {
		return nil, err
	}
	if o.Wrap != nil {
		lock = o.Wrap(lock)
	}
	a := &Application{options: o, lock: lock, plan: p}
	rec, err := Applied(ctx, lock, p)
	if rec != nil {
		a.serial = afterSerial(rec)
	}
	if errors.Is(err, plan.ErrNewer) && o.Force {
		rec, err = nil, nil
	}
	if err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	a.record = rec
	a.Change = plan.NewChange(rec, p)
	a.leftovers, a.quiet = a.Change.Leftovers, a.Change.Quiet()
	if o.Check != nil {
		if err := o.Check(ctx, lock, a.Change); err != nil {
			return nil, errors.Join(err, lock.Unlock())
		}
	}
	if err := a.findReshaped(ctx); err != nil {
		return nil, errors.Join(err, lock.Unlock())
	}
	return a, nil
}

// afterSerial is the serial that records are counted up from, after one that was read. There may be one more that was not seen, of who was killed when he had written it and
// done nothing of what it says: it counts no more.
func afterSerial(rec *plan.Record) int64 { return rec.Serial + 1 }

// Process names this process for records.
func Process() string {
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	return fmt.Sprintf("process %d on %s", os.Getpid(), host)
}

// Add moves the queues that need it, and adds what is new. When it returns nil the new plan is in force, and what is stale is still there.
func (a *Application) Add(ctx context.Context) error {
	if err := a.migrate(ctx); err != nil {
		return err
	}
	for i := range a.Change.Add {
		if err := a.step(ctx, &a.Change.Add[i]); err != nil {
			return err
		}
	}
	data, err := a.encode(a.Change.Final(a.Change.Stale(), a.quiet))
	if err != nil {
		return err
	}
	p := a.Change.Plan
	a.lock.Keep(p.Topology, p.RecordTopology(), data, ours(p.State().Digest))
	return nil
}

// ours says of records whether the plan of that digest is the last that was applied, or is being applied.
func ours(digest string) func([][]byte) bool {
	return func(records [][]byte) bool {
		r, err := plan.Latest(records)
		return err == nil && r != nil && (r.InForce().Digest == digest || r.Stage == plan.Adding && r.Next != nil && r.Next.Digest == digest)
	}
}

// Leftovers are the match queues that have to be worked off now: all of them before Remove, and after it those that are still there.
func (a *Application) Leftovers() []plan.Leftover { return a.leftovers }

// Remove removes what is stale, and records the plan as applied. Queues that hold events or have consumers are kept, with what belongs to them, and
// told; the next change tries again.
func (a *Application) Remove(ctx context.Context) ([]Kept, error) {
	if a.Change.Settled {
		return nil, nil
	}
	for i := range a.Change.Remove {
		if err := a.step(ctx, &a.Change.Remove[i]); err != nil {
			return nil, err
		}
	}
	final := a.Change.Final(a.kept, a.quiet)
	a.leftovers = final.Leftovers
	data, err := a.encode(final)
	if err != nil {
		return nil, err
	}
	p := a.Change.Plan
	a.lock.Keep(p.Topology, p.RecordTopology(), data, ours(p.State().Digest))
	return a.reports, a.write(ctx, data)
}

// Close gives the lock back.
func (a *Application) Close() error { return a.lock.Unlock() }

// Apply makes a whole change. Between adding and removing it calls inForce, if that is not nil.
func Apply(ctx context.Context, b Changer, p *plan.Plan, o ApplyOptions, inForce func(*plan.Change)) (*plan.Change, []Kept, error) {
	a, err := Begin(ctx, b, p, o)
	if err != nil {
		return nil, nil, err
	}
	kept, err := a.apply(ctx, inForce)
	return a.Change, kept, errors.Join(err, a.Close())
}

func (a *Application) apply(ctx context.Context, inForce func(*plan.Change)) ([]Kept, error) {
	if err := a.Add(ctx); err != nil {
		return nil, err
	}
	if inForce != nil {
		inForce(a.Change)
	}
	return a.Remove(ctx)
}

// write brings a record onto the broker.
func (a *Application) write(ctx context.Context, data []byte) error {
	if !a.declared {
		if err := a.lock.Declare(ctx, a.plan.RecordTopology()); err != nil {
			return err
		}
		a.declared = true
	}
	return a.lock.Write(ctx, a.plan.RecordName(), data)
}

func (a *Application) encode(r *plan.Record) ([]byte, error) {
	a.serial++
	r.Format, r.Serial, r.By, r.At = r.Form(), a.serial, a.options.By, time.Now().UTC().Truncate(time.Second)
	return r.Encode()
}

func (a *Application) step(ctx context.Context, s *plan.Step) error {
	if f := a.options.Progress; f != nil {
		f(a.done, len(a.Change.Add)+len(a.Change.Remove), s.String())
	}
	a.done++
	if a.waits(s) {
		a.keep(s)
		return nil
	}
	return a.do(ctx, s)
}

func (a *Application) do(ctx context.Context, s *plan.Step) error {
	switch {
	case s.Note != nil:
		data, err := a.encode(s.Note)
		if err != nil {
			return err
		}
		return a.write(ctx, data)
	case len(s.Unbind) > 0:
		return a.lock.Unbind(ctx, s.Unbind)
	case s.DropQueue != "":
		return a.dropQueue(ctx, s)
	case s.Pause:
		return pause(ctx, settleTime)
	case s.Haul != nil:
		return a.haul(ctx, s.Haul)
	case s.DropChange != "":
		_, err := a.lock.DeleteExchange(ctx, s.DropChange, false)
		return err
	case s.Drop != "":
		deleted, err := a.lock.DeleteExchange(ctx, s.Drop, true)
		if err == nil && !deleted {
			a.report(Kept{Kind: "exchange", Name: s.Drop, Why: "somebody has bound something to it"})
			a.keep(s)
		}
		return err
	}
	return a.lock.Declare(ctx, plan.Topology{Exchanges: s.Exchanges, Queues: s.Queues, Bindings: s.Bind})
}

// waits reports whether a queue that has to be gone first is still there.
func (a *Application) waits(s *plan.Step) bool {
	return slices.ContainsFunc(s.Gone, func(name string) bool {
		return slices.ContainsFunc(a.kept.Queues, func(q plan.Queue) bool { return q.Name == name })
	})
}

// keep notes that what a step would have removed is still there.
func (a *Application) keep(s *plan.Step) {
	stale := a.Change.Stale()
	a.kept.Bindings = append(a.kept.Bindings, s.Unbind...)
	for _, q := range stale.Queues {
		if q.Name == s.DropQueue {
			a.kept.Queues = append(a.kept.Queues, q)
		}
	}
	for _, x := range stale.Exchanges {
		if x.Name == s.Drop {
			a.kept.Exchanges = append(a.kept.Exchanges, x)
		}
	}
}

func (a *Application) report(k Kept) { a.reports = append(a.reports, k) }

// dropQueue deletes a queue that nobody needs any more.
func (a *Application) dropQueue(ctx context.Context, s *plan.Step) error {
	if s.Later {
		if events, _, there, err := a.lock.Count(ctx, s.DropQueue); err != nil || !there {
			return err
		} else if events > 0 {
			a.report(Kept{Kind: "queue", Name: s.DropQueue, Why: holds(events) + " that came before the change: 'run' sends them to their pipelines"})
		} else {
			a.report(Kept{Kind: "queue", Name: s.DropQueue, Why: "events may still be on their way to it: the next change deletes it, or the next 'apply'"})
		}
		a.keep(s)
		return nil
	}
	if !a.settled {
		// What was on its way when the bindings were removed, or goes back from a consumer that has ended, has come by then.
		a.settled = true
		if err := pause(ctx, settleTime); err != nil {
			return err
		}
	}
	kept, err := a.needed(ctx, s)
	for end := time.Now().Add(a.options.Drain); err == nil && kept.Why != "" && time.Now().Before(end) && kept.After.Before(end); kept, err = a.needed(ctx, s) {
		if err := pause(ctx, lockPoll); err != nil {
			return err
		}
	}
	if err != nil {
		return err
	}
	if kept.Why == "" {
		delete(a.quiet, s.DropQueue)
		return a.lock.DeleteQueue(ctx, s.DropQueue)
	}
	if next := a.Change.Next(s.DropQueue); next != "" {
		kept.Why += "; it is to be worked off before " + next
	}
	a.report(kept)
	a.keep(s)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func holds(events int) string {
	if events == 1 {
		return "it holds 1 event"
	}
	return fmt.Sprintf("it holds %d events", events)
}

// needed says why a queue has to be kept, if it has, and notes since when it is empty.
func (a *Application) needed(ctx context.Context, s *plan.Step) (Kept, error) {
	kept := Kept{Kind: "queue", Name: s.DropQueue}
	events, consumers, there, err := a.lock.Count(ctx, s.DropQueue)
	if err != nil || !there {
		return kept, err
	}
	held := false
	if events == 0 && consumers == 0 && s.Held != "" {
		if held, err = a.isHeld(ctx, s.Held); err == nil && !held { // what went back is there by now
			events, consumers, _, err = a.lock.Count(ctx, s.DropQueue)
		}
		if err != nil {
			return kept, err
		}
	}
	full, err := a.isFull(ctx, s.Back)
	if err != nil {
		return kept, err
	}
	from, delay, err := a.awaits(ctx, s.Delays)
	if err != nil {
		return kept, err
	}
	empty := false
	switch {
	case events > 0:
		kept.Why = holds(events)
	case full:
		kept.Why = s.Back.Name + " is full: what has waited may not have come back to it"
	case delay > 0 && (consumers > 0 || held || a.options.Settle < 0): // who consumes it may send events to the delay again
		kept.Why = fmt.Sprintf("events wait in %s for another attempt, and may come back to it", from)
	case consumers > 0:
		empty, kept.Why = true, "somebody consumes it"
	case held:
		kept.Why = "somebody who ends has events of it in hand"
	default:
		empty = true
	}
	if !empty || !s.Rests {
		delete(a.quiet, s.DropQueue)
		return kept, nil
	}
	if until := a.rests(s.DropQueue, delay+max(0, a.options.Settle)); kept.Why == "" && time.Now().Before(until) {
		kept.Why = fmt.Sprintf("it is empty, but RabbitMQ may have events for it that it does not count: 'run' deletes it after %s, or an 'apply' then", until.Local().Format(time.TimeOnly))
		if delay > 0 {
			kept.Why = fmt.Sprintf("events that wait in %s for another attempt may come back to it: if none do, 'run' deletes it after %s, or an 'apply' then", from, until.Local().Format(time.TimeOnly))
		}
		kept.After = until
	}
	return kept, nil
}

// awaits finds the longest of the delays in which events wait; 0 where none do.
func (a *Application) awaits(ctx context.Context, delays []plan.Queue) (name string, longest time.Duration, err error) {
	for _, q := range delays {
		if q.Delay() <= longest {
			continue
		}
		if events, _, _, err := a.lock.Count(ctx, q.Name); err != nil {
			return "", 0, err
		} else if events > 0 {
			name, longest = q.Name, q.Delay()
		}
	}
	return name, longest, nil
}

// isFull reports whether a queue, if there is one, is at its limit.
func (a *Application) isFull(ctx context.Context, q *plan.Queue) (bool, error) {
	if q == nil {
		return false, nil
	}
	events, _, _, err := a.lock.Count(ctx, q.Name)
	return q.Full(events), err
}

// rests is until when a queue that is empty now has to stay so.
func (a *Application) rests(queue string, settle time.Duration) time.Time {
	now := time.Now().UTC()
	since, seen := a.quiet[queue]
	if !seen || since.After(now) {
		since = now
		if a.quiet == nil {
			a.quiet = map[string]time.Time{}
		}
		a.quiet[queue] = since
	}
	return since.Add(settle)
}
