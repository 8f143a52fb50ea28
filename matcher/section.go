package matcher

import (
	"encoding/hex"
	"fmt"
	"strings"
	"sync/atomic"

	"example.org/avdb/dbformat"
)

// A section answers for one section of signatures or allow records of a generation, whichever layer it begins in. What it
// has parsed of a block it keeps, so that a block is checked once.
type section struct {
	id    dbformat.SectionID
	p     uint8 // bits of the keys of its lines
	b, k  uint8
	at    int // its number in the layer
	head  *dbformat.SectionHeader
	light dbformat.LayerReader // the layer; of rows that are placed it may be rest
	rows  uint64
	first []uint32 // first row of each light block, ascending
	lines span     // where its tag lines stand

	prefixes []atomic.Pointer[dbformat.PrefixBlock] // split: by light block
	records  []atomic.Pointer[dbformat.RecordBlock] // whole, allow and of PE sections: by block
	listed   atomic.Pointer[sizeList]               // nil where it is not known

	// Of the rest layer; rest is nil without one.
	rest     dbformat.LayerReader
	restAt   int
	restHead *dbformat.SectionHeader
	tails    []atomic.Pointer[dbformat.TailBlock] // split: by key range
}

// newSection takes section at of a layer. Its shape is checked against itself: the row
// numbers that lines give lead into blocks by it.
func newSection(light dbformat.LayerReader, at int) (*section, error) {
	h := &light.Header().Sections[at]
	s := &section{id: h.ID, p: h.P, b: h.B, k: h.K, at: at, head: h, light: light}
	switch {
	case h.B > dbformat.MaxCut || h.K > h.B || len(h.Blocks) != 1<<(h.B-h.K):
		return nil, shapeError(h.ID, "%d blocks, cut %d and group %d", len(h.Blocks), h.B, h.K)
	case h.ID.Split() && (h.P < dbformat.MinPrefix || h.P > dbformat.MaxPrefix || h.P <= h.B):
		return nil, shapeError(h.ID, "prefixes of %d bits, cut %d", h.P, h.B)
	case !h.ID.Split() && h.K != 0:
		return nil, shapeError(h.ID, "group %d in a section that is whole", h.K)
	}
	s.first = make([]uint32, len(h.Blocks))
	for i, leaf := range h.Blocks {
		s.first[i] = uint32(s.rows)
		if s.rows += uint64(leaf.Rows); s.rows > dbformat.MaxRows {
			return nil, shapeError(h.ID, "more than %d rows", dbformat.MaxRows)
		}
	}
	if h.ID.Split() {
		s.prefixes = make([]atomic.Pointer[dbformat.PrefixBlock], len(h.Blocks))
	} else {
		s.p = 64 // the whole hash is there; lines need no more than this of it
		s.records = make([]atomic.Pointer[dbformat.RecordBlock], len(h.Blocks))
	}
	return s, nil
}

func shapeError(id dbformat.SectionID, format string, args ...any) error {
	return &dbformat.FormatError{What: "section " + id.String(), Offset: -1, Reason: fmt.Sprintf(format, args...)}
}

// pair adds the rest layer's part of a split section. The row counts of the two must
// agree in every block, or a row number would lead to another signature.
func (s *section) pair(rest dbformat.LayerReader, at int) error {
	h := &rest.Header().Sections[at]
	if h.ID != s.id || h.P != s.p || h.B != s.b || len(h.Blocks) != 1<<s.b {
		return shapeError(s.id, "the rest layer's part is cut differently")
	}
	for i := range s.head.Blocks {
		var rows uint64
		for _, leaf := range h.Blocks[i<<s.k : (i+1)<<s.k] {
			rows += uint64(leaf.Rows)
		}
		if rows != uint64(s.head.Blocks[i].Rows) {
			return shapeError(s.id, "block %d has %d rows in light and %d in rest", i, s.head.Blocks[i].Rows, rows)
		}
	}
	s.rest, s.restAt, s.restHead = rest, at, h
	s.tails = make([]atomic.Pointer[dbformat.TailBlock], len(h.Blocks))
	return nil
}

// prefix gives light block i of a split section.
func (s *section) prefix(i int) (*dbformat.PrefixBlock, error) {
	if v := s.prefixes[i].Load(); v != nil {
		return v, nil
	}
	data, err := s.light.Block(s.at, i)
	if err != nil {
		return nil, err
	}
	v, err := dbformat.ParsePrefixBlock(data, s.head, i)
	if err != nil {
		return nil, err
	}
	if v.Rows() != int(s.head.Blocks[i].Rows) {
		return nil, shapeError(s.id, "block %d has %d rows, its leaf says %d", i, v.Rows(), s.head.Blocks[i].Rows)
	}
	s.prefixes[i].Store(&v)
	return &v, nil
}

// record gives block i of a section that is whole.
func (s *section) record(i int) (*dbformat.RecordBlock, error) {
	if v := s.records[i].Load(); v != nil {
		return v, nil
	}
	data, err := s.light.Block(s.at, i)
	if err != nil {
		return nil, err
	}
	v, err := dbformat.ParseRecordBlock(data, s.head, i)
	if err != nil {
		return nil, err
	}
	if v.Rows() != int(s.head.Blocks[i].Rows) {
		return nil, shapeError(s.id, "block %d has %d rows, its leaf says %d", i, v.Rows(), s.head.Blocks[i].Rows)
	}
	s.records[i].Store(&v)
	return &v, nil
}

