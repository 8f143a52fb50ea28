package matcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// ErrClosed is matched by what is asked of a matcher after [Matcher.Close].
var ErrClosed = errors.New("the matcher is closed")

const (
	// recheckDefault is how old the knowledge of CURRENT may get while a matcher is in use.
	recheckDefault = 100 * time.Millisecond
	// patience is how long the one call that notices a new generation waits for it. Opening takes a few
	// milliseconds when the index is there; if it takes longer the call goes on with the old one.
	patience = 50 * time.Millisecond
	// retryAfter is how long a generation that could not be opened is left alone.
	retryAfter = 5 * time.Second
)

// generations is what a matcher needs of a store.
type generations interface {
	Current() (store.Current, error)
	layerSource
}

type layerSource interface {
	OpenLayer(d dbformat.Digest, l dbformat.Layer) (*store.LayerFile, error)
	OpenIndex(key string) (*store.IndexFile, error)
	PutIndex(key string, pieces iter.Seq[[]byte]) error
}

// A Matcher matches objects against the current generation of a store and follows it: while it is in use it looks at
// CURRENT about ten times a second, opens a new generation beside the old one, and changes over between two objects.
// No call waits for an update: only the call that notices a new generation waits for it to be opened, and no
// longer than 50 ms. If a generation cannot be opened the one before stays in use and [Matcher.Err] says why.
//
// It needs no right to write. It is safe for concurrent use and must be closed.
type Matcher struct {
	from     generations
	o        Options
	recheck  time.Duration
	start    time.Time
	due      atomic.Bool // it is time to look at CURRENT
	timer    *time.Timer // sets due; it runs from one look on, and not while nobody asks anything of the matcher
	now      atomic.Pointer[opened]
	problem  atomic.Pointer[error]
	scanners scanners

	mu      sync.Mutex
	closed  bool
	opening chan struct{}    // closed when the generation that is being opened is there or has failed; nil when there is none
	given   store.Generation // what could not be opened
	givenUp time.Duration    // since start: until when it is left alone
}

// Open gives a matcher over the current generation of s. The errors are those of the store ([store.ErrNoDatabase]:
// run an update first) and of [OpenGeneration]. If the index of the generation is missing it is built, and kept in the
// store if that can be written.
func Open(s *store.Store, o Options) (*Matcher, error) { return open(s, o, recheckDefault) }

func open(from generations, o Options, recheck time.Duration) (*Matcher, error) {
	m := &Matcher{from: from, o: o, recheck: recheck, start: time.Now()}
	c, err := from.Current()
	if err != nil {
		return nil, err
	}
	g, err := m.openCurrent(c, false)
	if err != nil {
		return nil, err
	}
	m.now.Store(g)
	m.due.Store(recheck <= 0)
	m.timer = time.AfterFunc(recheck, func() { m.due.Store(true) })
	return m, nil
}

// openCurrent opens what CURRENT names. A file that is not there is damage only if CURRENT
// still names it: an update may just have replaced the generation. With careful the stored index is
// read whole before it is trusted.
func (m *Matcher) openCurrent(c store.Current, careful bool) (*opened, error) {
	for {
		g, err := openFiles(m.from, c.Generation, m.o, careful)
		if err == nil {
			return g, nil
		}
		again, e := m.from.Current()
		if e != nil || again.SameContent(&c.Generation) {
			return nil, err
		}
		c = again
	}
}

// follow looks at CURRENT when it is time to. When it is not it reads one flag and no clock: one would cost as much as a good part of a look-up.
func (m *Matcher) follow() {
	if m.due.Load() {
		m.look()
	}
}

// look looks at CURRENT: of many calls at the same time, one, and with a recheck of no time each.
func (m *Matcher) look() {
	if m.recheck > 0 {
		if !m.due.CompareAndSwap(true, false) {
			return
		}
		m.mu.Lock()
		if !m.closed {
			m.timer.Reset(m.recheck)
		}
		m.mu.Unlock()
	}
	done := m.check(time.Since(m.start), false)
	if done == nil {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	}
}

