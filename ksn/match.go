package ksn

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/avdb/dbformat"
)

// A Set is a restriction set that was read and verified, ready to be asked. It does not change, and any number of
// goroutines may use it. A nil Set restricts nothing.
type Set struct {
	epoch    uint64
	signed   time.Time
	records  []dbformat.Restriction
	versions []dbformat.VersionRange // of each record
	unproved bool
}

// Unproved is what stands for a set that cannot be read, or that nothing proves to be the one that was verified last: it lets no request pass, since a
// restriction that was taken away must not be as good as one that was lifted. It has no epoch and no records.
func Unproved() *Set { return &Set{unproved: true} }

// Unproved tells whether s stands for a set that cannot be proved.
func (s *Set) Unproved() bool { return s != nil && s.unproved }

// The words about a set that cannot be proved.
const (
	whyUnproved    = "the restrictions cannot be proved"
	remedyUnproved = "run an update, which fetches them again, or names what is to be removed first"
)

// ParseSet reads the canonical bytes of a set that was verified when it was stored. The errors are
// those of [dbformat.ParseRestrictionSet]. No bytes at all give a nil Set.
func ParseSet(b []byte) (*Set, error) {
	if len(b) == 0 {
		return nil, nil
	}
	s, err := dbformat.ParseRestrictionSet(b)
	if err != nil {
		return nil, err
	}
	return NewSet(s)
}

// NewSet takes a set as [dbformat.ParseRestrictionSet] gives it; without a signing time, from which lives are
// counted, it is an error. A nil set gives a nil Set. s must not be changed afterwards.
func NewSet(s *dbformat.RestrictionSet) (*Set, error) {
	if s == nil {
		return nil, nil
	}
	if s.Signed == nil {
		return nil, fmt.Errorf("restriction set %d has no signing time", s.Epoch)
	}
	out := &Set{epoch: s.Epoch, signed: s.Signed.Time, records: s.Records}
	for i := range s.Records {
		v, err := dbformat.ParseVersionRange(s.Records[i].Match.Versions)
		if err != nil {
			return nil, fmt.Errorf("restriction set %d, record %q, match.versions: %w", s.Epoch, s.Records[i].ID, err)
		}
		out.versions = append(out.versions, v)
	}
	return out, nil
}

// Epoch is the set's number, 0 for a nil set.
func (s *Set) Epoch() uint64 {
	if s == nil {
		return 0
	}
	return s.epoch
}

// Signed is when the set was signed, zero for a nil set.
func (s *Set) Signed() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.signed
}

// Len is the number of records.
func (s *Set) Len() int {
	if s == nil {
		return 0
	}
	return len(s.records)
}

// Record is record i; it must not be changed.
func (s *Set) Record(i int) *dbformat.Restriction { return &s.records[i] }

// Window is the time in which record i is in force on an install: from its beginning (zero: always) to its
// end, exclusive, which is clamped to 30 days after the set was signed and then moved by the install's share of the jitter.
func (s *Set) Window(i int, install string) (from, until time.Time) {
	r := &s.records[i]
	if r.NotBefore != nil {
		from = r.NotBefore.Time
	}
	until = r.Expires.Time
	if last := s.signed.Add(dbformat.MaxRestrictionLife); until.After(last) {
		until = last
	}
	if r.ExpireJitterS > 0 {
		shift := place(uint64(r.ExpireJitterS), "avdb ksn expiry", r.ID, install)
		until = until.Add(time.Duration(shift) * time.Second)
	}
	return from, until
}

// places is the number of places of cohorts and samples.
const places = 10000

// place is a choice by hash, as the package comment specifies it.
func place(choices uint64, fields ...string) uint64 {
	b := make([]byte, 0, 256)
	for _, f := range fields {
		b = binary.BigEndian.AppendUint32(b, uint32(len(f)))
		b = append(b, f...)
	}
	h := sha256.Sum256(b)
	return binary.BigEndian.Uint64(h[:8]) % choices
}

// day counts days in UTC. No signed time is before 1970, hence neither is any time used.
func day(t time.Time) int64 { return t.Unix() / 86400 }

// nextDay is when day(t) changes.
func nextDay(t time.Time) time.Time { return time.Unix((day(t)+1)*86400, 0).UTC() }

