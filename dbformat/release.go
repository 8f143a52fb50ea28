package dbformat

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
)

// Target paths of a repository. All are made of [a-z0-9._/-].
const (
	ReleaseTarget      = "release.json"
	RestrictionsTarget = "restrictions/set.json"
	NetworkTarget      = "global.json" // provider file of the global KSN network
)

// BundleTarget is the target path of the bundle that carries the layer with digest d.
func BundleTarget(l Layer, d Digest) string { return l.String() + "/" + d.String() + ".bundle" }

// DeltaTarget is the target path of the delta between two states of a layer, each named by
// the lowest release that has it ([LayerInfo.Since]).
func DeltaTarget(l Layer, from, to uint64) string { return fmt.Sprintf("%s/%d-%d.delta", l, from, to) }

// MaxReleaseRecord is the greatest length of a release record in bytes.
const MaxReleaseRecord = 16 << 10

// A ReleaseRecord is what the target release.json says: the release that everybody may use and,
// while one is being rolled out, the candidate that a share of the installs uses.
type ReleaseRecord struct {
	Schema    int        `json:"schema"` // 1
	Stable    Release    `json:"stable"`
	Candidate *Candidate `json:"candidate,omitempty"`
}

// A Release is a version with the digests of both layers, which ties rest to its light.
type Release struct {
	Version   uint64    `json:"version"`    // 1 to MaxVersion
	Created   Time      `json:"created"`    // when it was published
	MinEngine int       `json:"min_engine"` // least EngineLevel that may use it
	Variants  []Variant `json:"variants"`   // variants that it is offered in: full, or light and full
	Light     LayerInfo `json:"light"`
	Rest      LayerInfo `json:"rest"`
}

// A LayerInfo names one layer of a release.
type LayerInfo struct {
	Digest  Digest `json:"digest"`
	Since   uint64 `json:"since"`   // the lowest release that has this digest; deltas are named by it
	Records uint64 `json:"records"` // rows of all sections
	Bytes   uint64 `json:"bytes"`   // canonical bytes of all blocks: what the layer needs on disk, roughly
}

// A Candidate is a release that is being rolled out to ShareBP of 10 000 installs.
type Candidate struct {
	Release Release `json:"release"`
	ShareBP uint32  `json:"share_bp"` // 1 to 10000
}

// Layer is the info of one layer.
func (r *Release) Layer(l Layer) LayerInfo {
	if l == Rest {
		return r.Rest
	}
	return r.Light
}

// Offers tells whether the release is offered in v.
func (r *Release) Offers(v Variant) bool { return slices.Contains(r.Variants, v) }

// Version is the highest release number that the record names: the number that never goes back.
func (r *ReleaseRecord) Version() uint64 {
	if r.Candidate != nil {
		return max(r.Stable.Version, r.Candidate.Release.Version)
	}
	return r.Stable.Version
}

// For picks the release that the install uses: the candidate inside its cohort, else stable.
func (r *ReleaseRecord) For(install string) *Release {
	if c := r.Candidate; c != nil && Cohort(install, c.Release.Version) < c.ShareBP {
		return &c.Release
	}
	return &r.Stable
}

// Cohort is the place of an install in the roll-out of a version: 0 to 9999, evenly spread and fixed,
// so that who is in at a share stays in at every greater one.
func Cohort(install string, version uint64) uint32 {
	h := sha256.New()
	h.Write([]byte("avdb cohort\x00"))
	h.Write(binary.BigEndian.AppendUint64(nil, version))
	h.Write([]byte(install))
	// 64 bits over 10 000 places: the bias is below 1e-15.
	return uint32(binary.BigEndian.Uint64(h.Sum(nil)) % 10000)
}

// Encode gives the canonical bytes of release.json. The error names the field that is out of bounds.
func (r *ReleaseRecord) Encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return encodeJSON(r)
}

// ParseReleaseRecord reads release.json: strict, canonical, at most [MaxReleaseRecord] bytes. The
// error matches [ErrVersion] for a schema of a later engine and [ErrCorrupt] for everything else. Whether the engine is new
// enough for a release (MinEngine) is for the plan to decide: another release of the record may fit.
func ParseReleaseRecord(b []byte) (*ReleaseRecord, error) {
	if err := checkSchema("release record", b, MaxReleaseRecord); err != nil {
		return nil, err
	}
	r := new(ReleaseRecord)
	if err := decodeCanonical("release record", b, MaxReleaseRecord, r); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *ReleaseRecord) check() error {
	if r.Schema != 1 {
		return &FormatError{What: "release record", Offset: -1, Reason: fmt.Sprintf("schema %d, want 1", r.Schema)}
	}
	if err := r.Stable.check("stable"); err != nil {
		return err
	}
	c := r.Candidate
	if c == nil {
		return nil
	}
	if err := c.Release.check("candidate"); err != nil {
		return err
	}
	if c.Release.Version <= r.Stable.Version {
		return &FormatError{What: "release record", Offset: -1,
			Reason: fmt.Sprintf("candidate %d is not above stable %d", c.Release.Version, r.Stable.Version)}
	}
	if c.ShareBP < 1 || c.ShareBP > 10000 {
		return &FormatError{What: "release record", Offset: -1, Reason: fmt.Sprintf("share_bp %d, want 1 to 10000", c.ShareBP)}
	}
	return nil
}

func (r *Release) check(which string) error {
	bad := func(format string, args ...any) error {
		return &FormatError{What: "release record", Offset: -1, Reason: which + ": " + fmt.Sprintf(format, args...)}
	}
	switch {
	case r.Version < 1 || r.Version > MaxVersion:
		return bad("version %d, want 1 to 2^53-1", r.Version)
	case r.Created.Year() < 1970 || r.Created.Year() > 9999:
		return bad("created in the year %d", r.Created.Year())
	case r.MinEngine < 1:
		return bad("min_engine %d, want 1 or more", r.MinEngine)
	case !slices.Equal(r.Variants, []Variant{VariantFull}) && !slices.Equal(r.Variants, []Variant{VariantLight, VariantFull}):
		return bad("variants %q, want [full] or [light full]", r.Variants)
	case r.Light.Digest == r.Rest.Digest:
		return bad("both layers have one digest")
	}
	for _, l := range []Layer{Light, Rest} {
		i := r.Layer(l)
		switch {
		case i.Digest.IsZero():
			return bad("%s has no digest", l)
		case i.Since < 1 || i.Since > r.Version:
			return bad("%s is since %d, want 1 to %d", l, i.Since, r.Version)
		case i.Records > MaxVersion || i.Bytes > MaxVersion:
			return bad("%s has %d records in %d bytes", l, i.Records, i.Bytes)
		}
	}
	return nil
}

// checkSchema looks at the schema alone, before the strict reader that knows schema 1 only: a
// document of a later schema asks for a newer engine, it is not corrupt.
func checkSchema(what string, b []byte, limit int) error {
	if len(b) > limit {
		return &FormatError{What: what, Offset: int64(limit), Reason: fmt.Sprintf("%d bytes, the limit is %d", len(b), limit)}
	}
	if n, ok := leadingSchema(b); ok && n > 1 {
		return fmt.Errorf("%s has schema %d, this engine reads schema 1: %w", what, n, ErrVersion)
	}
	return nil
}
