package matcher

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"example.org/avdb/dbformat"
	"example.org/avdb/matcher/patterns"
)

// together is how many look-ups wait for memory at the same time: more than a processor can wait for at once, and few enough that their lines stay in its
// first cache.
const together = 64

// A gate is where the tag lines of a section stand, and what cuts a hash to their keys.
type gate struct {
	lines span
	p     uint8
}

// place is the line of a hash, and its tag there.
func (g *gate) place(sum []byte) (line uint32, tag uint16) {
	key := keyOf(sum, g.p)
	return g.lines.first + bucketOf(key, g.lines.count), tagOf(key, g.p)
}

// gates are those that a hash of width bytes has to pass to be a miss. With a width of 0 none does.
type gates struct {
	width int
	all   []gate
}

// gated lists the gates of each algorithm. An administrator's list has a word about every hash, so that with one there is no short way.
func (e *Engine) gated() {
	if e.o.Overrides != nil {
		return
	}
	for a, sections := range e.by {
		g := &e.gates[a]
		g.width = dbformat.Algorithm(a).Size()
		for _, s := range sections {
			if !s.id.PUA() || e.o.PUA {
				g.all = append(g.all, gate{s.lines, s.p})
			}
		}
	}
}

// misses tells whether no section of files has anything to say of a hash. Nearly all look-ups end here, after one line of memory for each section, and pay
// for nothing else. What it does not settle it leaves to lookup, which says what there is to say: a hash that makes no sense, lines that
// were never read before or are damaged, a fault.
func (e *Engine) misses(a dbformat.Algorithm, sum []byte, size int64) (miss bool) {
	if int(a) >= len(e.gates) || len(sum) != e.gates[a].width || len(sum) < 8 || size < anySize {
		return false
	}
	defer guardMiss(debug.SetPanicOnFault(true), &miss)
	all := e.gates[a].all
	for i := range all {
		at, tag := all[i].place(sum)
		if l := e.index.known(at); l == nil || mayHold(l, tag) {
			return false
		}
	}
	return true
}

// guardMiss is [guardTally] where a fault loses nothing: it only makes no miss. Whoever looks again meets it again, and reports it.
func guardMiss(was bool, miss *bool) {
	debug.SetPanicOnFault(was)
	if faulted(recover()) {
		*miss = false
	}
}

// faulted tells whether p is a panic that [fault] makes an error of. Any other is passed on.
func faulted(p any) bool {
	if p != nil && patterns.Damage(p) == nil {
		panic(p)
	}
	return p != nil
}

// known is line i of a piece that was read before, else nil.
func (x *index) known(i uint32) *line {
	if p := x.pieces[i/pieceLines].Load(); p != nil {
		if at := int(i%pieceLines) * lineSize; at+lineSize <= len(*p) {
			return (*line)((*p)[at:])
		}
	}
	return nil
}

// miss makes r that of a look-up that finds nothing.
func (r *Result) miss(size int64) { r.Verdict, r.Source, r.Size = Clean, SourceLocal, size }

// readsInOrder says that the processor makes no read of memory look later than one that comes after it in the program: amd64 promises that, others do not.
const readsInOrder = runtime.GOARCH == "amd64"

// LookupMany is [Engine.Lookup] of many objects of which hashes by algorithm a are known. sums are these hashes, one behind the other; sizes are
// those of the objects, or nil if none is known. found is called for each object that is not Clean, in ascending order, with its number, until it
// returns false: also for one whose look-up failed.
//
// Most of the time of a look-up is waiting for memory. Here those of 64 objects wait at the same time, so that many cost less than as many calls of Lookup.
//
// The error is about all of them and matches [ErrInput]: an algorithm without hashes, sums that are no whole number of them, sizes of another number. Then nothing was looked up.
// Nothing is allocated but for what is found.
func (e *Engine) LookupMany(a dbformat.Algorithm, sums []byte, sizes []int64, found func(i int, r Result) bool) error {
	width := a.Size()
	if width == 0 || len(sums)%width != 0 {
		return fmt.Errorf("%w: %s with hashes of %d bytes in all", ErrInput, a, len(sums))
	}
	n := len(sums) / width
	if sizes != nil && len(sizes) != n {
		return fmt.Errorf("%w: %d sizes for %d hashes", ErrInput, len(sizes), n)
	}
	for from := 0; from < n; from += together {
		end := min(n, from+together)
		open, _ := e.unsettled(a, sums[from*width:end*width])
		for i := from; i < end; i, open = i+1, open>>1 {
			size := int64(anySize)
			if sizes != nil {
				size = sizes[i]
			}
			if open&1 == 0 && size >= anySize {
				continue
			}
			var r Result
			_ = e.lookup(a, sums[i*width:(i+1)*width], size, &r) // it stands in r
			if r.Verdict != Clean && !found(i, r) {
				return nil
			}
		}
	}
	return nil
}

// unsettled is misses of up to 64 hashes, with a bit for each that is none. It reads something of every line first, so that all of them are on their
// way when the first one is waited for. What was touched means nothing: it is there so that what is touched is read.
func (e *Engine) unsettled(a dbformat.Algorithm, sums []byte) (open uint64, touched int) {
	width := e.gates[a].width
	if width == 0 {
		return everyone, 0
	}
	defer guardOpen(debug.SetPanicOnFault(true), &open)
	n := len(sums) / width
	var lines [together]*line
	var tags [together]uint16
	for _, g := range e.gates[a].all {
		for i := range n {
			at, tag := g.place(sums[i*width:])
			l := e.index.known(at)
			if l == nil {
				l = e.index.line(at)
			}
			tags[i] = tag
			if lines[i] = l; l != nil {
				touched += int(l[0])
			}
		}
		for i := range n {
			if l := lines[i]; l == nil || mayHold(l, tags[i]) {
				open |= 1 << i
			}
		}
	}
	return open, touched
}

// everyone has a bit for each of 64.
const everyone = ^uint64(0)

// guardOpen is guardMiss of many.
func guardOpen(was bool, open *uint64) {
	debug.SetPanicOnFault(was)
	if faulted(recover()) {
		*open = everyone
	}
}

// LookupMany is [Engine.LookupMany] over the generation in use, which is the same for all of them.
func (m *Matcher) LookupMany(a dbformat.Algorithm, sums []byte, sizes []int64, found func(i int, r Result) bool) error {
	m.follow()
	g := m.hold()
	if g == nil {
		return ErrClosed
	}
	defer g.release()
	return g.engine.LookupMany(a, sums, sizes, found)
}
