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
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/filetype"
	"example.org/avdb/osfile"
	"example.org/avdb/pattern"
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
	// Cloud settles what the light layer alone only suspects; nil stands for Options.Cloud. It is asked in batches while the files
	// behind go on being read: at most four calls at the same time and 256 hits in each, and no hit waits longer than 20 ms
	// for company. Their results keep their place in the order of the walk.
	Cloud Cloud
	// Archives, when not nil, takes the place of Options.Archives for this scan.
	Archives *Archives
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
	e       *Engine
	h       *hasher
	pua     bool
	max     int64           // 0: no limit
	time    time.Duration   // that an object may take; 0: no limit
	ctx     context.Context // of this object, which it does not outlive
	cloud   Cloud           // nil: none
	release uint64          // of the generation, 0 if unknown
	open    *suspicion      // what is left to the cloud once the result is there, nil for nothing

	archives Archives
	in       []pattern.FileType // the containers that the object is in, the nearest first
	shared   *allowance         // of all that is inside one top-level object; nil for that itself

	// Of the object, once it was read.
	kind    filetype.Kind // where the generation or a container asks for it
	tar     bool          // it is a tar too, whose first name looks like something else
	zip     embeddedZip   // in an object that is no container
	trouble error         // the first thing that could not be matched, though it was read
}

// ScanFile reads and matches one regular file; a symbolic link is followed. Whatever goes wrong
// is in the result: see [Result]. It never waits for a FIFO and never maps the file. Options.Cloud is asked at once.
func (e *Engine) ScanFile(ctx context.Context, path string) Result {
	r, open := e.file(ctx, entry{path: path, follow: true}, ScanOptions{})
	open.now(ctx, e.o.Cloud, &r)
	return r
}

// ScanReader reads r to its end and matches what it held. SHA-256 is always computed, for
// what was read may not be readable again. Options.Cloud is asked at once.
//
// Body patterns and hashes of sections need an object's size before its first byte, and may need to read it twice; containers are read by position. So r is read by
// position where it is an [io.ReaderAt] and an [io.Seeker], from where it stands to its end: a regular file, or bytes in memory. What any other reader holds is kept
// meanwhile, if the generation has such signatures or containers are looked into, for a zip may begin anywhere: in memory, or, if it is more than the 16 MiB of Archives.Limits.Memory, in a file
// without a name in [os.TempDir], each byte changed, so that nothing that watches files finds there what the object holds. (On Windows the file has a name as long as it
// is needed.)
func (e *Engine) ScanReader(ctx context.Context, r io.Reader) Result {
	got, open := e.reader(ctx, r, 0)
	open.now(ctx, e.o.Cloud, &got)
	return got
}

// ScanBytes matches b as the content of a file. It keeps nothing of b, and a clean object costs no memory but the text of its SHA-256 where the
// generation has records of that. Options.Cloud is asked at once.
func (e *Engine) ScanBytes(ctx context.Context, b []byte) Result {
	got, open := e.bytes(ctx, b, 0)
	open.now(ctx, e.o.Cloud, &got)
	return got
}

// file looks at one file, up to what a cloud has to settle.
func (e *Engine) file(ctx context.Context, x entry, o ScanOptions) (Result, *suspicion) {
	h := e.scanners.get()
	defer e.scanners.put(h)
	l := o.look(e, h)
	r := l.within(ctx, func(ctx context.Context) Result { return l.file(ctx, x.path, x.follow) })
	return r, l.open
}

// reader does the same for what r holds; the generation is that of a release, or of none that is known.
func (e *Engine) reader(ctx context.Context, r io.Reader, release uint64) (Result, *suspicion) {
	h := e.scanners.get()
	defer e.scanners.put(h)
	l := ScanOptions{}.look(e, h)
	l.release = release
	got := l.within(ctx, func(ctx context.Context) Result { return l.reader(ctx, r) })
	return got, l.open
}

// bytes does the same for b.
func (e *Engine) bytes(ctx context.Context, b []byte, release uint64) (Result, *suspicion) {
	h := e.scanners.get()
	defer e.scanners.put(h)
	l := ScanOptions{}.look(e, h)
	l.release = release
	got := l.within(ctx, func(ctx context.Context) Result { return l.bytes(ctx, b) })
	return got, l.open
}

