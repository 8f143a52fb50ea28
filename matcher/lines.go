package matcher

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"example.org/avdb/dbformat"
)

// The shape of tag lines. 20 rows a line leave room for 10 more before the line
// overflows: of random hashes about one line in 75 does. An overflowed line keeps
// tags for its first 29 rows; the others are searched for in the layer itself.
const (
	lineSize = 64 // bytes: one cache line
	lineTags = 30 // tags after the row number
	lineRows = 20 // mean rows of a line
	tagFirst = 4  // offset of the first tag
	lastTag  = lineSize - 2

	// tagNone fills unused places, and tagOverflow in the last place marks a line with
	// more than lineTags rows; tagOf makes neither.
	tagNone     = 0
	tagOverflow = 0xffff
)

// A line is one bucket: the number of its first row, then a tag for each of its rows
// in order. Rows are sorted by hash and buckets follow the hash, so the place of a tag
// is the row's place behind the first.
type line = [lineSize]byte

// lineCount is how many lines a section of n rows has; none for an empty one.
func lineCount(n uint64) uint32 { return uint32((n + lineRows - 1) / lineRows) }

// bucketOf spreads the key, whose first bits are the hash's, evenly over n lines. It grows with
// the key: that is what keeps the rows of a line together.
func bucketOf(key uint64, n uint32) uint32 {
	hi, _ := bits.Mul64(key, uint64(n))
	return uint32(hi)
}

// tagOf makes the tag of a key of p bits (left-aligned, the others zero) from its last
// bits, which the bucket says nothing about. The multiplication maps 2^16 values to 1 … 0xfffe
// and so keeps both marks free without a branch.
func tagOf(key uint64, p uint8) uint16 {
	return uint16(uint32(uint16(key>>(64-p)))*0xfffe>>16) + 1
}

// keyOf cuts the first p bits (1 to 64) of a hash, left-aligned.
func keyOf(hash []byte, p uint8) uint64 {
	return binary.BigEndian.Uint64(hash) &^ (1<<(64-p) - 1)
}

// A lineWriter builds the lines of one section from its keys in row order. It
// is deterministic: equal rows give equal lines.
type lineWriter struct {
	lines []byte // lineCount lines
	n     uint32 // their number
	p     uint8
	row   uint64 // next row
	cur   uint32 // line that the last row went to
	first uint64 // first row of cur
	last  uint64 // last key
}

// newLineWriter writes to lines, which has room for lineCount(rows) lines and is zero.
func newLineWriter(lines []byte, p uint8) *lineWriter {
	return &lineWriter{lines: lines, n: uint32(len(lines) / lineSize), p: p}
}

// add appends a row. Keys must not descend.
func (w *lineWriter) add(key uint64) error {
	if key < w.last {
		return fmt.Errorf("row %d is out of order: %w", w.row, dbformat.ErrCorrupt)
	}
	if w.row >= uint64(w.n)*lineRows {
		return fmt.Errorf("row %d is more than were announced: %w", w.row, dbformat.ErrCorrupt)
	}
	w.last = key
	for b := bucketOf(key, w.n); w.cur < b; {
		w.next()
	}
	switch place := w.row - w.first; {
	case place < lineTags:
		at := int(w.cur)*lineSize + tagFirst + 2*int(place)
		binary.LittleEndian.PutUint16(w.lines[at:], tagOf(key, w.p))
	case place == lineTags:
		binary.LittleEndian.PutUint16(w.lines[int(w.cur)*lineSize+lastTag:], tagOverflow)
	}
	w.row++
	return nil
}

// next moves to the next line and writes its first row.
func (w *lineWriter) next() {
	w.cur++
	w.first = w.row
	binary.LittleEndian.PutUint32(w.lines[int(w.cur)*lineSize:], uint32(w.row))
}

// finish writes the lines behind the last row.
func (w *lineWriter) finish(rows uint64) error {
	if w.row != rows {
		return fmt.Errorf("%d rows where %d were announced: %w", w.row, rows, dbformat.ErrCorrupt)
	}
	for w.n > 0 && w.cur < w.n-1 {
		w.next()
	}
	return nil
}

// The lanes of a word of four tags.
const (
	lanes    = 0x0001_0001_0001_0001
	laneTops = 0x8000_8000_8000_8000
)

// zeroLane has the top bit of a lane set when one of the four tags in x is zero. A borrow can set
// bits above a zero tag, never without one. What the other bits are means nothing.
func zeroLane(x uint64) uint64 { return (x - lanes) &^ x }

// mayHold tells whether the line can have a row with the tag: it has the tag, or has
// overflowed. Nearly all look-ups end here, on one cache line.
func mayHold(l *line, tag uint16) bool {
	t := uint64(tag) * lanes
	const half = 1<<32 - 1 // of the first word the lower half is the row number
	z := zeroLane((binary.LittleEndian.Uint64(l[0:]) ^ t) | half)
	z |= zeroLane(binary.LittleEndian.Uint64(l[8:]) ^ t)
	z |= zeroLane(binary.LittleEndian.Uint64(l[16:]) ^ t)
	z |= zeroLane(binary.LittleEndian.Uint64(l[24:]) ^ t)
	z |= zeroLane(binary.LittleEndian.Uint64(l[32:]) ^ t)
	z |= zeroLane(binary.LittleEndian.Uint64(l[40:]) ^ t)
	z |= zeroLane(binary.LittleEndian.Uint64(l[48:]) ^ t)
	w := binary.LittleEndian.Uint64(l[56:])
	z |= zeroLane(w ^ t)
	return z&laneTops != 0 || w>>48 == tagOverflow
}

// firstRow is the number of the line's first row.
func firstRow(l *line) uint32 { return binary.LittleEndian.Uint32(l[:]) }

// overflowed tells whether the line has more rows than places.
func overflowed(l *line) bool {
	return binary.LittleEndian.Uint16(l[lastTag:]) == tagOverflow
}

// tagAt is the tag at place i < lineTags.
func tagAt(l *line, i int) uint16 {
	return binary.LittleEndian.Uint16(l[tagFirst+2*i:])
}
