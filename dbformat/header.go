package dbformat

import (
	"encoding/binary"
	"slices"
)

const (
	magic       = "AVDB"
	headerHead  = 8  // magic, kind, version, layer, number of sections
	leafLen     = 40 // rows, bytes, digest
	paramsLight = 5  // id, p, b, k
	paramsRest  = paramsLight + 32
)

// Kinds of files and encodings, the byte after the magic.
const (
	kindHeader     = 'H'
	kindBundle     = 'B'
	kindLightDelta = 'L'
	kindRestDelta  = 'R'
)

// Rows is the number of rows of the section.
func (s *SectionHeader) Rows() uint64 {
	var n uint64
	for _, l := range s.Blocks {
		n += uint64(l.Rows)
	}
	return n
}

// Bytes is the canonical length of the section's blocks together.
func (s *SectionHeader) Bytes() int64 {
	var n int64
	for _, l := range s.Blocks {
		n += int64(l.Bytes)
	}
	return n
}

// NumBlocks is the number of blocks that the section's parameters say: 2^(b-k).
func (s *SectionHeader) NumBlocks() int { return 1 << (s.B - s.K) }

// Section finds a section by its id.
func (h *Header) Section(id SectionID) (int, *SectionHeader, bool) {
	i, ok := slices.BinarySearchFunc(h.Sections, id, func(s SectionHeader, id SectionID) int { return int(s.ID) - int(id) })
	if !ok {
		return 0, nil, false
	}
	return i, &h.Sections[i], true
}

// Bytes is the canonical length of all blocks together.
func (h *Header) Bytes() int64 {
	var n int64
	for i := range h.Sections {
		n += h.Sections[i].Bytes()
	}
	return n
}

// Records is the number of signatures and allow records; names and vectors do not count.
func (h *Header) Records() uint64 {
	var n uint64
	for i := range h.Sections {
		if h.Sections[i].ID.Keyed() {
			n += h.Sections[i].Rows()
		}
	}
	return n
}

// EngineLevel is the least [EngineLevel] of an engine that can use the layer: a release says the greater one of its two layers as
// min_engine.
func (h *Header) EngineLevel() int {
	level := 1
	for i := range h.Sections {
		level = max(level, h.Sections[i].ID.EngineLevel())
	}
	return level
}

func (s *SectionHeader) appendParams(b []byte, l Layer) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(s.ID))
	b = append(b, s.P, s.B, s.K)
	if l == Rest {
		b = append(b, s.Pair[:]...)
	}
	return b
}

// checkParams tells what is wrong with a section's parameters, "" if nothing.
func (s *SectionHeader) checkParams(l Layer) string {
	switch {
	case !s.ID.In(l):
		return "is unknown or misplaced"
	case s.ID.Split() && (s.P < MinPrefix || s.P > MaxPrefix || s.P%4 != 0):
		return "has a prefix width that is no multiple of 4 from 8 to 60"
	case !s.ID.Split() && s.P != 0:
		return "has a prefix width, but the section is not split"
	case !s.ID.Keyed() && s.B != 0:
		return "is cut, but the section has one block only"
	case s.B > MaxCut || s.ID.Split() && s.B >= s.P:
		return "is cut into too many ranges"
	case s.K > s.B || s.K > MaxGroup || s.K > 0 && (l != Light || !s.ID.Split()):
		return "groups its ranges in a way that is not defined"
	case l == Light && !s.Pair.IsZero():
		return "has a pair, but is part of light"
	case s.ID.Placed() && !s.Pair.IsZero():
		return "has a pair, but its rows stand whole in rest"
	}
	return ""
}

// checkLeaf tells whether a block of n rows can have that many bytes.
func (s *SectionHeader) checkLeaf(l Layer, leaf Leaf) bool {
	rows, size := int64(leaf.Rows), int64(leaf.Bytes)
	if rows > MaxRows || size > MaxBlock {
		return false
	}
	switch {
	case s.ID.Split() && l == Light:
		return size == 4<<s.K+(rows*int64(s.P-s.B)+7)/8
	case s.ID.OfPatterns():
		least, most := int64(patternHead), int64(patternHead)
		if rows > 0 {
			least, most = least+rows*leastPattern, most+rows*(1+patternWidth+MaxName+MaxPattern)
		}
		return size >= least && size <= most
	case s.ID.Rows():
		least := rowHead + (rows*int64(8*s.ID.Algorithm().Size()-int(s.P))+7)/8 + rows
		return size >= least && size <= least+rows*(int64(sizeWidth(s.ID.maxSize()))+MaxName)
	case s.ID.Class() == ClassIgnore:
		return rows > 0 && size >= 4+2*rows && size <= 4+rows*(1+MaxName)
	default:
		return rows > 0 && rows <= MaxVectors && size >= 4+rows*vectorHead
	}
}

// Encode gives the canonical bytes of the header: one encoding for each header.
func (h *Header) Encode() []byte {
	n := headerHead
	for i := range h.Sections {
		n += paramsRest + leafLen*len(h.Sections[i].Blocks)
	}
	b := append(make([]byte, 0, n), magic...)
	b = append(b, kindHeader, FormatVersion, byte(h.Layer), byte(len(h.Sections)))
	for i := range h.Sections {
		s := &h.Sections[i]
		b = s.appendParams(b, h.Layer)
		for _, l := range s.Blocks {
			b = binary.BigEndian.AppendUint32(b, l.Rows)
			b = binary.BigEndian.AppendUint32(b, l.Bytes)
			b = append(b, l.Digest[:]...)
		}
	}
	return b
}

