package changes

import (
	"context"
	"errors"

	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/plan"
)

// killed is a lock whose holder dies after so many operations. Each binding is one.
type killed struct {
	router.Lock
	left int
}

var errKilled = errors.New("killed")

func (k *killed) alive() error {
	if k.left--; k.left < 0 {
		return errKilled
	}
	return nil
}

func (k *killed) Write(ctx context.Context, queue string, record []byte) error {
	if err := k.alive(); err != nil {
		return err
	}
	return k.Lock.Write(ctx, queue, record)
}

func (k *killed) Declare(ctx context.Context, t plan.Topology) error {
	var errs []error // all that differ are told, as by the lock itself
	for _, part := range singles(t) {
		if err := k.alive(); err != nil {
			return err
		}
		errs = append(errs, k.Lock.Declare(ctx, part))
	}
	return errors.Join(errs...)
}

// singles are topologies of one object each.
func singles(t plan.Topology) (out []plan.Topology) {
	for _, x := range t.Exchanges {
		out = append(out, plan.Topology{Exchanges: []plan.Exchange{x}})
	}
	for _, q := range t.Queues {
		out = append(out, plan.Topology{Queues: []plan.Queue{q}})
	}
	for _, b := range t.Bindings {
		out = append(out, plan.Topology{Bindings: []plan.Binding{b}})
	}
	return out
}

func (k *killed) Unbind(ctx context.Context, bindings []plan.Binding) error {
	for _, b := range bindings {
		if err := k.alive(); err != nil {
			return err
		}
		if err := k.Lock.Unbind(ctx, []plan.Binding{b}); err != nil {
			return err
		}
	}
	return nil
}

func (k *killed) DeleteQueue(ctx context.Context, name string) error {
	if err := k.alive(); err != nil {
		return err
	}
	return k.Lock.DeleteQueue(ctx, name)
}

func (k *killed) DeleteExchange(ctx context.Context, name string, unused bool) (bool, error) {
	if err := k.alive(); err != nil {
		return false, err
	}
	return k.Lock.DeleteExchange(ctx, name, unused)
}

// Haul is two operations: the second is in its middle.
func (k *killed) Haul(ctx context.Context, h plan.Haul, moved func(done, left int)) error {
	if err := k.alive(); err != nil {
		return err
	}
	if k.alive() == nil {
		return k.Lock.Haul(ctx, h, moved)
	}
	dying, die := context.WithCancelCause(ctx)
	defer die(nil)
	err := k.Lock.Haul(dying, h, func(done, left int) {
		moved(done, left)
		if done > 0 {
			die(errKilled)
		}
	})
	return errors.Join(errKilled, err)
}
