package matcher

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime/debug"
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
	if a.Size() == 0 {
		return fmt.Errorf("%w: %s", ErrInput, a)
	}
	if err := e.checkPrefix(bits, value); err != nil {
		return err
	}
	p := prefix{e: e, bits: bits, value: value}
	for _, s := range e.by[a] {
		if s.id.Class() == dbformat.ClassAllow && a == dbformat.SHA256 {
			p.allow = s
		}
	}
	return p.sections(visit, e.by[a]...)
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

// Anticipate has the processor fetch what [Engine.WithPrefix] will read for each of values, all at once: most of the time of many
// questions to a large database is waiting for memory, which one question after the other does one time after the other. It is a hint: it says nothing, changes
// nothing, and passes over what was never read before.
func (e *Engine) Anticipate(a dbformat.Algorithm, bits uint8, values []uint32) {
	if a.Size() == 0 || bits < minPrefixBits || bits > maxPrefixBits || !e.full {
		return
	}
	for _, s := range e.by[a] {
		if s.id.Split() && s.b < bits && bits <= s.p {
			s.touch(bits, values)
		}
	}
}

// Anticipate is [Engine.Anticipate] over the generation in use.
func (m *Matcher) Anticipate(a dbformat.Algorithm, bits uint8, values []uint32) {
	g := m.hold()
	if g == nil {
		return
	}
	defer g.release()
	g.engine.Anticipate(a, bits, values)
}

// touch finds the first row with each prefix and reads what WithPrefix will read of it, for 64 values at a time in small steps: where the blocks are, the
// blocks' own lines, the range, a row near the first one, the first one, what the rest layer has of it. In no step does a read wait for that of another value, and
// the shorter a step is, the more values the processor has on their way at once. A fault is found, and reported, by whoever really reads.
func (s *section) touch(bits uint8, values []uint32) (sum int) {
	var err error
	defer guardError(debug.SetPanicOnFault(true), &err)
	var all [together]sought
	for len(values) > 0 {
		some := values[:min(len(values), len(all))]
		values = values[len(some):]
		n := 0
		for _, value := range some {
			x := sought{n: int(uint64(value) << s.b >> bits), value: value}
			if x.n >= len(s.tails) {
				continue // no such prefix
			}
			if x.light, x.tails = s.prefixes[x.n>>s.k].Load(), s.tails[x.n].Load(); x.light != nil && x.tails != nil {
				all[n] = x
				n++
			}
		}
		sum += s.touchAll(bits, all[:n])
	}
	return sum
}

// A sought value is one on its way through touch.
type sought struct {
	value  uint32
	n      int // its range
	light  *dbformat.PrefixBlock
	tails  *dbformat.TailBlock
	lo, hi int // rows of the range
	low    uint64
}

// touchAll is the steps of touch after the first one.
func (s *section) touchAll(bits uint8, all []sought) (sum int) {
	for i := range all {
		sum += all[i].light.Rows() + all[i].tails.Rows()
	}
	for i := range all {
		x := &all[i]
		x.lo, x.hi = x.light.Range(x.n - x.n>>s.k<<s.k)
	}
	for i := range all {
		if x := &all[i]; x.lo < x.hi {
			p := prefix{bits: bits, value: x.value}
			x.low = p.low(s, x.n)
			sum += int(x.light.Low(even(x.light, x.lo, x.hi, x.low)))
		}
	}
	for i := range all {
		if x := &all[i]; x.lo < x.hi {
			x.hi = seekEven(x.light, x.lo, x.hi, x.low)
		}
	}
	for i := range all {
		sum += int(all[i].tails.Touch(all[i].hi - all[i].lo))
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

// sections visits the records of sections that are given, one after the other.
func (p *prefix) sections(visit func(Known) bool, all ...*section) error {
	for _, s := range all {
		if !given(s.id) && s != p.e.urls {
			continue
		}
		on, err := p.section(s, visit)
		if err != nil {
			kept := err // or each round would allocate its err
			p.e.hurt.CompareAndSwap(nil, &kept)
		}
		if err != nil || !on {
			return err
		}
	}
	return nil
}

// section visits the records of one section, and tells whether others are still wanted.
func (p *prefix) section(s *section, visit func(Known) bool) (on bool, err error) {
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
		for row := x.from; row < x.to; row++ {
			k, given, err := p.known(&x, row)
			if err != nil {
				return false, err
			}
			if given && !visit(k) {
				return false, nil
			}
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
