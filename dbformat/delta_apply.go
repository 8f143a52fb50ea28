package dbformat

import (
	"io"
	"math"
)

// ApplyLightDelta turns the light layer old into another and gives its blocks to sink in
// order. The header that it returns is computed from these blocks; the caller compares its digest with the
// signed one before anything is used. It holds the delta and one block in memory. A delta that
// leads from another layer is refused before the first block. Errors of the input match
// [ErrCorrupt] or [ErrVersion], others are those of the readers or of sink.
func ApplyLightDelta(old LayerReader, r io.Reader, sink Sink) (*Header, error) {
	b, err := readDelta("light delta", r)
	if err != nil {
		return nil, err
	}
	d, err := parseDelta(b, kindLightDelta, dictsOf(old))
	if err != nil {
		return nil, err
	}
	h := old.Header()
	if h.Layer != Light {
		return nil, corrupt(d.what, -1, "cannot be applied to a %s layer", h.Layer)
	}
	if err := d.leads(h.Digest(), nil); err != nil {
		return nil, err
	}
	if len(d.edits) == 0 {
		return nil, corrupt(d.what, deltaHeadLen, "changes nothing")
	}
	asm := newAssembler(d.what, Light, sink)
	for _, id := range d.sections(h) {
		if err := applySection(asm, old, id, d.find(id)); err != nil {
			return nil, err
		}
	}
	return d.result(asm)
}

// sections lists the ids of h and of the delta, ascending.
func (d *delta) sections(h *Header) []SectionID {
	other := Header{Sections: make([]SectionHeader, len(d.edits))}
	for i := range d.edits {
		other.Sections[i].ID = d.edits[i].id
	}
	return sectionsOf(h, &other)
}

// result gives the header if the delta has led to where it said it would.
func (d *delta) result(asm *assembler) (*Header, error) {
	digest := asm.h.Digest()
	if d.to != [deltaDigest]byte(digest[:deltaDigest]) {
		return nil, corrupt(d.what, 6+deltaDigest, "leads to a layer %x…, the result is %x…", d.to, digest[:deltaDigest])
	}
	return asm.h, nil
}

// failed is the error of an entry that does not fit the old layer.
func (d *edit) failed(asm *assembler, format string, args ...any) error {
	e := corrupt(asm.what, d.offset, format, args...)
	e.Reason = "section " + d.id.String() + ": " + e.Reason
	return e
}

// applySection writes section id of the result, of light or a placed one of rest; e is nil if nothing is said of it.
func applySection(asm *assembler, old LayerReader, id SectionID, e *edit) error {
	i, s, was := old.Header().Section(id)
	if e == nil {
		return copySection(asm, old, i, *s)
	}
	kind := e.op & opKind
	if kind != opText && was == (kind == opNew) {
		return e.failed(asm, "%s does not fit: the layer has it: %t", opWords(e.op, false), was)
	}
	switch kind {
	case opDrop:
		return nil
	case opText:
		return applyText(asm, old, e)
	}
	to := SectionHeader{ID: id, P: e.p, B: e.b, K: e.k}
	if kind == opEdit {
		if s.P != e.p {
			return e.failed(asm, "prefix width %d, the layer has %d", e.p, s.P)
		}
		if e.op&(opRemoved|opReplaced) != 0 && e.rows != s.Rows() {
			return e.failed(asm, "%d rows before, the layer has %d", e.rows, s.Rows())
		}
		if e.op&opCut == 0 {
			to.B, to.K = s.B, s.K
		} else if e.b == s.B && e.k == s.K {
			return e.failed(asm, "cuts the section as it is")
		}
	} else {
		s = nil
	}
	if err := asm.begin(to); err != nil {
		return err
	}
	var err error
	if id.Split() {
		err = applyPrefixes(asm, old, i, s, e)
	} else {
		err = applyRecords(asm, old, i, s, e)
	}
	if err != nil {
		return err
	}
	return asm.end()
}

// copySection copies section i of old as it is.
func copySection(asm *assembler, old LayerReader, i int, s SectionHeader) error {
	if err := asm.begin(s); err != nil {
		return err
	}
	for j := range s.Blocks {
		data, err := old.Block(i, j)
		if err != nil {
			return err
		}
		if err := asm.put(data, int(s.Blocks[j].Rows)); err != nil {
			return err
		}
	}
	return asm.end()
}

func applyText(asm *assembler, old LayerReader, e *edit) error {
	if i, _, ok := old.Header().Section(e.id); ok {
		was, err := old.Block(i, 0)
		if err != nil {
			return err
		}
		if string(was) == string(e.text) {
			return e.failed(asm, "changes nothing")
		}
	}
	rows, err := checkText(e.id, e.text)
	if err != nil {
		return err
	}
	if err := asm.begin(SectionHeader{ID: e.id}); err != nil {
		return err
	}
	if err := asm.put(e.text, rows); err != nil {
		return err
	}
	return asm.end()
}