// sampled tells whether the request is in the sample that the record lets through today.
func (s *Set) sampled(r *dbformat.Restriction, q Request, install string, now time.Time) bool {
	l := r.Limit
	if l.SampleBP == 0 {
		return true
	}
	key := q.Key
	if l.SampleKey == "install" {
		key = ""
	}
	n := place(places, "avdb ksn sample", r.ID, strconv.FormatUint(s.epoch, 10), install, key, strconv.FormatInt(day(now), 10))
	return n < uint64(l.SampleBP)
}

// matches tells whether record i is about the request of the client now, and if not, the first
// thing that keeps it from being so.
func (s *Set) matches(i int, q Request, f Facts, now time.Time) (ok bool, why string) {
	from, until := s.Window(i, f.Install)
	switch {
	case !from.Before(until):
		return false, "it ends before it begins"
	case now.Before(from):
		return false, "begins " + from.UTC().Format(time.RFC3339)
	case !now.Before(until):
		return false, "ended " + until.UTC().Format(time.RFC3339)
	}
	return s.concerns(i, q, f)
}

// concerns is matches without the time.
func (s *Set) concerns(i int, q Request, f Facts) (ok bool, why string) {
	r := &s.records[i]
	sc := &r.Scope
	for _, c := range []struct {
		field string
		given []string
		empty []string // what an empty list stands for; nil: everything
		value string
	}{
		{"scope.services", sc.Services, []string{string(ServiceLookup)}, string(q.Service)},
		{"scope.objects", sc.Objects, nil, string(q.Object)},
		{"scope.origins", sc.Origins, nil, string(q.Origin)},
		{"scope.networks", sc.Networks, []string{string(NetworkGlobal)}, string(q.Network)},
		{"scope.routes", sc.Routes, nil, string(q.Route)},
	} {
		if c.field == "scope.objects" && q.Object == "" {
			continue // info and stats are about no object
		}
		list := c.given
		if len(list) == 0 {
			list = c.empty
		}
		if len(list) > 0 && !slices.Contains(list, c.value) {
			return false, notIn(c.field, list, c.value)
		}
	}
	return s.concernsClient(i, f)
}

func (s *Set) concernsClient(i int, f Facts) (ok bool, why string) {
	m := &s.records[i].Match
	if len(m.Products) > 0 && !slices.Contains(m.Products, f.Product) {
		return false, notIn("match.products", m.Products, f.Product)
	}
	if !s.versions[i].Contains(f.Version) {
		return false, fmt.Sprintf("match.versions: %q is not in %s", f.Version, m.Versions)
	}
	if len(m.Regions) > 0 && !slices.Contains(m.Regions, f.Region) {
		return false, notIn("match.regions", m.Regions, f.Region)
	}
	if len(m.Variants) > 0 && !slices.Contains(m.Variants, f.Variant) {
		return false, fmt.Sprintf("match.variants: %q is not in %q", f.Variant, m.Variants)
	}
	if len(m.Modes) > 0 {
		if mode, _ := f.InForce(); !slices.Contains(m.Modes, string(mode)) {
			return false, notIn("match.modes", m.Modes, string(mode))
		}
	}
	if c := m.Cohort; c != nil {
		n := place(places, "avdb ksn cohort", c.Salt, f.Install)
		if n < uint64(c.From) || n > uint64(c.To) {
			return false, fmt.Sprintf("match.cohort: this install has place %d, not %d to %d", n, c.From, c.To)
		}
	}
	return true, ""
}

func notIn(field string, list []string, value string) string {
	return fmt.Sprintf("%s: %q is not one of %s", field, value, strings.Join(list, ", "))
}

// winners are the records that decide on the request: those of the highest priority that match now and, among them,
// those of the strongest action. Indexes into records, ascending.
func (s *Set) winners(q Request, f Facts, now time.Time) []int {
	var won []int
	for i := range s.Len() {
		if ok, _ := s.matches(i, q, f, now); !ok {
			continue
		}
		if len(won) > 0 {
			switch c := s.compare(i, won[0]); {
			case c < 0:
				continue
			case c > 0:
				won = won[:0]
			}
		}
		won = append(won, i)
	}
	return won
}

// compare orders records by what counts first: priority, then action.
func (s *Set) compare(i, j int) int {
	a, b := &s.records[i], &s.records[j]
	if a.Priority != b.Priority {
		return a.Priority - b.Priority
	}
	return strength(a.Action) - strength(b.Action)
}

// strength orders the actions. An unknown one, which the parser does not let through, would disable.
func strength(a dbformat.RestrictionAction) int {
	switch a {
	case dbformat.ActionAllow:
		return 1
	case dbformat.ActionLimit:
		return 2
	}
	return 3
}
