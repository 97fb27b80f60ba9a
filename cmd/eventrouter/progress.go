package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// progress shows how far long work is, on a terminal only. A nil progress shows nothing.
type progress struct{ bar *progressbar.ProgressBar }

// newProgress shows a count of events.
func (c *console) newProgress(what string) *progress {
	if !c.errTerm {
		return nil
	}
	return &progress{progressbar.NewOptions64(-1,
		progressbar.OptionSetWriter(c.err),
		progressbar.OptionSetDescription(what),
		progressbar.OptionSetItsString("events"),
		progressbar.OptionShowIts(),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSpinnerType(14),
	)}
}

// add counts one. A bar that cannot be drawn is no reason to stop the work.
func (p *progress) add() {
	if p != nil {
		_ = p.bar.Add(1)
	}
}

// clear makes room for a line of text; the bar comes back with the next count.
func (p *progress) clear() {
	if p != nil {
		_ = p.bar.Clear()
	}
}

// finish takes the bar away.
func (p *progress) finish() {
	if p != nil {
		_ = p.bar.Finish()
	}
}
