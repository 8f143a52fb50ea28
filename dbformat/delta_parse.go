package dbformat

import (
	"fmt"
	"slices"
	"strings"
)

// A deltaParser reads a delta. Nothing of the old layer is needed but the dictionaries
// of its names, and those only where the delta uses them.
type deltaParser struct {
	c      cursor
	d      *delta
	dict   dictFunc
	plain  *unpacker
	budget int64 // decompressed bytes that all columns together may have
	visit  visitor
	blind  bool // without the old layer: what needs its dictionaries is passed over
}

// A visitor is told of each field: where it is and what it means.
type visitor func(field string, from, to int64, value string)

// note tells the visitor of the field that began at from and has just been read.
func (p *deltaParser) note(field string, from int64, format string, args ...any) {
	if p.visit != nil && p.c.err == nil {
		p.visit(field, from, p.c.off, fmt.Sprintf(format, args...))
	}
}

// noteColumn does the same of a column that ends in sum bytes of CRC-32C.
func (p *deltaParser) noteColumn(field string, from, sum int64, format string, args ...any) {
	if p.visit != nil && p.c.err == nil {
		visitColumn(p.visit, field, from, p.c.off, sum, fmt.Sprintf(format, args...))
	}
}

// visitColumn tells of a column that has the bytes from from to to, the last sum of them its CRC-32C.
func visitColumn(visit visitor, field string, from, to, sum int64, value string) {
	visit(field, from, to-sum, value)
	if sum > 0 {
		visit("CRC-32C", to-sum, to, "of "+field)
	}
}

// sumAfter is how many bytes of CRC-32C end the column that b begins with.
func sumAfter(b []byte) int64 {
	if len(b) == 0 || b[0]&3 == columnPlain {
		return 0
	}
	return sumLen
}

// parseDelta reads b, which is of the kind given. dict gives the dictionaries of the old layer.
func parseDelta(b []byte, kind byte, dict dictFunc) (*delta, error) {
	p := deltaParser{dict: dict}
	return p.parse(b, kind)
}

func (p *deltaParser) parse(b []byte, kind byte) (*delta, error) {
	d := &delta{what: "light delta"}
	if kind == kindRestDelta {
		d.what, d.rest = "rest delta", true
	}
	p.d, p.budget = d, MaxDelta
	p.c = cursor{what: d.what, b: b}
	if len(b) > MaxDelta {
		return nil, corrupt(d.what, MaxDelta, "longer than %d bytes", MaxDelta)
	}
	if err := p.head(kind); err != nil {
		return nil, err
	}
	var err error
	if p.plain, err = newUnpacker(nil); err != nil {
		return nil, err
	}
	defer p.plain.close()
	n := int(p.c.u8("number of sections"))
	p.note("sections", p.c.off-1, "%d", n)
	if n > MaxSections {
		p.c.fail("%d sections, at most %d are defined", n, MaxSections)
	}
	for range n {
		if p.c.err != nil {
			return nil, p.c.err
		}
		if err := p.entry(); err != nil {
			return nil, err
		}
	}
	if err := p.c.end(); err != nil {
		return nil, err
	}
	return d, nil
}

func (p *deltaParser) head(kind byte) error {
	c := &p.c
	if len(c.b) < deltaHeadLen {
		return corrupt(c.what, int64(len(c.b)), "ends within the first %d bytes", deltaHeadLen)
	}
	if string(c.take(4, "magic")) != magic {
		return corrupt(c.what, 0, "does not begin with %q", magic)
	}
	p.note("magic", 0, "%q", magic)
	if got := c.u8("kind"); got != kind {
		return corrupt(c.what, 4, "is of kind %q, want %q", got, kind)
	}
	p.note("kind", 4, "%q, %s", kind, c.what)
	if v := c.u8("version"); v != FormatVersion {
		return &VersionError{What: c.what, Version: v}
	}
	p.note("version", 5, "%d", FormatVersion)
	copy(p.d.from[:], c.take(deltaDigest, "from"))
	p.note("from", 6, "digest %x…", p.d.from)
	copy(p.d.to[:], c.take(deltaDigest, "to"))
	p.note("to", 6+deltaDigest, "digest %x…", p.d.to)
	if p.d.from == p.d.to {
		return corrupt(c.what, 6+deltaDigest, "leads from a layer to itself")
	}
	return nil
}

