package prefilter

import (
	"cmp"
	"math/bits"
	"slices"
)

// A Hit is an occurrence of a literal.
type Hit struct {
	ID uint32
	At int64 // where in the stream its first byte is
}

const (
	batch   = 1024     // candidates that go through the stages together
	stretch = 32 << 10 // bytes that each tier looks at in turn: they are in a level 1 or 2 cache for the second one
)

// A Scanner scans one stream after another for the literals of a set. It is owned by one goroutine and does not allocate while there are no candidates
// but ordinary ones; it holds a few dozen KiB and some lengths of the longest literal.
type Scanner struct {
	set     *Set
	hit     func(Hit) bool
	stopped bool
	reach   int64 // bytes from a place that must be there before it is looked at: those of the longest literal, 8 at least
	pos     int64 // bytes of the stream that came
	done    int64 // places before this are through
	tail    []byte
	have    int // bytes of tail that are used: the last ones of the stream
	// What was done since the begin of the stream, for tests: candidates, steps in trees, literals looked at.
	looked, steps, compared uint64
	end                     int // where the bytes of the stream end in what is looked at

	candidates [batch]uint32
	passed     [batch]uint32 // those of candidates that one tier goes on with
	keys       [batch]tableKey
	touched    uint32 // of no meaning: what is added up to it has to be read
	tagged     [batch]taggedRecord
	found      []place
}

// A tableKey is where a candidate is looked up, and as what.
type tableKey struct{ line, rest uint32 }

// A taggedRecord is a candidate with a record that it may have.
type taggedRecord struct {
	at     uint32
	rest   uint32
	record uint32
}

// A place is a posting and where its gram stands.
type place struct {
	at      uint32
	posting uint32
}

// NewScanner returns a scanner at the begin of a stream.
func (s *Set) NewScanner() *Scanner {
	s.load()
	reach := max(8, s.Longest())
	// Carried are up to two reaches, joined with up to two of the next block; four more are room, so that small blocks seldom move them.
	return &Scanner{set: s, reach: int64(reach), tail: make([]byte, 8*reach+8), found: make([]place, 0, batch)}
}

// Reset begins a new stream.
func (c *Scanner) Reset() {
	c.stopped, c.pos, c.done, c.have = false, 0, 0, 0
	c.looked, c.steps, c.compared = 0, 0, 0
}

// maxBlock is what is scanned at once, so that a place in it has 32 bits.
const maxBlock = 1 << 30

// Scan scans the next block of the stream, of any length, and calls hit for each literal that it recognises; see the package comment for the order. If
// hit returns false, the scan of this stream is over. Scan returns false then, and whenever it is called before the next Reset. Neither block nor
// hit is kept.
func (c *Scanner) Scan(block []byte, hit func(Hit) bool) bool {
	if c.set.Longest() == 0 {
		return true
	}
	c.hit = hit
	for len(block) > maxBlock && !c.stopped {
		c.scan(block[:maxBlock])
		block = block[maxBlock:]
	}
	if len(block) > 0 && !c.stopped {
		c.scan(block)
	}
	c.hit = nil
	return !c.stopped
}

func (c *Scanner) scan(block []byte) {
	from := c.pos // of block
	c.pos += int64(len(block))
	ready := max(c.done, c.pos-c.reach+1)
	if from > 0 {
		joined := int(min(int64(len(block)), 2*c.reach))
		if c.have+joined > len(c.tail)-8 {
			keep := int(from - c.needed())
			copy(c.tail, c.tail[c.have-keep:c.have])
			c.have = keep
		}
		c.have += copy(c.tail[c.have:], block[:joined])
		c.end = c.have
		base := from + int64(joined-c.have)
		if joined == len(block) {
			c.places(c.tail[:c.have], base, ready)
			return
		}
		// From here on a place has all that belongs to it in block.
		c.places(c.tail[:c.have], base, from+c.reach-1)
	}
	c.end = len(block)
	c.places(block, from, ready)
	keep := int(min(int64(len(block)), c.pos-c.needed()))
	c.have = copy(c.tail, block[len(block)-keep:])
}

