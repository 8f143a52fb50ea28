package server

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
)

// An Override is what the operator decided about one key. It takes the place of all that the database and the sources say of that key,
// and of no other one: an object has up to three.
type Override struct {
	Key     protocol.Key
	Verdict protocol.Verdict // protocol.Trusted, Untrusted or PotentiallyUnwanted
	Note    string           // stays here
	Since   time.Time        // stays here

	// What answers say of the key besides, as the operator knows it; none of it is required.
	Name       string // of the threat or the software; "" for one that says that the operator decided
	Category   string // "" for "override"
	FirstSeen  time.Time
	Popularity uint64 // number of users; answers round it down to a power of ten
	Signer     string
	Regions    []string // ISO 3166 codes, at most protocol.MaxRegions; not to be changed
}

// MaxOverrides is how many there can be.
const MaxOverrides = 1 << 16

// What answers say of overridden keys besides the verdict, where the operator says nothing.
const (
	nameUntrusted    = "Operator.Untrusted"
	nameUnwanted     = "Operator.Unwanted"
	categoryOverride = "override"
)

// An overrideSet is a list of overrides in the order of their keys. It does not change.
type overrideSet []Override

func compareKeys(a, b protocol.Key) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), bytes.Compare(a.Sum[:], b.Sum[:]))
}

func newOverrideSet(list []Override) (overrideSet, error) {
	if len(list) > MaxOverrides {
		return nil, fmt.Errorf("%d overrides, the limit is %d", len(list), MaxOverrides)
	}
	set := slices.Clone(list)
	slices.SortFunc(set, func(a, b Override) int { return compareKeys(a.Key, b.Key) })
	for i, o := range set {
		again, err := protocol.NewKey(o.Key.Type, o.Key.Bytes())
		switch {
		case err != nil || again != o.Key:
			return nil, fmt.Errorf("override %d: %s is no key", i, o.Key)
		case o.Verdict != protocol.Trusted && o.Verdict != protocol.Untrusted && o.Verdict != protocol.PotentiallyUnwanted:
			return nil, fmt.Errorf("override of %s: verdict %.40q, want %s, %s or %s", o.Key, o.Verdict, protocol.Trusted, protocol.Untrusted, protocol.PotentiallyUnwanted)
		case i > 0 && set[i-1].Key == o.Key:
			return nil, fmt.Errorf("two overrides of %s: remove one", o.Key)
		}
		if e := o.entry(); e.Check() != nil {
			return nil, fmt.Errorf("override of %s: %w", o.Key, e.Check())
		}
	}
	return set, nil
}

// with are the overrides of keys that begin with p.
func (set overrideSet) with(p protocol.Prefix) overrideSet {
	if len(set) == 0 {
		return nil
	}
	first := protocol.Key{Type: p.Type}
	binary.BigEndian.PutUint32(first.Sum[:], p.Value<<(32-p.Bits))
	from, _ := slices.BinarySearchFunc(set, first, func(o Override, k protocol.Key) int { return compareKeys(o.Key, k) })
	n := 0
	for from+n < len(set) && p.Covers(set[from+n].Key) {
		n++
	}
	return set[from : from+n]
}

// has tells whether one of them is about k.
func (set overrideSet) has(k protocol.Key) bool {
	if len(set) == 0 {
		return false
	}
	_, found := slices.BinarySearchFunc(set, k, func(o Override, k protocol.Key) int { return compareKeys(o.Key, k) })
	return found
}

func (o *Override) entry() protocol.Entry {
	e := protocol.Entry{Key: o.Key, Verdict: o.Verdict, Name: o.Name, Category: cmp.Or(o.Category, categoryOverride),
		Popularity: protocol.RoundPopularity(o.Popularity), Signer: o.Signer, Regions: o.Regions}
	if !o.FirstSeen.IsZero() {
		seen := dbformat.At(o.FirstSeen)
		e.FirstSeen = &seen
	}
	switch {
	case o.Name != "":
	case o.Verdict == protocol.Untrusted:
		e.Name = nameUntrusted
	case o.Verdict == protocol.PotentiallyUnwanted:
		e.Name = nameUnwanted
	}
	return e
}

// counts are those of overridden keys.
func (set overrideSet) counts() (c Counts) {
	for i := range set {
		switch set[i].Key.Type {
		case protocol.URL:
			c.URLs++
		case protocol.Software:
			c.Software++
		default:
			c.Files++
		}
	}
	return c
}
