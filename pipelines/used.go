package pipelines

import "sync/atomic"

// used is a handler and how many use it: the runners that call it, one for each queue, and the pipeline that has it, for its next runner.
type used struct {
	handler Handler
	users   atomic.Int64
	unused  func() // for the last of them; nil while the pipeline has it
}

// use begins the use of a handler by its pipeline; nil for none.
func use(h Handler) *used {
	if h == nil {
		return nil
	}
	u := &used{handler: h}
	u.users.Store(1)
	return u
}

// replaced has unused called with the pipeline's name when the last runner that calls the handler has ended. No more begin from here on.
func (u *used) replaced(pipeline string, unused func(string)) {
	if u == nil {
		return
	}
	if unused != nil {
		u.unused = func() { unused(pipeline) }
	}
	u.leave()
}

func (u *used) leave() {
	if u.users.Add(-1) == 0 && u.unused != nil {
		u.unused()
	}
}
