package prefilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"sync"
)

// Limits of a set. What is beyond them is refused by [Build] and by [Open].
const (
	MinLiteral  = 2       // bytes of a literal
	MaxLiteral  = 8191    // bytes of a literal
	MaxLiterals = 1 << 19 // literals that differ in bytes or case rule
	MaxIDs      = 1 << 22 // identifiers over all literals
	MaxBytes    = 1 << 28 // bytes of all literals together
)

// ErrFormat is matched by every error of [Open]: these bytes are no set of this version, or they are damaged. Build the set again.
var ErrFormat = errors.New("no usable prefilter set")

const (
	magic       = "AVDBpref"
	version     = 3
	align       = 64
	headSize    = 64
	tierSize    = 32
	setHead     = 384 // headSize + tierCount*tierSize, up to a multiple of align
	lineSize    = 32
	lineTags    = 12
	recordSize  = 8
	literalSize = 24
	maxWords    = 1 << 17 // 1 MiB: more does not stay in a level 2 cache
	maxLines    = 1 << 22
	maxNodes    = 1 << 28
	offsetBits  = 13 // of a posting: where in the literal the gram stands
)

// A shape is what distinguishes a tier: grams of q bytes at multiples of s.
type shape struct{ q, s int }

func (h shape) window() int { return h.q + h.s - 1 }

// bits has the bits of a gram set.
func (h shape) bits() uint64 { return 1<<(8*h.q) - 1 } // all bits for q = 8: the shift leaves 0

const (
	tierCount     = 9
	mixedTier     = 2 // see shapes
	firstPairTier = 5 // of those with a pairTable
)

// shapes are the tiers, by falling length of window. The one of mixedTier is for sets with literals that are just too short for the one before: it looks at as
// few places as that.
func shapes() [tierCount]shape {
	return [tierCount]shape{{5, 16}, {8, 8}, {3, 8}, {6, 4}, {4, 4}, {4, 2}, {3, 2}, {2, 2}, {2, 1}}
}

// tiersInUse tells which tiers have literals. A literal belongs to the first of them whose window fits into it.
type tiersInUse [tierCount]bool

// tierOf is the tier of a literal of n bytes, tierCount if there is none.
func (u tiersInUse) tierOf(n int) int {
	for i, h := range shapes() {
		if u[i] && n >= h.window() {
			return i
		}
	}
	return tierCount
}

// tierCounts is the entry of a tier in the header.
type tierCounts struct {
	words   uint32 // of the filter, 0 in a tier without literals
	masks   uint32 // bits of a mask
	lines   uint32 // of tags, without the last one
	records uint32
	nodes   uint32 // 4-byte words of all trees
	fold    uint32 // 1 if grams are folded
}

// counts is the header: everything else about the layout follows from it.
type counts struct {
	literals, ids, bytes, longest uint32
	tiers                         [tierCount]tierCounts
}

// header is the one encoding of c.
func (c *counts) header() []byte {
	b := make([]byte, 0, setHead)
	b = append(b, magic...)
	for _, n := range []uint32{version, tierCount} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(c.size()))
	for _, n := range []uint32{c.literals, c.ids, c.bytes, c.longest} {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	b = append(b, make([]byte, headSize-len(b))...)
	for _, t := range c.tiers {
		for _, n := range []uint32{t.words, t.masks, t.lines, t.records, t.nodes, t.fold, 0, 0} {
			b = binary.LittleEndian.AppendUint32(b, n)
		}
	}
	return append(b, make([]byte, setHead-len(b))...)
}

func padded(n int64) int64 { return (n + align - 1) &^ (align - 1) }

// sizes are the lengths in bytes of the sections in their order: literals, identifiers, bytes, and for each tier filter, lines, records, nodes.
func (c *counts) sizes() []int64 {
	s := []int64{int64(c.literals) * literalSize, int64(c.ids) * 4, int64(c.bytes)}
	for _, t := range c.tiers {
		lines := int64(t.lines)
		if lines > 0 {
			lines++ // the last one ends the line before
		}
		s = append(s, int64(t.words)*8, lines*lineSize, int64(t.records)*recordSize, int64(t.nodes)*4)
	}
	return s
}

func (c *counts) size() int64 {
	n := int64(setHead)
	for _, s := range c.sizes() {
		n += padded(s)
	}
	return n
}

// A tier is what a set has for the literals of some lengths.
type tier struct {
	shape
	sieve
	pairBit    uint8  // by which a pairTable knows it, 0 if it is looked for by the sieve alone
	filter     []byte // words of the sieve as they are stored
	lines      []byte
	lineBits   int
	lastRecord uint32 // their number
	records    []byte
	nodes      []byte
}

// A Set is an opened set of literals. It is immutable and safe for concurrent use. It refers to the bytes that it was opened from, which must
// stay as they are for as long as it is used; only the filters, 1 MiB at most for each tier, are copied, when the first scanner is made, and 64 KiB are
// for tables of two bytes.
type Set struct {
	counts   counts
	literals []byte
	ids      []byte
	bytes    []byte
	tiers    []*tier // those that have literals
	size     int
	pairs    *pairTable
	checked  bool   // by Open: all that leads somewhere leads where it may
	load     func() // copies the filters at the first call; what it panics with once it panics with again
}