// needed is the first byte of the stream that a place could still ask for.
func (c *Scanner) needed() int64 { return max(0, c.done-c.reach+1) }

// Finish ends the stream: what needed no more bytes than there were is recognised now. Then a new stream may begin.
func (c *Scanner) Finish(hit func(Hit) bool) bool {
	if !c.stopped && c.have > 0 {
		c.hit = hit
		c.end = c.have
		clear(c.tail[c.have : c.have+8])
		c.places(c.tail[:c.have+8], c.pos-int64(c.have), c.pos)
		c.hit = nil
	}
	over := c.stopped
	c.Reset()
	return !over
}

// places looks at the places from done to end, which lie in b together with everything that a literal there could cover; b begins at base.
func (c *Scanner) places(b []byte, base, end int64) {
	for c.done < end && !c.stopped {
		to := min(end, c.done+stretch)
		pairs := false
		for _, t := range c.set.tiers {
			step := int64(t.s)
			first := (c.done + step - 1) / step * step
			if first >= to || step == 2 && pairs {
				continue
			}
			c.tier(t, b, base, int(first-base), int(to-base))
			pairs = step == 2
		}
		c.done = to
	}
}

// tier looks at the places from, from+s and so on below to in b for one tier, and for all of multiples of two together.
func (c *Scanner) tier(t *tier, b []byte, base int64, from, to int) {
	for from < to && !c.stopped {
		// The last place has eight bytes as well: literals that begin there may have fewer, but b is padded if the stream ends.
		n, done := 0, 0
		text := b[from:min(to+7, len(b))]
		switch {
		case t.s == 16 && len(text) >= 2*block+7:
			n, done = sift16(text[:len(text)-7], &t.sieve, c.candidates[:])
		case t.s == 8 && len(text) >= block+7:
			n, done = sift(text[:len(text)-7], &t.sieve, c.candidates[:])
		case t.s == 2:
			n, done = c.set.pairs.sift2(text, c.candidates[:])
		case t.s == 1:
			n, done = c.set.pairs.sift1(text, c.candidates[:])
		}
		if done == 0 && t.pairBit == 0 {
			n, done = siftEach(text, &t.sieve, t.s, c.candidates[:])
		}
		for i := range c.candidates[:n] {
			c.candidates[i] += uint32(from)
		}
		if t.s == 2 {
			c.lookUpPairs(b, base, c.candidates[:n])
		} else {
			c.lookUp(t, b, base, c.candidates[:n])
		}
		if done == 0 {
			return
		}
		from += done
	}
}

// lookUpPairs takes the candidates of all tiers of multiples of two through their filters, and what passes one through the stages.
func (c *Scanner) lookUpPairs(b []byte, base int64, candidates []uint32) {
	for _, t := range c.set.tiers {
		if t.s != 2 {
			continue
		}
		n := 0
		for _, at := range candidates {
			c.passed[n] = at
			n += int(t.test(load64(b[at:])))
		}
		if c.lookUp(t, b, base, c.passed[:n]); c.stopped {
			return
		}
	}
}

// zero16 has the highest bit of each 16 bits set that are 0 in x, and perhaps others above such.
func zero16(x uint64) uint64 { return (x - ones16) &^ x & (ones16 << 15) }

