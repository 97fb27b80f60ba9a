package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/eventrouter/eventrouter/pipelines"
	"github.com/eventrouter/eventrouter/router"
	"github.com/eventrouter/eventrouter/router/event"
	"github.com/eventrouter/eventrouter/router/ingress"
	"github.com/eventrouter/eventrouter/router/plan"
	"github.com/eventrouter/eventrouter/rules"
)

// The waits of reloading.
const (
	reloadCalm  = 200 * time.Millisecond // without a change of a file, before the files are read: an editor writes in several steps
	reloadAgain = 5 * time.Second        // before a change that failed on the broker is tried again
)

// reloader brings changed rules into a running service.
type reloader struct {
	*running
	service *pipelines.Service
}

// run reloads on SIGHUP and when a file changes, until ctx is over.
func (r *reloader) run(ctx context.Context) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	files, stop := r.watch()
	defer stop()
	again, calm := time.NewTimer(reloadAgain), time.NewTimer(0) // the files may have changed already
	again.Stop()
	defer again.Stop()
	defer calm.Stop()
	for {
		forced := false
		select {
		case <-ctx.Done():
			return nil
		case <-files.Events:
			calm.Reset(reloadCalm)
			continue
		case err := <-files.Errors:
			r.log.Warn("watching the rules files: SIGHUP reloads them", zap.Error(err))
			continue
		case <-calm.C:
			r.follow(files) // a link may lead elsewhere now
		case <-again.C:
			forced = true
		case <-hangups:
			forced = true
		}
		seen := fingerprint(r.paths)
		if seen == r.seen && !forced {
			continue // written as it was
		}
		r.seen = seen
		if r.reload(ctx) {
			again.Reset(reloadAgain)
		}
	}
}

// watch begins to watch the folders that the files are in: a file that is replaced, by a rename or by a symbolic link, is seen only there.
func (r *reloader) watch() (files *fsnotify.Watcher, stop func()) {
	files, err := fsnotify.NewWatcher()
	if err != nil {
		r.log.Warn("the rules files cannot be watched: SIGHUP reloads them", zap.Error(err))
		return &fsnotify.Watcher{}, func() {} // its channels are never ready
	}
	r.follow(files)
	return files, func() { _ = files.Close() } // nothing was written to it
}

// follow adds the folders of the files as they are reached now. Folders that are watched already stay so.
func (r *reloader) follow(files *fsnotify.Watcher) {
	if files.Events == nil {
		return // there is none
	}
	for _, path := range r.paths {
		folders := []string{filepath.Dir(path)}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(real))
			if info, err := os.Stat(real); err == nil && info.IsDir() {
				folders = append(folders, path, real)
			}
		}
		for _, folder := range folders {
			if err := files.Add(folder); err != nil {
				r.log.Warn("a folder of rules files cannot be watched: SIGHUP reloads them", zap.String("folder", folder), zap.Error(err))
			}
		}
	}
}

// fingerprint is the same as long as the files are. Files that cannot be read have one too.
func fingerprint(paths []string) string {
	h := sha256.New()
	add := func(path string) {
		fmt.Fprintf(h, "%q", path)
		f, err := os.Open(path)
		if err != nil {
			fmt.Fprintf(h, "%q", err)
			return
		}
		defer f.Close()
		_, err = io.Copy(h, f)
		fmt.Fprintf(h, "%v", err)
	}
	for _, path := range paths {
		entries, err := os.ReadDir(path)
		if err != nil {
			add(path)
		}
		for _, e := range entries {
			add(filepath.Join(path, e.Name()))
		}
	}
	return string(h.Sum(nil))
}