func broken(format string, a ...any) error {
	return fmt.Errorf("%w: %s: build it again", ErrFormat, fmt.Sprintf(format, a...))
}

// Open opens a set that [Build] made. It reads all of b but the filters' and literals' contents and follows every offset and count; an error matches
// [ErrFormat].
func Open(b []byte) (*Set, error) {
	s, err := Map(b)
	if err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	at := int64(setHead)
	for _, n := range s.counts.sizes() {
		for _, p := range b[at+n : at+padded(n)] {
			if p != 0 {
				return nil, broken("a section ends in bytes without a meaning")
			}
		}
		at += padded(n)
	}
	s.checked = true
	return s, nil
}

// Map opens a set that [Build] made and whose bytes are trusted by now, by a checksum of the owner for example. It reads the header only, so that
// opening a mapped file takes microseconds and touches one page, however large the set is; an error matches [ErrFormat].
//
// Scanning with bytes that are damaged nevertheless finds too much or too little, or panics: with a [runtime.Error], for an index beyond a section, or
// with an error that matches [ErrFormat]. The owner recovers both from [Set.NewScanner], [Scanner.Scan] and [Scanner.Finish], gives up the scanner
// and the set, and builds the set again. There is no other effect: no read or write outside of b, no hit outside of the stream, and no
// scan without an end; memory stays below a few times the size of the set.
func Map(b []byte) (*Set, error) {
	if len(b) < setHead || string(b[:8]) != magic {
		return nil, broken("the header is not there")
	}
	if v := load32(b[8:]); v != version {
		return nil, broken("version %d is unknown", v)
	}
	s := &Set{size: len(b)}
	c := &s.counts
	c.literals, c.ids, c.bytes, c.longest = load32(b[24:]), load32(b[28:]), load32(b[32:]), load32(b[36:])
	for i := range c.tiers {
		e := b[headSize+i*tierSize:]
		c.tiers[i] = tierCounts{words: load32(e), masks: load32(e[4:]), lines: load32(e[8:]), records: load32(e[12:]), nodes: load32(e[16:]), fold: load32(e[20:])}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.size() != int64(len(b)) {
		return nil, broken("it has %d bytes, by its header %d", len(b), c.size())
	}
	if string(c.header()) != string(b[:setHead]) {
		return nil, broken("the header has bytes without a meaning")
	}
	var parts [][]byte
	at := int64(setHead)
	for _, n := range c.sizes() {
		parts = append(parts, b[at:at+n:at+n])
		at += padded(n)
	}
	s.literals, s.ids, s.bytes = parts[0], parts[1], parts[2]
	for i, h := range shapes() {
		n, p := c.tiers[i], parts[3+4*i:]
		if n.words == 0 {
			continue
		}
		t := &tier{shape: h, filter: p[0], lines: p[1], lineBits: bits.Len32(n.lines) - 1, lastRecord: n.records, records: p[2], nodes: p[3]}
		t.sieve = sieve{bits: n.masks, shift: 64 - uint64(bits.Len32(n.words)-1), keep: h.bits()}
		if n.fold != 0 {
			t.fold = foldWord
		}
		switch h.s {
		case 1:
			t.pairBit = everyPlace
		case 2:
			t.pairBit = 1 << (i - firstPairTier)
		}
		s.tiers = append(s.tiers, t)
	}
	s.load = sync.OnceFunc(func() {
		for _, t := range s.tiers {
			t.fill(t.filter)
		}
		s.pairs = s.makePairs()
	})
	return s, nil
}

// usual is what a set of literals of all lengths would use: the first tier is for sets whose literals are all long, and mixedTier for those that would need
// one more tier for a few.
func usual() (use tiersInUse) {
	for i := range use {
		use[i] = i > 0 && i != mixedTier
	}
	return use
}

func (c *counts) inUse() (use tiersInUse) {
	for i, t := range c.tiers {
		use[i] = t.words > 0
	}
	return use
}

// check holds the counts against the limits, so that no sum of theirs overflows.
func (c *counts) check() error {
	power := func(n, most uint32) bool { return n > 0 && n <= most && n&(n-1) == 0 }
	if c.literals > MaxLiterals || c.ids > MaxIDs || c.bytes > MaxBytes || c.longest > MaxLiteral {
		return broken("it counts %d literals, %d identifiers and %d bytes, the longest of %d", c.literals, c.ids, c.bytes, c.longest)
	}
	for i, t := range c.tiers {
		if t.words == 0 && t == (tierCounts{}) {
			continue
		}
		words, masks := filterCounts(t.records)
		if t.records == 0 || t.records > MaxLiterals*uint32(shapes()[i].s) || t.words != words || t.masks != masks || !power(t.lines, maxLines) || t.nodes > maxNodes || t.fold > 1 {
			return broken("the counts of tier %d are beyond their limits", i)
		}
	}
	return nil
}

// check follows everything in s that leads somewhere, unless [Open] did.
func (s *Set) check() error {
	if s.checked {
		return nil
	}
	if err := s.checkLiterals(); err != nil {
		return err
	}
	for _, t := range s.tiers {
		if err := s.checkTier(t); err != nil {
			return err
		}
	}
	return nil
}

// checkLiterals proves that literals lie one after the other in the section of bytes, and their identifiers likewise.
func (s *Set) checkLiterals() error {
	var at, id, longest uint32
	var fold [tierCount]uint32
	use := s.counts.inUse()
	for i := range s.counts.literals {
		l := s.literal(i)
		if l.at != at || l.firstID != id || l.ids == 0 || l.flags > flagNoCase || l.size < MinLiteral || l.size > MaxLiteral || l.ids > MaxIDs {
			return broken("literal %d is not where it must be", i)
		}
		if end := int(l.size); end < 4 && (l.checkAt != 0 || l.check != 0) || end >= 4 && int(l.checkAt)+4 > end {
			return broken("the check of literal %d lies outside of it", i)
		}
		tier := use.tierOf(int(l.size))
		if tier == tierCount || int(l.window)+shapes()[tier].window() > int(l.size) {
			return broken("the window of literal %d lies outside of it", i)
		}
		fold[tier] |= uint32(l.flags)
		at, id, longest = at+uint32(l.size), id+l.ids, max(longest, uint32(l.size))
	}
	if at != s.counts.bytes || id != s.counts.ids || longest != s.counts.longest {
		return broken("the literals do not fill their sections")
	}
	for i, t := range s.counts.tiers {
		if t.fold != fold[i] {
			return broken("the literals of tier %d have another rule of case", i)
		}
	}
	return nil
}

// posting tells whether p names a literal and a gram in it.
func (s *Set) posting(t *tier, p uint32) bool {
	return p>>offsetBits < s.counts.literals && int(p%(1<<offsetBits))+t.q <= int(s.literal(p>>offsetBits).size)
}

func (s *Set) checkTier(t *tier) error {
	next := uint32(0)
	lines := len(t.lines)/lineSize - 1
	for i := range lines {
		l := t.lines[i*lineSize:]
		end := load32(l[lineSize:])
		if load32(l) != next || end < next || end > t.lastRecord || load16(l[4:]) != uint16(min(end-next, lineTags+1)) || load16(l[6:]) != 0 {
			return broken("line %d leads nowhere", i)
		}
		next = end
	}
	end := t.lines[lines*lineSize:]
	if next != t.lastRecord || load32(end) != next {
		return broken("the lines do not cover all records")
	}
	for _, c := range end[4:lineSize] {
		if c != 0 {
			return broken("the last line has bytes without a meaning")
		}
	}
	at := 0 // where the next tree must begin
	for i := range t.lastRecord {
		r := t.records[i*recordSize:]
		switch ref := load32(r[4:]); {
		case load32(r)&recordTree == 0:
			if !s.posting(t, ref) {
				return broken("record %d names no literal", i)
			}
		case int(ref) != at:
			return broken("record %d names no tree", i)
		default:
			var ok bool
			if at, ok = s.checkTree(t, at); !ok {
				return broken("the tree of record %d is damaged", i)
			}
		}
	}
	if at*4 != len(t.nodes) {
		return broken("there are nodes that nothing leads to")
	}
	return nil
}

const (
	flagNoCase = 1
	recordTree = 1 // lowest bit of a record's first word: the second one is the root of a tree, not a posting
)

// A literalRow is a row of the section of literals.
type literalRow struct {
	at      uint32 // in the section of bytes
	size    uint16
	flags   uint16
	check   uint32 // four bytes of it, hidden
	checkAt uint16
	window  uint16
	firstID uint32
	ids     uint32
}

func (s *Set) literal(i uint32) literalRow {
	b := (*[literalSize]byte)(s.literals[int(i)*literalSize:])
	return literalRow{at: load32(b[0:]), size: load16(b[4:]), flags: load16(b[6:]), check: load32(b[8:]), checkAt: load16(b[12:]),
		window: load16(b[14:]), firstID: load32(b[16:]), ids: load32(b[20:])}
}

// content is the bytes of a literal as they are stored: each XORed with a fixed byte, those without case in small letters.
func (s *Set) content(l *literalRow) []byte { return s.bytes[l.at : l.at+uint32(l.size)] }

// Literals is the number of literals that differ in bytes or case rule.
func (s *Set) Literals() int { return int(s.counts.literals) }

// Longest is the number of bytes of the longest literal, 0 in an empty set.
func (s *Set) Longest() int { return int(s.counts.longest) }

// Size is the number of bytes of the set.
func (s *Set) Size() int { return s.size }

// FilterSize is the number of bytes of all filters, which scanning reads all the time.
func (s *Set) FilterSize() int {
	n := 0
	for _, t := range s.tiers {
		n += len(t.filter)
	}
	return n
}
