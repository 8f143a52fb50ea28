package signing

import (
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// bothRings reads the offline keys too; only what needs them calls it.
func (r *Repository) bothRings() (keyring, error) {
	ring, err := loadKeys(filepath.Join(r.keys, "online"))
	if err != nil {
		return nil, err
	}
	offline, err := loadKeys(filepath.Join(r.keys, "offline"))
	if err != nil {
		return nil, err
	}
	maps.Copy(ring, offline)
	return ring, nil
}

// Rotate replaces all keys of a role by as many new ones, under the same threshold, where the offline keys are. Clients stop
// believing the old keys with the first refresh that sees it, and forget the floors that only these had vouched for. random nil means
// crypto/rand. The old key files stay where they are, useless to anyone; remove them.
//
// What the new keys sign is signed by the old ones as well, and the new root is written last: a crash leaves a repository that
// verifies under the old root.
func (r *Repository) Rotate(role string, now time.Time, random io.Reader) error {
	if role != RoleRoot && !slices.Contains(setRoles, role) {
		return fmt.Errorf("no role %q: want %s or one of %v", role, RoleRoot, setRoles)
	}
	if random == nil {
		random = rand.Reader
	}
	r.op.Lock()
	defer r.op.Unlock()
	unlock, err := r.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	s, err := r.load()
	if err != nil {
		return err
	}
	b := &builder{now: dbformat.At(now).Time}
	if b.rings, err = r.bothRings(); err != nil {
		return err
	}
	old, _ := s.authorityOf(role)
	b.also = map[string][]string{role: old.keyids}
	next, signer, err := r.withNewKeys(s, role, random, b.rings)
	if err != nil {
		return err
	}
	roles := []string{signer}
	if role != RoleRoot {
		if signer != role {
			roles = append(roles, role)
		}
		for _, above := range []string{RoleSnapshot, RoleTimestamp} {
			if !slices.Contains(roles, above) {
				roles = append(roles, above)
			}
		}
	}
	return r.signOffline(b, s, next, roles)
}

// withDoc is a copy of s in which a role other than root has another document.
func (s *set) withDoc(d *document) *set {
	next := &set{root: s.root, docs: maps.Clone(s.docs), raw: maps.Clone(s.raw)}
	next.docs[d.role] = d
	return next
}

// withNewKeys gives a copy of s in which a role has new keys, which are saved, and the role that says so.
func (r *Repository) withNewKeys(s *set, role string, random io.Reader, ring keyring) (*set, string, error) {
	next := &set{docs: maps.Clone(s.docs), raw: maps.Clone(s.raw)}
	root := *s.root
	next.root = &root
	signer, says := RoleRoot, next.root
	if delegatedPaths[role] != nil {
		targets := *s.docs[RoleTargets]
		next.docs[RoleTargets] = &targets
		signer, says = RoleTargets, &targets
	}
	says.keys, says.roles = maps.Clone(says.keys), maps.Clone(says.roles)
	folder := "online"
	if role == RoleRoot || role == RoleTargets {
		folder = "offline"
	}
	a := says.roles[role]
	old := a.keyids
	a.keyids = nil
	for range old {
		k, err := newKey(random)
		if err != nil {
			return nil, "", err
		}
		if err := r.f.saveKey(filepath.Join(r.keys, folder), role, k); err != nil {
			return nil, "", err
		}
		id := keyID(publicHex(k))
		ring[id], says.keys[id] = k, publicHex(k)
		a.keyids = append(a.keyids, id)
	}
	for _, id := range old {
		delete(says.keys, id)
	}
	says.roles[role] = a
	return next, signer, r.f.syncDir(filepath.Join(r.keys, folder))
}

// signOffline signs the roles of next, proves the result under the old root and the new one, and writes it with the root last.
func (r *Repository) signOffline(b *builder, old, next *set, roles []string) error {
	versions, err := r.nextVersions(old, roles)
	if err != nil {
		return err
	}
	signed, err := b.sign(next, versions, r.keys)
	if err != nil {
		return refused(err)
	}
	newRoot := slices.Contains(roles, RoleRoot)
	if newRoot {
		if _, err := verifyRoot(old.raw[RoleRoot], signed.raw[RoleRoot]); err != nil {
			return refused(err)
		}
		if _, err := verifySet(old.raw[RoleRoot], signed.raw, time.Time{}); err != nil {
			return refused(err)
		}
	}
	rest := slices.DeleteFunc(slices.Clone(roles), func(role string) bool { return role == RoleRoot })
	if err := r.write(signed, rest); err != nil {
		return err
	}
	if newRoot {
		if err := r.write(signed, []string{RoleRoot}); err != nil {
			return err
		}
	}
	r.prune(signed)
	r.note(signed)
	return nil
}

// RenewOffline is [Repository.Renew] where the offline keys are: root and targets are signed anew too when they are due or expired.
func (r *Repository) RenewOffline(now time.Time) ([]Renewed, error) {
	r.op.Lock()
	defer r.op.Unlock()
	unlock, err := r.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	s, err := r.load()
	if err != nil {
		return nil, err
	}
	roles := s.due(now, RoleRoot, RoleTargets, RoleDatabase, RoleRestrictions, RoleSnapshot, RoleTimestamp)
	if len(roles) == 0 {
		return nil, nil
	}
	b := &builder{now: dbformat.At(now).Time}
	if b.rings, err = r.bothRings(); err != nil {
		return nil, err
	}
	if err := r.signOffline(b, s, s, roles); err != nil {
		return nil, err
	}
	if s, err = r.load(); err != nil {
		return nil, err
	}
	return s.renewed(roles), nil
}