// lookUp takes candidates through the stages: tag lines, records and trees, checks, whole literals.
func (c *Scanner) lookUp(t *tier, b []byte, base int64, candidates []uint32) {
	c.looked += uint64(len(candidates))
	// The first loop only reads one word of each line: it is short, so that the processor has the misses of very many candidates under way.
	keys := c.keys[:len(candidates)]
	touched := uint32(0)
	for i, at := range candidates {
		line, rest := table(mix((load64(b[at:])|t.fold)&t.keep), t.lineBits)
		keys[i] = tableKey{line: uint32(line), rest: rest}
		touched += load32(t.lines[line*lineSize:])
	}
	c.touched = touched
	n := 0
	for i, at := range candidates {
		line, rest := int(keys[i].line), keys[i].rest
		l := (*[lineSize]byte)(t.lines[line*lineSize:])
		tag := uint64(rest&0xffff) * ones16
		m0, m1, m2 := zero16(load64(l[8:])^tag), zero16(load64(l[16:])^tag), zero16(load64(l[24:])^tag)
		count := uint32(load16(l[4:]))
		if m0|m1|m2 == 0 && count <= lineTags {
			continue
		}
		if n > len(c.tagged)-lineTags {
			c.follow(t, b, base, c.tagged[:n])
			n = 0
		}
		first := load32(l[0:])
		if count > lineTags {
			if record, ok := t.narrow(line, rest); ok {
				c.tagged[n] = taggedRecord{at: at, rest: rest, record: record}
				n++
			}
			continue
		}
		// Tag j has its bit at 15-j/4 of the 16 bits j%4: there is one as a rule, and which it is takes no branch.
		for found := m0 | m1>>1 | m2>>2; found != 0; found &= found - 1 {
			bit := bits.TrailingZeros64(found)
			j := uint32(4*(15-bit%16) + bit/16)
			c.tagged[n] = taggedRecord{at: at, rest: rest, record: first + j}
			n += int((j - count) >> 31) // not those that the line does not have
		}
	}
	if n > 0 {
		c.follow(t, b, base, c.tagged[:n])
	}
}