// parseHead checks the 8 bytes that headers and bundles begin with and gives the layer and the number
// of sections.
func parseHead(what string, kind byte, b []byte) (Layer, int, error) {
	switch {
	case len(b) < headerHead:
		return 0, 0, corrupt(what, int64(len(b)), "ends within the first %d bytes", headerHead)
	case string(b[:4]) != magic:
		return 0, 0, corrupt(what, 0, "does not begin with %q", magic)
	case b[4] != kind:
		return 0, 0, corrupt(what, 4, "is of kind %q, want %q", b[4], kind)
	case b[5] != FormatVersion:
		return 0, 0, &VersionError{What: what, Version: b[5]}
	case Layer(b[6]) != Light && Layer(b[6]) != Rest:
		return 0, 0, corrupt(what, 6, "unknown layer %d", b[6])
	case b[7] > MaxSections:
		return 0, 0, corrupt(what, 7, "%d sections, at most %d are defined", b[7], MaxSections)
	}
	return Layer(b[6]), int(b[7]), nil
}

// parseParams reads the parameters of a section that follows prev in layer l.
func parseParams(what string, l Layer, b []byte, off int64, prev SectionID) (SectionHeader, int, error) {
	n := paramsLight
	if l == Rest {
		n = paramsRest
	}
	if len(b) < n {
		return SectionHeader{}, 0, corrupt(what, off+int64(len(b)), "ends within a section's parameters")
	}
	s := SectionHeader{ID: SectionID(binary.BigEndian.Uint16(b)), P: b[2], B: b[3], K: b[4]}
	if l == Rest {
		copy(s.Pair[:], b[paramsLight:])
	}
	if reason := s.checkParams(l); reason != "" {
		return SectionHeader{}, 0, corrupt(what, off, "section %s %s", s.ID, reason)
	}
	if s.ID <= prev {
		return SectionHeader{}, 0, corrupt(what, off, "section %s does not follow %s", s.ID, prev)
	}
	return s, n, nil
}

// ParseHeader reads what [Header.Encode] writes and nothing else. It proves that each number
// is possible; that the blocks exist is the reader's to find out. It allocates no more
// than the input's length, twice.
func ParseHeader(b []byte) (*Header, error) {
	const what = "header"
	if len(b) > MaxHeader {
		return nil, corrupt(what, MaxHeader, "%d bytes, at most %d are allowed", len(b), MaxHeader)
	}
	layer, sections, err := parseHead(what, kindHeader, b)
	if err != nil {
		return nil, err
	}
	h := &Header{Layer: layer, Sections: make([]SectionHeader, 0, sections)}
	off, blocks := headerHead, 0
	prev := SectionID(0)
	for range sections {
		s, n, err := parseParams(what, layer, b[off:], int64(off), prev)
		if err != nil {
			return nil, err
		}
		off += n
		prev = s.ID
		blocks += s.NumBlocks()
		if blocks > MaxBlocks || len(b)-off < leafLen*s.NumBlocks() {
			return nil, corrupt(what, int64(off), "section %s has %d blocks, %d bytes are left", s.ID, s.NumBlocks(), len(b)-off)
		}
		s.Blocks = make([]Leaf, s.NumBlocks())
		var rows uint64
		for i := range s.Blocks {
			l := &s.Blocks[i]
			l.Rows, l.Bytes = binary.BigEndian.Uint32(b[off:]), binary.BigEndian.Uint32(b[off+4:])
			copy(l.Digest[:], b[off+8:])
			if !s.checkLeaf(layer, *l) {
				return nil, corrupt(what, int64(off), "block %s %d cannot have %d rows in %d bytes", s.ID, i, l.Rows, l.Bytes)
			}
			rows += uint64(l.Rows)
			off += leafLen
		}
		if rows == 0 || rows > MaxRows {
			return nil, corrupt(what, int64(off), "section %s has %d rows, want 1 to %d", s.ID, rows, MaxRows)
		}
		h.Sections = append(h.Sections, s)
	}
	if off != len(b) {
		return nil, corrupt(what, int64(off), "%d bytes after the last section", len(b)-off)
	}
	return h, nil
}

// CheckPair proves that rest belongs to light: the same split sections with the same
// widths, cuts and rows, each naming the root of its light section. Placed sections of rest belong to no section of light; that no row of
// theirs stands in light too is the publisher's promise, which [Build] keeps.
func CheckPair(light, rest *Header) error {
	const what = "rest layer"
	if light.Layer != Light || rest.Layer != Rest {
		return corrupt(what, -1, "a %s and a %s layer are no pair", light.Layer, rest.Layer)
	}
	split := 0
	for i := range light.Sections {
		l := &light.Sections[i]
		if !l.ID.Split() {
			continue
		}
		split++
		_, r, ok := rest.Section(l.ID)
		switch {
		case !ok:
			return corrupt(what, -1, "section %s is in light only", l.ID)
		case r.Pair != light.Root(i):
			return corrupt(what, -1, "section %s belongs to another light layer", l.ID)
		case r.P != l.P || r.B != l.B || r.Rows() != l.Rows():
			return corrupt(what, -1, "section %s has other parameters than in light", l.ID)
		}
	}
	tails := 0
	for i := range rest.Sections {
		if !rest.Sections[i].ID.Placed() {
			tails++
		}
	}
	if split != tails {
		return corrupt(what, -1, "it has %d sections that are split, light has %d", tails, split)
	}
	return nil
}