// tail gives the block of key range i of the rest layer, which has rows rows.
func (s *section) tail(i, rows int) (*dbformat.TailBlock, error) {
	v := s.tails[i].Load()
	if v == nil {
		data, err := s.rest.Block(s.restAt, i)
		if err != nil {
			return nil, err
		}
		t, err := dbformat.ParseTailBlock(data, s.restHead, i)
		if err != nil {
			return nil, err
		}
		t.IndexNames()
		v = &t
		s.tails[i].Store(v)
	}
	if v.Rows() != rows {
		return nil, shapeError(s.id, "range %d has %d rows in light and %d in rest", i, rows, v.Rows())
	}
	return v, nil
}

// fits tells whether a record of the given size covers an object of o's.
func fits(size uint32, o *object) bool {
	return size == dbformat.AnySize || o.size >= 0 && o.size == int64(size)
}

// A question is one object's hash on its way through one section.
type question struct {
	o      *object
	sum    []byte // the whole hash
	key    uint64 // its first p bits
	t      *tally
	ignore *ignoreSet
}

// near answers from the line of the question's key, which may hold it: rows with its tag are
// compared exactly, and those behind an overflowed line are searched. l is nil when there
// is no line to be had; then the layer itself is searched, which is slower and just as exact.
func (s *section) near(q *question, l *line) {
	if s.id.Split() {
		s.nearPrefixes(q, l)
	} else {
		s.nearRecords(q, l)
	}
}

func (s *section) nearPrefixes(q *question, l *line) {
	block := int(q.key >> (64 - (s.b - s.k)))
	v, err := s.prefix(block)
	if err != nil {
		q.t.fail(err)
		return
	}
	r := int(q.key>>(64-s.b)) - block<<s.k
	lo, hi := v.Range(r)
	want := q.key << s.b >> (64 - v.LowBits())
	met := func(row int) (on bool) { return s.prefixRow(q, block<<s.k+r, lo, hi, row) }

	from := lo
	if l != nil {
		base := int(int64(firstRow(l)) - int64(s.first[block])) // may lie before or behind this block
		places, more := lineTags, overflowed(l)
		if more {
			places--
		}
		tag := tagOf(q.key, s.p)
		for i := range places {
			row := base + i
			if tagAt(l, i) == tag && row >= lo && row < hi && v.Low(row) == want && !met(row) {
				return
			}
		}
		if !more {
			return
		}
		from = max(lo, base+places)
	}
	for row := seek(v, from, hi, want); row < hi && v.Low(row) == want; row++ {
		if !met(row) {
			return
		}
	}
}

// prefixRow takes a row whose prefix is the question's: row of its light block, in range
// rng, whose rows are [lo, hi) there. It reports whether other rows can still matter.
func (s *section) prefixRow(q *question, rng, lo, hi, row int) bool {
	if s.rest == nil {
		q.t.add(finding{verdict: Suspected, section: s.id, name: prefixName(s.id, q.sum, s.p)})
		return false
	}
	v, err := s.tail(rng, hi-lo)
	if err != nil {
		// The prefix stands in the light layer all the same: that much is known.
		q.t.add(finding{verdict: Suspected, section: s.id, name: prefixName(s.id, q.sum, s.p)})
		q.t.fail(err)
		return false
	}
	if i := row - lo; v.Match(i, q.sum) && fits(v.Size(i), q.o) {
		s.found(q, v.Name(i))
	}
	return true
}

func (s *section) nearRecords(q *question, l *line) {
	block := int(q.key >> (64 - s.b))
	v, err := s.record(block)
	if err != nil {
		q.t.fail(err)
		return
	}
	if l != nil && !overflowed(l) {
		base := int(int64(firstRow(l)) - int64(s.first[block]))
		tag := tagOf(q.key, s.p)
		for i := range lineTags {
			if row := base + i; tagAt(l, i) == tag && row >= 0 && row < v.Rows() && v.Match(row, q.sum) {
				s.recordRow(q, v, row)
			}
		}
		return
	}
	for row, end := v.Find(q.sum); row < end; row++ {
		s.recordRow(q, v, row)
	}
}

// recordRow takes a row whose hash is the question's. MD5 and SHA-1 can be forged to
// another object's at will, so that an allow record of these without a size allows nothing.
func (s *section) recordRow(q *question, v *dbformat.RecordBlock, row int) {
	size := v.Size(row)
	forgeable := s.id.Class() == dbformat.ClassAllow && s.id.Algorithm() != dbformat.SHA256
	if !fits(size, q.o) || size == dbformat.AnySize && forgeable {
		return
	}
	s.found(q, v.Name(row))
}

// found takes an exact record with the name that it is stored with. The name is copied: it is
// used after the generation is gone.
func (s *section) found(q *question, stored []byte) {
	name := string(stored)
	if name == "" {
		name = s.id.DefaultName(q.sum)
	}
	verdict := Malicious
	if s.id.Class() == dbformat.ClassAllow {
		verdict = Allowed
	} else if q.ignore.has(name) {
		return
	}
	q.t.add(finding{verdict: verdict, section: s.id, name: name})
}

// prefixName is the name of a hit that only the light layer knows: "Prefix.SHA256.", of a URL "Prefix.URL.", and
// the p bits in hex.
func prefixName(id dbformat.SectionID, sum []byte, p uint8) string {
	kind := id.Algorithm().String()
	if id.OfURLs() {
		kind = "url"
	}
	digits := hex.EncodeToString(sum[:8])
	return "Prefix." + strings.ToUpper(kind) + "." + digits[:(p+3)/4]
}
