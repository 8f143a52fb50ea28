package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"example.org/avdb/ksn"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
)

const scanHelp = `Match files and folders against the database that is in use. Folders are searched through; symbolic links
inside them are not followed. Nothing is changed and no right to write is needed.

What is found is printed as "PATH: NAME FOUND", or as "PATH: NAME SUSPECTED" where the light
database knows only that KSN should be asked. The exit code is 1 when something was found, else
2 when a file could not be read or the time was up, else 0.

Results are printed as they come, so that a scan of any size needs the same memory. json and
ndjson list every file. sarif is SARIF 2.1.0 and lists findings, and the first 1000 files that
could not be read; paths are URIs, relative ones to the folder that avdb runs in.

Archives are looked into (zip, gzip, Zstandard, tar, and these inside each other): "PATH: NAME FOUND" then
names the file, -v and the other formats the member too. How far is limited as in clamscan, by
--max-depth, --max-members and --max-unpacked. A file in which a limit was met, or of which something is
damaged or encrypted, is clean if nothing was found in the rest; that it is so is said on standard error,
and in json, ndjson and sarif. --archives=false matches archives by their own bytes alone.

--exclude and --exclude-dir take globs with *, ? and [a-z], and can be given many times. One
without a slash is held against the name of a file or folder, another one against the whole
path as it is printed. They also leave out what is named on the command line or in a list.

--max-db-age refuses to scan (2) with a database that was published longer ago, as
--fail-if-cvd-older-than of clamscan does: what it calls clean may be known by now.`

type scanFlags struct {
	format      string
	filesFrom   string
	null        bool
	exclude     []string
	excludeDirs []string
	archives    archiveFlags
	scanLimits
}

// archiveFlags are how archives are looked into.
type archiveFlags struct {
	on             bool
	depth, members uint32 // 0: the default
	unpacked       string // a size; "0" for the default
}

// archives is what they ask of a matcher.
func (f archiveFlags) archives() (a matcher.Archives, err error) {
	a.Off = !f.on
	a.Limits.Depth, a.Limits.Members = int(f.depth), int64(f.members)
	if a.Limits.TotalBytes, err = parseSize(f.unpacked); err != nil {
		return a, usagef("--max-unpacked: %v", err)
	}
	// A member may have all that there is, or --max-unpacked would end at the limit of a member.
	a.Limits.MemberBytes = a.Limits.TotalBytes
	return a, nil
}

// scanLimits are what ends a scan, or does not let it begin.
type scanLimits struct {
	timeout time.Duration // 0: none
	maxAge  days          // 0: none
}

