package patterns

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"

	"example.org/avdb/pattern"
	"example.org/avdb/prefilter"
)

// ErrFormat is matched by every error of [Open]: these bytes are no set of this version, or they are damaged. Compile the set again.
var ErrFormat = errors.New("no usable pattern set")

// A damage is the panic of a scan that meets what no set that [Compile] made can have. It is an error of the runtime, as the panic of an index that is out of
// range is, to which other damage leads: whoever maps a set takes both for the same.
type damage string

func (d damage) Error() string { return "patterns: the set is damaged: " + string(d) }

// RuntimeError makes it a [runtime.Error].
func (damage) RuntimeError() {}

// Damage is the error of what a panic brought from a scan, a new scanner included, if it is one that damaged bytes lead to; nil for any other.
func Damage(p any) error {
	err, ok := p.(error)
	if _, ours := p.(runtime.Error); !ours && !(ok && errors.Is(err, prefilter.ErrFormat)) {
		return nil
	}
	return err
}

const (
	magic      = "AVDBpatt"
	version    = 2
	align      = 64
	headerSize = 64
	groupSize  = 64
	setHead    = headerSize + maxTargets*groupSize // 1024
)

// planVersion is raised whenever [Compile] makes of the same records what is read as before and says something else, a mistake that was mended for example: a set of
// another one is not used, nor is anything copied from it. A set of another [pattern.Level] has left out other records.
const planVersion = 1

// Version names what this package makes of records, in digits, letters and points: a set of another version is not used.
func Version() string { return fmt.Sprintf("%d.%d.%d", version, planVersion, pattern.Level) }

// Sections of a group, in their order. All but the last three are tables of rows.
const (
	sectionSignatures = iota
	sectionKeys
	sectionSubs
	sectionChains
	sectionParts
	sectionWatches
	sectionUsers
	sectionPlaced
	sectionProbes
	sectionBuckets
	sectionFound
	sectionLoose
	sectionAlways
	sectionHeads
	sectionPrograms
	sectionFilter
	sectionCount
)

// Bytes of rows. Tables whose rows say where their own part of another table begins have one row more, which says where the last one's ends.
const (
	signatureSize = 12
	keySize       = 16
	subSize       = 24
	chainSize     = 8
	partSize      = 16
	watchSize     = 12
	userSize      = 12
	placedSize    = 20
	probeSize     = 8
	foundSize     = 8
	none          = 1<<32 - 1 // a row that there is not
)

func rowSizes() [sectionCount]int {
	return [sectionCount]int{signatureSize, keySize, subSize, chainSize, partSize, watchSize, userSize, placedSize, probeSize, 4, foundSize, 4, 4, 1, 1, 1}
}

// A Set is signatures made ready for matching. It is immutable and safe for concurrent use. It refers to the bytes that it was opened from, which must stay
// as they are for as long as it or a scanner of it is used.
type Set struct {
	groups  [maxTargets]*group // by target; nil for targets without signatures
	history int64              // bytes before what the prefilter was given that a verification may still ask for
	ahead   int64              // bytes behind it
	size    int                // records, left-out ones too
	model   [16]byte           // of the model that anchors were chosen by
}

// A group is the signatures of one target, as the tables that docs/format/patternset.md describes.
type group struct {
	sections [sectionCount][]byte
	filter   *prefilter.Set
	placed   int // rows of the table of offsets
}

func load32(b []byte) uint32 { return binary.LittleEndian.Uint32(b) }
func load16(b []byte) uint16 { return binary.LittleEndian.Uint16(b) }

func broken(format string, a ...any) error {
	return fmt.Errorf("%w: %s: compile it again", ErrFormat, fmt.Sprintf(format, a...))
}

func padded(n int64) int64 { return (n + align - 1) &^ (align - 1) }

