package dbformat

import (
	"encoding/binary"
	"slices"
)

// Changes are what a step from one release to another takes away and what it allows, as [CountChanges] counts it.
type Changes struct {
	Light      LayerChanges `json:"light"`
	Rest       LayerChanges `json:"rest"`        // zero where rest is not known on both sides
	AllowAdded uint64       `json:"allow_added"` // allow records that come
}

// LayerChanges are those of one layer.
type LayerChanges struct {
	Records uint64 `json:"records"` // of the old layer
	Removed uint64 `json:"removed"` // of these, records that the new release does not have
}

// CountChanges counts what the step from the old layers to the new ones takes away. A rest may be nil: then, and only then, light is
// judged by what it holds itself.
//
// With both rests a record is known by its whole key, (hash, size). It stays in light if any section of the new release detects by that
// key, whole or split, and in rest if a split section does. Without, a row of a split section stays if light still has a row with its prefix, as
// far as the shorter of both prefixes goes; a whole record stays if its key is there whole, or if its prefix is. A prefix that becomes a whole
// record counts as removed then: nothing shows that both mean the same objects.
//
// A row of a placed section stays if a placed section of the new release detects by its key: one of light if that is where it stood, of any
// layer if it stood in rest. Moving it from light to rest counts as removed, whether or not the rests are known, for who has light alone loses
// it. A pattern with another name, or another byte, is another one.
//
// Rows count as often as they stand there: two that fall on one prefix need two. A signature that is reported always and then only
// where unwanted applications are asked for is removed, the way back is not; one whose name the new release ignores is removed. Sizes of
// allow records belong to their keys, names do not count.
//
// Each layer is read once, block by block, and nothing is kept but one block a section. A layer that cannot be read, whose rows
// are out of order, or that does not belong to its light is an error, that of the reader or one that matches [ErrCorrupt].
func CountChanges(oldLight, oldRest, newLight, newRest LayerReader) (Changes, error) {
	c := changeCounter{exact: oldRest != nil && newRest != nil}
	var err error
	if c.sides[0], err = newChangeSide("old", oldLight, oldRest, c.exact); err != nil {
		return Changes{}, err
	}
	if c.sides[1], err = newChangeSide("new", newLight, newRest, c.exact); err != nil {
		return Changes{}, err
	}
	c.out.Light.Records = oldLight.Header().Records()
	if c.exact {
		c.out.Rest.Records = oldRest.Header().Records()
	}
	count := c.byPrefix
	if c.exact {
		count = c.byKey
	}
	for _, a := range Algorithms() {
		if err := count(a, []Class{ClassHash, ClassPUA}, []Class{ClassWhole, ClassWholePUA}); err != nil {
			return Changes{}, err
		}
		if err := c.allow(a); err != nil {
			return Changes{}, err
		}
	}
	if err := count(SHA256, []Class{ClassURL}, nil); err != nil {
		return Changes{}, err
	}
	for _, a := range Algorithms() {
		if err := c.placed(a, ClassPESection, ClassPESectionPUA); err != nil {
			return Changes{}, err
		}
	}
	return c.out, c.placed(SHA256, ClassPattern, ClassPatternPUA)
}

type changeCounter struct {
	exact bool // both rests are known
	sides [2]changeSide
	out   Changes
}

// A changeSide is one of the two releases.
type changeSide struct {
	light, rest LayerReader // rest is nil where it is not counted
	ignore      map[string]struct{}
}

func newChangeSide(what string, light, rest LayerReader, exact bool) (changeSide, error) {
	s := changeSide{light: light}
	if err := checkCounted(what, light, Light); err != nil {
		return s, err
	}
	if exact {
		s.rest = rest
		if err := checkCounted(what, rest, Rest); err != nil {
			return s, err
		}
		if err := CheckPair(light.Header(), rest.Header()); err != nil {
			return s, err
		}
	}
	i, _, ok := light.Header().Section(ClassIgnore.Section(0))
	if !ok {
		return s, nil
	}
	b, err := light.Block(i, 0)
	if err != nil {
		return s, err
	}
	names, err := IgnoreNames(b)
	if err != nil {
		return s, err
	}
	s.ignore = make(map[string]struct{}, len(names))
	for _, n := range names {
		s.ignore[n] = struct{}{}
	}
	return s, nil
}

