package main

import (
	"context"
	"errors"
	"time"

	"example.org/avdb/ksn"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

// A scanJob is what a command line asks a scan to do.
type scanJob struct {
	a        *app
	d        *device
	names    *pathList
	stdin    bool // standard input is scanned, before the paths
	format   string
	archives matcher.Archives
	limits   scanLimits
}

// open gives the matcher of a scan; c is nil where no cloud is asked.
func (j *scanJob) open(c *cloud) (*matcher.Matcher, error) {
	s := j.d.effective().Scan
	over, err := j.d.overrides()
	if err != nil {
		j.a.warn("%v: no override counts in this scan", err)
	}
	o := matcher.Options{PUA: s.PUA, MaxSize: s.MaxSize, MaxTime: j.limits.maxTime, Archives: j.archives}
	if len(over) > 0 {
		o.Overrides = over.file
	}
	if c != nil {
		o.Cloud = c.client.Cloud(ksn.OriginOnDemand)
	}
	m, err := matcher.Open(j.d.store, o)
	if errors.Is(err, store.ErrNoDatabase) && !j.d.known && !exists(j.d.store.TrustDir()) {
		return nil, j.d.noDatabase()
	}
	return m, err
}

func (j *scanJob) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if j.limits.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, j.limits.timeout, &timeoutError{j.limits.timeout})
		defer stop()
	}
	tell := j.d.beginTelling()
	c := j.d.askable(ctx, tell.observer())
	if c != nil {
		defer c.close()
		tell.through(c)
	}
	m, err := j.open(c)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := j.limits.maxAge.check(m.Generation(), time.Now()); err != nil {
		return err
	}
	x := scanning{job: j, line: j.a.scanProgress(j.format), tell: tell, began: time.Now(), stop: cancel}
	defer x.line.end()
	if x.out, err = newScanWriter(j.format, x.line.before(j.a.stdout), j.a.verbose, time.Now); err != nil {
		return err
	}
	j.a.answered = true
	err = x.through(ctx, m)
	x.line.end()
	return x.end(err, m.Generation())
}

// scanning is a scan on its way. It belongs to one goroutine.
type scanning struct {
	job    *scanJob
	line   scanLine
	out    scanWriter
	tell   *telling
	tally  scanTally
	began  time.Time
	stop   context.CancelCauseFunc
	broken error // of the database itself, the first
}

// through looks at everything that was asked for. The error is why it did not.
func (x *scanning) through(ctx context.Context, m *matcher.Matcher) (err error) {
	j := x.job
	if j.stdin {
		err = x.stdin(ctx, m)
	}
	if err == nil {
		err = m.Scan(ctx, j.names.all(ctx), matcher.ScanOptions{Jobs: j.d.effective().Scan.Jobs}, x.take)
	}
	if err == nil {
		return nil
	}
	switch cause := context.Cause(ctx); {
	case cause == nil:
		return err
	case errors.Is(cause, context.Canceled):
		return &interruptedError{x.tally.Scanned}
	default:
		return cause
	}
}

// take tells of one result.
func (x *scanning) take(r matcher.Result) {
	j := x.job
	advise(&r)
	x.tally.add(r)
	x.tell.result(r)
	if r.Err != nil && errors.Is(r.Err, store.ErrStorage) && x.broken == nil {
		x.broken = r.Err
	}
	if j.format == "text" {
		if r.Err != nil {
			x.line.end()
			j.a.warn("%s", failureText(r))
		}
		if note := notUnpacked(r); note != "" {
			x.line.end()
			j.a.warn("%s: %s", scanName(r.Path), note)
		}
	}
	if err := x.out.result(r); err != nil {
		x.stop(err) // nobody reads any more
	}
	x.line.show(&x.tally, scanName(r.Path))
}

// end says what it came to. err is why it was ended before its end, nil if it was not.
func (x *scanning) end(err error, g store.Generation) error {
	a, t := x.job.a, &x.tally
	x.tell.end(g)
	t.Seconds, t.Version, t.Variant = time.Since(x.began).Seconds(), g.Version, string(g.Variant())
	err = t.ended(err)
	if werr := x.out.end(t); err == nil {
		err = werr
	}
	if err == nil {
		err = x.job.names.err
	}
	if terminal(a.stderr) && !a.quiet {
		a.note("%s", t.text())
	}
	early, ok := errors.AsType[endedEarly](err)
	if ok && t.err() == error(errFinding) {
		a.say(levelWarn, early.Error(), early.Remedy())
		err = nil // for a finding is the result
	}
	if verr := t.err(); err == nil && verr != nil {
		if x.broken != nil && verr != error(errFinding) {
			return x.broken
		}
		return verr
	}
	return err
}
