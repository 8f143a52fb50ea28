package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
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
2 when a file could not be read, else 0.`

type scanFlags struct {
	format    string
	filesFrom string
	null      bool
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
  avdb scan --format sarif . > scan.sarif`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && o.filesFrom == "" {
				return &usageError{text: "nothing to scan: name a PATH", command: "avdb scan"}
			}
			format, err := formatFor(o.format, a.json)
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
			names := &pathList{args: args, null: o.null}
			if names.from, err = a.listFile(o.filesFrom); err != nil {
				return err
			}
			defer names.close()
			return a.scan(c.Context(), d, names, format)
		},
	}
	f := c.Flags()
	f.StringVar(&o.format, "format", "", "`FORMAT` of the results: text, json, ndjson or sarif (default: text, or json with --json)")
	f.StringVar(&o.filesFrom, "files-from", "", "scan what `FILE` names too, a path a line; - is standard input")
	f.BoolVarP(&o.null, "null", "0", false, "the paths of --files-from end in NUL, not in a line feed")
	f.Bool("pua", false, "report potentially unwanted applications too")
	f.String("jobs", "0", "scan `N` files at the same time, 0 for one per processor")
	f.String("max-size", "0", "skip files larger than `SIZE`, such as 100M; 0 for no limit")
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
	args []string
	from io.ReadCloser // nil for none
	null bool
	err  error // why the list could not be read to its end
}

func (l *pathList) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, p := range l.args {
			if !yield(p) {
				return
			}
		}
		if l.from == nil {
			return
		}
		s := bufio.NewScanner(l.from)
		s.Buffer(nil, maxPath)
		if l.null {
			s.Split(splitNull)
		}
		for s.Scan() {
			if s.Text() != "" && !yield(s.Text()) {
				return
			}
		}
		if errors.Is(s.Err(), bufio.ErrTooLong) {
			l.err = hint(fmt.Errorf("--files-from: a path is longer than %d bytes; those after it were not scanned", maxPath),
				"give a path a line, or with -0 paths that end in NUL")
		} else if s.Err() != nil {
			l.err = fmt.Errorf("--files-from: %w", s.Err())
		}
	}
}

func (l *pathList) close() {
	if l.from != nil {
		l.from.Close()
	}
}

// splitNull cuts at NUL bytes.
func splitNull(data []byte, end bool) (advance int, token []byte, err error) {
	for i, c := range data {
		if c == 0 {
			return i + 1, data[:i], nil
		}
	}
	if end && len(data) > 0 {
		return len(data), data, nil
	}
	return 0, nil, nil
}

func (a *app) scan(ctx context.Context, d *device, names *pathList, format string) error {
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
	w, err := newScanWriter(format, a.stdout, a.verbose)
	if err != nil {
		return err
	}
	a.answered = true

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	var tally scanTally
	var broken error // of the database itself
	jobs := matcher.ScanOptions{Jobs: s.Jobs}
	tell := d.beginTelling()
	if c := d.askable(ctx); c != nil {
		defer c.close()
		tell.through(c)
		jobs.Cloud = c.client.Cloud(ksn.OriginOnDemand)
	}
	err = m.Scan(ctx, names.all(), jobs, func(r matcher.Result) {
		tally.add(r)
		tell.result(r)
		if r.Err != nil {
			if errors.Is(r.Err, store.ErrStorage) && broken == nil {
				broken = r.Err
			}
			if format == "text" {
				a.warn("%s", r.Error)
			}
		}
		if werr := w.result(r); werr != nil {
			cancel(werr) // nobody reads any more
		}
	})
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	g := m.Generation()
	tell.end(g)
	tally.Seconds, tally.Version, tally.Variant = time.Since(begin).Seconds(), g.Version, string(g.Variant())
	if werr := w.end(&tally); err == nil {
		err = werr
	}
	if err == nil {
		err = names.err
	}
	if terminal(a.stderr) && !a.quiet {
		a.note("%s", tally.text())
	}
	if verr := tally.err(); err == nil && verr != nil {
		if broken != nil && verr != error(errFinding) {
			return broken
		}
		return verr
	}
	return err
}
