package patterns

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"example.org/avdb/filetype"
	"example.org/avdb/pattern"
)

// ErrSize is matched by the error of an object that had more or fewer bytes than was said: its places and its end were not where signatures
// looked for them.
var ErrSize = errors.New("not as many bytes as were announced")

const (
	piece   = 64 << 10 // bytes that all prefilters are given in turn
	maxKept = 64 << 10 // matches and spans that a scan keeps for each of its two groups
)

// A Result is what a scan found. Its slices are the scanner's and stay as they are until its next Begin.
type Result struct {
	Matched []int // signatures that match, ascending: n is the n-th record of those that were compiled

	// Undecided are signatures, ascending, that could neither be said to match nor not to: it had to be matched again, which takes a reader, or had too many
	// places open even then. See the package comment. It is nil for all but such objects.
	Undecided []int

	// Limited says that the scan was given up after Object.MaxSteps steps, or because Object.Done was closed. What is in Matched does match, among it all that holds by
	// what was found until then, whatever follows; of everything else nothing is known.
	Limited bool

	Steps uint64 // what the object cost
}

// A Scanner matches one object after another against a set: Begin, Write for all of its bytes in order, End. It belongs to one goroutine.
type Scanner struct {
	set      *Set
	object   Object
	facts    pattern.Facts
	sections []pattern.Section
	states   [maxTargets]*state // made when an object of the target comes
	active   []*state           // those that the object is matched against

	at   int64  // bytes of the object that came
	fed  int64  // bytes that the prefilters were given
	tail []byte // the last bytes that came, as many as are needed, and room for as many of the next block
	have int    // bytes of tail that are used
	view view

	verifier verifier
	logical  pattern.Logical // the signature that is decided

	steps  uint64 // what the object cost so far, beside the prefilters
	pause  uint64 // steps after which it is asked whether to go on
	result Result

	reading reading
}

// A view is the piece of an object that verifications see.
type view struct {
	pattern.Window
	base int64 // where it begins in the object
}

// NewScanner returns a scanner that is ready for Begin. It has memory for a few lengths of the longest part, and more as objects touch signatures.
func (s *Set) NewScanner() *Scanner {
	return &Scanner{set: s, tail: make([]byte, 4*(s.history+s.ahead))}
}

// Begin starts an object. What was not ended is forgotten. The scanner keeps o.Layout and o.Containers no longer than to End.
func (c *Scanner) Begin(o Object) {
	c.object = o
	c.facts = facts(&o, c.sections[:0])
	if c.facts.Sections != nil {
		c.sections = c.facts.Sections
	}
	c.at, c.fed, c.have, c.steps, c.pause = 0, 0, 0, 0, 0
	c.result = Result{Matched: c.result.Matched[:0]}
	c.active = c.active[:0]
	c.activate(pattern.TargetAny)
	if t := c.facts.Target; t != pattern.TargetAny {
		c.activate(t)
	}
}

func (c *Scanner) activate(t pattern.Target) {
	if c.set.groups[t] == nil {
		return
	}
	if c.states[t] == nil {
		c.states[t] = newState(c, c.set.groups[t])
	}
	c.states[t].begin()
	c.active = append(c.active, c.states[t])
}

// Write takes the next bytes of the object, any number of them; those read in blocks of some 100 KiB cost least. It keeps nothing of block.
func (c *Scanner) Write(block []byte) {
	if len(c.active) == 0 || len(block) == 0 {
		c.at += int64(len(block))
		return
	}
	around := c.set.history + c.set.ahead
	from := c.at
	c.at += int64(len(block))
	if int64(len(block)) > around {
		if from > 0 {
			// What the last block left is looked at together with the first bytes of this one, up to where this one has all that is needed.
			c.keep(block[:around])
			c.see(c.tail[:c.have], from+around-int64(c.have), false)
			c.feed(from + c.set.history)
		}
		c.see(block, from, false)
		c.feed(c.at - c.set.ahead)
		c.have = copy(c.tail, block[len(block)-int(around):])
	} else {
		c.keep(block)
		c.see(c.tail[:c.have], c.at-int64(c.have), false)
		c.feed(c.at - c.set.ahead)
	}
	c.view = view{}
}