// checkCounted proves of a header what the iterators take for granted.
func checkCounted(what string, l LayerReader, want Layer) error {
	h := l.Header()
	what += " " + want.String() + " layer"
	if h.Layer != want {
		return corrupt(what, -1, "it is a %s layer", h.Layer)
	}
	for i := range h.Sections {
		s := &h.Sections[i]
		if reason := s.checkParams(want); reason != "" {
			return corrupt(what, -1, "section %s %s", s.ID, reason)
		}
		if len(s.Blocks) != s.NumBlocks() || i > 0 && s.ID <= h.Sections[i-1].ID {
			return corrupt(what, -1, "section %s has %d blocks, want %d, or is out of order", s.ID, len(s.Blocks), s.NumBlocks())
		}
	}
	return nil
}

// silent tells whether the release does not report the row because of its name.
func (s *changeSide) silent(id SectionID, r *row) bool {
	if len(s.ignore) == 0 {
		return false
	}
	if len(r.name) == 0 {
		_, ok := s.ignore[id.DefaultName(r.hash[:])]
		return ok
	}
	_, ok := s.ignore[string(r.name)]
	return ok
}

// A tally counts rows by what they are worth to whoever scans.
type tally struct{ normal, pua uint64 }

func (t *tally) add(pua bool) {
	if pua {
		t.pua++
	} else {
		t.normal++
	}
}

// without takes from t what the rows of have stand for, and from have what they were needed for. What is reported
// always stands for both kinds, what is unwanted for its own.
func (t *tally) without(have *tally) {
	take := func(n, of *uint64) {
		both := min(*n, *of)
		*n, *of = *n-both, *of-both
	}
	take(&t.normal, &have.normal)
	take(&t.pua, &have.pua)
	take(&t.pua, &have.normal)
}

func (t tally) sum() uint64 { return t.normal + t.pua }

// A keyStream gives the keys of one section in their order.
type keyStream struct {
	id    SectionID
	side  int
	layer Layer         // that a placed section's rows stand in
	whole *rowIter      // rows of a whole section, or the tails of a split one
	split *prefixCursor // nil for a whole section
	r     row
	first bool // no row yet
	live  bool
}

// streams opens the sections of classes that the sides have.
func (c *changeCounter) streams(a Algorithm, classes ...Class) ([]*keyStream, error) {
	var list []*keyStream
	for side := range c.sides {
		for _, class := range classes {
			id := class.Section(a)
			light := c.sides[side].light
			if _, _, ok := light.Header().Section(id); !ok {
				continue
			}
			s := &keyStream{id: id, side: side, first: true}
			if id.Split() {
				s.split = newPrefixCursor(light, id)
				s.whole = newRowIter(c.sides[side].rest, id)
			} else {
				s.whole = newRowIter(light, id)
			}
			if err := s.next(); err != nil {
				return nil, err
			}
			list = append(list, s)
		}
	}
	return list, nil
}

// next moves to the next key; live is false at the end.
func (s *keyStream) next() error {
	prev := s.r
	s.live = s.whole.next()
	if s.whole.err != nil {
		return s.whole.err
	}
	if s.split != nil {
		more, err := s.split.next()
		if err != nil {
			return err
		}
		if more != s.live || more && s.split.rangeIndex() != s.whole.block-1 {
			return corrupt("section "+s.id.String(), -1, "light and rest have other rows in range %d", s.whole.block-1)
		}
	}
	if !s.live {
		return nil
	}
	s.r = s.whole.row
	if s.split != nil {
		p := s.split.s.P
		low := binary.BigEndian.Uint64(s.r.hash[:]) & (1<<(64-p) - 1)
		binary.BigEndian.PutUint64(s.r.hash[:], s.split.v<<(64-p)|low)
	}
	if !s.first && compareRows(&prev, &s.r) >= 0 {
		return corrupt("section "+s.id.String(), -1, "a row is not greater than the row before it")
	}
	s.first = false
	return nil
}

