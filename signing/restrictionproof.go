package signing

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"example.org/avdb/dbformat"
)

// A RestrictionProof is what a trust folder knows of the restriction set that is to be in force, to hold a stored one against. The set itself lies
// elsewhere, where every user may read it, and its own checksum proves nothing. The zero value knows nothing.
//
// The one who owns a trust folder can rewrite its floors beside the set: a proof by [ProofFloor] is as good as the folder is one's own. What the
// stored metadata name, their signatures prove.
type RestrictionProof struct {
	// Signed is the digest of the set that the stored metadata name, zero where they name none or are not there.
	Signed dbformat.Digest

	// Epoch is that of the set that was in use last, by the floor; 0 where there is no floor, or its keys no longer count. Where the floors are lost and
	// the stored metadata name a set, that one counts as the one in use last, and 1 stands for its epoch.
	Epoch uint64

	// Accepted is the digest of that set, zero where the floor was saved by an engine that did not keep it: then its epoch counts.
	Accepted dbformat.Digest

	// Known tells whether anything was ever seen here, as far as the folder says.
	Known bool

	// Lost tells that neither metadata nor floors can be read, and that one of them was there.
	Lost bool
}

// A ProofBy says what vouches for a restriction set.
type ProofBy string

// What vouches. Nothing vouches for "".
const (
	ProofSigned ProofBy = "signed" // the stored metadata name it
	ProofFloor  ProofBy = "floor"  // it is the one that was in use last
	ProofNone   ProofBy = "none"   // there is no set, and none was ever in use
)

// Check tells what vouches for the bytes of a stored set, nil for none, or why nothing does, in a few words. A set that is older than the one in use
// last is not proved by its signatures. A set that the metadata name and that is not here yet was never verified: where none was in use before it, none is
// in force.
func (p RestrictionProof) Check(b []byte) (by ProofBy, why string) {
	if b == nil {
		switch {
		case p.Epoch != 0:
			return "", fmt.Sprintf("is missing, and at least epoch %d was in force", p.Epoch)
		case p.Lost:
			return "", "is missing, and nothing tells whether there was one: the floors and the signed metadata are lost"
		}
		return ProofNone, ""
	}
	set, err := dbformat.ParseRestrictionSet(b)
	if err != nil {
		return "", "holds no restriction set: " + err.Error()
	}
	sum := dbformat.Digest(sha256.Sum256(b))
	switch {
	case set.Epoch < p.Epoch:
		return "", fmt.Sprintf("has epoch %d, and at least epoch %d was in force", set.Epoch, p.Epoch)
	case sum == p.Signed:
		return ProofSigned, ""
	case p.Epoch != 0 && set.Epoch == p.Epoch && (sum == p.Accepted || p.Accepted.IsZero()):
		return ProofFloor, ""
	case set.Epoch == p.Epoch && p.Accepted != noSet:
		return "", fmt.Sprintf("is another set with epoch %d than the one that was in force", set.Epoch)
	}
	return "", fmt.Sprintf("has epoch %d, for which nothing vouches", set.Epoch)
}

// BeforeRefresh is what was known before these metadata came: the floor alone. By it an update tells a set that is out of date from one that was tampered
// with.
func (p RestrictionProof) BeforeRefresh() RestrictionProof {
	p.Signed = dbformat.Digest{}
	return p
}

// RestrictionProof is what this state and the floors know of the restriction set.
func (v *Verified) RestrictionProof() RestrictionProof {
	return restrictionProof(v.set, v.floors, false)
}

// RestrictionProof reads what the folder knows of the restriction set that is to be in force. An error that matches fs.ErrPermission means that the folder
// belongs to another user; other errors are those of [Trust.Stored], but for metadata that are missing or damaged: then the floors alone count.
func (t *Trust) RestrictionProof() (RestrictionProof, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.readProved()
	switch {
	case s == nil || errors.Is(err, ErrStorage):
		return RestrictionProof{}, err
	case errors.Is(err, fs.ErrPermission):
		return RestrictionProof{}, storage(err)
	}
	damaged := err != nil && !errors.Is(err, fs.ErrNotExist)
	if err := t.readFloors(s); err != nil {
		return RestrictionProof{}, err
	}
	for _, n := range s.notes {
		damaged = damaged || n.Code == NoteFloorsLost
	}
	p := restrictionProof(s.stored, s.floors, s.stored != nil && s.ahead(RoleRestrictions))
	p.Known = s.stored != nil || s.onDisk != nil
	p.Lost = damaged && !p.Known
	return p, nil
}

// noSet is the digest in a floor of epochs that no set was accepted for: what has that digest is empty, and no set.
var noSet = dbformat.Digest(sha256.Sum256(nil))

// restrictionProof takes the floor into account if the keys that vouched for it still may, as far as the set tells, which may be nil; ahead is for floors
// that were saved under a later root or targets than those of the set.
func restrictionProof(s *set, f *floors, ahead bool) (p RestrictionProof) {
	p.Known = true
	v, ok := f.Floors[floorEpoch]
	if s != nil {
		p.Signed = s.docs[RoleRestrictions].targets[dbformat.RestrictionsTarget].SHA256
		a, _ := s.authorityOf(RoleRestrictions)
		ok = ok && (ahead || v.credible(a))
	}
	if ok {
		p.Epoch = v.Value
		p.Accepted, _ = dbformat.ParseDigest(v.SHA256) // "" leaves it zero
	}
	return p
}
