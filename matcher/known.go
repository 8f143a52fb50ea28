package matcher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sort"

	"example.org/avdb/dbformat"
)

// ErrNotFull is matched by the error of [Matcher.WithPrefix] over a light generation, which has no whole signatures to give.
var ErrNotFull = errors.New("the rest layer is missing, which an update to the full variant brings")

// Limits of the prefixes that records are asked for by, in bits.
const (
	minPrefixBits = 16
	maxPrefixBits = 32
)

// A Known is one record of a full generation as a server gives it that answers by prefix.
type Known struct {
	Sum     [32]byte // the hash: as many bytes as the algorithm has, the others are zero
	Size    uint32   // of the object in bytes, or dbformat.AnySize
	Name    string   // never empty
	PUA     bool     // a potentially unwanted application
	Allowed bool     // an allow record of SHA-256, not a signature
}

// WithPrefix visits every record of hashes of algorithm a whose first bits, 16 to 32, are value: signatures, and for SHA-256 allow
// records. Those of one section come one after the other in ascending order of hash and size; visit ends it by returning false. It
// searches for the first row of each section and reads no other, and allocates nothing but the names.
//
// Left out are signatures whose names are ignored, and those by SHA-256 whose every object an allow record of the same hash covers: one
// for any size or for the signature's. Allow records of MD5 and SHA-1 are not visited: they stand whole in every light layer, and cancel
// more there than what has the same hash.
//
// Errors match [ErrNotFull], [ErrInput] (bits, value or algorithm), or say what could not be read; then what was visited is not all there is.
// The engine's layers must stay open until the last visit has ended.
func (e *Engine) WithPrefix(a dbformat.Algorithm, bits uint8, value uint32, visit func(Known) bool) error {
	return e.WithPrefixes(a, bits, []uint32{value}, func(_ int, k Known) bool { return visit(k) })
}

// checkPrefix refuses what no record can be given by.
func (e *Engine) checkPrefix(bits uint8, value uint32) error {
	switch {
	case bits < minPrefixBits || bits > maxPrefixBits:
		return fmt.Errorf("%w: a prefix of %d bits, want %d to %d", ErrInput, bits, minPrefixBits, maxPrefixBits)
	case uint64(value)>>bits != 0:
		return fmt.Errorf("%w: prefix %#x has more than %d bits", ErrInput, value, bits)
	case !e.full:
		return fmt.Errorf("records cannot be given by prefix: %w", ErrNotFull)
	}
	return nil
}

// checkPrefixes is checkPrefix of several; without any, of what else there is to refuse.
func (e *Engine) checkPrefixes(bits uint8, values []uint32) error {
	if len(values) == 0 {
		return e.checkPrefix(bits, 0)
	}
	for _, value := range values {
		if err := e.checkPrefix(bits, value); err != nil {
			return err
		}
	}
	return nil
}

// WithPrefix is [Engine.WithPrefix] over the generation in use, and says of which release that is. An update in the middle changes
// nothing about the records that are visited.
func (m *Matcher) WithPrefix(a dbformat.Algorithm, bits uint8, value uint32, visit func(Known) bool) (release uint64, err error) {
	m.follow()
	g := m.hold()
	if g == nil {
		return 0, ErrClosed
	}
	defer g.release()
	return g.version(), g.engine.WithPrefix(a, bits, value, visit)
}

// WithPrefixes is [Engine.WithPrefix] for several prefixes of as many bits each: visit is told the place in values of the one that a record has, and comes to
// all records of a prefix before those of the next one. Most of the time of many questions to a large database is waiting for memory, which one question after
// the other does one time after the other; here up to 64 of them wait together.
func (e *Engine) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(at int, k Known) bool) error {
	if a.Size() == 0 {
		return fmt.Errorf("%w: %s", ErrInput, a)
	}
	return e.withPrefixes(e.prefix(a, bits), values, visit, e.by[a]...)
}

