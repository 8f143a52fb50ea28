package dbformat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrNoDelta is matched by the error of layers between which there is no delta: their
// prefix widths differ, they are equal, or the delta would be longer than [MaxDelta].
var ErrNoDelta = errors.New("no delta")

func noDelta(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrNoDelta, fmt.Sprintf(format, args...))
}

// deltaHeadLen is what stands before the entries: magic, kind, version, the first bytes of the
// digest that the delta leads from and of the one that it leads to.
const (
	deltaHeadLen = 4 + 1 + 1 + 2*deltaDigest
	deltaDigest  = 8
)

// What an entry of a delta does with its section: the low two bits.
const (
	opDrop = 0 // the section disappears
	opEdit = 1 // rows change
	opNew  = 2 // the section appears
	opText = 3 // the block of an ignore or selftest section is replaced
	opKind = 3
)

// What follows in an entry, flags.
const (
	opCut      = 1 << 2 // b and k
	opRemoved  = 1 << 3 // ranks of removed rows
	opAdded    = 1 << 4 // added rows
	opReplaced = 1 << 5 // rows that stay in their place with another value
	opAll      = opKind | opCut | opRemoved | opAdded | opReplaced
)

// What of a replaced row of rest changes.
const (
	changesTail = 1 << 0
	changesSize = 1 << 1
	changesName = 1 << 2
	changesAll  = changesTail | changesSize | changesName
)

// An edit is one entry of a delta: what happens to one section. Its slices refer to
// the delta or are columns of it.
type edit struct {
	id       SectionID
	op       byte
	p        uint8 // split sections
	b, k     uint8 // with opCut
	rows     uint64
	removed  riceReader // of old ranks
	added    riceReader // of prefixes, in light's split sections
	rowsAdd  addedRows  // in whole and placed sections, and in rest
	replaced replacedRows
	text     []byte
	offset   int64 // of the entry
}

// A delta is what was read of a light or rest delta.
type delta struct {
	what     string
	rest     bool
	from, to [deltaDigest]byte
	edits    []edit // ascending ids
}

// find gives the edit of a section, nil if there is none.
func (d *delta) find(id SectionID) *edit {
	for i := range d.edits {
		if d.edits[i].id == id {
			return &d.edits[i]
		}
	}
	return nil
}

// leads proves that the delta leads from one digest to the other; to may be nil.
func (d *delta) leads(from Digest, to *Digest) error {
	if d.from != [deltaDigest]byte(from[:deltaDigest]) {
		return corrupt(d.what, 6, "leads from a layer %x…, not from %x…", d.from, from[:deltaDigest])
	}
	if to != nil && d.to != [deltaDigest]byte(to[:deltaDigest]) {
		return corrupt(d.what, 6+deltaDigest, "leads to a layer %x…, not to %x…", d.to, to[:deltaDigest])
	}
	return nil
}

// readDelta reads all of r, of which it takes no more than MaxDelta bytes and one.
func readDelta(what string, r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxDelta+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxDelta {
		return nil, corrupt(what, MaxDelta, "longer than %d bytes", MaxDelta)
	}
	return b, nil
}

// finishDelta puts the head before the entries.
func finishDelta(kind byte, from, to Digest, entries int, body []byte) ([]byte, error) {
	b := append(make([]byte, 0, deltaHeadLen+2+len(body)), magic...)
	b = append(b, kind, FormatVersion)
	b = append(b, from[:deltaDigest]...)
	b = append(b, to[:deltaDigest]...)
	b = append(b, byte(entries))
	b = append(b, body...)
	if len(b) > MaxDelta {
		return nil, noDelta("it would have %d bytes, at most %d are allowed", len(b), MaxDelta)
	}
	return b, nil
}

// Sample of old names that deltas are compressed against.
const (
	dictBlocks = 16
	dictBytes  = 256 << 10
)

// A dictFunc gives the dictionary of a section's columns of names or of its text, or that of its columns of patterns; nil if there
// is none.
type dictFunc func(id SectionID, patterns bool) ([]byte, error)

// columnDictOf is the dictionary of a section's names or patterns: of up to 16 blocks at even
// distances as much as makes 256 KiB together. Both sides compute it from the old
// layer; nil if that has no such section.
func columnDictOf(old LayerReader, id SectionID, patterns bool) ([]byte, error) {
	i, s, ok := old.Header().Section(id)
	if !ok {
		return nil, nil
	}
	n := min(len(s.Blocks), dictBlocks)
	var dict []byte
	for j := range n {
		index := j * len(s.Blocks) / n
		data, err := old.Block(i, index)
		if err != nil {
			return nil, err
		}
		text, err := columnOf(data, s, index, patterns)
		if err != nil {
			return nil, err
		}
		dict = append(dict, text[:min(len(text), dictBytes/n)]...)
	}
	return dict, nil
}

// columnOf is the column of names of a block, or that of patterns.
func columnOf(data []byte, s *SectionHeader, index int, patterns bool) ([]byte, error) {
	if s.ID.OfPatterns() {
		b, err := ParsePatternBlock(data, s, index)
		return b.column(patterns), err
	}
	b, err := parseRowBlock(data, s.ID, s.P, index)
	return b.names, err
}

