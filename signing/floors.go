package signing

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"maps"
	"math"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// maxStep is the greatest step that a number may make at once: what no publisher reaches in its life, and what a stolen
// key would use to lock everyone out of the true numbers.
const maxStep = math.MaxUint32 + 1

// clockTolerance is how far a clock may be off before it counts as wrong.
const clockTolerance = 24 * time.Hour

// lifeTolerance is how much longer than its role's life a document may seem to live, on a clock that nothing shows to be behind.
const lifeTolerance = 7 * 24 * time.Hour

// MaxFloors is the greatest length of floors.json in bytes.
const MaxFloors = 64 << 10

// Names in floors.json beside those of the roles.
const (
	floorRelease = "release" // version of the release record, vouched for by database
	floorEpoch   = "epoch"   // epoch of the restriction set, vouched for by restrictions
	floorSigned  = "signed"  // Unix time of the newest timestamp, vouched for by timestamp
)

// floorNames lists every floor with the role whose keys vouch for it.
var floorNames = map[string]string{
	RoleRoot: RoleRoot, RoleTimestamp: RoleTimestamp, RoleSnapshot: RoleSnapshot, RoleTargets: RoleTargets,
	RoleDatabase: RoleDatabase, RoleRestrictions: RoleRestrictions,
	floorRelease: RoleDatabase, floorEpoch: RoleRestrictions, floorSigned: RoleTimestamp,
}

// A floor is a number that was seen under good signatures, and by which keys.
type floor struct {
	Value  uint64   `json:"value"`
	SHA256 string   `json:"sha256,omitempty"` // of the restriction set, in hex; of epoch only, and not where an engine saved it that did not keep it
	Keys   []string `json:"keys"`             // ids of the keys that signed it, sorted
}

func (v floor) equal(o floor) bool {
	return v.Value == o.Value && v.SHA256 == o.SHA256 && slices.Equal(v.Keys, o.Keys)
}

// floors is floors.json: what must never go back. It is kept apart from the metadata so that losing one does not lose
// the other.
//
// It has a checksum because a flipped bit could make a floor that is well formed and too high: no source could reach it, and
// the device would refuse every update. A file whose checksum is wrong counts as lost.
type floors struct {
	Schema int              `json:"schema"` // 1
	Floors map[string]floor `json:"floors"`
	CRC    string           `json:"crc32c"` // hex, of the same document with an empty string here
}

func newFloors() *floors { return &floors{Schema: 1, Floors: map[string]floor{}} }

func (f *floors) clone() *floors { return &floors{Schema: f.Schema, Floors: maps.Clone(f.Floors)} }

func (f *floors) equal(o *floors) bool {
	return maps.EqualFunc(f.Floors, o.Floors, floor.equal)
}

func (f *floors) encode() []byte {
	out := floors{Schema: f.Schema, Floors: f.Floors}
	out.CRC = fmt.Sprintf("%08x", crc32.Checksum(out.document(), crc32.MakeTable(crc32.Castagnoli)))
	return out.document()
}

func (f *floors) document() []byte {
	b, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		panic(err) // no type in it can fail
	}
	return append(b, '\n')
}

// parseFloors reads what encode wrote and nothing else.
func parseFloors(b []byte) (*floors, error) {
	if len(b) > MaxFloors {
		return nil, fmt.Errorf("more than %d bytes", MaxFloors)
	}
	f := newFloors()
	if err := json.Unmarshal(b, f); err != nil {
		return nil, err
	}
	if f.Schema != 1 {
		return nil, fmt.Errorf("schema %d, want 1", f.Schema)
	}
	for name, v := range f.Floors {
		if floorNames[name] == "" || v.Value < 1 || v.Value > dbformat.MaxVersion {
			return nil, fmt.Errorf("floor %.32q is %d", name, v.Value)
		}
		if _, err := dbformat.ParseDigest(v.SHA256); v.SHA256 != "" && (name != floorEpoch || err != nil) {
			return nil, fmt.Errorf("floor %s has the digest %.70q", name, v.SHA256)
		}
		if len(v.Keys) < 1 || len(v.Keys) > maxKeys || !slices.IsSorted(v.Keys) {
			return nil, fmt.Errorf("floor %s has %d keys, or not in order", name, len(v.Keys))
		}
		for i, id := range v.Keys {
			if _, err := dbformat.ParseDigest(id); err != nil || i > 0 && id == v.Keys[i-1] {
				return nil, fmt.Errorf("floor %s has the key id %.70q", name, id)
			}
		}
	}
	if !bytes.Equal(f.encode(), b) {
		return nil, fmt.Errorf("not in the form that is written, or its checksum is wrong")
	}
	f.CRC = ""
	return f, nil
}

// credible tells whether the keys that vouched for a floor still may: when a later root or targets took them away, the
// floor may be a thief's fast-forward and counts no longer. A floor that no set was accepted for stands for the stored set alone, whoever signed
// that: no new key takes it away, or an old mirror would lower the epoch in two steps.
func (v floor) credible(a authority) bool {
	if v.SHA256 == noSet.String() {
		return true
	}
	n := 0
	for _, id := range v.Keys {
		if slices.Contains(a.keyids, id) {
			n++
		}
	}
	return n >= a.threshold
}

// judge holds a number against its floor under the keys that rule now. The role of the error is the floor's name. A root's
// floor always counts: each root is vouched for by the one before it.
func (f *floors) judge(name string, value uint64, a authority) error {
	v, ok := f.Floors[name]
	if ok && name != RoleRoot && !v.credible(a) {
		v = floor{}
	}
	remedy := "the source lags behind or replays: try another one"
	if v.SHA256 == noSet.String() {
		remedy += "; if all say the same, the stored restriction set was forged while its floor was lost: remove it, move the trust folder away and run init with the root that is trusted"
	}
	switch {
	case value < v.Value:
		return &UntrustedError{Role: name, Version: value, Floor: v.Value, Reason: ReasonRollback,
			Detail: fmt.Sprintf("%d was seen before", v.Value), Remedy: remedy}
	case value-v.Value > maxStep:
		return &UntrustedError{Role: name, Version: value, Floor: v.Value, Reason: ReasonFastForward,
			Detail: fmt.Sprintf("a step of more than 2^32 from %d", v.Value), Remedy: "ask the publisher whether a key was stolen"}
	}
	return nil
}

// raise sets a floor that was judged.
func (f *floors) raise(name string, value uint64, keys []string) {
	f.set(name, floor{Value: value, Keys: keys})
}

func (f *floors) set(name string, v floor) {
	if v.Value > 0 {
		f.Floors[name] = v
	}
}
