package matcher

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher/patterns"
	"example.org/avdb/store"
)

// ErrInput is matched by the errors of look-ups that make no sense: a hash of the
// wrong length, a size that cannot be, a prefix of too few bits.
var ErrInput = errors.New("invalid look-up")

// Options say how objects are matched. The zero value is what clamscan does by default.
type Options struct {
	// PUA has potentially unwanted applications reported as well.
	PUA bool
	// MaxSize is the size in bytes above which a file is not read but reported with
	// Result.Skipped; 0 means that there is no limit.
	MaxSize int64
	// MaxSteps bounds the work of matching body patterns against one object, in steps of 10 to 20 ns (see package patterns): what takes
	// more is given up, and the error of its result matches [ErrLimit]. What holds by what was found until then is reported all the same. 0 stands for
	// 2^26 and one for each 8 bytes of the object, a second of a processor more or less and six times what programs take, which no object that is not
	// made for it comes near. Who has less time gives a context that ends: that is noticed within milliseconds.
	// What is inside one file may cost eight times as much in all, and one step more for each 8 bytes.
	MaxSteps uint64
	// MaxTime is how long one object may take with all that is inside it, waiting for a disk or a reader included; 0 stands for no limit. What takes longer
	// is given up: the error of its result matches [ErrTime], and what was found until then holds. A read that does not return is not ended by it.
	MaxTime time.Duration
	// Archives says whether containers are looked into, and how far; the zero value does, as clamscan.
	Archives Archives
	// Cloud settles what the light layer alone only suspects; nil for none. It is asked by ScanFile and ScanReader
	// of an engine or a matcher, at once and for this object alone, and by Scan where ScanOptions names no other. Look-ups by
	// hash never ask it.
	Cloud Cloud
	// Overrides, when set, is an administrator's own list by SHA-256. It is asked before everything else: with ok and
	// the verdict Malicious or Allowed its word is the result, with the source SourceOverride, and nothing else is asked. Any
	// other answer is none. A name that no signature may have ([dbformat.CheckName]) is replaced by
	// [dbformat.DefaultName]. It costs a call for each object, and the SHA-256 of every file that is read, which not every generation
	// needs: a second of processor time for about 1.2 GB. It is called by many goroutines at the same time and should not
	// wait for anything.
	Overrides func(sum [32]byte) (v Verdict, name string, ok bool)
}

// An Engine matches objects against one generation. It is safe for concurrent use, as long
// as its layers are open. Most callers want a [Matcher], which follows the
// current generation.
type Engine struct {
	o        Options
	by       [dbformat.SHA256 + 1][]*section // of files, by algorithm, in the order of ids
	gates    [dbformat.SHA256 + 1]gates      // the same, of a look-up
	urls     *section                        // of URLs, nil without any
	sections []*section                      // all of them that have lines, in the order of ids
	parts    []*section                      // of sections of PE files, of both layers
	bodies   *bodies                         // body patterns of both layers, nil without any
	index    *index
	ignore   ignoreSet
	sizes    *storedSizes // of the stored index, nil where it was proved whole or is not there
	full     bool         // both layers are there
	records  uint64
	hurt     atomic.Pointer[error] // the first error of reading the layers
	scanners scanners
	ahead    sync.Pool // of *[]stretch, for WithPrefixes
}

// damage is what of the generation could not be read so far, nil for nothing.
func (e *Engine) damage() error {
	if p := e.hurt.Load(); p != nil {
		return *p
	}
	if p := e.index.err.Load(); p != nil {
		return *p
	}
	if e.sizes != nil {
		if p := e.sizes.rotten.Load(); p != nil {
			return *p
		}
	}
	if e.bodies != nil {
		if p := e.bodies.rotten.Load(); p != nil {
			return *p
		}
	}
	return nil
}

// ignoreSet holds the names of signatures that are not to be reported.
type ignoreSet map[string]struct{}

func (s ignoreSet) has(name string) bool {
	_, ok := s[name]
	return ok
}

// OpenGeneration makes an engine of the layers of one generation; rest is nil for the light
// variant. The index is built in memory, which reads all of light once, and the body patterns of rest: 3.2 bytes of memory for
// each record of a hash, and some hundred for a pattern. The layers must stay open, and belong to the caller. Errors match
// [dbformat.ErrCorrupt] (layers that do not fit together or are malformed),
// [dbformat.ErrVersion] (a section that this engine cannot match), or are those of the readers.
func OpenGeneration(light, rest dbformat.LayerReader, o Options) (e *Engine, err error) {
	defer guardError(debug.SetPanicOnFault(true), &err)
	e, lines, err := newEngine(light, rest, o)
	if err != nil {
		return nil, err
	}
	all, err := buildLines(e.sections, lines)
	if err != nil {
		return nil, err
	}
	e.index = newIndex(lines, cutPieces(all))
	if e.bodies != nil {
		set, err := e.bodies.compile(nil)
		if err != nil {
			return nil, err
		}
		if err := e.bodies.open(set); err != nil {
			return nil, err
		}
	}
	for _, s := range e.parts {
		l, err := s.sizesOf()
		if err != nil {
			return nil, err
		}
		s.listed.Store(l)
	}
	return e, nil
}