// textDict is the dictionary of a text section: its old block.
func textDict(old LayerReader, id SectionID) ([]byte, error) {
	i, _, ok := old.Header().Section(id)
	if !ok {
		return nil, nil
	}
	return old.Block(i, 0)
}

// dictOf gives the dictionaries of a section's columns. Dictionaries of less than 8 bytes
// are of no use to zstd and count as none.
func dictOf(old LayerReader, id SectionID, patterns bool) ([]byte, error) {
	var d []byte
	var err error
	if id.Keyed() {
		d, err = columnDictOf(old, id, patterns)
	} else {
		d, err = textDict(old, id)
	}
	if err != nil || len(d) < 8 {
		return nil, err
	}
	return d, nil
}

// dictsOf gives the dictionaries that the old layer has.
func dictsOf(old LayerReader) dictFunc {
	return func(id SectionID, patterns bool) ([]byte, error) { return dictOf(old, id, patterns) }
}

// A row of a whole, rest or placed section. Of a split section in rest only the bits of hash from p on count; of patterns it is the key.
type row struct {
	hash    [32]byte
	size    uint32 // 0 of patterns
	name    []byte
	pattern []byte // masked; nil of hash records
}

// appendRows writes added rows: keys, sizes, lengths of names, names.
func appendRows(dst []byte, pack *packer, e *rowEncoder) []byte {
	dst = append(dst, e.keys...)
	var sizes []byte
	for _, s := range e.sizes {
		sizes = binary.AppendUvarint(sizes, uint64(s))
	}
	dst = pack.appendColumn(dst, sizes)
	dst = pack.appendColumn(dst, e.lens)
	return pack.appendText(dst, e.names)
}

// appendPatterns writes added patterns: lengths of names, names, lengths of patterns, patterns.
func (m *maker) appendPatterns(dst []byte, id SectionID, e *patternEncoder) []byte {
	dst = m.pack.appendColumn(dst, e.lens)
	dst = m.pack.appendText(dst, e.names)
	var lengths []byte
	for _, n := range e.lengths {
		lengths = appendUint(lengths, n)
	}
	dst = m.pack.appendColumn(dst, lengths)
	m.useDict(id, true)
	return m.pack.appendText(dst, e.masked)
}

// addedRows gives the rows that a delta adds, in order.
type addedRows struct {
	n     int // all of them
	i     int // the next one
	p     int
	nib   int
	keys  []byte
	sizes []byte // numbers, checked
	lens  []byte
	names []byte

	// Of patterns, which have neither keys nor sizes.
	patterns bool
	lengths  []byte // numbers, checked
	masked   []byte
	hasher   patternHasher
}

func (a *addedRows) left() int { return a.n - a.i }

// next fills r; r.name refers to the delta. It must not be called when none is left.
func (a *addedRows) next(r *row) {
	if a.patterns {
		a.i++
		var n uint32
		n, a.lengths = nextSize(a.lengths)
		r.name, a.lens, a.names = a.names[:a.lens[0]], a.lens[1:], a.names[a.lens[0]:]
		r.pattern, a.masked = a.masked[:n], a.masked[n:]
		r.hash = a.hasher.key(r.name, r.pattern)
		return
	}
	copyNibbles(r.hash[:], a.p/4, a.keys, a.i*a.nib, a.nib)
	a.i++
	r.size, a.sizes = nextSize(a.sizes)
	r.name, a.lens, a.names = a.names[:a.lens[0]], a.lens[1:], a.names[a.lens[0]:]
}

func nextSize(b []byte) (uint32, []byte) {
	v, n := binary.Uvarint(b)
	return uint32(v), b[n:]
}

// replacedRows gives what changes of rows that stay in their place.
type replacedRows struct {
	n     int
	ranks riceReader
	next  uint64 // rank of the next one
	more  bool   // there is a next one
	masks []byte // nil: all of them change their name only
	rows  addedRows
	at    int // next key
}

// advance moves to the next rank.
func (r *replacedRows) advance() {
	r.more = r.ranks.left > 0
	if r.more {
		r.next, r.more = r.ranks.read()
	}
}

// apply changes v as the row that advance moved to says, and moves on. A field that is
// said to change and does not is refused: there is one delta for each change of a row.
func (r *replacedRows) apply(v *row) bool {
	m := byte(changesName)
	if r.masks != nil {
		m, r.masks = r.masks[0], r.masks[1:]
	}
	old := *v
	same := false
	if m&changesTail != 0 {
		copyNibbles(v.hash[:], r.rows.p/4, r.rows.keys, r.at*r.rows.nib, r.rows.nib)
		r.at++
		same = v.hash == old.hash
	}
	if m&changesSize != 0 {
		v.size, r.rows.sizes = nextSize(r.rows.sizes)
		same = same || v.size == old.size
	}
	if m&changesName != 0 {
		n := r.rows.lens[0]
		v.name, r.rows.lens, r.rows.names = r.rows.names[:n], r.rows.lens[1:], r.rows.names[n:]
		same = same || string(v.name) == string(old.name)
	}
	r.advance()
	return !same
}
