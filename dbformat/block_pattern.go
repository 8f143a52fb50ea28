package dbformat

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"iter"
)

const (
	patternHead  = 5 // number of rows (4 bytes), width of a length (1 byte)
	patternWidth = 2 // bytes of the length of a pattern of MaxPattern bytes
	leastPattern = 4 // bytes of a row: both lengths, a name and a pattern of one byte
)

// PatternKey is the key of a row of patterns: the SHA-256 of the length of the name in a byte, the name, and the pattern in clear. Rows
// stand in its order; it is not stored.
func PatternKey(name string, pattern []byte) [32]byte {
	b := append(make([]byte, 0, 1+len(name)+len(pattern)), byte(len(name)))
	b = append(b, name...)
	return sha256.Sum256(append(b, pattern...))
}

// A patternHasher computes keys of patterns as they are stored, masked. It keeps its buffer.
type patternHasher struct{ buf []byte }

func (h *patternHasher) key(name, masked []byte) [32]byte {
	h.buf = append(h.buf[:0], byte(len(name)))
	h.buf = append(h.buf, name...)
	h.buf = xorMask(h.buf, masked)
	return sha256.Sum256(h.buf)
}

// A PatternBlock is a view of one block of a section of patterns. It refers to the bytes that it was parsed from and is safe
// for concurrent use. Its zero value has no rows.
type PatternBlock struct {
	lens    []byte // of the names
	lengths []byte // of the patterns, w bytes each
	names   []byte
	masked  []byte // the patterns as they are stored
	w       int
	rows    int
	index   int
	b       uint8
	id      SectionID
}

// ParsePatternBlock checks the lengths of block index of section s, so that no later call can fail; [PatternBlock.Check] checks
// the rows. The view does not copy data.
func ParsePatternBlock(data []byte, s *SectionHeader, index int) (PatternBlock, error) {
	what := func() string { return blockName(s.ID, index) }
	switch {
	case !s.ID.OfPatterns():
		return PatternBlock{}, corrupt(what(), -1, "section has no patterns")
	case len(data) > MaxBlock:
		return PatternBlock{}, corrupt(what(), MaxBlock, "%d bytes, at most %d are allowed", len(data), MaxBlock)
	case len(data) < patternHead:
		return PatternBlock{}, corrupt(what(), int64(len(data)), "ends within the first %d bytes", patternHead)
	}
	rows, w := int64(binary.BigEndian.Uint32(data)), int64(data[4])
	if w > patternWidth {
		return PatternBlock{}, corrupt(what(), 4, "lengths of %d bytes, at most %d are defined", w, patternWidth)
	}
	data = data[patternHead:]
	if rows*(1+w) > int64(len(data)) {
		return PatternBlock{}, corrupt(what(), 0, "%d rows do not fit into %d bytes", rows, patternHead+len(data))
	}
	b := PatternBlock{w: int(w), rows: int(rows), index: index, b: s.B, id: s.ID}
	b.lens, data = data[:rows:rows], data[rows:]
	b.lengths, data = data[:rows*w:rows*w], data[rows*w:]
	names, patterns := sumBytes(b.lens), sumLengths(b.lengths, b.w)
	if names+patterns != len(data) {
		return PatternBlock{}, corrupt(what(), patternHead+rows*(1+w), "names and patterns have %d bytes, their lengths say %d and %d", len(data), names, patterns)
	}
	b.names, b.masked = data[:names:names], data[names:]
	return b, nil
}

// sumLengths adds the lengths of patterns, w bytes each.
func sumLengths(b []byte, w int) int {
	if w < patternWidth {
		return sumBytes(b)
	}
	n := 0
	for ; len(b) > 0; b = b[2:] {
		n += int(binary.BigEndian.Uint16(b))
	}
	return n
}

// Rows is the number of rows.
func (b *PatternBlock) Rows() int { return b.rows }

// length is the length of pattern i.
func (b *PatternBlock) length(i int) int { return sumLengths(b.lengths[i*b.w:(i+1)*b.w], b.w) }

// Name is the name of row i. It refers to the block. It reads the lengths of all names before it: it is meant for hits.
func (b *PatternBlock) Name(i int) []byte {
	off := sumBytes(b.lens[:i])
	return b.names[off : off+int(b.lens[i])]
}

