package matcher

import (
	"encoding/binary"
	"sync/atomic"

	"example.org/avdb/dbformat"
)

// The index file; see the package comment for its bytes.
const (
	indexMagic   = "AVDBcl64"
	indexVersion = 1
	pieceLines   = 1024
	pieceSize    = pieceLines * lineSize // 64 KiB
	indexHead    = 8 + 4 + 4 + 32 + 4 + 4
	indexEntry   = 2 + 1 + 1 + 4 + 4 + 4
)

// A span is the lines of one section among all lines of an index.
type span struct {
	first uint32
	count uint32
}

// layout gives each section its span, one after the other, and returns the number of all lines.
func layout(sections []*section) uint32 {
	var next uint32
	for _, s := range sections {
		s.lines = span{first: next, count: lineCount(s.rows)}
		next += s.lines.count
	}
	return next
}

// indexHeader is the first piece of the index of a light layer with these sections. Nothing in it
// can be chosen, so that a reader makes it anew and compares: there is no offset in a file that
// could lead anywhere but where this engine expects it.
func indexHeader(digest dbformat.Digest, sections []*section, lines uint32) []byte {
	b := make([]byte, 0, indexHead+len(sections)*indexEntry)
	b = append(b, indexMagic...)
	b = binary.LittleEndian.AppendUint32(b, indexVersion)
	b = binary.LittleEndian.AppendUint32(b, pieceLines)
	b = append(b, digest[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(sections)))
	b = binary.LittleEndian.AppendUint32(b, lines)
	for _, s := range sections {
		b = binary.LittleEndian.AppendUint16(b, uint16(s.id))
		b = append(b, s.p, 0)
		b = binary.LittleEndian.AppendUint32(b, s.lines.first)
		b = binary.LittleEndian.AppendUint32(b, s.lines.count)
		b = binary.LittleEndian.AppendUint32(b, uint32(s.rows))
	}
	return b
}

// buildLines makes the lines of all sections. It reads every block of the light layer that holds rows.
func buildLines(sections []*section, lines uint32) ([]byte, error) {
	all := make([]byte, int(lines)*lineSize)
	var keys []uint64
	for _, s := range sections {
		from := int(s.lines.first) * lineSize
		w := newLineWriter(all[from:from+int(s.lines.count)*lineSize], s.p)
		for i := range s.head.Blocks {
			var err error
			if keys, err = s.keys(keys[:0], i); err != nil {
				return nil, err
			}
			for _, k := range keys {
				if err := w.add(k); err != nil {
					return nil, err
				}
			}
		}
		if err := w.finish(s.rows); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// keys appends the keys of light block i.
func (s *section) keys(dst []uint64, i int) ([]uint64, error) {
	if s.head.Blocks[i].Rows == 0 {
		return dst, nil
	}
	if s.id.Split() {
		v, err := s.prefix(i)
		if err != nil {
			return nil, err
		}
		dst = v.AppendPrefixes(dst)
		for j := range dst {
			dst[j] <<= 64 - s.p
		}
		return dst, nil
	}
	v, err := s.record(i)
	if err != nil {
		return nil, err
	}
	var hash [32]byte
	for j := range v.Rows() {
		v.Hash(j, &hash)
		dst = append(dst, binary.BigEndian.Uint64(hash[:]))
	}
	return dst, nil
}

// cutPieces cuts lines into the pieces that are stored.
func cutPieces(lines []byte) [][]byte {
	var pieces [][]byte
	for len(lines) > pieceSize {
		pieces, lines = append(pieces, lines[:pieceSize:pieceSize]), lines[pieceSize:]
	}
	if len(lines) > 0 {
		pieces = append(pieces, lines)
	}
	return pieces
}

// A pieceReader gives the pieces of a stored index, each checked when it is first read. The
// bytes stay valid as long as the reader is open.
type pieceReader interface {
	Piece(i int) ([]byte, error)
}

// An index gives lines by number.
type index struct {
	lines  uint32
	pieces []atomic.Pointer[[]byte] // nil until it is first needed, &none if it could not be had
	stored pieceReader              // nil when all lines are in memory
	err    atomic.Pointer[error]    // the first piece that could not be had
	none   []byte                   // takes the place of a piece that is damaged: it is not tried again
}

// newIndex is an index whose pieces are all here.
func newIndex(lines uint32, pieces [][]byte) *index {
	x := &index{lines: lines, pieces: make([]atomic.Pointer[[]byte], len(pieces))}
	for i := range pieces {
		x.pieces[i].Store(&pieces[i])
	}
	return x
}

// storedIndex is an index whose pieces are read when they are needed. Piece 0 of r is the header.
func storedIndex(lines uint32, r pieceReader) *index {
	n := (int(lines) + pieceLines - 1) / pieceLines
	return &index{lines: lines, pieces: make([]atomic.Pointer[[]byte], n), stored: r}
}

// line gives line i, nil if its piece is damaged. i is below lines.
func (x *index) line(i uint32) *line {
	p := x.pieces[i/pieceLines].Load()
	if p == nil {
		p = x.load(int(i / pieceLines))
	}
	b := *p
	at := int(i%pieceLines) * lineSize
	if at+lineSize > len(b) {
		return nil
	}
	return (*line)(b[at:])
}

// load gets piece i from the store. A piece that is not there or has not the length that it must have is no
// reason to miss anything: without it the layer itself is searched.
func (x *index) load(i int) *[]byte {
	want := min(pieceSize, (int(x.lines)-i*pieceLines)*lineSize)
	b, err := x.stored.Piece(i + 1)
	if err == nil && len(b) != want {
		err = &dbformat.FormatError{What: "index", Offset: -1, Reason: "a piece has the wrong length"}
	}
	p := &b
	if err != nil {
		p = &x.none
		x.err.CompareAndSwap(nil, &err)
	}
	x.pieces[i].Store(p)
	return p
}