// within is what one gives of an object in the time that it may take.
func (l *look) within(ctx context.Context, one func(context.Context) Result) Result {
	if l.time <= 0 {
		return one(ctx)
	}
	own, cancel := context.WithTimeout(ctx, l.time)
	defer cancel()
	r := one(own)
	if errors.Is(r.Err, context.DeadlineExceeded) && ctx.Err() == nil {
		r.Err = fmt.Errorf("%w: it was given up after %s", ErrTime, l.time)
		r.Error = r.Err.Error()
	}
	return r
}

// verdict is the engine's.
func (l *look) verdict(o *object, t *tally, r *Result) {
	l.e.judge(o, l.pua, t, r)
	if l.shared != nil {
		l.prove(o, r)
	}
	if l.trouble != nil && r.Source != SourceOverride {
		r.fail(l.trouble)
	}
}

// prove sees that the member o, with this verdict, has its SHA-256 if it is the strongest finding so far, or may be once a cloud was asked. Of the strongest it is kept.
func (l *look) prove(o *object, r *Result) {
	p := &l.h.proof
	strongest := outdoes(r.Verdict, p.verdict)
	if !strongest && !(r.Verdict == Suspected && l.asks()) {
		return
	}
	if !o.have.has(dbformat.SHA256) {
		if err := l.h.whole(l.ctx, &l.h.content, algSet(0).with(dbformat.SHA256), o); err != nil {
			r.fail(err)
		}
	}
	if strongest {
		*p = proof{r.Verdict, o.sha256()}
	}
}

// asks tells whether a cloud settles what is suspected.
func (l *look) asks() bool { return l.cloud != nil && !l.e.full }

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
	return l.content(ctx, content{r: f, size: size, name: path}, path, 0, func() error { return unchanged(f, fi) })
}

// content looks at a content. It computes the hashes that may be listed, and more if the caller wants more. changed tells afterwards why it is not what it
// was, nil for one that holds still.
func (l *look) content(ctx context.Context, is content, path string, more algSet, changed func() error) Result {
	c := &l.h.content // where it costs nothing
	*c = is
	defer func() { *c = content{} }()
	o, t := object{size: anySize}, tally{}
	err := l.inspect(ctx, c, l.e.algorithms(l.pua, c.size, &t)|more, &o, &t)
	if err == nil && changed != nil {
		err = changed()
	}
	if err != nil && o.size == anySize {
		r := failed(path, err)
		r.Size = c.size
		return r
	}
	// What was read to its end is matched even if the file has changed meanwhile: a hit on
	// these bytes is no less true.
	r := Result{Path: path}
	l.verdict(&o, &t, &r)
	l.suspect(&o, &t, &r)
	r.SHA256 = o.sha256()
	if err == nil && l.opens(&t, &r) {
		l.ctx, l.h.proof = ctx, proof{}
		l.unpack(ctx, &is, &t, &r)
		*c = is
		if r.Member != "" {
			r.MemberSHA256 = l.h.proof.sha256
		}
		if changed != nil {
			err = changed()
		}
	}
	if err != nil {
		r.fail(err)
	}
	if r.Verdict.Finding() && r.SHA256 == "" {
		err := l.h.whole(ctx, c, algSet(0).with(dbformat.SHA256), &o)
		if err == nil && changed != nil {
			err = changed()
		}
		if err != nil {
			r.fail(err)
		} else {
			r.SHA256 = o.sha256()
		}
	}
	return r
}

// bytes looks at b.
func (l *look) bytes(ctx context.Context, b []byte) Result {
	if l.max > 0 && int64(len(b)) > l.max {
		return skipped("", int64(len(b)), tooLarge(l.max))
	}
	l.h.bytes.Reset(b)
	defer l.h.bytes.Reset(nil)
	return l.content(ctx, content{r: &l.h.bytes, all: b, size: int64(len(b))}, "", 0, nil)
}

