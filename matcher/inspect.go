package matcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"example.org/avdb/archive"
	"example.org/avdb/filetype"
	"example.org/avdb/matcher/patterns"
	"example.org/avdb/pattern"
)

// ErrLimit is matched by the error of an object whose matching was given up because it took too much work: what was found in it holds, and of
// everything else in it nothing is known.
var ErrLimit = errors.New("took too much work to match")

const (
	// defaultSteps is what Options.MaxSteps of 0 stands for, beside a step for each stepBytes bytes of the object: six times what files of a Linux distribution
	// take with a real database. The rest is about a second of a processor.
	defaultSteps = 1 << 26
	stepBytes    = 8
	// spareSections is how many bytes of sections are hashed beyond twice the object's size: sections that overlap would cost
	// more than any object is worth.
	spareSections = 64 << 20
)

// ErrTime is matched by the error of an object that took longer than Options.MaxTime: what was found in it holds, and of everything else in it nothing is known.
var ErrTime = errors.New("took too long to match")

// An allowance is what matching the members of one top-level object may still cost together: what each of them may take would be without an end where there
// are ten thousand.
type allowance struct {
	steps    uint64 // of body patterns
	sections int64  // bytes of sections beyond twice a member's size
}

// membersShare is how many objects' steps the members of one object have together, beside those for their bytes.
const membersShare = 8

// memberAllowance is what the members of one object may cost.
func (e *Engine) memberAllowance() allowance {
	return allowance{steps: membersShare * e.maxSteps(0), sections: spareSections}
}

// A content is what an object holds, read by position.
type content struct {
	r    io.ReaderAt
	all  []byte // what r reads, if it is in memory
	size int64  // in bytes
	name string // for errors
}

// block gives the bytes from off on, as many as buf has or there are. They are in buf, or the content's own. A content that has fewer bytes than it had is
// one that changes.
func (c *content) block(buf []byte, off int64) ([]byte, error) {
	n := min(int64(len(buf)), c.size-off)
	if c.all != nil || n == 0 {
		return c.all[off : off+n], nil
	}
	got, err := c.r.ReadAt(buf[:n], off)
	if int64(got) == n {
		return buf[:n], nil
	}
	if err == nil || err == io.EOF {
		err = fmt.Errorf("%s ended at byte %d of %d: %w", c.name, off+int64(got), c.size, ErrChanged)
	}
	return nil, err
}

// A stoppableAt reader reads no more once its context has ended.
type stoppableAt struct {
	ctx context.Context
	r   io.ReaderAt
}

func (s *stoppableAt) ReadAt(b []byte, off int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.ReadAt(b, off)
}

// inside tells whether the generation asks for more of an object than its hashes.
func (e *Engine) inside(pua bool) bool { return e.seeksBodies(pua) || e.seeksSections(pua) }

func (e *Engine) seeksBodies(pua bool) bool { return e.bodies != nil && (pua || e.bodies.wanted) }

func (e *Engine) seeksSections(pua bool) bool {
	for _, s := range e.parts {
		if pua || !s.id.PUA() {
			return true
		}
	}
	return false
}

// An inspection is one object on its way through body patterns and section hashes.
type inspection struct {
	e       *Engine
	h       *hasher
	c       *content
	pua     bool
	shared  *allowance // nil for a top-level object
	most    uint64     // steps
	kind    filetype.Kind
	layout  *filetype.Layout   // of an executable; nil where its headers do not hold
	in      []pattern.FileType // the containers around it
	scanner *patterns.Scanner  // nil where no pattern is asked, or none any more
	fault   error              // of the database, met by the scanner
	trouble error              // the first thing that could not be matched, though it was read
}

// fail keeps what could not be matched of the object.
func (x *inspection) fail(err error) {
	if x.trouble == nil {
		x.trouble = err
	}
}

