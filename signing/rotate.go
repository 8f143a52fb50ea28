package signing

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// RotateOptions say how a role gets new keys. The zero value replaces all keys by as many new ones under the same threshold.
type RotateOptions struct {
	Threshold int       // signatures that the role needs from now on; 0 for as many as until now
	Keys      int       // of the role from now on; 0 for as many as until now, but at least Threshold
	Lost      bool      // the old keys are lost: the change does without their signatures (those of root are always needed)
	Now       time.Time // zero means the clock of this host
	Rand      io.Reader // nil means crypto/rand
}

// A Rotation is what became of a role's keys.
type Rotation struct {
	Role      string
	Threshold int
	Keys      []string // ids of the new keys
	KeyFiles  []string // where they are
	OldKeys   []string // ids of the keys that the role had
	OldFiles  []string // those that are at hand: of no use any more once the change is visible
	Root      uint64   // version of root once the change is visible
	Pending   bool     // it waits for signatures
}

// Rotate is [Repository.RotateKeys] with as many new keys under the same threshold. random nil means crypto/rand.
func (r *Repository) Rotate(role string, now time.Time, random io.Reader) error {
	_, err := r.RotateKeys(role, RotateOptions{Now: now, Rand: random})
	return err
}

// RotateKeys replaces all keys of a role by new ones, where the offline keys are. Clients stop
// believing the old keys with the first refresh that sees it, and forget the floors that only these had vouched for. The old key files
// stay where they are, useless to anyone; remove them.
//
// What the new keys sign is signed by the old ones as well, and the new root is written last: a crash leaves a repository that
// verifies under the old root. Without the old keys (Lost) that cannot be: the new root is written just before the timestamp, and a
// crash between the two leaves a state that endpoints refuse until something is signed again (by targets, if it is their keys that were lost);
// they keep what they have.
//
// Where the keys at hand are too few, the change is kept for other hosts to sign: the error then matches [ErrPending], beside the
// rotation. Without any key of the role that says so (root, or targets for database and restrictions) it is [ErrNoKey], and no key is
// made. Other errors as [Repository.Approve].
func (r *Repository) RotateKeys(role string, o RotateOptions) (*Rotation, error) {
	if role != RoleRoot && !slices.Contains(setRoles, role) {
		return nil, fmt.Errorf("no role %q: want %s or one of %v", role, RoleRoot, setRoles)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	s, end, err := r.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.clock(o.Now); err != nil {
		return nil, err
	}
	if _, err := r.readPending(s); err != nil {
		return nil, err
	}
	old, _ := s.authorityOf(role)
	if o.Threshold == 0 {
		o.Threshold = old.threshold
	}
	if o.Keys == 0 {
		o.Keys = max(len(old.keyids), o.Threshold)
	}
	if o.Threshold < 1 || o.Keys < o.Threshold || o.Keys > maxOfflineKeys {
		return nil, fmt.Errorf("%d keys with threshold %d: want at least the threshold and at most %d", o.Keys, o.Threshold, maxOfflineKeys)
	}
	ring, err := r.allKeys()
	if err != nil {
		return nil, err
	}
	signer := RoleRoot
	if delegatedPaths[role] != nil {
		signer = RoleTargets
	}
	if a, _ := s.authorityOf(signer); ring.count(a) == 0 {
		_, err := ring.pick(signer, a, r.keys)
		return nil, err
	}
	next, rotation, err := r.withNewKeys(s, role, o, ring)
	if err != nil {
		return nil, err
	}
	rotation.OldFiles = r.keyFiles(old.keyids)
	roles := []string{signer}
	switch role {
	case RoleRoot:
	case RoleTimestamp:
		roles = append(roles, RoleTimestamp)
	default:
		roles = append(roles, role, RoleSnapshot, RoleTimestamp)
	}
	c, err := r.prepare(s, next, ChangeKeys, "new keys of "+role, roles, ring, o.Now)
	if err != nil {
		return nil, err
	}
	c.p.Lost = o.Lost && role != RoleRoot
	rotation.Root = c.next().root.version
	err = r.settle(c)
	rotation.Pending = errors.Is(err, ErrPending)
	if err != nil && !rotation.Pending {
		return nil, err
	}
	return rotation, err
}

// withDoc is a copy of s in which a role other than root has another document.
func (s *set) withDoc(d *document) *set {
	next := &set{root: s.root, docs: maps.Clone(s.docs), raw: maps.Clone(s.raw)}
	next.docs[d.role] = d
	return next
}

// withNewKeys gives a copy of s in which a role has new keys, which are saved and put into ring.
func (r *Repository) withNewKeys(s *set, role string, o RotateOptions, ring keyring) (*set, *Rotation, error) {
	next := &set{docs: maps.Clone(s.docs), raw: maps.Clone(s.raw)}
	root := *s.root
	next.root = &root
	says := next.root
	if delegatedPaths[role] != nil {
		targets := *s.docs[RoleTargets]
		next.docs[RoleTargets] = &targets
		says = &targets
	}
	says.keys, says.roles = maps.Clone(says.keys), maps.Clone(says.roles)
	a := says.roles[role]
	rotation := &Rotation{Role: role, Threshold: o.Threshold, OldKeys: a.keyids}
	folders := map[string]bool{}
	a.keyids, a.threshold = nil, o.Threshold
	for i := range o.Keys {
		k, err := newKey(o.Rand)
		if err != nil {
			return nil, nil, err
		}
		id := keyID(publicHex(k))
		folder := r.keyHome(keyFolder(role, i, o.Threshold))
		if err := r.f.mkdir(folder, 0o700); err != nil {
			return nil, nil, err
		}
		name, err := r.f.saveKey(folder, role, k)
		if err != nil {
			return nil, nil, err
		}
		folders[folder] = true
		ring[id], says.keys[id] = k, publicHex(k)
		a.keyids = append(a.keyids, id)
		rotation.KeyFiles = append(rotation.KeyFiles, name)
	}
	for _, id := range rotation.OldKeys {
		delete(says.keys, id)
	}
	says.roles[role] = a
	rotation.Keys = a.keyids
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		if err := r.f.syncDir(name); err != nil {
			return nil, nil, err
		}
	}
	return next, rotation, nil
}