// Refresh looks at CURRENT now and waits until the generation that it names is in use. A program that has just
// updated calls it to be sure; all others need not. The error is that of [Matcher.Err], or ctx's.
func (m *Matcher) Refresh(ctx context.Context) error {
	// What is being opened may have been begun before this call: then one more look is needed. Two are
	// enough unless updates come faster than generations can be opened.
	for range 3 {
		done := m.check(time.Since(m.start), true)
		if done == nil {
			break
		}
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if m.problem.Load() != nil {
			break
		}
	}
	return m.Err()
}

// check compares CURRENT with what is in use and starts to open what is new. The result is closed when
// that is done; nil means that there is nothing to wait for. A generation that could not be opened, or that has turned out to be
// damaged, is opened again after a while, or at once if now is set: an update may have healed it.
func (m *Matcher) check(at time.Duration, now bool) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	if m.opening != nil {
		return m.opening
	}
	// Read with the lock held: of two calls the later one must not be overtaken by what the earlier one read.
	c, err := m.from.Current()
	if err != nil {
		m.note(fmt.Errorf("cannot follow the current generation, the last one stays in use: %w", err))
		return nil
	}
	g := m.now.Load()
	same := g.info.Load().SameContent(&c.Generation)
	rest := m.given.SameContent(&c.Generation) && at < m.givenUp && !now
	switch {
	case same && (g.engine.damage() == nil || rest):
		g.info.Store(&c.Generation) // another release may have the same layers
		m.note(nil)
		return nil
	case rest:
		return nil
	}
	if same {
		m.given, m.givenUp = c.Generation, at+retryAfter
	}
	m.opening = make(chan struct{})
	go m.replace(c, same, m.opening)
	return m.opening
}

// replace opens a generation and puts it in the place of the one in use, which is closed when its last
// user is done.
func (m *Matcher) replace(c store.Current, careful bool, done chan struct{}) {
	next, err := m.openCurrent(c, careful)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.opening = nil
	defer close(done)
	switch {
	case err != nil:
		m.given, m.givenUp = c.Generation, time.Since(m.start)+retryAfter
		m.note(fmt.Errorf("release %d cannot be opened, the last one stays in use: %w", c.Version, err))
	case m.closed:
		next.release()
	default:
		m.note(nil)
		m.now.Swap(next).release()
	}
}

// note keeps the problem of following, nil for none.
func (m *Matcher) note(err error) {
	if err == nil {
		m.problem.Store(nil)
		return
	}
	m.problem.Store(&err)
}

// Err says why the current generation is not the one in use, or what of the one in use could not be read. A
// damaged index is among it, which makes look-ups slower and misses nothing. It is nil when all is well,
// also again after the problem is gone.
func (m *Matcher) Err() error {
	g := m.now.Load()
	if g == nil {
		return ErrClosed
	}
	if p := m.problem.Load(); p != nil {
		return *p
	}
	return g.engine.damage()
}

// Generation is the one in use; the zero value after Close.
func (m *Matcher) Generation() store.Generation {
	g := m.now.Load()
	if g == nil {
		return store.Generation{}
	}
	return *g.info.Load()
}

// Close lets go of the generation; calls that are under way finish with it first. It waits for a generation
// that is just being opened. It may be called again.
func (m *Matcher) Close() error {
	m.mu.Lock()
	m.closed = true
	m.timer.Stop()
	opening := m.opening
	g := m.now.Swap(nil)
	m.mu.Unlock()
	if opening != nil {
		<-opening
	}
	if g != nil {
		g.release()
	}
	return nil
}

// hold gives the generation in use, which is the caller's to release; nil after Close.
func (m *Matcher) hold() *opened {
	for {
		g := m.now.Load()
		if g == nil || g.retain() {
			return g
		}
		// It was replaced and let go of between the two lines above: the next one is there.
	}
}