// entry reads what happens to one section.
func (p *deltaParser) entry() error {
	c := &p.c
	e := edit{offset: c.off}
	e.id = SectionID(c.u16("section"))
	p.note("section", e.offset, "%s", e.id)
	e.op = c.u8("operation")
	leans := p.leans(e.id)
	p.note("operation", e.offset+2, "%s", opWords(e.op, leans))
	layer, kindOK := Light, e.op&^opAll == 0
	if p.d.rest {
		layer = Rest
	}
	if leans {
		kindOK = e.op&^(opAdded|opReplaced) == 0 && e.op != 0
	}
	if c.err != nil {
		return c.err
	}
	prev := SectionID(0)
	if n := len(p.d.edits); n > 0 {
		prev = p.d.edits[n-1].id
	}
	if !e.id.In(layer) {
		return corrupt(c.what, e.offset, "section %s is unknown or misplaced", e.id)
	}
	if e.id <= prev {
		return corrupt(c.what, e.offset, "section %s does not follow %s", e.id, prev)
	}
	if !kindOK || !leans && !ownOp(e.id, e.op) {
		return corrupt(c.what, e.offset+2, "operation %#02x is not defined for section %s", e.op, e.id)
	}
	if e.id.Split() && (p.d.rest || e.op != opDrop) {
		at := c.off
		e.p = c.u8("p")
		if c.err == nil && (e.p < MinPrefix || e.p > MaxPrefix || e.p%4 != 0) {
			return corrupt(c.what, at, "prefix width %d", e.p)
		}
		p.note("p", at, "%d bits of each hash are in light", e.p)
	}
	unpack := p.unpacker(e.id, false)
	defer unpack.close()
	p.fields(&e, unpack)
	if c.err != nil {
		return c.err
	}
	p.d.edits = append(p.d.edits, e)
	return nil
}

// leans tells whether the entry of a section leaves to the light delta what goes and comes: that of a split section in rest.
func (p *deltaParser) leans(id SectionID) bool { return p.d.rest && !id.Placed() }

// ownOp tells whether an entry that says itself what goes and comes may have the operation for a section.
func ownOp(id SectionID, op byte) bool {
	switch op & opKind {
	case opDrop:
		return op == opDrop
	case opText:
		return op == opText && !id.Keyed()
	case opNew:
		return op == opNew|opCut|opAdded && id.Keyed()
	}
	return op != opEdit && id.Keyed() && (op&opReplaced == 0 || id.Rows() && !id.Split())
}

// fields reads what follows the operation.
func (p *deltaParser) fields(e *edit, u *lazyUnpacker) {
	c := &p.c
	if !p.d.rest && e.op == opText {
		e.text = p.column(u, MaxBlock, "block")
		return
	}
	if e.op&opCut != 0 {
		at := c.off
		e.b, e.k = c.u8("b"), c.u8("k")
		s := SectionHeader{ID: e.id, P: e.p, B: e.b, K: e.k}
		if reason := s.checkParams(Light); c.err == nil && reason != "" {
			c.fail("section %s %s", e.id, reason)
		}
		p.note("cut", at, "2^%d ranges, 2^%d a block", e.b, e.k)
	}
	if e.op&(opRemoved|opReplaced) != 0 {
		at := c.off
		e.rows = c.uvarint(MaxRows, "rows")
		p.note("rows", at, "%d before", e.rows)
	}
	if e.op&opRemoved != 0 {
		e.removed = p.ranks(e.rows, true, "removed")
	}
	if e.op&opAdded != 0 {
		switch {
		case e.id.OfPatterns():
			e.rowsAdd = p.addedPatterns(e, u)
		case e.id.Split() && !p.d.rest:
			e.added = p.ranks(1<<e.p, false, "added")
		default:
			e.rowsAdd = p.added(e, u)
		}
	}
	if e.op&opReplaced != 0 {
		e.replaced = p.replaced(e, u)
	}
}

