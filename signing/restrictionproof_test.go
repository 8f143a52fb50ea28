package signing

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/dbformat"
)

// set is a restriction set of an epoch, told apart from others of that epoch by a number.
func anotherSet(t testing.TB, epoch uint64, seconds int) []byte {
	t.Helper()
	b := setBytes(t, epoch)
	return bytes.Replace(b, []byte("T12:00:00Z"), []byte("T12:00:0"+string(rune('0'+seconds))+"Z"), 1)
}

func digestOf(b []byte) dbformat.Digest { return sha256.Sum256(b) }

// What vouches for a set: the signed metadata, or the floor, and never a set's own epoch.
func TestWhatProvesARestrictionSet(t *testing.T) {
	four, five, other5, six := setBytes(t, 4), setBytes(t, 5), anotherSet(t, 5, 1), setBytes(t, 6)
	nothing := RestrictionProof{}
	current := RestrictionProof{Signed: digestOf(five), Epoch: 5, Accepted: digestOf(five), Known: true}
	behind := RestrictionProof{Signed: digestOf(six), Epoch: 5, Accepted: digestOf(five), Known: true} // six could not be fetched, or used
	old := RestrictionProof{Signed: digestOf(six), Epoch: 5, Known: true}                              // a floor of an engine that kept no digest
	floorsLost := RestrictionProof{Signed: digestOf(five), Epoch: 1, Accepted: digestOf(five), Known: true}
	first := RestrictionProof{Signed: digestOf(five), Known: true} // could not be fetched, and there was none before it
	metadataLost := RestrictionProof{Epoch: 5, Accepted: digestOf(five), Known: true}
	thief := RestrictionProof{Signed: digestOf(four), Epoch: 5, Accepted: digestOf(five), Known: true} // who signs an older set again
	for _, c := range []struct {
		name  string
		p     RestrictionProof
		b     []byte
		want  ProofBy
		words string
	}{
		{"nothing was ever seen", nothing, nil, ProofNone, ""},
		{"nothing was ever seen, and there is a set", nothing, five, "", "has epoch 5, for which nothing vouches"},
		{"what was there cannot be read", RestrictionProof{Lost: true}, nil, "", "is missing, and nothing tells"},
		{"the set that is signed", current, five, ProofSigned, ""},
		{"removed", current, nil, "", "is missing, and at least epoch 5 was in force"},
		{"forged with a higher epoch", current, six, "", "has epoch 6, for which nothing vouches"},
		{"forged under the same epoch", current, other5, "", "another set with epoch 5"},
		{"an older one put back", current, four, "", "has epoch 4, and at least epoch 5 was in force"},
		{"no set at all", current, []byte("{}"), "", "holds no restriction set"},
		{"the newest is not here yet", behind, five, ProofFloor, ""},
		{"the newest is here, its floor is not", behind, six, ProofSigned, ""},
		{"forged while the newest is not here", behind, other5, "", "another set with epoch 5"},
		{"an old floor: the epoch counts", old, five, ProofFloor, ""},
		{"an old floor: no other epoch", old, four, "", "epoch 5 was in force"},
		{"floors lost", floorsLost, five, ProofSigned, ""},
		{"floors lost and the set removed", floorsLost, nil, "", "is missing, and at least epoch 1"},
		{"the first set is not here yet", first, nil, ProofNone, ""},
		{"the first set is here, its floor is not", first, five, ProofSigned, ""},
		{"forged while the first set is not here", first, six, "", "for which nothing vouches"},
		{"floors lost and another set", floorsLost, six, "", "for which nothing vouches"},
		{"metadata lost", metadataLost, five, ProofFloor, ""},
		{"metadata lost and the set removed", metadataLost, nil, "", "is missing, and at least epoch 5 was in force"},
		{"an older set signed again", thief, four, "", "has epoch 4, and at least epoch 5 was in force"},
		{"an older set signed again, and not taken", thief, five, ProofFloor, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			by, why := c.p.Check(c.b)
			if by != c.want || !strings.Contains(why, c.words) || (by == "") != (why != "") {
				t.Errorf("proved by %q, %q; want %q, %q", by, why, c.want, c.words)
			}
		})
	}
}

// seen is a trust folder that has refreshed and accepted release and set of one number.
func seen(t *testing.T, r *Repository, number uint64) *Trust {
	t.Helper()
	publish(t, r, number, day0)
	tr := newTrust(t, r)
	v := refresh(t, tr, serve(r), day0)
	set, err := v.Restrictions(targetBytes(t, r, v, dbformat.RestrictionsTarget))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Accept(set); err != nil {
		t.Fatal(err)
	}
	return tr
}