// A prefixMerge walks through an edit of prefixes: for each old row in order it says whether it
// stays, and before it which prefixes come.
type prefixMerge struct {
	asm     *assembler
	e       *edit
	removed riceReader
	added   riceReader
	rank    uint64 // of the next old row
	nextRem uint64 // rank of the next removed row, MaxUint64 if none
	nextAdd uint64 // the next added prefix, MaxUint64 if none
	gone    uint64 // prefix of the last removed row, MaxUint64 if none
}

func newPrefixMerge(asm *assembler, e *edit) *prefixMerge {
	m := &prefixMerge{asm: asm, e: e, nextRem: math.MaxUint64, nextAdd: math.MaxUint64, gone: math.MaxUint64}
	if e != nil {
		m.removed, m.added = e.removed, e.added
	}
	m.stepRemoved()
	m.stepAdded()
	return m
}

func (m *prefixMerge) stepRemoved() {
	m.nextRem = math.MaxUint64
	if m.removed.left > 0 {
		m.nextRem, _ = m.removed.read()
	}
}

func (m *prefixMerge) stepAdded() {
	m.nextAdd = math.MaxUint64
	if m.added.left > 0 {
		m.nextAdd, _ = m.added.read()
	}
}

// untouched tells whether nothing goes among the next n old rows and nothing comes below end.
func (m *prefixMerge) untouched(n int, end uint64) bool {
	return m.nextRem >= m.rank+uint64(n) && m.nextAdd >= end
}

// skip passes n untouched rows.
func (m *prefixMerge) skip(n int) { m.rank += uint64(n) }

// old takes the next old row, whose prefix is v. It gives what comes before it to add and tells whether it stays.
func (m *prefixMerge) old(v uint64, add func(uint64) error) (stays bool, err error) {
	if err := m.come(v, add); err != nil {
		return false, err
	}
	if m.rank == m.nextRem {
		m.rank++
		m.gone = v
		m.stepRemoved()
		return false, nil
	}
	m.rank++
	if m.gone == v {
		return false, m.e.failed(m.asm, "row %d goes, an equal one after it stays", m.rank-2)
	}
	return true, nil
}

// come gives all added prefixes below v to add.
func (m *prefixMerge) come(v uint64, add func(uint64) error) error {
	for m.nextAdd < v {
		if m.nextAdd == m.gone {
			return m.e.failed(m.asm, "a prefix goes and comes")
		}
		if err := add(m.nextAdd); err != nil {
			return err
		}
		m.stepAdded()
	}
	return nil
}

// A prefixWriter cuts ascending prefixes into blocks.
type prefixWriter struct {
	asm   *assembler
	enc   prefixEncoder
	width uint   // p-b
	k     uint   // ranges of a block, as a power of two
	rng   uint64 // the range that is open
}

func newPrefixWriter(asm *assembler) *prefixWriter {
	s := asm.section()
	return &prefixWriter{asm: asm, width: uint(s.P - s.B), k: uint(s.K)}
}

// to closes ranges, and blocks with them, until rng is open.
func (w *prefixWriter) to(rng uint64) error {
	if rng < w.rng {
		return corrupt(w.asm.what, -1, "section %s: rows are not in order", w.asm.section().ID)
	}
	for ; w.rng < rng; w.rng++ {
		w.enc.endRange()
		if (w.rng+1)&(1<<w.k-1) == 0 {
			if err := w.asm.put(w.enc.bytes(w.width), len(w.enc.low)); err != nil {
				return err
			}
			w.enc.reset()
		}
	}
	return nil
}

func (w *prefixWriter) add(v uint64) error {
	if err := w.to(v >> w.width); err != nil {
		return err
	}
	w.enc.add(v)
	return nil
}

// block passes a whole block on as it is; its first range must be the one that comes next.
func (w *prefixWriter) block(data []byte, rows int) error {
	if err := w.asm.put(data, rows); err != nil {
		return err
	}
	w.rng += 1 << w.k
	return nil
}