// Open opens a set that [Compile] made. It reads headers only, its own and those of its prefilters, takes the same microseconds and memory however many
// signatures there are, and keeps b. An error matches [ErrFormat]. The first scanner of a set copies what every scan needs of the prefilters, some MiB at most.
//
// That everything else in b is what Compile made is the owner's to know, by a checksum. A scan with damaged bytes says something wrong or panics, in
// [Set.NewScanner] too, with what [Damage] tells from other panics, and ends in any case: it never asks for memory without a bound.
func Open(b []byte) (*Set, error) {
	if len(b) < setHead || string(b[:8]) != magic {
		return nil, broken("the header is not there")
	}
	if v := load32(b[8:]); v != version {
		return nil, broken("version %d is unknown", v)
	}
	if n := load32(b[12:]); n != uint32(maxTargets) {
		return nil, broken("it has %d groups, want %d", n, maxTargets)
	}
	if n := binary.LittleEndian.Uint64(b[16:]); n != uint64(len(b)) {
		return nil, broken("it has %d bytes, by its header %d", len(b), n)
	}
	s := &Set{size: int(load32(b[24:])), history: int64(load32(b[28:])), ahead: int64(load32(b[32:]))}
	copy(s.model[:], b[40:])
	if plan, level := load32(b[36:]), load32(b[56:]); plan != planVersion || level != uint32(pattern.Level) {
		return nil, broken("it was compiled by version %d of the compiler for level %d, this is version %d for level %d", plan, level, planVersion, pattern.Level)
	}
	if s.history > maxAround || s.ahead > maxAround || load32(b[60:]) != 0 {
		return nil, broken("the header has what no header has")
	}
	at := int64(setHead)
	for t := range s.groups {
		counts := b[headerSize+t*groupSize:][:groupSize]
		if bytes.Equal(counts, make([]byte, groupSize)) {
			continue
		}
		g := &group{}
		for i, size := range rowSizes() {
			n := int64(load32(counts[4*i:])) * int64(size)
			if n > int64(len(b))-at {
				return nil, broken("section %d of group %d ends behind the end", i, t)
			}
			g.sections[i] = b[at : at+n : at+n]
			if at = padded(at + n); at > int64(len(b)) {
				return nil, broken("section %d of group %d is cut", i, t)
			}
		}
		for _, i := range [...]int{sectionSignatures, sectionSubs, sectionChains, sectionWatches, sectionPlaced} {
			if len(g.sections[i]) == 0 {
				return nil, broken("section %d of group %d has no last row", i, t)
			}
		}
		g.placed = len(g.sections[sectionPlaced])/placedSize - 1
		var err error
		if g.filter, err = openFilter(g.sections[sectionFilter]); err != nil {
			return nil, fmt.Errorf("group %d: %w: %w", t, ErrFormat, err)
		}
		s.groups[t] = g
	}
	if at != int64(len(b)) {
		return nil, broken("%d bytes follow the last section", int64(len(b))-at)
	}
	return s, nil
}

// maxAround is the most that a verification may ask for on either side.
const maxAround = pattern.MaxExtent + pattern.MaxAnchor + 64 + 3*maxAnchor + maxShift

// openFilter is where prefilter sets are opened.
func openFilter(b []byte) (*prefilter.Set, error) { return prefilter.Map(b) }

// Len is the number of records that the set was made of.
func (s *Set) Len() int { return s.size }

// row gives the n-th row of a table, and what follows it.
func (g *group) row(section int, n uint32, size int) []byte { return g.sections[section][int(n)*size:] }

func (g *group) rows(section int) uint32 {
	return uint32(len(g.sections[section]) / rowSizes()[section])
}

// A signature is one of either kind.
type signature struct {
	ordinal     int
	head        uint32 // none of a body signature, which holds once its only subsignature matches
	first, last uint32 // subsignatures, the last one not included
}

func (g *group) signature(n uint32) signature {
	r := g.row(sectionSignatures, n, signatureSize)[:2*signatureSize]
	s := signature{ordinal: int(load32(r)), first: load32(r[4:]), head: load32(r[8:]), last: load32(r[signatureSize+4:])}
	if s.last-s.first > pattern.MaxSubsignatures {
		panic(damage("a signature has too many subsignatures"))
	}
	return s
}

func (g *group) head(at uint32) head { return g.sections[sectionHeads][at:] }

// A sub is a subsignature.
//
// One whose parts are all found cheaply is counted while the object is read. The others are late: one part of each of their variants, the trigger, is
// looked for, or none of a variant that is open. Only if the triggers matched, and if the signature may still hold, the object is read again to count.
type sub struct {
	signature   uint32
	first, last uint32 // chains, one for each variant, the last one not included
	most        uint32 // more matches than these make no difference to its signature
	offset      pattern.Offset
	late        bool
	open        bool
}

const (
	flagLate = 1
	flagOpen = 2
)

func (g *group) sub(n uint32) sub {
	r := g.row(sectionSubs, n, subSize)[:2*subSize]
	x := sub{signature: load32(r), first: load32(r[4:]), most: load32(r[8:]), offset: readOffset(r[12:]), late: r[23]&flagLate != 0,
		open: r[23]&flagOpen != 0, last: load32(r[subSize+4:])}
	if x.last-x.first > maxVariants {
		panic(damage("a subsignature has too many variants"))
	}
	return x
}

