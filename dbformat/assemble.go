package dbformat

import "errors"

// ErrContent is matched by every error about content that cannot be encoded.
var ErrContent = errors.New("content cannot be encoded")

// An assembler takes the blocks of a layer in order, hands them to a sink and
// keeps their leaves. Building, reading bundles and applying deltas all end here,
// so that there is one place that counts and hashes.
type assembler struct {
	what   string // for errors
	sink   Sink
	h      *Header
	blocks int // of the whole layer
	rows   uint64
}

func newAssembler(what string, l Layer, sink Sink) *assembler {
	return &assembler{what: what, sink: sink, h: &Header{Layer: l}}
}

// begin opens a section; s.Blocks is ignored.
func (a *assembler) begin(s SectionHeader) error {
	if reason := s.checkParams(a.h.Layer); reason != "" {
		return corrupt(a.what, -1, "section %s %s", s.ID, reason)
	}
	if n := len(a.h.Sections); n > 0 && a.h.Sections[n-1].ID >= s.ID {
		return corrupt(a.what, -1, "section %s does not follow %s", s.ID, a.h.Sections[n-1].ID)
	}
	a.blocks += s.NumBlocks()
	if a.blocks > MaxBlocks {
		return corrupt(a.what, -1, "more than %d blocks", MaxBlocks)
	}
	s.Blocks = nil // grows with what really comes
	a.h.Sections = append(a.h.Sections, s)
	a.rows = 0
	return nil
}

// section is the one that is open.
func (a *assembler) section() *SectionHeader { return &a.h.Sections[len(a.h.Sections)-1] }

// next is the index of the block that put takes next.
func (a *assembler) next() int { return len(a.section().Blocks) }

// put takes the next block of the open section. It does not keep data.
func (a *assembler) put(data []byte, rows int) error {
	s, i := a.section(), a.next()
	if i >= s.NumBlocks() {
		return corrupt(a.what, -1, "section %s has more than %d blocks", s.ID, s.NumBlocks())
	}
	if len(data) > MaxBlock {
		return corrupt(a.what, -1, "block %s %d has %d rows in %d bytes, at most %d are allowed", s.ID, i, rows, len(data), MaxBlock)
	}
	a.rows += uint64(rows)
	if a.rows > MaxRows {
		return corrupt(a.what, -1, "section %s has more than %d rows", s.ID, MaxRows)
	}
	leaf := Leaf{Rows: uint32(rows), Bytes: uint32(len(data)), Digest: BlockDigest(a.h.Layer, s.ID, i, data)}
	if !s.checkLeaf(a.h.Layer, leaf) {
		return corrupt(a.what, -1, "block %s %d cannot have %d rows in %d bytes", s.ID, i, rows, len(data))
	}
	s.Blocks = append(s.Blocks, leaf)
	return a.sink.PutBlock(s.ID, i, data)
}

// end closes the open section.
func (a *assembler) end() error {
	s := a.section()
	switch {
	case len(s.Blocks) != s.NumBlocks():
		return corrupt(a.what, -1, "section %s has %d blocks, want %d", s.ID, len(s.Blocks), s.NumBlocks())
	case a.rows == 0:
		return corrupt(a.what, -1, "section %s has no rows", s.ID)
	}
	return nil
}

// A MemLayer is a layer in memory. It implements [LayerReader] and is safe for
// concurrent use.
type MemLayer struct {
	header *Header
	blocks [][][]byte
}

// Header implements [LayerReader].
func (m *MemLayer) Header() *Header { return m.header }

// Block implements [LayerReader]. Blocks were checked when the layer was made.
func (m *MemLayer) Block(section, i int) ([]byte, error) {
	if section < 0 || section >= len(m.blocks) || i < 0 || i >= len(m.blocks[section]) {
		return nil, corrupt("layer", -1, "no block %d in section %d", i, section)
	}
	return m.blocks[section][i], nil
}

// A MemSink collects the blocks of a layer in memory. Its zero value is ready for use; it is
// not safe for concurrent use.
type MemSink struct {
	ids    []SectionID
	blocks [][][]byte
}

// PutBlock implements [Sink].
func (m *MemSink) PutBlock(id SectionID, i int, b []byte) error {
	if n := len(m.ids); n == 0 || m.ids[n-1] != id {
		m.ids = append(m.ids, id)
		m.blocks = append(m.blocks, nil)
	}
	last := len(m.blocks) - 1
	if i != len(m.blocks[last]) {
		return corrupt("layer", -1, "block %s %d comes after block %d", id, i, len(m.blocks[last])-1)
	}
	m.blocks[last] = append(m.blocks[last], append(make([]byte, 0, len(b)), b...))
	return nil
}

// Layer gives the layer of header h if the collected blocks are those that h
// names. The sink must not be used after it.
func (m *MemSink) Layer(h *Header) (*MemLayer, error) {
	if len(h.Sections) != len(m.ids) {
		return nil, corrupt("layer", -1, "%d sections, header has %d", len(m.ids), len(h.Sections))
	}
	for i := range h.Sections {
		s := &h.Sections[i]
		if m.ids[i] != s.ID || len(m.blocks[i]) != len(s.Blocks) {
			return nil, corrupt("layer", -1, "section %s has %d blocks, header has %d in %s", m.ids[i], len(m.blocks[i]), len(s.Blocks), s.ID)
		}
		for j, l := range s.Blocks {
			if BlockDigest(h.Layer, s.ID, j, m.blocks[i][j]) != l.Digest {
				return nil, corrupt(blockName(s.ID, j), -1, "digest is not the header's")
			}
		}
	}
	return &MemLayer{header: h, blocks: m.blocks}, nil
}