// newEngine makes an engine that still lacks its index and the set of its body patterns, and says how many lines the index has.
func newEngine(light, rest dbformat.LayerReader, o Options) (*Engine, uint32, error) {
	e := &Engine{o: o, full: rest != nil}
	h := light.Header()
	if h.Layer != dbformat.Light {
		return nil, 0, &dbformat.FormatError{What: "layer", Offset: -1, Reason: "is not a light one"}
	}
	if rest != nil {
		if err := dbformat.CheckPair(h, rest.Header()); err != nil {
			return nil, 0, err
		}
	}
	if err := e.placed(light, rest); err != nil {
		return nil, 0, err
	}
	for i := range h.Sections {
		id := h.Sections[i].ID
		switch {
		case id.Placed() && id.Valid():
		case id.Valid() && id.Rows():
			s, err := newSection(light, i)
			if err != nil {
				return nil, 0, err
			}
			if rest != nil && id.Split() {
				at, _, ok := rest.Header().Section(id)
				if !ok {
					return nil, 0, shapeError(id, "the rest layer lacks its part")
				}
				if err := s.pair(rest, at); err != nil {
					return nil, 0, err
				}
			}
			e.sections = append(e.sections, s)
			if id.OfURLs() {
				e.urls = s
			} else {
				e.by[id.Algorithm()] = append(e.by[id.Algorithm()], s)
			}
			e.records += s.rows
		case id == dbformat.ClassIgnore.Section(0):
			if err := e.readIgnore(light, i); err != nil {
				return nil, 0, err
			}
		case id == dbformat.ClassSelfTest.Section(0):
		default:
			return nil, 0, versionError(id)
		}
	}
	lines := layout(e.sections)
	e.gated()
	return e, lines, nil
}

// placed takes the sections whose rows stand whole in either layer.
func (e *Engine) placed(layers ...dbformat.LayerReader) (err error) {
	for _, l := range layers {
		if l == nil {
			continue
		}
		for i := range l.Header().Sections {
			if !l.Header().Sections[i].ID.OfPESections() {
				continue
			}
			s, err := newSection(l, i)
			if err != nil {
				return err
			}
			e.parts = append(e.parts, s)
			e.records += s.rows
		}
	}
	if e.bodies, err = listBodies(layers...); e.bodies != nil {
		e.records += uint64(e.bodies.len())
	}
	return err
}

// versionError is that of a section which only a later engine can match.
func versionError(id dbformat.SectionID) error {
	return fmt.Errorf("section %s cannot be matched by this engine, install a newer one: %w", id, dbformat.ErrVersion)
}

func (e *Engine) readIgnore(light dbformat.LayerReader, at int) error {
	b, err := light.Block(at, 0)
	if err != nil {
		return err
	}
	names, err := dbformat.IgnoreNames(b)
	if err != nil {
		return err
	}
	e.ignore = make(ignoreSet, len(names))
	for _, n := range names {
		e.ignore[n] = struct{}{}
	}
	return nil
}

// Records is the number of signatures and allow records that the engine matches.
func (e *Engine) Records() uint64 { return e.records }

// IndexBytes is the size of the index's lines.
func (e *Engine) IndexBytes() int64 { return int64(e.index.lines) * lineSize }

// Lookup answers for an object of which only one hash is known. size is in bytes; -1 means
// that it is unknown: then only records for any size and prefixes match. Only records of
// this algorithm are seen, so that an allow record of another one, or an override, which would
// hold for the file, says nothing here; a cloud is never asked. The error is the result's Err, or matches [ErrInput].
// A look-up that finds nothing allocates nothing.
func (e *Engine) Lookup(a dbformat.Algorithm, sum []byte, size int64) (r Result, err error) {
	if e.misses(a, sum, size) {
		r.miss(size)
		return r, nil
	}
	err = e.lookup(a, sum, size, &r)
	return r, err
}

// lookup writes to r, for results are large and look-ups many.
func (e *Engine) lookup(a dbformat.Algorithm, sum []byte, size int64, r *Result) error {
	if a.Size() == 0 || len(sum) != a.Size() {
		err := fmt.Errorf("%w: %s with a hash of %d bytes, want %d", ErrInput, a, len(sum), a.Size())
		*r = failed("", err)
		return err
	}
	if size < anySize {
		err := fmt.Errorf("%w: size %d, want -1 for an unknown one or more", ErrInput, size)
		*r = failed("", err)
		return err
	}
	o := object{size: size, have: algSet(0).with(a)}
	o.sums[a] = sum
	e.verdict(&o, e.o.PUA, r)
	if r.Verdict.Finding() {
		r.SHA256 = o.sha256()
	}
	return r.Err
}

