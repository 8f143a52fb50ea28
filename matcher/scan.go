package matcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"runtime"
	"sync"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// ScanOptions say how a scan runs; fields that are zero take the default.
type ScanOptions struct {
	// Jobs is how many files are read at the same time; 0 means one for each processor
	// that Go uses.
	Jobs int
	// MaxSize, when above 0, takes the place of Options.MaxSize for this scan.
	MaxSize int64
	// PUA has potentially unwanted applications reported, also when Options.PUA does not.
	PUA bool
}

// window is how many files a scan may be ahead of the one whose result is to come next. It bounds
// the memory of a scan: one huge file holds up the results of this many others and no more.
const window = 1024

// scanners are hashers at rest; each has a buffer of 256 KiB.
type scanners struct{ pool sync.Pool }

func (s *scanners) get() *hasher {
	if h, ok := s.pool.Get().(*hasher); ok {
		return h
	}
	return newHasher()
}

func (s *scanners) put(h *hasher) { s.pool.Put(h) }

// A look is one object on its way: with which engine and options it is looked at.
type look struct {
	e   *Engine
	h   *hasher
	pua bool
	max int64 // 0: no limit
}

// ScanFile reads and matches one regular file; a symbolic link is followed. Whatever goes wrong
// is in the result: see [Result]. It never waits for a FIFO and never maps the file.
func (e *Engine) ScanFile(ctx context.Context, path string) Result {
	h := e.scanners.get()
	defer e.scanners.put(h)
	l := look{e: e, h: h, pua: e.o.PUA, max: e.o.MaxSize}
	return l.file(ctx, path, true)
}

// ScanReader reads r to its end and matches what it held. SHA-256 is always computed, for
// what was read cannot be read again.
func (e *Engine) ScanReader(ctx context.Context, r io.Reader) Result {
	h := e.scanners.get()
	defer e.scanners.put(h)
	l := look{e: e, h: h, pua: e.o.PUA, max: e.o.MaxSize}
	return l.reader(ctx, r)
}

// file looks at the file at path.
func (l *look) file(ctx context.Context, path string, follow bool) Result {
	f, fi, err := openRegular(path, follow)
	if err != nil {
		return failed(path, err)
	}
	defer f.Close() // opened for reading: closing has nothing to lose
	size := fi.Size()
	if l.max > 0 && size > l.max {
		return skipped(path, size, tooLarge(l.max))
	}
	if size == 0 {
		// Files of /proc and the like have content and no size; what they hold is no
		// file that could be listed anywhere.
		switch n, err := f.ReadAt(l.h.buf[:1], 0); {
		case n > 0:
			return skipped(path, size, "its size is given as 0 and it is not empty")
		case err != nil && err != io.EOF:
			return failed(path, err)
		}
	}
	var o object
	algs := l.e.algorithms(l.pua)
	readErr := l.h.file(ctx, f, fi, algs, &o)
	if readErr != nil && o.have == 0 {
		r := failed(path, readErr)
		r.Size = size
		return r
	}
	// What was read to its end is matched even if the file has changed meanwhile: a hit on
	// these bytes is no less true.
	r := Result{Path: path}
	l.e.verdict(&o, l.pua, &r)
	if readErr != nil {
		r.fail(readErr)
	}
	if r.Verdict.Finding() && !o.have.has(dbformat.SHA256) {
		if err := l.h.file(ctx, f, fi, algSet(0).with(dbformat.SHA256), &o); err != nil {
			o.have = o.have.without(dbformat.SHA256)
			r.fail(err)
		}
	}
	r.SHA256 = o.sha256()
	return r
}

// reader looks at what r holds.
func (l *look) reader(ctx context.Context, rd io.Reader) Result {
	o, more, err := l.h.reader(ctx, rd, l.e.algorithms(l.pua).with(dbformat.SHA256), l.max)
	switch {
	case err != nil:
		return failed("", err)
	case more:
		return skipped("", anySize, tooLarge(l.max))
	}
	r := Result{SHA256: o.sha256()}
	l.e.verdict(&o, l.pua, &r)
	return r
}

func tooLarge(max int64) string { return fmt.Sprintf("larger than the limit of %d bytes", max) }

func skipped(path string, size int64, why string) Result {
	return Result{Path: path, Verdict: Clean, Source: SourceLocal, Size: size, Skipped: why}
}

// openRegular opens a regular file, and nothing else, without ever waiting. With follow unset a link is an error, so that an
// entry of a folder that is swapped for one between the walk and here leads nowhere.
func openRegular(path string, follow bool) (*os.File, fs.FileInfo, error) {
	var (
		f   *os.File
		err error
	)
	if follow {
		f, err = osfile.Open(path)
	} else {
		f, err = osfile.OpenOwn(path, os.O_RDONLY)
	}
	if e, ok := errors.AsType[*osfile.IrregularError](err); ok && follow {
		return nil, nil, notRegular(path, e.Mode)
	} else if ok {
		return nil, nil, fmt.Errorf("%s is no regular file any more: %w", path, ErrChanged)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cannot scan: %w", err)
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, fmt.Errorf("cannot scan: %w", err)
	}
	return f, fi, nil
}

// A task is one file of a scan between the walk, a worker and the caller.
type task struct {
	entry  entry
	result Result
	done   chan struct{} // holds one value when result is there
}

// scan walks roots, has jobs workers look at the files, and gives the results to emit in the order
// of the walk, on this goroutine. It ends when all is done or ctx is, and leaves no
// goroutine behind, not even when emit panics.
func scan(ctx context.Context, roots iter.Seq[string], jobs int, one func(context.Context, entry) Result, emit func(Result)) error {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	inner, cancel := context.WithCancel(ctx)
	ordered := make(chan *task, window)
	work := make(chan *task)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	pool := sync.Pool{New: func() any { return &task{done: make(chan struct{}, 1)} }}

	wg.Go(func() {
		defer close(ordered)
		defer close(work)
		walk(inner, roots, func(e entry) bool {
			t := pool.Get().(*task)
			t.entry = e
			select {
			case ordered <- t:
			case <-inner.Done():
				return false
			}
			if e.err != nil {
				t.result = failed(e.path, e.err)
				t.done <- struct{}{}
				return true
			}
			select {
			case work <- t:
				return true
			case <-inner.Done():
				return false
			}
		})
	})
	for range jobs {
		wg.Go(func() {
			for t := range work {
				t.result = one(inner, t.entry)
				t.done <- struct{}{}
			}
		})
	}
	for t := range ordered {
		select {
		case <-t.done:
		case <-inner.Done():
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		emit(t.result)
		t.result = Result{}
		pool.Put(t)
	}
	return ctx.Err()
}

// Scan looks at every file in or under roots with this generation. See [Matcher.Scan].
func (e *Engine) Scan(ctx context.Context, roots iter.Seq[string], o ScanOptions, emit func(Result)) error {
	return scan(ctx, roots, o.Jobs, func(ctx context.Context, x entry) Result {
		h := e.scanners.get()
		defer e.scanners.put(h)
		l := o.look(e, h)
		return l.file(ctx, x.path, x.follow)
	}, emit)
}

func (o ScanOptions) look(e *Engine, h *hasher) look {
	l := look{e: e, h: h, pua: e.o.PUA || o.PUA, max: e.o.MaxSize}
	if o.MaxSize > 0 {
		l.max = o.MaxSize
	}
	return l
}