// keep appends to the tail, of which only the last bytes are needed.
func (c *Scanner) keep(b []byte) {
	if c.have+len(b) > len(c.tail) {
		needed := int(min(int64(c.have), c.set.history+c.set.ahead))
		copy(c.tail, c.tail[c.have-needed:c.have])
		c.have = needed
	}
	c.have += copy(c.tail[c.have:], b)
}

func (c *Scanner) see(b []byte, base int64, end bool) {
	c.view = view{Window: pattern.Window{Bytes: b, Start: base == 0, End: end}, base: base}
}

// feed gives the prefilters what they have not had before to. Of each place there, all that a verification can ask for is in view.
func (c *Scanner) feed(to int64) {
	for c.fed < to {
		next := min(to, c.fed+piece)
		b := c.view.Bytes[c.fed-c.view.base : next-c.view.base]
		for _, s := range c.active {
			s.places(next)
			if !s.over {
				s.filter.Scan(b, s.hit)
			}
		}
		c.fed = next
		for _, s := range c.active {
			s.follow(next - c.set.history)
		}
	}
}

// End gives what the object matches. r reads the same object again, by position; it is asked for objects that have the trigger of a late signature which
// may still hold, or left too much open to be remembered, and may be nil where there is no such reader. An error is that of r, or matches [ErrSize].
func (c *Scanner) End(r io.ReaderAt) (Result, error) {
	defer c.forget()
	if c.at != c.object.Size {
		return Result{}, fmt.Errorf("%w: %d of %d: scan it again when nothing writes to it", ErrSize, c.at, c.object.Size)
	}
	if len(c.active) > 0 {
		c.see(c.tail[:c.have], c.at-int64(c.have), true)
		c.feed(c.at)
	}
	for _, s := range c.active {
		if !s.over {
			s.filter.Finish(s.hit)
		}
		s.follow(never)
	}
	for _, s := range c.active {
		s.cut = s.over
		s.decide()
	}
	// What the object is read again for may be given up, and comes after all that needs no more.
	var undecided []int
	for _, s := range c.active {
		var err error
		if undecided, err = s.decideAgain(r, undecided); err != nil {
			return Result{}, err
		}
		c.result.Limited = c.result.Limited || s.over
	}
	if undecided != nil {
		slices.Sort(undecided)
	}
	slices.Sort(c.result.Matched)
	c.result.Undecided, c.result.Steps = undecided, c.steps
	return c.result, nil
}

// forget keeps nothing of the object that is the caller's.
func (c *Scanner) forget() {
	c.view = view{}
	c.object.Layout, c.object.Containers, c.facts.Containers = nil, nil, nil
}

// An Object is what a scan is told about the bytes that follow.
type Object struct {
	Size       int64 // in bytes
	Kind       filetype.Kind
	Layout     *filetype.Layout   // of an executable; nil where its headers do not hold
	Containers []pattern.FileType // what the object is in, the nearest first; none for a file of its own
	MaxSteps   uint64             // see [Result.Limited]; 0 for no limit
	Done       <-chan struct{}    // closed when nobody wants the result any more: the scan ends soon, as Limited; nil for never
}

// facts says about an object what signatures ask; sections is room for its sections.
func facts(o *Object, sections []pattern.Section) pattern.Facts {
	f := pattern.Facts{Target: pattern.Target(o.Kind.Target()), Containers: o.Containers}
	switch {
	case !o.Kind.Executable():
	case o.Layout == nil:
		f.Header = pattern.HeaderBroken
	default:
		f.Header, f.EntryPoint = pattern.HeaderParsed, o.Layout.Entry
		for _, s := range o.Layout.Sections {
			sections = append(sections, pattern.Section{Offset: s.Offset, Size: s.Size})
		}
		f.Sections = sections
	}
	return f
}
