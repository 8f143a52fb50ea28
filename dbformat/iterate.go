package dbformat

import "bytes"

// A prefixIter gives the prefixes of a light split section in order. A nil section has none.
type prefixIter struct {
	l       LayerReader
	section int
	s       *SectionHeader
	block   int // the next one
	vals    []uint64
	pos     int
	v       uint64 // the row that next moved to
	err     error
}

func newPrefixIter(l LayerReader, id SectionID) *prefixIter {
	i, s, _ := l.Header().Section(id)
	return &prefixIter{l: l, section: i, s: s}
}

// next moves to the next row; false at the end and after an error.
func (it *prefixIter) next() bool {
	for it.pos == len(it.vals) {
		if it.s == nil || it.block == len(it.s.Blocks) || it.err != nil {
			return false
		}
		b, err := it.load()
		if err != nil {
			it.err = err
			return false
		}
		it.vals, it.pos = b.AppendPrefixes(it.vals[:0]), 0
		it.block++
	}
	it.v = it.vals[it.pos]
	it.pos++
	return true
}

func (it *prefixIter) load() (PrefixBlock, error) {
	return loadPrefixBlock(it.l, it.section, it.block)
}

// loadPrefixBlock gives block i and proves that it has the rows that the header says.
func loadPrefixBlock(l LayerReader, section, i int) (PrefixBlock, error) {
	s := &l.Header().Sections[section]
	data, err := l.Block(section, i)
	if err != nil {
		return PrefixBlock{}, err
	}
	b, err := ParsePrefixBlock(data, s, i)
	if err == nil && uint32(b.Rows()) != s.Blocks[i].Rows {
		err = corrupt(blockName(s.ID, i), 0, "%d rows, header says %d", b.Rows(), s.Blocks[i].Rows)
	}
	return b, err
}

// loadRowBlock does the same for a tail or record block.
func loadRowBlock(l LayerReader, section, i int) (rowBlock, []byte, error) {
	s := &l.Header().Sections[section]
	data, err := l.Block(section, i)
	if err != nil {
		return rowBlock{}, nil, err
	}
	b, err := parseRowBlock(data, s.ID, s.P, i)
	if err == nil && uint32(b.Rows()) != s.Blocks[i].Rows {
		err = corrupt(blockName(s.ID, i), 0, "%d rows, header says %d", b.Rows(), s.Blocks[i].Rows)
	}
	return b, data, err
}

// A rowScan gives the rows of one block in order.
type rowScan struct {
	b    rowBlock
	i    int
	name int // offset of the next name

	// Of a block of patterns, where b has no rows.
	patterns patternScan
	hasher   patternHasher
}

// loadScan gives the rows of block i of a whole, rest or placed section.
func loadScan(l LayerReader, section, i int) (rowScan, error) {
	s := &l.Header().Sections[section]
	if !s.ID.OfPatterns() {
		b, _, err := loadRowBlock(l, section, i)
		return rowScan{b: b}, err
	}
	data, err := l.Block(section, i)
	if err != nil {
		return rowScan{}, err
	}
	b, err := ParsePatternBlock(data, s, i)
	if err == nil && uint32(b.Rows()) != s.Blocks[i].Rows {
		err = corrupt(blockName(s.ID, i), 0, "%d rows, header says %d", b.Rows(), s.Blocks[i].Rows)
	}
	return rowScan{patterns: patternScan{b: b}}, err
}

// next fills r, whose name and pattern refer to the block; false at the end.
func (s *rowScan) next(r *row) bool {
	if s.patterns.next() {
		r.name, r.pattern = s.patterns.name, s.patterns.masked
		r.hash = s.hasher.key(r.name, r.pattern)
		return true
	}
	if s.i == s.b.rows {
		return false
	}
	s.b.Hash(s.i, &r.hash)
	r.size = s.b.Size(s.i)
	n := int(s.b.lens[s.i])
	r.name = s.b.names[s.name : s.name+n]
	s.name += n
	s.i++
	return true
}

// A rowIter gives the rows of a whole, rest or placed section in order. A nil section has none.
type rowIter struct {
	l       LayerReader
	section int
	s       *SectionHeader
	block   int // the next one
	scan    rowScan
	row     row // the one that next moved to
	err     error
}

func newRowIter(l LayerReader, id SectionID) *rowIter {
	i, s, _ := l.Header().Section(id)
	return &rowIter{l: l, section: i, s: s}
}

// next moves to the next row; false at the end and after an error.
func (it *rowIter) next() bool {
	for !it.scan.next(&it.row) {
		if it.s == nil || it.block == len(it.s.Blocks) || it.err != nil {
			return false
		}
		scan, err := loadScan(it.l, it.section, it.block)
		if err != nil {
			it.err = err
			return false
		}
		scan.hasher = it.scan.hasher // with its buffer
		it.scan = scan
		it.block++
	}
	return true
}

// compareRows orders rows of a whole or placed section.
func compareRows(a, b *row) int {
	if c := bytes.Compare(a.hash[:], b.hash[:]); c != 0 {
		return c
	}
	switch {
	case a.size < b.size:
		return -1
	case a.size > b.size:
		return 1
	}
	return 0
}