// ranks reads a number of at least 1 and so many ascending values below span. It walks through all of
// them, so that whoever reads them later cannot fail.
func (p *deltaParser) ranks(span uint64, strict bool, field string) riceReader {
	c := &p.c
	at := c.off
	n := int(c.uvarint(min(MaxRows, uint64(len(c.b))*8), field))
	if c.err == nil && n == 0 {
		c.fail("%s: none", field)
	}
	if c.err == nil && strict && uint64(n) > span {
		c.fail("%s: %d of %d rows", field, n, span)
	}
	if c.err != nil {
		return riceReader{}
	}
	r := newRiceReader(c.b, span, n, strict)
	probe := r
	for range n {
		if _, ok := probe.read(); !ok {
			c.fail("%s: value %d of %d is not below %d or is cut off", field, n-probe.left+1, n, span)
			return riceReader{}
		}
	}
	size := int64((probe.pos + 7) / 8)
	r.b = c.b[:size:size]
	if !paddingZero(r.b, int64(probe.pos)) {
		c.fail("%s: padding bits are not zero", field)
		return riceReader{}
	}
	c.take(size, field)
	p.note(field, at, "%d, Rice with %d low bits", n, r.k)
	return r
}

// column reads a column of at most limit bytes within the budget. Only names and texts,
// for which u is not nil, may need a dictionary.
func (p *deltaParser) column(u *lazyUnpacker, limit int64, field string) []byte {
	at, sum := p.c.off, sumAfter(p.c.b)
	limit = min(limit, p.budget)
	var b []byte
	switch {
	case u == nil:
		b = p.plain.column(&p.c, limit, field)
	case p.hides():
		return p.hidden(limit, field)
	default:
		b = u.column(&p.c, limit, field)
	}
	p.budget -= int64(len(b))
	p.noteColumn(field, at, sum, "%d bytes", len(b))
	return b
}

// hidden passes over a column that needs a dictionary.
func (p *deltaParser) hidden(limit int64, field string) []byte {
	at := p.c.off
	n, _, _ := readStored(&p.c, limit, field)
	p.budget -= n
	p.noteColumn(field, at, sumLen, "%d bytes, compressed against the old layer", n)
	return nil
}

// keys reads n packed keys.
func (p *deltaParser) keys(a *addedRows, id SectionID, prefix uint8, n int) {
	a.p = int(prefix)
	a.nib = 2*id.Algorithm().Size() - a.p/4
	at := p.c.off
	a.keys = p.c.take(int64(packedLen(n, 4*a.nib)), "keys")
	if p.c.err == nil && !paddingZero(a.keys, int64(n)*4*int64(a.nib)) {
		p.c.fail("padding bits of keys are not zero")
	}
	p.note("keys", at, "%d of %d bits", n, 4*a.nib)
}

// sizes reads a column of n sizes of at most most.
func (p *deltaParser) sizes(a *addedRows, n int, most uint32) {
	a.sizes = p.column(nil, 5*int64(n), "sizes")
	probe := cursor{what: p.c.what, b: a.sizes, off: p.c.off}
	for range n {
		if probe.uvarint(uint64(most), "size"); probe.err != nil {
			break
		}
	}
	if err := probe.end(); err != nil && p.c.err == nil {
		p.c.fail("sizes: %v", err)
	}
}

// hides tells whether the next column needs a dictionary that nobody has.
func (p *deltaParser) hides() bool {
	return p.blind && len(p.c.b) > 0 && p.c.b[0]&3 == columnDict
}

// names reads the lengths and the text of n names.
func (p *deltaParser) names(a *addedRows, u *lazyUnpacker, n int) {
	a.lens = p.column(nil, int64(n), "lengths of names")
	hidden := p.hides()
	a.names = p.column(u, int64(n)*MaxName, "names")
	if p.c.err != nil || hidden {
		return
	}
	if len(a.lens) != n || sumBytes(a.lens) != len(a.names) {
		p.c.fail("%d names of %d bytes, their %d lengths say %d", n, len(a.names), len(a.lens), sumBytes(a.lens))
		return
	}
	off := 0
	for _, l := range a.lens {
		name := a.names[off : off+int(l)]
		off += int(l)
		if l == 0 {
			continue
		}
		if err := checkNameBytes(name); err != nil {
			p.c.fail("%v", err)
			return
		}
	}
}

// count reads a number of at least 1 that at least that many bits must follow.
func (p *deltaParser) count(field string) int {
	at := p.c.off
	n := int(p.c.uvarint(min(MaxRows, uint64(len(p.c.b))*8), field))
	if p.c.err == nil && n == 0 {
		p.c.fail("%s: none", field)
	}
	p.note(field, at, "%d", n)
	return n
}