// inspect reads all of a content once and gives its hashes to o, which has them if the error is not one of reading, and to t what stands in it. What
// could not be matched is left in l.trouble.
func (l *look) inspect(ctx context.Context, c *content, algs algSet, o *object, t *tally) error {
	h := l.h
	h.start(algs)
	x := inspection{e: l.e, h: h, c: c, pua: l.pua, shared: l.shared, in: l.in}
	defer x.putBack()
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := c.block(h.buf, off)
		if err != nil {
			return err
		}
		if off == 0 {
			if err := x.begin(ctx, b); err != nil {
				return err
			}
			l.kind, l.tar = x.kind, x.kind != filetype.Tar && filetype.IsTar(b)
			l.zip = embeddedZip{on: !l.archives.Off && !l.tar && archive.Embeds(x.kind)}
		}
		l.zip.write(b)
		h.write(algs, b)
		x.write(b)
		if off += int64(len(b)); off == c.size {
			break
		}
	}
	h.finish(algs, &h.sums, o)
	o.size = c.size
	if err := x.end(ctx, t); err != nil {
		return err
	}
	if x.fault != nil {
		t.fail(x.fault)
	}
	err := x.sections(ctx, t)
	l.trouble = x.trouble
	return err
}

// begin finds out what signatures ask about an object, by its first bytes. Those of fewer than six bytes are of no kind and not looked into.
func (x *inspection) begin(ctx context.Context, head []byte) (err error) {
	e, pua := x.e, x.pua
	if x.kind = filetype.Detect(head, x.c.size); x.kind == filetype.Unknown || !e.inside(pua) {
		return nil
	}
	bodies := e.seeksBodies(pua)
	if x.kind.Executable() && (bodies || x.kind == filetype.PE) {
		x.layout, err = filetype.Read(x.c.r, x.c.size, x.kind)
		switch {
		case errors.Is(err, filetype.ErrFormat): // a broken header is a fact like others
		case errors.Is(err, io.ErrUnexpectedEOF):
			return fmt.Errorf("%s: %w: %w", x.c.name, ErrChanged, err)
		case err != nil:
			return err
		}
	}
	if !bodies {
		return nil
	}
	x.most = e.maxSteps(x.c.size)
	if s := x.shared; s != nil {
		s.steps += uint64(x.c.size) / stepBytes
		x.most = max(1, min(x.most, s.steps)) // 0 would be no limit
	}
	defer x.guard(debug.SetPanicOnFault(true))
	if x.scanner, x.fault = e.bodies.get(ctx); x.fault != nil {
		return ctx.Err()
	}
	x.scanner.Begin(patterns.Object{Size: x.c.size, Kind: x.kind, Layout: x.layout, Containers: x.in, MaxSteps: x.most, Done: ctx.Done()})
	return nil
}

// maxSteps is how many steps an object of that size may take.
func (e *Engine) maxSteps(size int64) uint64 {
	if e.o.MaxSteps == 0 {
		return defaultSteps + uint64(size)/stepBytes
	}
	return e.o.MaxSteps
}

// write takes the next bytes.
func (x *inspection) write(b []byte) {
	if x.scanner == nil {
		return
	}
	defer x.guard(debug.SetPanicOnFault(true))
	x.scanner.Write(b)
}

// guard makes an error of a panic: of the database if memory could not be read, for the set is mapped, if the set is not what it was when it was
// opened, or if the prefilter says itself that it is damaged; else of this object. The scanner is not used again, for nobody knows what it was about.
func (x *inspection) guard(was bool) {
	debug.SetPanicOnFault(was)
	p := recover()
	if p == nil {
		return
	}
	x.scanner = nil
	if err, ok := p.(interface {
		runtime.Error
		Addr() uintptr
	}); ok {
		x.fault = fault(err)
		return
	}
	if err := x.e.bodies.damage(); err != nil {
		x.fault = err
		return
	}
	if _, general := p.(runtime.Error); !general && patterns.Damage(p) != nil {
		x.fault = fault(p)
		return
	}
	x.fail(fmt.Errorf("body patterns cannot be matched: internal fault: %.200s", fmt.Sprint(p)))
}