// keyHome is where keys of a kind are kept: in the keys folder, or in the repository's own if only offline keys are elsewhere.
func (r *Repository) keyHome(kind string) string {
	own := filepath.Join(r.dir, "keys")
	if kind != "offline" && !fileExists(filepath.Join(r.keys, kind)) && fileExists(filepath.Join(own, "online")) {
		return filepath.Join(own, kind)
	}
	return filepath.Join(r.keys, kind)
}

// keyFolder is where key i of a role belongs: of an online role that needs several signatures, all but the first are for
// co-signing hosts.
func keyFolder(role string, i, threshold int) string {
	switch {
	case role == RoleRoot || role == RoleTargets:
		return "offline"
	case i > 0 && threshold > 1:
		return "cosign"
	}
	return "online"
}

// RenewOffline is [Repository.Renew] where the offline keys are: root and targets are signed anew too when they are due or expired.
// A role none of whose keys is at hand is left as it is. Where the keys at hand are too few, the change is kept for other hosts to
// sign: [ErrPending].
func (r *Repository) RenewOffline(now time.Time) ([]Renewed, error) {
	s, end, err := r.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.clock(now); err != nil {
		return nil, err
	}
	ring, err := r.allKeys()
	if err != nil {
		return nil, err
	}
	roles := s.due(now, RoleRoot, RoleTargets, RoleDatabase, RoleRestrictions, RoleSnapshot, RoleTimestamp)
	if len(roles) == 0 {
		return nil, nil
	}
	for _, role := range []string{RoleRoot, RoleTargets} {
		if a, _ := s.authorityOf(role); slices.Contains(roles, role) && ring.count(a) == 0 {
			_, err := ring.pick(role, a, r.keys)
			return nil, err
		}
	}
	kind := ChangeRenewal
	if slices.Contains(roles, RoleRoot) || slices.Contains(roles, RoleTargets) {
		kind = ChangeKeys
	}
	if err := r.change(s, s, kind, "renewal of "+strings.Join(roles, ", "), roles, now); err != nil {
		return nil, err
	}
	if s, err = r.load(); err != nil {
		return nil, err
	}
	return s.renewed(roles), nil
}