func newScan(a *app) *cobra.Command {
	var o scanFlags
	c := &cobra.Command{
		Use:   "scan PATH...",
		Short: "match files against the database",
		Long:  scanHelp,
		Example: `  avdb scan /home /srv/upload
  avdb scan -v --jobs 4 --max-size 100M ~/Downloads
  find /srv -newer stamp -print0 | avdb scan -0 --files-from -
  avdb scan --format sarif . > scan.sarif
  avdb scan --exclude-dir .git --exclude '*.iso' --timeout 1h --max-db-age 7d /srv`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && o.filesFrom == "" {
				return &usageError{text: "nothing to scan: name a PATH", command: "avdb scan"}
			}
			format, err := formatFor(o.format, a.json)
			if err != nil {
				return err
			}
			if o.timeout < 0 {
				return usagef("--timeout is %s, want a duration such as 90s or 2h", o.timeout)
			}
			archives, err := o.archives.archives()
			if err != nil {
				return err
			}
			left, err := newExclusions(o.exclude, o.excludeDirs)
			if err != nil {
				return err
			}
			d, err := a.protecting()
			if err != nil {
				return err
			}
			err = d.flagged(c.Flags(), map[string]string{"pua": "scan.pua", "jobs": "scan.jobs", "max-size": "scan.max_size"})
			if err != nil {
				return err
			}
			names := &pathList{args: args, null: o.null, without: left}
			if names.from, err = a.listFile(o.filesFrom); err != nil {
				return err
			}
			defer names.close()
			return a.scan(c.Context(), d, names, format, archives, o.scanLimits)
		},
	}
	f := c.Flags()
	f.StringVar(&o.format, "format", "", "`FORMAT` of the results: text, json, ndjson or sarif (default: text, or json with --json)")
	f.StringVar(&o.filesFrom, "files-from", "", "scan what `FILE` names too, a path a line; - is standard input")
	f.BoolVarP(&o.null, "null", "0", false, "the paths of --files-from end in NUL, not in a line feed")
	f.StringArrayVar(&o.exclude, "exclude", nil, "leave out files that `GLOB` names")
	f.StringArrayVar(&o.excludeDirs, "exclude-dir", nil, "leave out folders that `GLOB` names, with all that is in them")
	f.DurationVar(&o.timeout, "timeout", 0, "end the scan after `DURATION`, such as 90s or 2h; 0 for no limit")
	f.Var(&o.maxAge, "max-db-age", "refuse to scan with a database published longer ago than `AGE`, such as 7d or 36h")
	f.Bool("pua", false, "report potentially unwanted applications too")
	f.String("jobs", "0", "scan `N` files at the same time, 0 for one per processor")
	f.String("max-size", "0", "skip files larger than `SIZE`, such as 100M; 0 for no limit")
	f.BoolVar(&o.archives.on, "archives", true, "look into archives")
	f.Uint32Var(&o.archives.depth, "max-depth", 0, "look into archives inside each other down to level `N`; 0 for 17, as clamscan")
	f.Uint32Var(&o.archives.members, "max-members", 0, "look at `N` members of a file; 0 for 10000, as clamscan")
	f.StringVar(&o.archives.unpacked, "max-unpacked", "0", "unpack `SIZE` of a file; 0 for 400M, 100M of a member, as clamscan")
	f.BoolP("recursive", "r", true, "search through folders; this is always so")
	return c
}

// listFile opens what --files-from names; nil for nothing.
func (a *app) listFile(name string) (io.ReadCloser, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
		return io.NopCloser(a.stdin), nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("--files-from: %w", err)
	}
	return f, nil
}

// maxPath bounds a path in a list: longer ones no system has.
const maxPath = 1 << 20

// A pathList gives the paths of the command line, then those of a list, which is read while
// it is scanned.
type pathList struct {
	args    []string
	from    io.ReadCloser // nil for none
	null    bool
	without exclusions
	err     error // why the list could not be read to its end
}

// all gives what is to be scanned, until ctx is done.
func (l *pathList) all(ctx context.Context) iter.Seq[string] { return l.without.from(l.named(ctx)) }