func (p *deltaParser) added(e *edit, u *lazyUnpacker) addedRows {
	a := addedRows{n: p.count("added")}
	p.keys(&a, e.id, e.p, a.n)
	if p.c.err == nil {
		p.sizes(&a, a.n, e.id.maxSize())
	}
	if p.c.err == nil {
		p.names(&a, u, a.n)
	}
	return a
}

// addedPatterns reads rows of patterns. That these are in order is seen where they are put among the others.
func (p *deltaParser) addedPatterns(e *edit, u *lazyUnpacker) addedRows {
	at := p.c.off
	a := addedRows{n: int(p.c.uvarint(uint64(min(MaxRows, p.budget/leastPattern)), "added")), patterns: true}
	if p.c.err == nil && a.n == 0 {
		p.c.fail("added: none")
	}
	p.note("added", at, "%d", a.n)
	if p.c.err != nil {
		return addedRows{}
	}
	p.names(&a, u, a.n)
	if slices.Contains(a.lens, 0) {
		p.c.fail("a pattern has no name")
	}
	a.lengths = p.column(nil, maxLengths(a.n), "lengths of patterns")
	sum := checkLengths(&p.c, a.lengths, a.n)
	texts := p.unpacker(e.id, true)
	defer texts.close()
	hidden := p.hides()
	a.masked = p.column(texts, int64(a.n)*MaxPattern, "patterns")
	if p.c.err == nil && !hidden && sum != len(a.masked) {
		p.c.fail("patterns have %d bytes, their lengths say %d", len(a.masked), sum)
	}
	return a
}

func (p *deltaParser) replaced(e *edit, u *lazyUnpacker) replacedRows {
	r := replacedRows{ranks: p.ranks(e.rows, true, "replaced")}
	r.n = r.ranks.left
	tails, sizes, names := 0, 0, r.n
	leans := p.leans(e.id)
	if leans && p.c.err == nil {
		r.masks = p.column(nil, int64(r.n), "what changes")
		if p.c.err == nil && len(r.masks) != r.n {
			p.c.fail("%d rows change, what changes is said of %d", r.n, len(r.masks))
		}
		names = 0
		for _, m := range r.masks {
			if m == 0 || m&^changesAll != 0 {
				p.c.fail("unknown change %#02x", m)
				break
			}
			tails += int(m & changesTail)
			sizes += int(m&changesSize) / changesSize
			names += int(m&changesName) / changesName
		}
	}
	if p.c.err != nil {
		return replacedRows{}
	}
	if leans {
		p.keys(&r.rows, e.id, e.p, tails)
		p.sizes(&r.rows, sizes, e.id.maxSize())
	}
	if p.c.err == nil {
		p.names(&r.rows, u, names)
	}
	if p.c.err != nil {
		return replacedRows{}
	}
	r.advance()
	return r
}

// A lazyUnpacker asks for a dictionary at the first column that needs it.
type lazyUnpacker struct {
	plain *unpacker
	dict  func() ([]byte, error)
	full  *unpacker
}

// unpacker reads columns of a section's names or text, or of its patterns.
func (p *deltaParser) unpacker(id SectionID, patterns bool) *lazyUnpacker {
	return &lazyUnpacker{plain: p.plain, dict: func() ([]byte, error) { return p.dict(id, patterns) }}
}

func (u *lazyUnpacker) close() {
	if u.full != nil {
		u.full.close()
	}
}

func (u *lazyUnpacker) column(c *cursor, limit int64, field string) []byte {
	if c.err != nil || len(c.b) == 0 || c.b[0]&3 != columnDict {
		return u.plain.column(c, limit, field)
	}
	if u.full == nil {
		d, err := u.dict()
		if err == nil {
			u.full, err = newUnpacker(d)
		}
		if err != nil {
			c.err = err
			return nil
		}
	}
	return u.full.column(c, limit, field)
}

// opWords says what an operation is; leans: of an entry that leaves to light what goes and comes.
func opWords(op byte, leans bool) string {
	var words []string
	if !leans {
		words = append(words, [...]string{"drop", "edit", "new", "text"}[op&opKind])
	}
	for i, w := range []string{"cut", "removed", "added", "replaced"} {
		if op&(opCut<<i) != 0 {
			words = append(words, w)
		}
	}
	return strings.Join(words, ", ")
}