// Lookup is [Engine.Lookup] over the generation in use.
//
// A miss holds nothing: that would be two writes to memory that all goroutines share, more than the rest of it costs. The generation that was read was in
// use afterwards as well, so that its files were mapped all the time. If it was not, which is seen, what was read means nothing,
// and a page that was gone is a fault, which is caught like any other.
func (m *Matcher) Lookup(a dbformat.Algorithm, sum []byte, size int64) (r Result, err error) {
	m.follow()
	if readsInOrder {
		if g := m.now.Load(); g != nil && g.engine.misses(a, sum, size) && m.now.Load() == g {
			r.miss(size)
			return r, nil
		}
	}
	err = m.lookup(a, sum, size, &r)
	return r, err
}

// lookup is Lookup with the generation held.
func (m *Matcher) lookup(a dbformat.Algorithm, sum []byte, size int64, r *Result) error {
	g := m.hold()
	if g == nil {
		*r = failed("", ErrClosed)
		return ErrClosed
	}
	defer g.release()
	if !readsInOrder && g.engine.misses(a, sum, size) {
		r.miss(size)
		return nil
	}
	return g.engine.lookup(a, sum, size, r)
}

// ScanFile reads and matches one regular file; a symbolic link is followed. Whatever goes wrong
// is in the result: see [Result]. It never waits for a FIFO and never maps the file. Options.Cloud is asked at once.
func (m *Matcher) ScanFile(ctx context.Context, path string) Result {
	r, open := m.file(ctx, entry{path: path, follow: true}, ScanOptions{})
	open.now(ctx, m.o.Cloud, &r)
	return r
}

// ScanReader reads r to its end and matches what it held, as [Engine.ScanReader] does. The generation is that of the beginning.
func (m *Matcher) ScanReader(ctx context.Context, r io.Reader) Result {
	got, open := m.reader(ctx, r)
	open.now(ctx, m.o.Cloud, &got)
	return got
}

func (m *Matcher) reader(ctx context.Context, r io.Reader) (Result, *suspicion) {
	m.follow()
	g := m.hold()
	if g == nil {
		return failed("", ErrClosed), nil
	}
	defer g.release()
	return g.engine.reader(ctx, r, g.version())
}

// ScanBytes is [Engine.ScanBytes] over the generation in use.
func (m *Matcher) ScanBytes(ctx context.Context, b []byte) Result {
	got, open := m.bytes(ctx, b)
	open.now(ctx, m.o.Cloud, &got)
	return got
}

func (m *Matcher) bytes(ctx context.Context, b []byte) (Result, *suspicion) {
	m.follow()
	g := m.hold()
	if g == nil {
		return failed("", ErrClosed), nil
	}
	defer g.release()
	return g.engine.bytes(ctx, b, g.version())
}

// Scan looks at every file in or under roots: files and folders by their paths, from a slice by
// slices.Values or from whatever else has paths, one at a time. Folders are walked in the byte order of names; symbolic links are
// followed when they are roots, and not inside folders, where they are passed over like everything that
// is no file. emit gets the results one by one on the calling goroutine, in the order of the walk; files that cannot
// be read are results with [Failed]. Memory is bounded, whatever the number of files; only the names of the folders
// on the way down to a file are held. roots runs on a goroutine of its own, which Scan
// waits for. With a [Cloud] what is only suspected is settled on the way.
//
// The error is that of ctx, whose end stops the scan within one buffer of 256 KiB, or [ErrClosed].
func (m *Matcher) Scan(ctx context.Context, roots iter.Seq[string], o ScanOptions, emit func(Result)) error {
	if m.now.Load() == nil {
		return ErrClosed
	}
	look := func(ctx context.Context, x entry) (Result, *suspicion) { return m.file(ctx, x, o) }
	return scan(ctx, roots, o.Jobs, o.cloud(m.o), look, emit)
}

// file looks at one file with the generation in use now, up to what a cloud has to settle. The generation is let go of
// before anybody waits for that.
func (m *Matcher) file(ctx context.Context, x entry, o ScanOptions) (Result, *suspicion) {
	m.follow()
	g := m.hold()
	if g == nil {
		return failed(x.path, ErrClosed), nil
	}
	defer g.release()
	h := m.scanners.get()
	defer m.scanners.put(h)
	l := o.look(g.engine, h)
	l.release = g.version()
	r := l.within(ctx, func(ctx context.Context) Result { return l.file(ctx, x.path, x.follow) })
	return r, l.open
}
