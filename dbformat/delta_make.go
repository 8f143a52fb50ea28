package dbformat

import (
	"encoding/binary"
	"maps"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// MakeLightDelta makes the delta between two light layers. Errors match [ErrNoDelta] where
// there is none, or are the readers'. It holds the changes in memory, not the layers.
func MakeLightDelta(from, to LayerReader) ([]byte, error) {
	if from.Header().Layer != Light || to.Header().Layer != Light {
		return nil, noDelta("both layers must be light")
	}
	var body []byte
	n := 0
	m := maker{from: from, to: to, pack: &packer{level: zstd.SpeedBetterCompression}}
	defer m.pack.close()
	for _, id := range sectionsOf(from.Header(), to.Header()) {
		entry, err := m.entry(id)
		if err != nil {
			return nil, err
		}
		if entry != nil {
			body = append(binary.BigEndian.AppendUint16(body, uint16(id)), entry...)
			n++
		}
	}
	if n == 0 {
		return nil, noDelta("the layers are equal")
	}
	return m.finish(kindLightDelta, from.Header().Digest(), to.Header().Digest(), n, body)
}

// finish gives the delta if readers will take it: all its columns together are bounded.
func (m *maker) finish(kind byte, from, to Digest, entries int, body []byte) ([]byte, error) {
	if m.pack.total > MaxDelta {
		return nil, noDelta("its columns would have %d bytes, at most %d are allowed", m.pack.total, MaxDelta)
	}
	return finishDelta(kind, from, to, entries, body)
}

// sectionsOf lists the ids that occur in any of the headers, ascending.
func sectionsOf(headers ...*Header) []SectionID {
	ids := map[SectionID]bool{}
	for _, h := range headers {
		for i := range h.Sections {
			ids[h.Sections[i].ID] = true
		}
	}
	return slices.Sorted(maps.Keys(ids))
}

// A maker makes the entries of one delta.
type maker struct {
	from, to           LayerReader
	fromLight, toLight LayerReader // of a rest delta
	pack               *packer
}

// useDict sets the dictionary of the section's names or text, or of its patterns, for the columns that follow.
func (m *maker) useDict(id SectionID, patterns bool) {
	m.pack.useDict(func() ([]byte, error) { return dictOf(m.from, id, patterns) })
}

// entry is what a delta says of a section after its id, nil for nothing: of any section of light, or of a placed one of rest.
func (m *maker) entry(id SectionID) ([]byte, error) {
	from, to := m.from, m.to
	m.useDict(id, false)
	i, old, was := from.Header().Section(id)
	j, s, is := to.Header().Section(id)
	switch {
	case !is:
		return []byte{opDrop}, nil
	case was && from.Header().Root(i) == to.Header().Root(j):
		return nil, nil
	case was && old.P != s.P:
		return nil, noDelta("the prefix width of section %s changes from %d to %d", id, old.P, s.P)
	case !id.Keyed():
		return m.textEntry(j)
	}
	op := byte(opNew | opCut)
	var rows uint64
	if was {
		op, rows = opEdit, old.Rows()
		if old.B != s.B || old.K != s.K {
			op |= opCut
		}
	}
	if id.Split() {
		return m.splitEntry(s, op, rows)
	}
	return m.wholeEntry(s, op, rows)
}

func (m *maker) textEntry(j int) ([]byte, error) {
	block, err := m.to.Block(j, 0)
	if err != nil {
		return nil, err
	}
	return m.pack.appendText([]byte{opText}, block), m.pack.err
}

// splitEntry compares the prefixes of a section as sets in which a value may stand several times: of equal ones
// the first stay, so that what is removed or added are the last.
func (m *maker) splitEntry(s *SectionHeader, op byte, rows uint64) ([]byte, error) {
	var removed, added []uint64
	a, b := newPrefixIter(m.from, s.ID), newPrefixIter(m.to, s.ID)
	rank := uint64(0)
	err := mergePrefixes(a, b, func(old, new bool) error {
		if !new {
			removed = append(removed, rank)
		} else if !old {
			added = append(added, b.v)
		}
		if old {
			rank++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	e := appendEntryHead(op, s, removed != nil, added != nil, false)
	if removed != nil {
		e = binary.AppendUvarint(e, rows)
		e = appendRanks(e, rows, removed, true)
	}
	if added != nil {
		e = appendRanks(e, 1<<s.P, added, false)
	}
	return e, nil
}

// mergePrefixes walks through two sections of prefixes at once and calls f for each row that stays (both true),
// goes (old only) or comes (new only).
func mergePrefixes(a, b *prefixIter, f func(old, new bool) error) error {
	x, y := a.next(), b.next()
	for x || y {
		old := x && (!y || a.v <= b.v)
		new := y && (!x || b.v <= a.v)
		if err := f(old, new); err != nil {
			return err
		}
		if old {
			x = a.next()
		}
		if new {
			y = b.next()
		}
	}
	if a.err != nil {
		return a.err
	}
	return b.err
}

// appendEntryHead writes operation, p and cut.
func appendEntryHead(op byte, s *SectionHeader, removed, added, replaced bool) []byte {
	for flag, set := range map[byte]bool{opRemoved: removed, opAdded: added, opReplaced: replaced} {
		if set {
			op |= flag
		}
	}
	e := []byte{op}
	if s.ID.Split() {
		e = append(e, s.P)
	}
	if op&opCut != 0 {
		e = append(e, s.B, s.K)
	}
	return e
}

// appendUint is a number of a delta in its shortest form.
func appendUint(b []byte, v int) []byte { return binary.AppendUvarint(b, uint64(v)) }

// appendRanks writes the number of values and their gaps.
func appendRanks(dst []byte, span uint64, values []uint64, strict bool) []byte {
	dst = appendUint(dst, len(values))
	w := newRiceWriter(dst, span, len(values), strict)
	for _, v := range values {
		w.add(v)
	}
	return w.finish()
}

// wholeEntry compares the rows of a section that is whole, or placed.
func (m *maker) wholeEntry(s *SectionHeader, op byte, rows uint64) ([]byte, error) {
	var removed []uint64
	var added rowEncoder
	var patterns patternEncoder
	var renamed replacedEncoder
	size := s.ID.Algorithm().Size()
	a, b := newRowIter(m.from, s.ID), newRowIter(m.to, s.ID)
	rank := uint64(0)
	for x, y := a.next(), b.next(); x || y; {
		c := 0
		switch {
		case !y:
			c = -1
		case !x:
			c = 1
		default:
			c = compareRows(&a.row, &b.row)
		}
		switch {
		case c < 0:
			removed = append(removed, rank)
		case c > 0 && s.ID.OfPatterns():
			patterns.add(b.row.name, b.row.pattern)
		case c > 0:
			added.add(b.row.hash[:size], 0, b.row.size, b.row.name)
		case string(a.row.name) != string(b.row.name):
			renamed.add(rank, &a.row, &b.row, size, 0)
		}
		if c <= 0 {
			rank++
			x = a.next()
		}
		if c >= 0 {
			y = b.next()
		}
	}
	if a.err != nil {
		return nil, a.err
	}
	if b.err != nil {
		return nil, b.err
	}
	e := appendEntryHead(op, s, removed != nil, added.rows()+patterns.rows() > 0, renamed.ranks != nil)
	if removed != nil || renamed.ranks != nil {
		e = binary.AppendUvarint(e, rows)
	}
	if removed != nil {
		e = appendRanks(e, rows, removed, true)
	}
	if added.rows() > 0 {
		e = appendRows(appendUint(e, added.rows()), m.pack, &added)
	}
	if patterns.rows() > 0 {
		e = m.appendPatterns(appendUint(e, patterns.rows()), s.ID, &patterns)
	}
	if renamed.ranks != nil {
		e = renamed.append(e, m.pack, rows, false)
	}
	return e, m.pack.err
}

// A replacedEncoder collects rows that stay in their place with another value.
type replacedEncoder struct {
	ranks []uint64
	masks []byte
	keys  rowEncoder // tails only
	sizes []byte
	lens  []byte
	names []byte
}

// add compares two rows and notes what differs.
func (r *replacedEncoder) add(rank uint64, old, new *row, size, p int) {
	m := byte(0)
	if old.hash != new.hash {
		m |= changesTail
		r.keys.add(new.hash[:size], p, 0, nil)
	}
	if old.size != new.size {
		m |= changesSize
		r.sizes = binary.AppendUvarint(r.sizes, uint64(new.size))
	}
	if string(old.name) != string(new.name) {
		m |= changesName
		r.lens = append(r.lens, byte(len(new.name)))
		r.names = append(r.names, new.name...)
	}
	if m != 0 {
		r.ranks = append(r.ranks, rank)
		r.masks = append(r.masks, m)
	}
}

// append writes the ranks and, in rest, what changes of each; in light it is the name.
func (r *replacedEncoder) append(dst []byte, pack *packer, rows uint64, rest bool) []byte {
	dst = appendRanks(dst, rows, r.ranks, true)
	if rest {
		dst = pack.appendColumn(dst, r.masks)
		dst = append(dst, r.keys.keys...)
		dst = pack.appendColumn(dst, r.sizes)
	}
	dst = pack.appendColumn(dst, r.lens)
	return pack.appendText(dst, r.names)
}

// MakeRestDelta makes the delta between two rest layers, given the light layers that they
// belong to. What goes and comes follows from the light delta of the same releases; the
// rest delta carries the values of rows that come and of those that change. Where the light
// layers are equal it is enough by itself. Of placed sections, which belong to no section of light, it says all. Errors as of [MakeLightDelta].
func MakeRestDelta(fromLight, toLight, from, to LayerReader) ([]byte, error) {
	if err := CheckPair(fromLight.Header(), from.Header()); err != nil {
		return nil, err
	}
	if err := CheckPair(toLight.Header(), to.Header()); err != nil {
		return nil, err
	}
	a, b := from.Header().Digest(), to.Header().Digest()
	if a == b {
		return nil, noDelta("the layers are equal")
	}
	var body []byte
	n := 0
	m := maker{from: from, to: to, fromLight: fromLight, toLight: toLight, pack: &packer{level: zstd.SpeedBetterCompression}}
	defer m.pack.close()
	for _, id := range sectionsOf(from.Header(), to.Header()) {
		get := m.splitRestEntry
		if id.Placed() {
			get = m.entry
		}
		entry, err := get(id)
		if err != nil {
			return nil, err
		}
		if entry != nil {
			body = append(binary.BigEndian.AppendUint16(body, uint16(id)), entry...)
			n++
		}
	}
	return m.finish(kindRestDelta, a, b, n, body)
}

// splitRestEntry is what a rest delta says of a split section after its id, nil for nothing: light says it when the section disappears.
func (m *maker) splitRestEntry(id SectionID) ([]byte, error) {
	i, old, was := m.from.Header().Section(id)
	j, s, is := m.to.Header().Section(id)
	if !is || was && m.from.Header().Root(i) == m.to.Header().Root(j) {
		return nil, nil
	}
	if was && old.P != s.P {
		return nil, noDelta("the prefix width of section %s changes from %d to %d", id, old.P, s.P)
	}
	return m.restEntry(s)
}

// restEntry compares the rows of a split section.
func (m *maker) restEntry(s *SectionHeader) ([]byte, error) {
	m.useDict(s.ID, false)
	var added rowEncoder
	var replaced replacedEncoder
	size := s.ID.Algorithm().Size()
	oldRows, newRows := newRowIter(m.from, s.ID), newRowIter(m.to, s.ID)
	rank := uint64(0)
	err := mergePrefixes(newPrefixIter(m.fromLight, s.ID), newPrefixIter(m.toLight, s.ID), func(old, new bool) error {
		if old && !oldRows.next() {
			return iterError(oldRows, s.ID)
		}
		if new && !newRows.next() {
			return iterError(newRows, s.ID)
		}
		switch {
		case old && new:
			replaced.add(rank, &oldRows.row, &newRows.row, size, int(s.P))
		case new:
			added.add(newRows.row.hash[:size], int(s.P), newRows.row.size, newRows.row.name)
		}
		if old {
			rank++
		}
		return nil
	})
	if err != nil || added.rows() == 0 && replaced.ranks == nil {
		return nil, err
	}
	e := appendEntryHead(0, s, false, added.rows() > 0, replaced.ranks != nil)
	if replaced.ranks != nil {
		e = binary.AppendUvarint(e, rank)
	}
	if added.rows() > 0 {
		e = appendRows(appendUint(e, added.rows()), m.pack, &added)
	}
	if replaced.ranks != nil {
		e = replaced.append(e, m.pack, rank, true)
	}
	return e, m.pack.err
}

// iterError is why a section of rest has fewer rows than its light section.
func iterError(it *rowIter, id SectionID) error {
	if it.err != nil {
		return it.err
	}
	return corrupt("section "+id.String(), -1, "fewer rows in rest than in light")
}