// putBack returns the scanner.
func (x *inspection) putBack() {
	if x.scanner != nil {
		x.e.bodies.put(x.scanner)
		x.scanner = nil
	}
}

// end decides about the patterns. It reads the content again where one pass is not enough.
func (x *inspection) end(ctx context.Context, t *tally) (err error) {
	if x.scanner == nil {
		return nil
	}
	defer x.guard(debug.SetPanicOnFault(true))
	e, again := x.e, &x.h.again
	*again = stoppableAt{ctx, x.c.r}
	r, err := x.scanner.End(again)
	*again = stoppableAt{}
	if errors.Is(err, patterns.ErrSize) {
		return fmt.Errorf("%s: %w: %w", x.c.name, ErrChanged, err)
	}
	if err != nil {
		return err
	}
	if s := x.shared; s != nil {
		s.steps -= min(s.steps, r.Steps)
	}
	e.bodies.found(r.Matched, x.pua, e.ignore, t)
	switch {
	case r.Limited && ctx.Err() != nil:
		return ctx.Err()
	case r.Limited:
		x.fail(fmt.Errorf("%w: body patterns were given up after %d steps", ErrLimit, x.most))
	default:
		if n := e.bodies.wanting(r.Undecided, x.pua, e.ignore, t); n > 0 {
			x.fail(fmt.Errorf("%w: %d body patterns leave too many places open", ErrLimit, n))
		}
	}
	return nil
}

// sections asks for the hashes of the sections of a PE file, of those whose size is listed.
func (x *inspection) sections(ctx context.Context, t *tally) error {
	e, pua := x.e, x.pua
	if x.kind != filetype.PE || x.layout == nil || !e.seeksSections(pua) {
		return nil
	}
	own := int64(spareSections)
	spare, free := &own, 2*x.c.size
	if x.shared != nil {
		spare = &x.shared.sections
	}
	for r := range x.layout.Hashed() {
		algs := e.partAlgorithms(pua, r.Size, t)
		if algs == 0 {
			continue
		}
		over := max(0, r.Size-free)
		free = max(0, free-r.Size)
		if over > *spare {
			x.fail(fmt.Errorf("%w: its sections overlap so much that they were not all hashed", ErrLimit))
			return nil
		}
		*spare -= over
		var o object
		if err := x.hash(ctx, r, algs, &o); err != nil {
			return err
		}
		e.matchPart(&o, pua, t)
	}
	return nil
}

// hash gives o the hashes of a range of the content.
func (x *inspection) hash(ctx context.Context, r filetype.Range, algs algSet, o *object) error {
	h := x.h
	h.start(algs)
	for at, end := r.Offset, r.Offset+r.Size; at < end; {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := x.c.block(h.buf[:min(int64(len(h.buf)), end-at)], at)
		if err != nil {
			return err
		}
		h.write(algs, b)
		at += int64(len(b))
	}
	h.finish(algs, &h.part, o)
	o.size = r.Size
	return nil
}

// partAlgorithms are those by which a section of a PE file of the given size may be listed.
func (e *Engine) partAlgorithms(pua bool, size int64, t *tally) (set algSet) {
	defer guardTally(debug.SetPanicOnFault(true), t)
	for _, s := range e.parts {
		if (pua || !s.id.PUA()) && !set.has(s.id.Algorithm()) && s.lists(size) {
			set = set.with(s.id.Algorithm())
		}
	}
	return set
}

// matchPart asks for one section of a PE file. Here, as in partAlgorithms, mapped bytes of the layers are touched.
func (e *Engine) matchPart(o *object, pua bool, t *tally) {
	defer guardTally(debug.SetPanicOnFault(true), t)
	for _, s := range e.parts {
		if a := s.id.Algorithm(); o.have.has(a) && (pua || !s.id.PUA()) {
			sum := o.sum(a)
			s.nearRecords(&question{o: o, sum: sum, key: keyOf(sum, s.p), t: t, ignore: &e.ignore}, nil)
		}
	}
}
