package main

import (
	"context"
	"io"
)

// interruptible is a reader that gives up when ctx is over, even where in blocks for ever, as a terminal does. What in still
// reads then is lost with it.
type interruptible struct {
	ctx   context.Context
	in    io.Reader
	empty func() // called before each read that may block; may be nil
	asked chan struct{}
	reads chan chunk
	rest  chunk
}

type chunk struct {
	data []byte
	err  error
}

func (r *interruptible) Read(p []byte) (int, error) {
	if r.asked == nil {
		r.asked, r.reads = make(chan struct{}, 1), make(chan chunk, 1)
		go r.pump()
	}
	for len(r.rest.data) == 0 {
		if r.rest.err != nil {
			return 0, r.rest.err
		}
		if r.empty != nil {
			r.empty()
		}
		r.asked <- struct{}{}
		select {
		case r.rest = <-r.reads:
		case <-r.ctx.Done():
			r.rest.err = causeOf(r.ctx)
		}
	}
	n := copy(p, r.rest.data)
	r.rest.data = r.rest.data[n:]
	return n, nil
}

// pump reads one block each time it is asked to, until an error or the end of ctx. A Read that blocks for ever keeps it: only the end of the
// program ends that.
func (r *interruptible) pump() {
	block := make([]byte, 256<<10)
	for {
		select {
		case <-r.asked:
		case <-r.ctx.Done():
			return
		}
		n, err := r.in.Read(block)
		r.reads <- chunk{block[:n], err}
		if err != nil {
			return
		}
	}
}
