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
		for row := x.from; row < x.hi; row++ {
			k, is, err := p.known(&x, row)
			if err != nil {
				return false, err
			}
			if is == behind {
				break
			}
			if is == wanted && !visit(k) {
				return false, nil
			}
		}
	}
	return true, nil
}

// A stretch is the rows [lo, hi) of one key range of a section, in the light block that holds them; those before from are none
// with the prefix.
type stretch struct {
	s            *section
	n            int // number of the range
	lo, hi, from int
	light        *dbformat.PrefixBlock // of a split section
	tails        *dbformat.TailBlock   // of a split section; nil as long as it is not needed
	whole        *dbformat.RecordBlock // of any other
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
	x.from = x.lo + sort.Search(x.hi-x.lo, func(i int) bool { return x.first(x.lo+i)>>(64-p.bits) >= uint64(p.value) })
	return x, nil
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

// What a row can be to a prefix.
type place int

const (
	wanted place = iota
	hidden       // it has the prefix and is left out
	behind       // it has not, nor has any row after it
)

// known gives the record of a row, which does not lie before the prefix.
func (p *prefix) known(x *stretch, row int) (k Known, is place, err error) {
	defer guardError(debug.SetPanicOnFault(true), &err)
	if x.first(row)>>(64-p.bits) != uint64(p.value) {
		return Known{}, behind, nil
	}
	id := x.s.id
	k = Known{PUA: id.PUA(), Allowed: id.Class() == dbformat.ClassAllow}
	var name []byte
	if x.whole != nil {
		k.Size, name = x.whole.Size(row), x.whole.Name(row)
	} else {
		if err := x.needTails(); err != nil {
			return Known{}, hidden, err
		}
		k.Size, name = x.tails.Size(row-x.lo), x.tails.Name(row-x.lo)
	}
	x.hash(row, &k.Sum)
	if k.Name = string(name); len(name) == 0 {
		k.Name = id.DefaultName(k.Sum[:])
	}
	if k.Allowed {
		return k, wanted, nil
	}
	if p.e.ignore.has(k.Name) {
		return Known{}, hidden, nil
	}
	if gone, err := p.cancelled(&k); gone || err != nil {
		return Known{}, hidden, err
	}
	return k, wanted, nil
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