// algorithms are those that have records to compare files of the given size with; it may be anySize. Here mapped bytes of the index are touched.
func (e *Engine) algorithms(pua bool, size int64, t *tally) (set algSet) {
	defer guardTally(debug.SetPanicOnFault(true), t)
	if e.o.Overrides != nil {
		set = set.with(dbformat.SHA256)
	}
	for a, sections := range e.by {
		for _, s := range sections {
			if (pua || !s.id.PUA()) && !set.has(dbformat.Algorithm(a)) && s.lists(size) {
				set = set.with(dbformat.Algorithm(a))
			}
		}
	}
	return set
}

// match asks every section of files that has records of the object's algorithms. This is where mapped
// bytes of the layers and of the index are touched: a fault on them becomes an error in the tally,
// which keeps what was found before.
func (e *Engine) match(o *object, pua bool, t *tally) {
	defer guardTally(debug.SetPanicOnFault(true), t)
	for a := dbformat.SHA256; a >= dbformat.MD5; a-- {
		if !o.have.has(a) {
			continue
		}
		sum := o.sum(a)
		for _, s := range e.by[a] {
			if s.id.PUA() && !pua {
				continue
			}
			key := keyOf(sum, s.p)
			l := e.index.line(s.lines.first + bucketOf(key, s.lines.count))
			if l != nil && !mayHold(l, tagOf(key, s.p)) {
				continue
			}
			s.near(&question{o: o, sum: sum, key: key, t: t, ignore: &e.ignore}, l)
		}
	}
}

// verdict is match, decided: all of r but its path and SHA-256, of an object of which only hashes are known.
func (e *Engine) verdict(o *object, pua bool, r *Result) {
	var t tally
	e.judge(o, pua, &t, r)
}

// judge is verdict that leaves in t what the sections said, and goes by what t has of the object's content.
func (e *Engine) judge(o *object, pua bool, t *tally, r *Result) {
	r.Verdict, r.Source, r.Size = Clean, SourceLocal, o.size
	if e.o.Overrides != nil && e.overridden(o, r) {
		return
	}
	e.match(o, pua, t)
	if t.empty() {
		return
	}
	f := t.decide()
	r.Verdict, r.Name = f.verdict, f.name
	if f.verdict.Finding() {
		r.Signature = signatureOf(f.section)
	}
	if t.err != nil {
		err := t.err
		e.hurt.CompareAndSwap(nil, &err)
		r.fail(err)
	}
}

// overridden has the administrator's list decide about o, and tells whether it did.
func (e *Engine) overridden(o *object, r *Result) bool {
	if !o.have.has(dbformat.SHA256) {
		return false
	}
	sum := [32]byte(o.sum(dbformat.SHA256))
	v, name, ok := e.o.Overrides(sum)
	if !ok || v != Malicious && v != Allowed {
		return false
	}
	r.Verdict, r.Name, r.Source = v, properName(name, dbformat.SHA256, &sum), SourceOverride
	return true
}

// properName is name, which comes from outside, or the default name of the hash if no signature may have it.
func properName(name string, a dbformat.Algorithm, sum *[32]byte) string {
	if dbformat.CheckName(name) != nil {
		return dbformat.DefaultName(a, sum[:])
	}
	return name
}

// failed is the result of an object that could not be matched.
func failed(path string, err error) Result {
	r := Result{Path: path, Verdict: Failed, Source: SourceLocal, Size: anySize}
	r.fail(err)
	return r
}

// guardTally and guardError restore what SetPanicOnFault was and turn a fault into an
// error. They are deferred directly, as recover demands.
func guardTally(was bool, t *tally) {
	debug.SetPanicOnFault(was)
	if p := recover(); p != nil {
		t.fail(fault(p))
	}
}

func guardError(was bool, err *error) {
	debug.SetPanicOnFault(was)
	if p := recover(); p != nil {
		*err = fault(p)
	}
}

// fault makes an error of a panic of the Go runtime, or of a prefilter: a page of a mapped file that is not there
// any more, or damage that got past every check. A database must not be able to end the program
// that it protects. Any other panic is passed on.
func fault(p any) error {
	err := patterns.Damage(p)
	if err == nil {
		panic(p)
	}
	return &store.Error{
		Kind: store.ErrStorage, Damaged: true, Path: "database", What: "cannot be read", Err: err,
		Remedy: "run an update, which fetches what is damaged again",
	}
}
