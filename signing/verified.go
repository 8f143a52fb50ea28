package signing

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// A Verified is one complete, verified state of a repository. Only [Trust.Refresh] and [Trust.Stored] make one. It is immutable and
// safe for concurrent use.
type Verified struct {
	set    *set
	floors *floors
	notes  []Note
}

// SignedAt is when the publisher signed this state.
func (v *Verified) SignedAt() time.Time { return v.set.docs[RoleTimestamp].signedAt }

// Expires is when this state stops being good for an update: the earliest expiry of its roles.
func (v *Verified) Expires() time.Time { at, _ := v.set.expires(); return at }

// ExpiresFirst is the role whose expiry that is.
func (v *Verified) ExpiresFirst() string { _, role := v.set.expires(); return role }

// Version is that of a role's document, 0 for an unknown role.
func (v *Verified) Version(role string) uint64 {
	if d := v.set.doc(role); d != nil {
		return d.version
	}
	return 0
}

// Notes lists what an operator should know of this refresh.
func (v *Verified) Notes() []Note { return slices.Clone(v.notes) }

// Target looks a path up in the one role that may name it.
func (v *Verified) Target(path string) (Target, bool) {
	for _, role := range []string{RoleDatabase, RoleRestrictions, RoleTargets} {
		if entrusted(role, path) {
			t, ok := v.set.docs[role].targets[path]
			return t, ok
		}
	}
	return Target{}, false
}

// Targets lists what a role names, by path; nil for a role that names none.
func (v *Verified) Targets(role string) []Target {
	d := v.set.docs[role]
	if d == nil {
		return nil
	}
	return sortedTargets(d.targets)
}

// A number is a floor that a release or a restriction set stands for.
type number struct {
	name      string
	value     uint64
	sha256    string // of a restriction set, in hex
	keys      []string
	authority authority
}

// Accepted is a [Release] or a [Restrictions].
type Accepted interface{ number() number }

// A Release is a release record whose bytes a verified state names, and that is not older than one that was accepted. Only
// [Verified.Release] makes one; the zero value holds no release.
type Release struct {
	record *dbformat.ReleaseRecord
	n      number
}

// IsZero tells whether r holds no release.
func (r Release) IsZero() bool { return r.record == nil }

// Record is what the publisher signed; the zero record for the zero value.
func (r Release) Record() dbformat.ReleaseRecord {
	if r.record == nil {
		return dbformat.ReleaseRecord{}
	}
	return *r.record
}

func (r Release) number() number { return r.n }

// Restrictions is a restriction set whose bytes a verified state names, and that is not older than one that was accepted. Only
// [Verified.Restrictions] makes one; the zero value holds no set.
type Restrictions struct {
	set *dbformat.RestrictionSet
	raw []byte
	n   number
}

// IsZero tells whether r holds no set.
func (r Restrictions) IsZero() bool { return r.set == nil }

// Set is what the publisher signed; the zero set for the zero value.
func (r Restrictions) Set() dbformat.RestrictionSet {
	if r.set == nil {
		return dbformat.RestrictionSet{}
	}
	return *r.set
}

// Bytes are those of restrictions/set.json, as signed.
func (r Restrictions) Bytes() []byte { return slices.Clone(r.raw) }

func (r Restrictions) number() number { return r.n }

// Release takes the bytes of release.json, nil where this state names none, if their length and hash are what this state names, the record is well formed, and
// its version is not below the floor. Errors match [ErrUntrusted] (and [ErrStale]), dbformat.ErrVersion or dbformat.ErrCorrupt.
func (v *Verified) Release(b []byte) (Release, error) {
	if err := v.checkBytes(floorRelease, dbformat.ReleaseTarget, b); err != nil {
		return Release{}, err
	}
	record, err := dbformat.ParseReleaseRecord(b)
	if err != nil {
		return Release{}, fmt.Errorf("%s: %w", dbformat.ReleaseTarget, err)
	}
	n, err := v.judge(floorRelease, record.Version())
	if err != nil {
		return Release{}, err
	}
	return Release{record, n}, nil
}

// Restrictions takes the bytes of restrictions/set.json under the same conditions; its epoch is what never goes back.
func (v *Verified) Restrictions(b []byte) (Restrictions, error) {
	if err := v.checkBytes(floorEpoch, dbformat.RestrictionsTarget, b); err != nil {
		return Restrictions{}, err
	}
	set, err := dbformat.ParseRestrictionSet(b)
	if err != nil {
		return Restrictions{}, fmt.Errorf("%s: %w", dbformat.RestrictionsTarget, err)
	}
	n, err := v.judge(floorEpoch, set.Epoch)
	if err != nil {
		return Restrictions{}, err
	}
	n.sha256 = dbformat.Digest(sha256.Sum256(b)).String()
	return Restrictions{set, slices.Clone(b), n}, nil
}

// Network takes the bytes of the provider file of the global network if their length and hash are what this state names. What they say is for
// package ksn/protocol to read; there is no floor beside the version of targets, whose offline keys vouch for the file. Errors match [ErrUntrusted].
func (v *Verified) Network(b []byte) error {
	t, ok := v.Target(dbformat.NetworkTarget)
	if !ok {
		return &UntrustedError{Role: RoleTargets, Reason: ReasonMismatch, Detail: "the repository names no " + dbformat.NetworkTarget, Remedy: remedySource}
	}
	return sameBytes(RoleTargets, t, b)
}

// checkBytes holds a target's bytes against what the state names.
func (v *Verified) checkBytes(role, path string, b []byte) error {
	t, ok := v.Target(path)
	if !ok {
		if _, err := v.judge(role, 0); err != nil {
			return err // a publisher that has made one never takes it back
		}
		return &UntrustedError{Role: role, Reason: ReasonMismatch, Detail: "the repository names no " + path, Remedy: remedySource}
	}
	return sameBytes(role, t, b)
}

func sameBytes(role string, t Target, b []byte) error {
	if int64(len(b)) != t.Length || sha256.Sum256(b) != [32]byte(t.SHA256) {
		return &UntrustedError{Role: role, Reason: ReasonMismatch, Detail: t.Path + " has not the length and hash that were signed", Remedy: remedySource}
	}
	return nil
}

func (v *Verified) judge(name string, value uint64) (number, error) {
	role := floorNames[name]
	a, keys := v.set.authorityOf(role)
	if err := v.floors.judge(name, value, a); err != nil {
		return number{}, err
	}
	good, err := signedBy(role, v.set.raw[role], a, keys)
	return number{name: name, value: value, keys: good, authority: a}, err
}

// Versions lists the versions of all roles.
func (v *Verified) Versions() map[string]uint64 {
	m := map[string]uint64{RoleRoot: v.set.root.version}
	for role := range maps.Keys(v.set.docs) {
		m[role] = v.Version(role)
	}
	return m
}