// withPrefixes is WithPrefixes over sections.
func (e *Engine) withPrefixes(p prefix, values []uint32, visit func(at int, k Known) bool, sections ...*section) error {
	if err := e.checkPrefixes(p.bits, values); err != nil {
		return err
	}
	ahead, _ := e.ahead.Get().(*[]stretch)
	if ahead == nil {
		ahead = new([]stretch)
	}
	defer e.ahead.Put(ahead)
	at := 0
	one := func(k Known) bool { return visit(at, k) }
	for from := 0; from < len(values); from += together {
		some := values[from:min(from+together, len(values))]
		all := slices.Grow((*ahead)[:0], len(some)*len(sections))[:len(some)*len(sections)]
		*ahead = all
		for i, s := range sections {
			p.seek(s, some, all[i*len(some):][:len(some)])
		}
		for i, value := range some {
			p.value, at = value, from+i
			for j, s := range sections {
				if on, err := p.section(s, &all[j*len(some)+i], one); err != nil || !on {
					return err
				}
			}
		}
	}
	return nil
}

// WithPrefixes is [Engine.WithPrefixes] over the generation in use, and says of which release that is. An update in the middle changes nothing about the
// records that are visited.
func (m *Matcher) WithPrefixes(a dbformat.Algorithm, bits uint8, values []uint32, visit func(at int, k Known) bool) (release uint64, err error) {
	m.follow()
	g := m.hold()
	if g == nil {
		return 0, ErrClosed
	}
	defer g.release()
	return g.version(), g.engine.WithPrefixes(a, bits, values, visit)
}

// seek finds the rows of a split section with each of at most 64 prefixes, and reads what is going to be read of them, in small steps: where the blocks are,
// the blocks' own lines, the range, a row near the first one, the first one, the last one and what the rest layer has. In no step does a read wait for that of another
// value, and the shorter a step is, the more values the processor has on their way at once. Where it says nothing, with no section in what it gives, open has to
// look: in a block that was never read, or that cannot be, and where the prefix has fewer bits than the cut or more than the light layer.
func (p *prefix) seek(s *section, values []uint32, all []stretch) {
	clear(all)
	if !s.id.Split() || s.b >= p.bits || p.bits > s.p {
		return
	}
	var err error
	if p.touch(s, values, all, &err); err != nil {
		clear(all) // whoever really reads it reports it
	}
}

// touch is seek behind its guard. What it gives means nothing: it is there so that what is touched is read.
func (p *prefix) touch(s *section, values []uint32, all []stretch, err *error) (sum int) {
	defer guardError(debug.SetPanicOnFault(true), err)
	for i, value := range values {
		if n := int(uint64(value) << s.b >> p.bits); n < len(s.tails) {
			all[i] = stretch{n: n, light: s.prefixes[n>>s.k].Load(), tails: s.tails[n].Load()}
		}
	}
	for i := range all {
		x := &all[i]
		if x.light == nil || x.tails == nil {
			x.light = nil
			continue
		}
		sum += x.light.Rows() + x.tails.Rows()
	}
	for i := range all {
		if x := &all[i]; x.light != nil {
			x.lo, x.hi = x.light.Range(x.n - x.n>>s.k<<s.k)
		}
	}
	q := *p
	low := func(i int) uint64 {
		q.value = values[i]
		return q.low(s, all[i].n)
	}
	for i := range all {
		if x := &all[i]; x.lo < x.hi {
			sum += int(x.light.Low(even(x.light, x.lo, x.hi, low(i))))
		}
	}
	for i := range all {
		x := &all[i]
		if x.light == nil {
			continue
		}
		x.from = seekEven(x.light, x.lo, x.hi, low(i))
		for x.to = x.from; x.to < x.hi && x.light.Low(x.to)>>(s.p-p.bits) == low(i)>>(s.p-p.bits); x.to++ {
		}
		if x.tails.Rows() == x.hi-x.lo {
			x.s = s
		}
	}
	for i := range all {
		if x := &all[i]; x.s != nil && x.from < x.to {
			sum += int(x.tails.Touch(x.from - x.lo))
		}
	}
	return sum
}