func proofIn(t *testing.T, tr *Trust) RestrictionProof {
	t.Helper()
	p, err := tr.RestrictionProof()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The folder knows the set by its signed digest and by the floor, each without the other; without both it says that it knows nothing, or that it lost
// what it knew.
func TestRestrictionProofOfAFolder(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	if p := proofIn(t, newTrust(t, r)); p != (RestrictionProof{}) {
		t.Errorf("a new folder knows %+v", p)
	}
	sum := digestOf(setBytes(t, 5))
	tr := seen(t, r, 5)
	whole := RestrictionProof{Signed: sum, Epoch: 5, Accepted: sum, Known: true}
	if p := proofIn(t, tr); p != whole {
		t.Errorf("knows %+v, want %+v", p, whole)
	}
	floorsName, verifiedName := filepath.Join(tr.dir, floorsFile), filepath.Join(tr.dir, verifiedFile)
	floors, verified := readAll(t, floorsName), readAll(t, verifiedName)
	damaged := []byte("{}")
	f, err := parseFloors(floors)
	if err != nil {
		t.Fatal(err)
	}
	f.Floors[floorEpoch] = floor{Value: 9, SHA256: digestOf(setBytes(t, 9)).String(), Keys: []string{digestOf(nil).String()}}
	stranger := f.encode()
	for _, c := range []struct {
		name             string
		floors, verified []byte // nil: removed
		want             RestrictionProof
	}{
		{"no floors", nil, verified, RestrictionProof{Signed: sum, Epoch: 1, Accepted: sum, Known: true}},
		{"damaged floors", damaged, verified, RestrictionProof{Signed: sum, Epoch: 1, Accepted: sum, Known: true}},
		{"no metadata", floors, nil, RestrictionProof{Epoch: 5, Accepted: sum, Known: true}},
		{"damaged metadata", floors, damaged, RestrictionProof{Epoch: 5, Accepted: sum, Known: true}},
		{"neither", nil, nil, RestrictionProof{}},
		{"no floors, damaged metadata", nil, damaged, RestrictionProof{Lost: true}},
		{"damaged floors, no metadata", damaged, nil, RestrictionProof{Lost: true}},
		{"a floor by a key that may not sign", stranger, verified, RestrictionProof{Signed: sum, Known: true}},
		{"a flipped bit in the digest", bytes.Replace(floors, []byte(sum.String()), []byte(digestOf(nil).String()), 1), nil, RestrictionProof{Lost: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for name, b := range map[string][]byte{floorsName: c.floors, verifiedName: c.verified} {
				os.Remove(name)
				if b == nil {
					continue
				}
				if err := os.WriteFile(name, b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if p := proofIn(t, tr); p != c.want {
				t.Errorf("knows %+v, want %+v", p, c.want)
			}
		})
	}
	os.Remove(verifiedName)
	os.Remove(floorsName)
	if err := os.Mkdir(floorsName, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RestrictionProof(); !errors.Is(err, ErrStorage) || errors.Is(err, fs.ErrPermission) {
		t.Errorf("a folder in the place of the floors: %v", err)
	}
}

func readAll(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A floor that was saved without a digest gets one with the next acceptance of the same epoch.
func TestFloorOfEpochGetsItsDigest(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	tr := seen(t, r, 5)
	name := filepath.Join(tr.dir, floorsFile)
	whole := readAll(t, name)
	f, err := parseFloors(whole)
	if err != nil {
		t.Fatal(err)
	}
	v := f.Floors[floorEpoch]
	v.SHA256 = ""
	f.Floors[floorEpoch] = v
	if err := os.WriteFile(name, f.encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	if p := proofIn(t, tr); p.Epoch != 5 || !p.Accepted.IsZero() {
		t.Fatalf("knows %+v", p)
	}
	verified, err := tr.Stored()
	if err != nil {
		t.Fatal(err)
	}
	set, err := verified.Restrictions(setBytes(t, 5))
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Accept(set); err != nil {
		t.Fatal(err)
	}
	if b := readAll(t, name); !bytes.Equal(b, whole) {
		t.Errorf("floors are\n%s\nwant\n%s", b, whole)
	}
}

// A thief of the restrictions key signs a great epoch; when the key is replaced, the floor that vouched for it counts no longer, and no more does the set.
func TestRestrictionProofFallsWithTheKey(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	tr := seen(t, r, 1<<20)
	stolen := setBytes(t, 1<<20)
	if err := r.Rotate(RoleRestrictions, day0, &stream{seed: 9}); err != nil {
		t.Fatal(err)
	}
	target, err := r.AddTargetBytes(dbformat.RestrictionsTarget, setBytes(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(map[string][]Target{RoleRestrictions: {target}}, day0); err != nil {
		t.Fatal(err)
	}
	v := refresh(t, tr, serve(r), day0)
	for where, p := range map[string]RestrictionProof{"the refreshed state": v.RestrictionProof(), "the folder": proofIn(t, tr)} {
		if by, _ := p.Check(stolen); by != "" {
			t.Errorf("%s: the thief's set is proved by %q: %+v", where, by, p)
		}
		if by, _ := p.Check(setBytes(t, 2)); by != ProofSigned {
			t.Errorf("%s: the new set is proved by %q: %+v", where, by, p)
		}
	}
}

// Only the floor of epochs has a digest, and it is one.
func TestFloorsWithOtherDigests(t *testing.T) {
	key := digestOf(nil).String()
	for name, c := range map[string]struct {
		floor, sum string
		ok         bool
	}{
		"of the epoch":         {floorEpoch, key, true},
		"of the release":       {floorRelease, key, false},
		"no digest":            {floorEpoch, "00", false},
		"a digest in capitals": {floorEpoch, strings.ToUpper(key), false},
	} {
		f := newFloors()
		f.Floors[c.floor] = floor{Value: 1, SHA256: c.sum, Keys: []string{key}}
		if _, err := parseFloors(f.encode()); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