// reader looks at what r holds.
func (l *look) reader(ctx context.Context, rd io.Reader) Result {
	inside := l.e.inside(l.pua)
	l.h.inflow = inflow{ctx, rd}
	defer func() { l.h.inflow = inflow{} }()
	if !inside && l.archives.Off {
		return l.stream(ctx, &l.h.inflow)
	}
	at, size, ok, err := seekable(rd)
	if err != nil {
		return failed("", err)
	}
	if !ok {
		rd = &l.h.inflow
		s, err := l.h.unpacker(l.archives.Limits).Keep(ctx, rd, l.max)
		defer func() { s.Close() }() // it is thrown away, and never nil
		if err != nil {
			return failed("", err)
		}
		at, size, ok = s, s.Size(), false
	}
	switch {
	case l.max > 0 && size > l.max && !ok:
		return skipped("", anySize, tooLarge(l.max))
	case l.max > 0 && size > l.max:
		return skipped("", size, tooLarge(l.max))
	}
	return l.content(ctx, content{r: at, size: size, name: "the object"}, "", algSet(0).with(dbformat.SHA256), nil)
}

// stream looks at what r holds as it comes, where only its hashes are needed.
func (l *look) stream(ctx context.Context, rd io.Reader) Result {
	var t tally
	o, more, err := l.h.reader(ctx, rd, l.e.algorithms(l.pua, anySize, &t).with(dbformat.SHA256), l.max)
	switch {
	case err != nil:
		return failed("", err)
	case more:
		return skipped("", anySize, tooLarge(l.max))
	}
	r := Result{SHA256: o.sha256()}
	l.verdict(&o, &t, &r)
	l.suspect(&o, &t, &r)
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
	open   *suspicion    // between a worker and the asker: what is left to settle
	done   chan struct{} // holds one value when result is there
}

// A looker looks at one file, and says what a cloud is left to settle; nil for nothing.
type looker func(context.Context, entry) (Result, *suspicion)

// scan walks roots, has jobs workers look at the files and the cloud, if there is one, settle what they suspect, and gives the
// results to emit in the order of the walk, on this goroutine. It ends when all is done or ctx is, and leaves no
// goroutine behind, not even when emit panics; only for a cloud that does not end with its context it does not wait forever.
func scan(ctx context.Context, roots iter.Seq[string], jobs int, cloud Cloud, one looker, emit func(Result)) error {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	inner, cancel := context.WithCancel(ctx)
	ordered := make(chan *task, window)
	work := make(chan *task)
	var wg, workers sync.WaitGroup
	defer wg.Wait()
	defer workers.Wait()
	defer cancel()
	pool := sync.Pool{New: func() any { return &task{done: make(chan struct{}, 1)} }}

	wg.Go(func() { feed(inner, roots, &pool, ordered, work) })
	var suspected *asker // nil without a cloud: then no result is open
	if cloud != nil {
		suspected = newAsker(cloud)
	}
	for range jobs {
		workers.Go(func() {
			for t := range work {
				if t.result, t.open = one(inner, t.entry); t.open != nil {
					suspected.in <- t
				} else {
					t.done <- struct{}{}
				}
			}
		})
	}
	if cloud != nil {
		wg.Go(func() { suspected.run(inner) })
		wg.Go(func() {
			workers.Wait()
			close(suspected.in)
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

// feed walks roots and puts a task for each entry into the order of results and before the workers.
func feed(ctx context.Context, roots iter.Seq[string], pool *sync.Pool, ordered, work chan<- *task) {
	defer close(ordered)
	defer close(work)
	walk(ctx, roots, func(e entry) bool {
		t := pool.Get().(*task)
		t.entry = e
		select {
		case ordered <- t:
		case <-ctx.Done():
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
		case <-ctx.Done():
			return false
		}
	})
}

// Scan looks at every file in or under roots with this generation. See [Matcher.Scan].
func (e *Engine) Scan(ctx context.Context, roots iter.Seq[string], o ScanOptions, emit func(Result)) error {
	look := func(ctx context.Context, x entry) (Result, *suspicion) { return e.file(ctx, x, o) }
	return scan(ctx, roots, o.Jobs, o.cloud(e.o), look, emit)
}

func (o ScanOptions) look(e *Engine, h *hasher) look {
	l := look{e: e, h: h, pua: e.o.PUA || o.PUA, max: e.o.MaxSize, time: e.o.MaxTime, cloud: o.cloud(e.o), archives: e.o.Archives}
	if o.Archives != nil {
		l.archives = *o.Archives
	}
	if o.MaxSize > 0 {
		l.max = o.MaxSize
	}
	return l
}

func (o ScanOptions) cloud(or Options) Cloud {
	if o.Cloud != nil {
		return o.Cloud
	}
	return or.Cloud
}