// Counts is how many records [Engine.WithPrefix] has to give, by algorithm: signatures, and the allow records of SHA-256. Those that it leaves
// out are counted, URLs ([Engine.URLs]) are not. The map is the caller's.
func (e *Engine) Counts() map[dbformat.Algorithm]uint64 {
	n := map[dbformat.Algorithm]uint64{}
	for _, s := range e.sections {
		if given(s.id) {
			n[s.id.Algorithm()] += s.rows
		}
	}
	return n
}

// Counts is [Engine.Counts] of the generation in use; nil after Close.
func (m *Matcher) Counts() map[dbformat.Algorithm]uint64 {
	m.follow()
	g := m.hold()
	if g == nil {
		return nil
	}
	defer g.release()
	return g.engine.Counts()
}

// given tells whether a section's records are given by prefix, as files.
func given(id dbformat.SectionID) bool {
	return id.Detects() && !id.OfURLs() || id == dbformat.ClassAllow.Section(dbformat.SHA256)
}

// A prefix is what records are asked for by.
type prefix struct {
	e     *Engine
	bits  uint8
	value uint32
	allow *section // the allow records that cancel, nil for none
}

// prefix is one of hashes of algorithm a, whose value is not set.
func (e *Engine) prefix(a dbformat.Algorithm, bits uint8) prefix {
	p := prefix{e: e, bits: bits}
	for _, s := range e.by[a] {
		if s.id.Class() == dbformat.ClassAllow && a == dbformat.SHA256 {
			p.allow = s
		}
	}
	return p
}

// section visits the records of one section, if that is given, and tells whether others are still wanted. ahead is what seek found, if it did.
func (p *prefix) section(s *section, ahead *stretch, visit func(Known) bool) (on bool, err error) {
	switch {
	case !given(s.id) && s != p.e.urls:
		return true, nil
	case ahead.s != nil:
		on, err = p.rows(ahead, visit)
	default:
		on, err = p.ranges(s, visit)
	}
	if err != nil {
		kept := err // or each round would allocate its err
		p.e.hurt.CompareAndSwap(nil, &kept)
	}
	return on, err
}

// ranges is section by what is read now.
func (p *prefix) ranges(s *section, visit func(Known) bool) (on bool, err error) {
	// The key ranges that the prefix reaches into: the one that it lies in, or all of those that lie in it.
	first, end := uint64(p.value), uint64(p.value)+1
	if s.b <= p.bits {
		first >>= p.bits - s.b
		end = first + 1
	} else {
		first, end = first<<(s.b-p.bits), end<<(s.b-p.bits)
	}
	for n := first; n < end; n++ {
		x, err := p.open(s, int(n))
		if err != nil {
			return false, err
		}
		if on, err := p.rows(&x, visit); err != nil || !on {
			return false, err
		}
	}
	return true, nil
}

// rows visits the records of a stretch.
func (p *prefix) rows(x *stretch, visit func(Known) bool) (on bool, err error) {
	for row := x.from; row < x.to; row++ {
		k, given, err := p.known(x, row)
		if err != nil {
			return false, err
		}
		if given && !visit(k) {
			return false, nil
		}
	}
	return true, nil
}

// A stretch is the rows [from, to) of a section with the prefix, among the rows [lo, hi) of one key range, in the light block that holds them.
type stretch struct {
	s        *section
	n        int // number of the range
	lo, hi   int
	from, to int
	light    *dbformat.PrefixBlock // of a split section
	tails    *dbformat.TailBlock   // of a split section; nil as long as it is not needed
	whole    *dbformat.RecordBlock // of any other
}