// narrow finds the one record of a line with more records than tags that a candidate can have.
func (t *tier) narrow(line int, rest uint32) (record uint32, ok bool) {
	low, end := load32(t.lines[line*lineSize:]), load32(t.lines[(line+1)*lineSize:])
	for high := end; low < high; {
		middle := low + (high-low)/2
		if load32(t.records[int(middle)*recordSize:])>>1 < rest {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < end
}

// follow takes candidates with a record through the remaining stages.
func (c *Scanner) follow(t *tier, b []byte, base int64, tagged []taggedRecord) {
	// Each stage is a loop of its own over what the stage before left, without a branch that depends on what is read from the set where that can be
	// had: the reads of many candidates are under way at the same time.
	n := 0
	for _, g := range tagged {
		r := (*[recordSize]byte)(t.records[int(g.record)*recordSize:])
		head := load32(r[0:])
		tagged[n] = taggedRecord{at: g.at, rest: head & recordTree, record: load32(r[4:])}
		n += int(same32(head>>1, g.rest))
	}
	touched := uint32(0)
	for _, g := range tagged[:n] {
		if g.rest == 0 {
			touched += uint32(c.set.literals[int(g.record>>offsetBits)*literalSize])
		} else {
			touched += load32(t.nodes[4*int(g.record):])
		}
	}
	c.touched = touched
	found := c.found[:0]
	for _, g := range tagged[:n] {
		if g.rest == 0 {
			found = append(found, place{at: g.at, posting: g.record})
			continue
		}
		if len(found) >= batch { // few postings are found, but where many literals differ late
			if !c.settle(b, base, found) {
				return
			}
			found = found[:0]
		}
		from := len(found)
		walk := walk{tier: t, text: b, end: c.end, at: int(g.at), found: found, left: len(t.nodes) / 4}
		walk.down(int(g.record), side{}, 0)
		found = walk.found
		c.steps += walk.steps
		// Of the occurrences of one literal the first one comes first: its gram stands further on in it.
		slices.SortFunc(found[from:], func(x, y place) int {
			return cmp.Or(cmp.Compare(y.posting%(1<<offsetBits), x.posting%(1<<offsetBits)), cmp.Compare(x.posting, y.posting))
		})
	}
	c.found = found[:0]
	c.settle(b, base, found)
}

// settle takes postings through the last stages: checks and whole literals. It is false if the scan is over.
func (c *Scanner) settle(b []byte, base int64, found []place) bool {
	c.compared += uint64(len(found))
	n := 0
	for _, p := range found {
		found[n] = p
		n += c.checked(b, p)
	}
	touched := uint32(0)
	for _, p := range found[:n] {
		l := (*[literalSize]byte)(c.set.literals[int(p.posting>>offsetBits)*literalSize:])
		at := int(load32(l[0:]))
		touched += uint32(c.set.bytes[at]) + uint32(c.set.bytes[at+int(load16(l[4:]))-1]) + uint32(c.set.ids[4*int(load32(l[16:]))])
	}
	c.touched = touched
	for _, p := range found[:n] {
		if !c.verify(b, base, p) {
			return false
		}
	}
	return true
}

// same32 is 1 if x and y are equal, without a branch.
func same32(x, y uint32) uint64 { return (uint64(x^y) - 1) >> 63 }

// checked is 1 if the literal of p would lie in the stream and its four rarest bytes are there.
func (c *Scanner) checked(b []byte, p place) int {
	l := (*[literalSize]byte)(c.set.literals[int(p.posting>>offsetBits)*literalSize:])
	at := int(p.at) - int(p.posting%(1<<offsetBits))
	size := int(load16(l[4:]))
	if at < 0 || at+size > c.end {
		return 0
	}
	if size < 4 {
		return 1
	}
	differ := load32(b[at+int(load16(l[12:])):]) ^ load32(l[8:]) ^ hiddenAll&0xffffffff
	// Without case a bit of each byte is not looked at, be it a letter or not.
	differ &^= uint32(load16(l[6:])) * (foldWord & 0xffffffff)
	return int(same32(differ, 0))
}

// verify compares a whole literal and tells of the hit. It is false if the scan is over.
func (c *Scanner) verify(b []byte, base int64, p place) bool {
	l := (*[literalSize]byte)(c.set.literals[int(p.posting>>offsetBits)*literalSize:])
	at, from, size := int(p.at)-int(p.posting%(1<<offsetBits)), int(load32(l[0:])), int(load16(l[4:]))
	text, literal := b[at:at+size], c.set.bytes[from:from+size]
	if load16(l[6:])&flagNoCase != 0 {
		if !equalFolded(text, literal) {
			return true
		}
	} else if !equal(text, literal) {
		return true
	}
	first, ids := load32(l[16:]), load32(l[20:])
	if uint64(first)+uint64(ids) > uint64(c.set.counts.ids) {
		panic(broken("literal %d has identifiers that are not there", p.posting>>offsetBits))
	}
	for i := range ids {
		if !c.hit(Hit{ID: load32(c.set.ids[4*int(first+i):]), At: base + int64(at)}) {
			c.stopped = true
			return false
		}
	}
	return true
}

// differ8 and differ32 are 0 if text has the bytes of a hidden literal at these places.
func differ8(text, literal []byte) uint64 { return load64(text) ^ load64(literal) ^ hiddenAll }

func differ32(text, literal []byte) uint64 {
	t, l := (*[32]byte)(text), (*[32]byte)(literal)
	return differ8(t[0:], l[0:]) | differ8(t[8:], l[8:]) | differ8(t[16:], l[16:]) | differ8(t[24:], l[24:])
}

// equal compares text with a hidden literal of the same length, in as few steps as can be: most literals have less than 64 bytes. The last bytes
// are compared for the second time rather than one by one.
func equal(text, literal []byte) bool {
	switch n := len(text); {
	case n != len(literal):
		return false
	case n >= 32:
		for i := 0; i < n-32; i += 32 {
			if differ32(text[i:], literal[i:]) != 0 {
				return false
			}
		}
		return differ32(text[n-32:], literal[n-32:]) == 0
	case n >= 16:
		return differ8(text, literal)|differ8(text[8:], literal[8:])|differ8(text[n-16:], literal[n-16:])|differ8(text[n-8:], literal[n-8:]) == 0
	case n >= 8:
		return differ8(text, literal)|differ8(text[n-8:], literal[n-8:]) == 0
	}
	for i, c := range text {
		if c^hidden != literal[i] {
			return false
		}
	}
	return true
}

// equalFolded does so with a literal without case.
func equalFolded(text, literal []byte) bool {
	n := len(text)
	if n != len(literal) {
		return false
	}
	if n < 8 {
		for i, c := range text {
			if lowerByte(c)^hidden != literal[i] {
				return false
			}
		}
		return true
	}
	for i := 0; i < n-8; i += 8 {
		if lower(load64(text[i:]))^hiddenAll != load64(literal[i:]) {
			return false
		}
	}
	return lower(load64(text[n-8:]))^hiddenAll == load64(literal[n-8:])
}