func applyPrefixes(asm *assembler, old LayerReader, i int, s *SectionHeader, e *edit) error {
	to := asm.section()
	w := newPrefixWriter(asm)
	m := newPrefixMerge(asm, e)
	if s != nil {
		recut := s.B != to.B || s.K != to.K
		bits := uint(s.P-s.B) + uint(s.K) // of a prefix below the number of its block
		var vals []uint64
		for j := range s.Blocks {
			b, err := loadPrefixBlock(old, i, j)
			if err != nil {
				return err
			}
			end := uint64(j+1) << bits
			if !recut && m.untouched(b.Rows(), end) {
				if err := w.to(uint64(j) << w.k); err != nil {
					return err
				}
				data, err := old.Block(i, j)
				if err != nil {
					return err
				}
				if err := w.block(data, b.Rows()); err != nil {
					return err
				}
				m.skip(b.Rows())
				continue
			}
			vals = b.AppendPrefixes(vals[:0])
			for _, v := range vals {
				stays, err := m.old(v, w.add)
				if err == nil && stays {
					err = w.add(v)
				}
				if err != nil {
					return err
				}
			}
			if err := m.come(end, w.add); err != nil {
				return err
			}
		}
	}
	if err := m.come(math.MaxUint64, w.add); err != nil {
		return err
	}
	return w.to(1 << to.B)
}

// A rowWriter cuts rows in order of their hash into blocks, one for each range.
type rowWriter struct {
	asm      *assembler
	enc      rowEncoder
	patterns patternEncoder // instead, in a section of patterns
	n        int            // bytes of a hash
	rng      uint64
}

func newRowWriter(asm *assembler) *rowWriter {
	return &rowWriter{asm: asm, n: asm.section().ID.Algorithm().Size()}
}

// to closes ranges until rng is open.
func (w *rowWriter) to(rng uint64) error {
	if rng < w.rng {
		return corrupt(w.asm.what, -1, "section %s: rows are not in order", w.asm.section().ID)
	}
	for ; w.rng < rng; w.rng++ {
		b, rows := w.block()
		if err := checkBlock(w.asm.section(), int(w.rng), b); err != nil {
			return err
		}
		if err := w.asm.put(b, rows); err != nil {
			return err
		}
		w.enc.reset()
		w.patterns.reset()
	}
	return nil
}

// block gives the rows since the last reset.
func (w *rowWriter) block() (b []byte, rows int) {
	if w.asm.section().ID.OfPatterns() {
		return w.patterns.bytes(), w.patterns.rows()
	}
	return w.enc.bytes(), w.enc.rows()
}

func (w *rowWriter) add(rng uint64, r *row) error {
	if err := w.to(rng); err != nil {
		return err
	}
	if w.asm.section().ID.OfPatterns() {
		w.patterns.add(r.name, r.pattern)
	} else {
		w.enc.add(r.hash[:w.n], int(w.asm.section().P), r.size, r.name)
	}
	return nil
}

// applyRecords writes a section that is whole, or placed.
func applyRecords(asm *assembler, old LayerReader, i int, s *SectionHeader, e *edit) error {
	w := newRowWriter(asm)
	m := recordMerge{asm: asm, e: e, w: w, b: asm.section().B, more: e.rowsAdd.left() > 0}
	if m.more {
		e.rowsAdd.next(&m.next)
	}
	rank := uint64(0)
	nextRem := uint64(math.MaxUint64)
	step := func() {
		nextRem = math.MaxUint64
		if e.removed.left > 0 {
			nextRem, _ = e.removed.read()
		}
	}
	step()
	for j := 0; s != nil && j < len(s.Blocks); j++ {
		scan, err := loadScan(old, i, j)
		if err != nil {
			return err
		}
		var v row
		for ; scan.next(&v); rank++ {
			if err := m.come(&v); err != nil {
				return err
			}
			if rank == nextRem {
				step()
				if e.replaced.more && e.replaced.next == rank {
					return e.failed(asm, "row %d goes and is replaced", rank)
				}
				continue
			}
			if e.replaced.more && e.replaced.next == rank && !e.replaced.apply(&v) {
				return e.failed(asm, "row %d is replaced by itself", rank)
			}
			if err := w.add(hashPrefix(v.hash[:], m.b), &v); err != nil {
				return err
			}
		}
	}
	if err := m.come(nil); err != nil {
		return err
	}
	return w.to(1 << m.b)
}

// A recordMerge puts the rows that come between those that stay.
type recordMerge struct {
	asm  *assembler
	e    *edit
	w    *rowWriter
	b    uint8
	next row
	more bool
}

// come writes all added rows below v; nil means all.
func (m *recordMerge) come(v *row) error {
	for m.more {
		if v != nil {
			c := compareRows(&m.next, v)
			if c == 0 {
				return m.e.failed(m.asm, "comes with the key of a row that is there")
			}
			if c > 0 {
				return nil
			}
		}
		if err := m.w.add(hashPrefix(m.next.hash[:], m.b), &m.next); err != nil {
			return err
		}
		if m.more = m.e.rowsAdd.left() > 0; !m.more {
			return nil
		}
		last := m.next
		m.e.rowsAdd.next(&m.next)
		if compareRows(&last, &m.next) >= 0 {
			return m.e.failed(m.asm, "added rows are not in order")
		}
	}
	return nil
}
