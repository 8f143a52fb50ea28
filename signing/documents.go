package signing

import (
	"fmt"
	"slices"
	"time"
)

// A Document is a metadata file as it is published.
type Document struct {
	Name    string // below metadata/: "12.snapshot.json", "timestamp.json"
	Role    string
	Version uint64
	Bytes   []byte // as they were signed and verified
}

// Documents are the files of this state, byte for byte, in the order in which they may become visible: each is named by
// the ones behind it, and timestamp.json, the only name that changes its content, is the last. The roots are [Trust.Roots]. The bytes are the caller's.
func (v *Verified) Documents() []Document {
	var list []Document
	for _, role := range []string{RoleRestrictions, RoleDatabase, RoleTargets, RoleSnapshot, RoleTimestamp} {
		d := Document{Role: role, Version: v.set.docs[role].version, Bytes: slices.Clone(v.set.raw[role])}
		d.Name = documentName(role, d.Version)
		list = append(list, d)
	}
	return list
}

func documentName(role string, version uint64) string {
	if role == RoleTimestamp {
		return role + ".json"
	}
	return fmt.Sprintf("%d.%s.json", version, role)
}

// Roots are the roots that are trusted, from the one that was installed to the newest, each proved again: the first by itself, every other one
// by the one before it, too. Somebody who trusts any of them gets to the newest by the ones behind it. Errors match [ErrStorage] where one of
// them is damaged or missing. The bytes are the caller's.
func (t *Trust) Roots() ([]Document, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	versions, err := t.rootVersions()
	if err != nil {
		return nil, err
	}
	if len(versions) == 0 {
		return nil, fmt.Errorf("%s: %w; install the repository's root first", t.dir, ErrNoTrust)
	}
	var list []Document
	for v := versions[0]; v <= versions[len(versions)-1]; v++ {
		b, err := readOwn(t.rootName(v), MaxRoot)
		if err == nil {
			var before []byte
			if len(list) > 0 {
				before = list[len(list)-1].Bytes
			}
			var d *document
			if d, err = verifyRoot(before, b); err == nil && d.version != v {
				err = fmt.Errorf("holds root %d", d.version)
			}
		}
		if err != nil {
			return nil, t.rootDamaged(v, err)
		}
		list = append(list, Document{Name: documentName(RoleRoot, v), Role: RoleRoot, Version: v, Bytes: b})
	}
	return list, nil
}

// HoldsUnder tells whether who trusts root, which is one of the repository's and may be an older one, takes this state for what it is; expiry aside.
// During a rotation what the new keys sign is signed by the old ones, too, so that a mirror can let go of neither kind of client: it shows such
// a state before the new root, and any other one behind it.
func (v *Verified) HoldsUnder(root []byte) bool {
	_, err := verifySet(root, v.set.raw, time.Time{})
	return err == nil
}

// ExpiresOf is when a role's document expires, the zero time for an unknown role.
func (v *Verified) ExpiresOf(role string) time.Time {
	if d := v.set.doc(role); d != nil {
		return d.expires
	}
	return time.Time{}
}