// named gives what was asked for.
func (l *pathList) named(ctx context.Context) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range l.args {
			if !yield(p) {
				return
			}
		}
		if l.from == nil {
			return
		}
		// A list may be a pipe in which nothing comes for hours: it is read on the side, so
		// that a scan whose time is up does not wait for it.
		paths, end := make(chan string, 64), make(chan error, 1)
		go func() {
			defer close(paths)
			end <- l.read(func(path string) bool {
				select {
				case paths <- path:
					return true
				case <-ctx.Done():
					return false
				}
			})
		}()
		for {
			select {
			case path, more := <-paths:
				if !more {
					l.err = <-end
					return
				}
				if !yield(path) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

// read gives the paths of the list.
func (l *pathList) read(yield func(string) bool) error {
	s := bufio.NewScanner(l.from)
	s.Buffer(nil, maxPath)
	switch {
	case l.null:
		s.Split(splitBy(0))
	case runtime.GOOS != "windows": // where no name can end in a carriage return, and lists have them
		s.Split(splitBy('\n'))
	}
	for s.Scan() {
		if s.Text() != "" && !yield(s.Text()) {
			return nil
		}
	}
	if errors.Is(s.Err(), bufio.ErrTooLong) {
		return hint(fmt.Errorf("--files-from: a path is longer than %d bytes; those after it were not scanned", maxPath),
			"give a path a line, or with -0 paths that end in NUL")
	} else if s.Err() != nil {
		return fmt.Errorf("--files-from: %w", s.Err())
	}
	return nil
}

func (l *pathList) close() {
	if l.from != nil {
		l.from.Close()
	}
}

// splitBy cuts at a byte and nowhere else: a name may end in any other.
func splitBy(mark byte) bufio.SplitFunc {
	return func(data []byte, end bool) (advance int, token []byte, err error) {
		if i := bytes.IndexByte(data, mark); i >= 0 {
			return i + 1, data[:i], nil
		}
		if end && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	}
}

// A timeoutError is a scan that took longer than --timeout allows.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string {
	return fmt.Sprintf("the scan was ended after %s (--timeout); files after the last result were not looked at", durationText(e.after))
}

// Remedy is what to do about it.
func (e *timeoutError) Remedy() string { return "give it more time, or scan less at once" }

func (a *app) scan(ctx context.Context, d *device, names *pathList, format string, archives matcher.Archives, limits scanLimits) error {
	s := d.effective().Scan
	over, err := d.overrides()
	if err != nil {
		a.warn("%v: no override counts in this scan", err)
	}
	options := matcher.Options{PUA: s.PUA, MaxSize: s.MaxSize}
	if len(over) > 0 {
		options.Overrides = over.file
	}
	m, err := matcher.Open(d.store, options)
	if errors.Is(err, store.ErrNoDatabase) && !d.known && !exists(d.store.TrustDir()) {
		return d.noDatabase()
	}
	if err != nil {
		return err
	}
	defer m.Close()
	if err := limits.maxAge.check(m.Generation(), time.Now()); err != nil {
		return err
	}
	p := a.scanProgress(format)
	defer p.end()
	w, err := newScanWriter(format, p.before(a.stdout), a.verbose, time.Now)
	if err != nil {
		return err
	}
	a.answered = true

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if limits.timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeoutCause(ctx, limits.timeout, &timeoutError{limits.timeout})
		defer stop()
	}
	begin := time.Now()
	var tally scanTally
	var broken error // of the database itself
	jobs := matcher.ScanOptions{Jobs: s.Jobs, Archives: &archives}
	tell := d.beginTelling()
	if c := d.askable(ctx, tell.observer()); c != nil {
		defer c.close()
		tell.through(c)
		jobs.Cloud = c.client.Cloud(ksn.OriginOnDemand)
	}
	err = m.Scan(ctx, names.all(ctx), jobs, func(r matcher.Result) {
		tally.add(r)
		tell.result(r)
		if r.Err != nil {
			if errors.Is(r.Err, store.ErrStorage) && broken == nil {
				broken = r.Err
			}
			if format == "text" {
				p.end()
				a.warn("%s", failureText(r))
			}
		}
		if note := notUnpacked(r); note != "" && format == "text" {
			p.end()
			a.warn("%s: %s", pathText(r.Path), note)
		}
		if werr := w.result(r); werr != nil {
			cancel(werr) // nobody reads any more
		}
		p.show(&tally, r.Path)
	})
	p.end()
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	g := m.Generation()
	tell.end(g)
	tally.Seconds, tally.Version, tally.Variant = time.Since(begin).Seconds(), g.Version, string(g.Variant())
	err = tally.ended(err)
	if werr := w.end(&tally); err == nil {
		err = werr
	}
	if err == nil {
		err = names.err
	}
	if terminal(a.stderr) && !a.quiet {
		a.note("%s", tally.text())
	}
	if late, ok := errors.AsType[*timeoutError](err); ok && tally.err() == error(errFinding) {
		a.say(levelWarn, late.Error(), late.Remedy())
		err = nil // for a finding is the result
	}
	if verr := tally.err(); err == nil && verr != nil {
		if broken != nil && verr != error(errFinding) {
			return broken
		}
		return verr
	}
	return err
}