// reload reads the rules and applies them, or tells why not; the old rules stay in force then. It reports whether to try again.
func (r *reloader) reload(ctx context.Context) (again bool) {
	refuse := func(reason string, fields ...zap.Field) bool {
		r.log.Error("the rules are not reloaded, the old ones stay in force: "+reason, fields...)
		return false
	}
	file, problems := rules.Load(r.paths...)
	if failed := problems.Errors(); len(failed) > 0 {
		for _, p := range failed {
			r.log.Error("problem in the rules", zap.String("problem", p.String()))
		}
		return refuse(count(len(failed), "problem") + " in them")
	}
	p, err := plan.Compile(file)
	if err != nil {
		return refuse("they cannot be used", zap.Error(err))
	}
	if err := r.refuseStray(p); err != nil {
		return refuse("--guard", zap.Error(err))
	}
	handlers, made, err := r.handlers(file)
	if err != nil {
		return refuse("a step cannot be made", zap.Error(err))
	}
	began := time.Now()
	var change *plan.Change
	before := maps.Clone(r.made)
	err = r.service.Reload(ctx, pipelines.Update{
		Plan: p, Handlers: handlers, Check: func(c *plan.Change) error { change = c; return nil },
		Unused: func(pipeline string) { r.closeSteps(map[string]madeSteps{pipeline: before[pipeline]}) },
	})
	if err != nil {
		r.closeSteps(made)
		if ctx.Err() != nil {
			return false
		}
		refuse("they cannot be applied", zap.Error(err), zap.Duration("again in", reloadAgain))
		return true
	}
	r.adopt(p, handlers, made)
	shown := newShownChange(change, nil)
	r.log.Info("the rules are reloaded", zap.Int("rules", len(p.Rules)), zap.Int("added", shown.Add), zap.Int("changed", shown.Change),
		zap.Int("removed", shown.Remove), zap.Duration("took", time.Since(began)))
	return false
}

// adopt makes a plan the one that the rest of the process goes by, with the handlers that are other ones and the steps that they are made of.
func (r *running) adopt(p *plan.Plan, handlers map[string]pipelines.Handler, made map[string]madeSteps) {
	exchanges := r.plan.Exchanges
	r.plan = p
	if r.doorway != nil && !slices.Equal(exchanges, p.Exchanges) {
		r.doorway.open(ingress.New(r.ingress()))
	}
	maps.DeleteFunc(r.made, func(name string, _ madeSteps) bool { // they are closed when they are not used any more
		_, other := handlers[name]
		return other || p.Pipeline(name) == nil
	})
	maps.Copy(r.made, made)
}

// refuseStray refuses rules by which recorded events reach no pipeline that reach one by the rules in force.
func (r *running) refuseStray(p *plan.Plan) error {
	if r.runOptions.guard == "" {
		return nil
	}
	f, err := os.Open(r.runOptions.guard)
	if err != nil {
		return err
	}
	defer f.Close()
	var stray []string
	before, after := newJudge(r.plan, ""), newJudge(p, "")
	in := event.NewReader(f)
	for {
		var e event.Event
		switch err := in.Next(&e); {
		case errors.Is(err, io.EOF):
			if len(stray) == 0 {
				return nil
			}
			return fmt.Errorf("%s of %s would reach no pipeline any more, such as %s", count(len(stray), "event"), r.runOptions.guard, named(stray))
		case err != nil:
			return fmt.Errorf("%s: %w", r.runOptions.guard, err)
		}
		if _, reached := before.judge(&e); len(reached) > 0 {
			if _, reached := after.judge(&e); len(reached) == 0 {
				stray = append(stray, fmt.Sprintf("%s (%s)", e.ID, e.Type))
			}
		}
	}
}

// judge finds the rules and pipelines of events.
type judge struct {
	plan     *plan.Plan
	exchange string
	routed   plan.Routed
}

// newJudge judges events that are published to the exchange of that key; the first one with an empty key.
func newJudge(p *plan.Plan, from string) *judge {
	exchange, _ := p.Source(from)
	return &judge{plan: p, exchange: exchange}
}

func (j *judge) judge(e *router.Event) (rules, pipelines []string) {
	j.plan.Route(e, j.exchange, &j.routed)
	return j.plan.RuleNames(&j.routed), j.plan.PipelineNames(&j.routed)
}