// maxVariants is how many variants a subsignature has at most: the wide and the plain one.
const maxVariants = 2

// enough is how many matches of a subsignature are counted while the object is read: of a late one, whose triggers are, one.
func (g *group) enough(n uint32) uint32 {
	r := g.row(sectionSubs, n, subSize)[:subSize]
	if r[23]&flagLate != 0 {
		return 1
	}
	return load32(r[8:])
}

func readOffset(r []byte) pattern.Offset {
	return pattern.Offset{N: load32(r), Shift: load32(r[4:]), Section: load16(r[8:]), Place: pattern.Place(r[10])}
}

func appendOffset(dst []byte, o pattern.Offset) []byte {
	dst = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(dst, o.N), o.Shift)
	return append(binary.LittleEndian.AppendUint16(dst, o.Section), byte(o.Place))
}

// A chain is a variant of a subsignature, which is followed part by part.
type chain struct {
	sub         uint32
	first, last uint32 // parts, the last one not included
}

func (g *group) chain(n uint32) chain {
	r := g.row(sectionChains, n, chainSize)[:2*chainSize]
	c := chain{sub: load32(r), first: load32(r[4:]), last: load32(r[chainSize+4:])}
	if c.last-c.first > pattern.MaxParts || c.first == c.last {
		panic(damage("a chain has too many parts"))
	}
	return c
}

// A part is one of a chain.
type part struct {
	program uint32
	watch   uint32 // none if it is not looked for
	gap     pattern.Gap
}

func (g *group) part(n uint32) part {
	r := g.row(sectionParts, n, partSize)[:partSize]
	return part{program: load32(r), watch: load32(r[4:]), gap: pattern.Gap{Min: load32(r[8:]), Max: load32(r[12:])}}
}

func (g *group) program(at uint32) program { return g.sections[sectionPrograms][at:] }

// A watch is a part that is looked for, whoever it belongs to: parts that are equal are verified once.
type watch struct {
	program uint32
	singles uint32 // the first of its users that are subsignatures of one part, and triggers
	links   uint32 // the first that are parts of chains: those before are singles
	last    uint32 // the one behind its last
}

func (g *group) watch(n uint32) watch {
	r := g.row(sectionWatches, n, watchSize)[:2*watchSize]
	return watch{program: load32(r), singles: load32(r[4:]), links: load32(r[8:]), last: load32(r[watchSize+4:])}
}

// A user is a place where a part occurs in signatures.
type user struct {
	sub   uint32
	chain uint32
	part  uint32 // of the chain; in singles, userTwice is set where a plain form may match at the same place
}

// userTwice is set in the part of a user of the wide form that has a plain form beside it: where that matches too, the wide one does not count.
const userTwice = 1 << 31

func (g *group) user(n uint32) user {
	r := g.row(sectionUsers, n, userSize)[:userSize]
	return user{sub: load32(r), chain: load32(r[4:]), part: load32(r[8:])}
}

// A place is an offset at which parts are tested that can match nowhere else.
type place struct {
	offset                pattern.Offset
	probes, lastProbe     uint32
	firstLoose, lastLoose uint32 // watches that no probe can tell from others
}

func (g *group) place(n uint32) place {
	r := g.row(sectionPlaced, n, placedSize)[:2*placedSize]
	return place{offset: readOffset(r), probes: load32(r[12:]), firstLoose: load32(r[16:]), lastProbe: load32(r[placedSize+12:]), lastLoose: load32(r[placedSize+16:])}
}

// A probe finds watches by two bytes that stand at one distance from the place.
type probe struct {
	distance int64
	fold     bool
	bits     byte   // of buckets
	buckets  uint32 // the first
}

func (g *group) probe(n uint32) probe {
	r := g.row(sectionProbes, n, probeSize)[:probeSize]
	return probe{distance: int64(load16(r)), fold: r[2] != 0, bits: r[3], buckets: load32(r[4:])}
}

// bucketOf is where a probe keeps watches with these two bytes.
func bucketOf(key uint16, bits byte) uint32 { return uint32(key*0x9e37) >> (16 - uint(bits)) }

// A found row is a watch under the two bytes that a probe finds it by.
func (g *group) found(n uint32) (key uint16, watch uint32) {
	r := g.row(sectionFound, n, foundSize)[:foundSize]
	return load16(r) ^ hidden<<8 ^ hidden, load32(r[4:])
}

func (g *group) number(section int, n uint32) uint32 { return load32(g.row(section, n, 4)) }