// least is the stream with the smallest key, nil when all have ended.
func least(streams []*keyStream) *keyStream {
	var best *keyStream
	for _, s := range streams {
		if s.live && (best == nil || compareRows(&s.r, &best.r) < 0) {
			best = s
		}
	}
	return best
}

// step calls f for each stream at the smallest key and moves them on; false when all have ended.
func step(streams []*keyStream, f func(*keyStream)) (bool, error) {
	best := least(streams)
	if best == nil {
		return false, nil
	}
	hash, size := best.r.hash, best.r.size
	for _, s := range streams {
		if !s.live || s.r.size != size || s.r.hash != hash {
			continue
		}
		f(s)
		if err := s.next(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// byKey counts the signatures of an algorithm in classes that detect the same objects, by their whole keys.
func (c *changeCounter) byKey(a Algorithm, split, whole []Class) error {
	streams, err := c.streams(a, slices.Concat(split, whole)...)
	if err != nil {
		return err
	}
	for {
		var all, rest [2]tally
		more, err := step(streams, func(s *keyStream) {
			if c.sides[s.side].silent(s.id, &s.r) {
				return
			}
			all[s.side].add(s.id.PUA())
			if s.split != nil {
				rest[s.side].add(s.id.PUA())
			}
		})
		if !more || err != nil {
			return err
		}
		all[0].without(&all[1])
		rest[0].without(&rest[1])
		c.out.Light.Removed += all[0].sum()
		c.out.Rest.Removed += rest[0].sum()
	}
}

// allow counts the allow records of an algorithm.
func (c *changeCounter) allow(a Algorithm) error {
	streams, err := c.streams(a, ClassAllow)
	if err != nil {
		return err
	}
	for {
		var has [2]bool
		more, err := step(streams, func(s *keyStream) { has[s.side] = true })
		if !more || err != nil {
			return err
		}
		switch {
		case has[0] && !has[1]:
			c.out.Light.Removed++
		case has[1] && !has[0]:
			c.out.AllowAdded++
		}
	}
}

// placed counts the signatures of placed sections of an algorithm, by their whole keys.
func (c *changeCounter) placed(a Algorithm, classes ...Class) error {
	var streams []*keyStream
	for side := range c.sides {
		for _, l := range []LayerReader{c.sides[side].light, c.sides[side].rest} {
			for _, class := range classes {
				if l == nil {
					continue
				}
				id := class.Section(a)
				if _, _, ok := l.Header().Section(id); !ok {
					continue
				}
				s := &keyStream{id: id, side: side, layer: l.Header().Layer, whole: newRowIter(l, id), first: true}
				if err := s.next(); err != nil {
					return err
				}
				streams = append(streams, s)
			}
		}
	}
	for {
		var light, rest [2]tally
		more, err := step(streams, func(s *keyStream) {
			switch {
			case c.sides[s.side].silent(s.id, &s.r):
			case s.layer == Light:
				light[s.side].add(s.id.PUA())
			default:
				rest[s.side].add(s.id.PUA())
			}
		})
		if !more || err != nil {
			return err
		}
		light[0].without(&light[1]) // light[1] keeps what is left for rows of the old rest
		rest[0].without(&rest[1])
		rest[0].without(&light[1])
		c.out.Light.Removed += light[0].sum()
		c.out.Rest.Removed += rest[0].sum()
	}
}

// prefixOf is the first q bits of a row's hash.
func prefixOf(r *row, q uint8) uint64 { return hashPrefix(r.hash[:], q) }

// byPrefix counts the same signatures by what light alone says of them.
func (c *changeCounter) byPrefix(a Algorithm, splitClasses, wholeClasses []Class) error {
	whole, err := c.streams(a, wholeClasses...)
	if err != nil {
		return err
	}
	q := uint8(64) // bits that all split sections have
	var split []*prefixCursor
	for side := range c.sides {
		for _, class := range splitClasses {
			light, id := c.sides[side].light, class.Section(a)
			_, s, ok := light.Header().Section(id)
			if !ok {
				continue
			}
			p := newPrefixCursor(light, id)
			p.side = side
			if p.live, err = p.next(); err != nil {
				return err
			}
			split = append(split, p)
			q = min(q, s.P)
		}
	}
	for {
		at, more := lowest(split, whole, q)
		if !more {
			return nil
		}
		if err := c.group(split, whole, q, at); err != nil {
			return err
		}
	}
}

// lowest is the smallest prefix of q bits that any stream is at.
func lowest(split []*prefixCursor, whole []*keyStream, q uint8) (at uint64, more bool) {
	for _, p := range split {
		if v := p.v >> (p.bits() - q); p.live && (!more || v < at) {
			at, more = v, true
		}
	}
	for _, s := range whole {
		if v := prefixOf(&s.r, q); s.live && (!more || v < at) {
			at, more = v, true
		}
	}
	return at, more
}

// group counts the rows of one prefix.
func (c *changeCounter) group(split []*prefixCursor, whole []*keyStream, q uint8, at uint64) error {
	var n [2]tally
	for _, p := range split {
		for p.live && p.v>>(p.bits()-q) == at {
			n[p.side].add(p.s.ID.PUA())
			var err error
			if p.live, err = p.next(); err != nil {
				return err
			}
		}
	}
	n[0].without(&n[1]) // n[1] keeps the prefixes that stand for nothing yet
	lost := n[0].sum()
	for {
		best := least(whole)
		if best == nil || prefixOf(&best.r, q) != at {
			break
		}
		var same [2]tally
		if _, err := step(whole, func(s *keyStream) {
			if !c.sides[s.side].silent(s.id, &s.r) {
				same[s.side].add(s.id.PUA())
			}
		}); err != nil {
			return err
		}
		same[0].without(&same[1])
		same[0].without(&n[1])
		lost += same[0].sum()
	}
	c.out.Light.Removed += lost
	return nil
}

// A prefixCursor gives the prefixes of a light split section in order. Unlike a [prefixIter] it holds one row, however many
// the narrow rows of a block may be.
type prefixCursor struct {
	l       LayerReader
	section int
	s       *SectionHeader
	side    int
	block   int // the next one
	b       PrefixBlock
	r       int // range of b
	i, end  int // next row, and where its range ends
	v       uint64
	first   bool
	live    bool
}

func newPrefixCursor(l LayerReader, id SectionID) *prefixCursor {
	i, s, _ := l.Header().Section(id)
	return &prefixCursor{l: l, section: i, s: s, r: -1, first: true}
}

func (p *prefixCursor) bits() uint8 { return p.s.P }

// rangeIndex is the number of the range that the row stands in.
func (p *prefixCursor) rangeIndex() int { return p.b.FirstRange() + p.r }

// next moves to the next row; false at the end.
func (p *prefixCursor) next() (bool, error) {
	for p.i == p.end {
		if p.block > 0 && p.r+1 < p.b.Ranges() {
			p.r++
			p.i, p.end = p.b.Range(p.r)
			continue
		}
		if p.block == len(p.s.Blocks) {
			return false, nil
		}
		var err error
		if p.b, err = loadPrefixBlock(p.l, p.section, p.block); err != nil {
			return false, err
		}
		p.block++
		p.r, p.i, p.end = -1, 0, 0
	}
	v := uint64(p.rangeIndex())<<p.b.LowBits() | p.b.Low(p.i)
	p.i++
	if !p.first && v < p.v {
		return false, corrupt("section "+p.s.ID.String(), -1, "a row is smaller than the row before it")
	}
	p.v, p.first = v, false
	return true, nil
}