// open finds the rows of range n of a section. It and known are where mapped bytes are touched; visits are made outside of their guards.
func (p *prefix) open(s *section, n int) (x stretch, err error) {
	defer guardError(debug.SetPanicOnFault(true), &err)
	x = stretch{s: s, n: n}
	if s.id.Split() {
		if x.light, err = s.prefix(n >> s.k); err != nil {
			return x, err
		}
		x.lo, x.hi = x.light.Range(n - n>>s.k<<s.k)
		if s.p < p.bits {
			err = x.needTails()
		}
	} else if x.whole, err = s.record(n); err == nil {
		x.hi = x.whole.Rows()
	}
	if err != nil {
		return x, err
	}
	if x.light != nil && x.tails == nil {
		x.from = seekEven(x.light, x.lo, x.hi, p.low(s, n))
	} else {
		x.from = x.lo + sort.Search(x.hi-x.lo, func(i int) bool { return x.first(x.lo+i)>>(64-p.bits) >= uint64(p.value) })
	}
	for x.to = x.from; x.to < x.hi && x.first(x.to)>>(64-p.bits) == uint64(p.value); x.to++ {
	}
	return x, nil
}

// low is what the low bits of a row of range n of a split section must at least be for the prefix, which has no more bits than the section has in light.
func (p *prefix) low(s *section, n int) uint64 {
	if s.b >= p.bits {
		return 0 // the whole range has it
	}
	return uint64(p.value) << (s.p - p.bits) & (1<<(s.p-s.b) - 1)
}

// needTails opens the part of the rest layer, for a range that has rows.
func (x *stretch) needTails() (err error) {
	if x.tails == nil && x.lo < x.hi {
		x.tails, err = x.s.tail(x.n, x.hi-x.lo)
	}
	return err
}

// first is what is known without the rest layer of the first 64 bits of a row's hash, or all of them if that is open.
func (x *stretch) first(row int) uint64 {
	if x.tails == nil && x.light != nil {
		return (uint64(x.n)<<x.light.LowBits() | x.light.Low(row)) << (64 - x.s.p)
	}
	var hash [32]byte
	x.hash(row, &hash)
	return binary.BigEndian.Uint64(hash[:])
}

// hash is that of a row; the tails are open.
func (x *stretch) hash(row int, hash *[32]byte) {
	if x.whole != nil {
		x.whole.Hash(row, hash)
		return
	}
	low := x.light.Low(row)
	binary.BigEndian.PutUint64(hash[:], (uint64(x.n)<<x.light.LowBits()|low)<<(64-x.s.p))
	x.tails.Hash(row-x.lo, hash)
}

// known gives the record of a row with the prefix; given is false for one that is left out.
func (p *prefix) known(x *stretch, row int) (k Known, given bool, err error) {
	defer guardError(debug.SetPanicOnFault(true), &err)
	id := x.s.id
	k = Known{PUA: id.PUA(), Allowed: id.Class() == dbformat.ClassAllow}
	var name []byte
	if x.whole != nil {
		k.Size, name = x.whole.Size(row), x.whole.Name(row)
	} else {
		if err := x.needTails(); err != nil {
			return Known{}, false, err
		}
		k.Size, name = x.tails.Size(row-x.lo), x.tails.Name(row-x.lo)
	}
	x.hash(row, &k.Sum)
	if k.Name = string(name); len(name) == 0 {
		k.Name = id.DefaultName(k.Sum[:])
	}
	if k.Allowed {
		return k, true, nil
	}
	if p.e.ignore.has(k.Name) {
		return Known{}, false, nil
	}
	if gone, err := p.cancelled(&k); gone || err != nil {
		return Known{}, false, err
	}
	return k, true, nil
}

// cancelled tells whether an allow record covers every object that the signature does.
func (p *prefix) cancelled(k *Known) (bool, error) {
	if p.allow == nil {
		return false, nil
	}
	v, err := p.allow.record(int(keyOf(k.Sum[:], 64) >> (64 - p.allow.b)))
	if err != nil {
		return false, err
	}
	for row, end := v.Find(k.Sum[:]); row < end; row++ {
		if size := v.Size(row); size == dbformat.AnySize || size == k.Size {
			return true, nil
		}
	}
	return false, nil
}