// AppendPattern appends the pattern of row i in clear. It reads the lengths of all patterns before it; [PatternBlock.All] is for
// whoever wants all of them.
func (b *PatternBlock) AppendPattern(dst []byte, i int) []byte {
	off := sumLengths(b.lengths[:i*b.w], b.w)
	return xorMask(dst, b.masked[off:off+b.length(i)])
}

// All gives name and pattern of each row in order, the pattern in clear. The name refers to the block, the pattern is valid until the next row.
func (b *PatternBlock) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, pattern []byte) bool) {
		var clear []byte
		for s := (patternScan{b: *b}); s.next(); {
			clear = xorMask(clear[:0], s.masked)
			if !yield(s.name, clear) {
				return
			}
		}
	}
}

// Check proves that the rows are in order, no two alike, belong to the block's range and are canonical. It reads all of them.
func (b *PatternBlock) Check() error {
	what := blockName(b.id, b.index)
	var h patternHasher
	var prev [32]byte
	most := 0
	for s := (patternScan{b: *b}); s.next(); {
		i := s.i - 1
		if err := checkNameBytes(s.name); err != nil {
			return corrupt(what, -1, "row %d: %v", i, err)
		}
		if len(s.masked) == 0 {
			return corrupt(what, -1, "row %d has an empty pattern", i)
		}
		most = max(most, len(s.masked))
		key := h.key(s.name, s.masked)
		if hashPrefix(key[:], b.b) != uint64(b.index) {
			return corrupt(what, -1, "row %d does not belong to this range", i)
		}
		if i > 0 && bytes.Compare(prev[:], key[:]) >= 0 {
			return corrupt(what, -1, "row %d is not greater than the row before it", i)
		}
		prev = key
	}
	if w := sizeWidth(uint32(most)); w != b.w {
		return corrupt(what, 4, "lengths of %d bytes, %d suffice", b.w, w)
	}
	return nil
}

// A patternScan gives the rows of a block in order.
type patternScan struct {
	b            PatternBlock
	i            int // the next row
	nameAt, at   int // where its name and its pattern begin
	name, masked []byte
}

// next moves to the next row; false at the end.
func (s *patternScan) next() bool {
	if s.i == s.b.rows {
		return false
	}
	n, m := int(s.b.lens[s.i]), s.b.length(s.i)
	s.name, s.masked = s.b.names[s.nameAt:s.nameAt+n], s.b.masked[s.at:s.at+m]
	s.i, s.nameAt, s.at = s.i+1, s.nameAt+n, s.at+m
	return true
}

// A patternEncoder makes the canonical bytes of pattern blocks one after the other in one buffer.
type patternEncoder struct {
	buf     []byte
	lens    []byte
	lengths []int
	names   []byte
	masked  []byte
}

func (e *patternEncoder) reset() {
	e.lens, e.lengths, e.names, e.masked = e.lens[:0], e.lengths[:0], e.names[:0], e.masked[:0]
}

func (e *patternEncoder) rows() int { return len(e.lens) }

// add appends a row whose pattern is masked.
func (e *patternEncoder) add(name, masked []byte) {
	e.lens = append(e.lens, byte(len(name)))
	e.lengths = append(e.lengths, len(masked))
	e.names = append(e.names, name...)
	e.masked = append(e.masked, masked...)
}

// bytes gives the block; it is valid until the next call.
func (e *patternEncoder) bytes() []byte {
	e.buf = appendPatternBlock(e.buf[:0], e.lens, e.lengths, e.names, e.masked)
	return e.buf
}

// appendPatternBlock writes a block of rows whose lengths are those of names and masked.
func appendPatternBlock(dst, lens []byte, lengths []int, names, masked []byte) []byte {
	most := 0
	for _, n := range lengths {
		most = max(most, n)
	}
	w := sizeWidth(uint32(most))
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(lens)))
	dst = append(dst, byte(w))
	dst = append(dst, lens...)
	for _, n := range lengths {
		var full [4]byte
		binary.BigEndian.PutUint32(full[:], uint32(n))
		dst = append(dst, full[4-w:]...)
	}
	dst = append(dst, names...)
	return append(dst, masked...)
}

// column gives the names of all rows, or all patterns as they are stored.
func (b *PatternBlock) column(patterns bool) []byte {
	if patterns {
		return b.masked
	}
	return b.names
}
