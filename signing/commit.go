package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"example.org/avdb/dbformat"
)

func newRootDoc() *document {
	return &document{role: RoleRoot, keys: map[string]string{}, roles: map[string]authority{}}
}

func newTargetsDoc(role string) *document {
	d := &document{role: role, targets: map[string]Target{}}
	if role == RoleTargets {
		d.keys, d.roles = map[string]string{}, map[string]authority{}
	}
	return d
}

// A builder signs documents at one moment.
type builder struct {
	now   time.Time
	rings keyring
}

// sign gives s with the roles of versions signed anew under these numbers, everything proved as a client would. Roles that are not in
// versions keep their bytes.
func (b *builder) sign(s *set, versions map[string]uint64, keysDir string) (*set, error) {
	next := &set{root: s.root, docs: maps.Clone(s.docs), raw: maps.Clone(s.raw)}
	if v, ok := versions[RoleRoot]; ok {
		root := *s.root
		root.version, root.expires = v, b.now.Add(LifeRoot)
		next.root = &root
	}
	// Who is vouched for is signed before who vouches.
	for _, role := range []string{RoleRoot, RoleRestrictions, RoleDatabase, RoleTargets, RoleSnapshot, RoleTimestamp} {
		v, ok := versions[role]
		if !ok {
			continue
		}
		d := next.root
		if role != RoleRoot {
			c := *next.docs[role]
			d = &c
			d.version, d.expires = v, b.now.Add(Life(role))
			next.docs[role] = d
		}
		switch role {
		case RoleSnapshot:
			d.meta = next.metaOf(RoleTargets, RoleDatabase, RoleRestrictions)
		case RoleTimestamp:
			d.meta = next.metaOf(RoleSnapshot)
			d.signedAt = b.now
		}
		a, _ := next.authorityOf(role)
		folder := "online"
		if role == RoleRoot || role == RoleTargets {
			folder = "offline"
		}
		keys, err := b.rings.pick(role, a, filepath.Join(keysDir, folder))
		if err != nil {
			return nil, err
		}
		if next.raw[role], err = encode(d, keys); err != nil {
			return nil, err
		}
	}
	return verifySet(next.raw[RoleRoot], next.raw, b.now)
}

func (s *set) metaOf(roles ...string) map[string]metaFile {
	m := map[string]metaFile{}
	for _, r := range roles {
		m[r] = metaFile{version: s.docs[r].version, length: int64(len(s.raw[r])), sha256: sha256.Sum256(s.raw[r])}
	}
	return m
}

// encode signs a document with go-tuf's own types, so that any TUF client reads it.
func encode(d *document, keys []ed25519.PrivateKey) ([]byte, error) {
	switch d.role {
	case RoleRoot:
		m := metadata.Root(d.expires)
		m.Signed.Version = int64(d.version)
		m.Signed.Keys = tufKeys(d.keys)
		for role, a := range d.roles {
			m.Signed.Roles[role] = &metadata.Role{KeyIDs: a.keyids, Threshold: a.threshold}
		}
		return signDocument(m, keys)
	case RoleTimestamp:
		m := metadata.Timestamp(d.expires)
		m.Signed.Version = int64(d.version)
		m.Signed.Meta = tufMeta(d.meta)
		m.Signed.UnrecognizedFields = map[string]any{"signed_at": dbformat.At(d.signedAt)}
		return signDocument(m, keys)
	case RoleSnapshot:
		m := metadata.Snapshot(d.expires)
		m.Signed.Version = int64(d.version)
		m.Signed.Meta = tufMeta(d.meta)
		return signDocument(m, keys)
	}
	m := metadata.Targets(d.expires)
	m.Signed.Version = int64(d.version)
	for p, t := range d.targets {
		m.Signed.Targets[p] = &metadata.TargetFiles{Length: t.Length, Hashes: metadata.Hashes{"sha256": t.SHA256[:]}}
	}
	if d.role == RoleTargets {
		if len(d.approved) > 0 {
			m.Signed.UnrecognizedFields = map[string]any{"approved": d.approved}
		}
		m.Signed.Delegations = &metadata.Delegations{Keys: tufKeys(d.keys)}
		for _, role := range slices.Sorted(maps.Keys(d.roles)) {
			a := d.roles[role]
			m.Signed.Delegations.Roles = append(m.Signed.Delegations.Roles, metadata.DelegatedRole{
				Name: role, KeyIDs: a.keyids, Threshold: a.threshold, Terminating: true, Paths: a.paths})
		}
	}
	return signDocument(m, keys)
}

func tufKeys(keys map[string]string) map[string]*metadata.Key {
	m := map[string]*metadata.Key{}
	for id, public := range keys {
		m[id] = &metadata.Key{Type: metadata.KeyTypeEd25519, Scheme: metadata.KeySchemeEd25519, Value: metadata.KeyVal{PublicKey: public}}
	}
	return m
}

func tufMeta(files map[string]metaFile) map[string]*metadata.MetaFiles {
	m := map[string]*metadata.MetaFiles{}
	for role, f := range files {
		m[role+".json"] = &metadata.MetaFiles{Version: int64(f.version), Length: f.length, Hashes: metadata.Hashes{"sha256": f.sha256[:]}}
	}
	return m
}

func signDocument[T metadata.Roles](m *metadata.Metadata[T], keys []ed25519.PrivateKey) ([]byte, error) {
	for _, k := range keys {
		signer, err := signature.LoadED25519Signer(k)
		if err != nil {
			return nil, err
		}
		if _, err := m.Sign(signer); err != nil {
			return nil, err
		}
	}
	return m.ToBytes(false)
}

// Commit replaces the targets of the roles in change by the lists given, and signs them, every other online role that is near
// its expiry, a new snapshot and a new timestamp. Each new file is durable before timestamp.json, the only name that changes its content,
// moves to the new state: a crash leaves the old state or the new one. Without a change it signs snapshot and timestamp anew.
//
// It never reads the offline keys. Errors match [ErrOfflineKeys] when root or targets have expired, [ErrNoKey], [ErrTarget] for a
// target that its role may not name or whose file is not there, [ErrChanged] when another process published
// since this repository's state was last read by the caller, [ErrBusy], [ErrClock].
func (r *Repository) Commit(change map[string][]Target, now time.Time) error {
	s, end, err := r.begin()
	if err != nil {
		return err
	}
	defer end()
	if err := s.signable(now); err != nil {
		return err
	}
	next, folders, err := r.withTargets(s, change)
	if err != nil {
		return err
	}
	for _, name := range folders {
		if err := r.f.syncDir(name); err != nil {
			return err
		}
	}
	roles := []string{RoleSnapshot, RoleTimestamp}
	for _, role := range []string{RoleDatabase, RoleRestrictions} {
		if _, ok := change[role]; ok || s.docs[role].expires.Sub(now) < renewBelow(role) {
			roles = append(roles, role)
		}
	}
	if r.holdsBack() {
		return r.holdBack(s, next, roles, now)
	}
	if _, err = r.resign(next, roles, now); err == nil && len(change) > 0 {
		r.supersede()
	}
	return err
}

// holdBack makes a release pending, signed by the online keys that are here.
func (r *Repository) holdBack(s, next *set, roles []string, now time.Time) error {
	is, err := r.content(next)
	if err != nil {
		return err
	}
	was, err := r.content(s)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("release %d", is.version())
	if is.version() == was.version() {
		what = fmt.Sprintf("restriction set of epoch %d", is.epoch())
	}
	online, err := loadKeys(filepath.Join(r.keys, "online"))
	if err != nil {
		return err
	}
	c, err := r.prepare(s, next, ChangeRelease, what, roles, online, now)
	if err != nil {
		return err
	}
	if c.other != nil {
		return c.other.inTheWay()
	}
	return r.keep(c)
}

// supersede forgets a release or a renewal that waited for signatures when another one was made visible. If that fails it is
// outdated all the same, because its versions do not follow any more.
func (r *Repository) supersede() {
	s, err := r.load()
	if err != nil {
		return
	}
	if p, err := r.readPending(s); err == nil && (p == nil || p.Kind != ChangeKeys) {
		_ = r.removePending()
	}
}

// withTargets is s with other targets, and the folders that hold new files of them.
func (r *Repository) withTargets(s *set, change map[string][]Target) (*set, []string, error) {
	folders := map[string]bool{}
	next := s
	for role, targets := range change {
		if role != RoleDatabase && role != RoleRestrictions {
			return nil, nil, &RepositoryError{Kind: ErrOfflineKeys, What: "role " + role, Detail: "Commit signs database and restrictions only"}
		}
		if was := r.version(role); was != s.docs[role].version {
			return nil, nil, &RepositoryError{Kind: ErrChanged, What: "role " + role,
				Detail: fmt.Sprintf("version %d was read, %d is there now", was, s.docs[role].version), Remedy: "publish again"}
		}
		d := *s.docs[role]
		d.targets = map[string]Target{}
		for _, t := range targets {
			if err := r.checkTarget(role, t, d.targets); err != nil {
				return nil, nil, err
			}
			d.targets[t.Path] = t
			folders[filepath.Dir(r.addedTarget(t))] = true
		}
		next = next.withDoc(&d)
	}
	return next, slices.Sorted(maps.Keys(folders)), nil
}

func (r *Repository) version(role string) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen[role]
}

func (r *Repository) checkTarget(role string, t Target, others map[string]Target) error {
	if err := CheckTargetPath(t.Path); err != nil {
		return err
	}
	bad := func(format string, args ...any) error {
		return &RepositoryError{Kind: ErrTarget, What: "target " + t.Path, Detail: fmt.Sprintf(format, args...)}
	}
	if !entrusted(role, t.Path) {
		return bad("is not of role %s", role)
	}
	if _, twice := others[t.Path]; twice {
		return bad("is listed twice")
	}
	if t.Length < 0 || t.Length > MaxTargetLength {
		return bad("has %d bytes", t.Length)
	}
	file, err := os.Stat(r.addedTarget(t))
	if err != nil {
		return &RepositoryError{Kind: ErrTarget, What: "target " + t.Path, Err: err, Remedy: "add its file first"}
	}
	if file.Size() != t.Length {
		return bad("its file has %d bytes, want %d", file.Size(), t.Length)
	}
	return nil
}

// signable tells whether online keys alone can make a set that clients take now.
func (s *set) signable(now time.Time) error {
	for _, d := range []*document{s.root, s.docs[RoleTargets]} {
		if now.After(d.expires) {
			return &RepositoryError{Kind: ErrOfflineKeys, What: "role " + d.role,
				Detail: "expired at " + d.expires.Format(time.RFC3339), Remedy: "endpoints keep what they have; run \"avdb repo renew --offline\" where the offline keys are"}
		}
	}
	if s.lost {
		return &RepositoryError{Kind: ErrOfflineKeys, What: "role " + RoleTargets, Detail: "a rotation of its keys without the old ones was interrupted",
			Remedy: "endpoints keep what they have; run \"avdb repo renew --offline\" where the offline keys are"}
	}
	return s.clock(now)
}

// clock tells whether the clock can be right.
func (s *set) clock(now time.Time) error {
	if newest := s.docs[RoleTimestamp].signedAt; now.Add(clockTolerance).Before(newest) {
		return &RepositoryError{Kind: ErrClock, What: "timestamp", Detail: fmt.Sprintf("signed at %s, the clock says %s",
			newest.Format(time.RFC3339), now.UTC().Format(time.RFC3339)), Remedy: "set the clock"}
	}
	return nil
}

// resign signs and writes the roles at their next versions.
func (r *Repository) resign(s *set, roles []string, now time.Time) (*set, error) {
	online, err := loadKeys(filepath.Join(r.keys, "online"))
	if err != nil {
		return nil, err
	}
	versions, err := r.nextVersions(s, roles)
	if err != nil {
		return nil, err
	}
	b := &builder{now: dbformat.At(now).Time, rings: online}
	next, err := b.sign(s, versions, r.keys)
	if err != nil {
		return nil, refused(err)
	}
	if err := r.write(next, roles); err != nil {
		return nil, err
	}
	r.prune(next)
	r.note(next)
	return next, nil
}

// nextVersions gives numbers that were never used, not even by a run that was killed.
func (r *Repository) nextVersions(s *set, roles []string) (map[string]uint64, error) {
	versions := map[string]uint64{}
	for _, role := range roles {
		left, err := r.newest(role)
		if err != nil {
			return nil, err
		}
		d := s.doc(role)
		if versions[role] = max(left, d.version) + 1; versions[role] > dbformat.MaxVersion {
			return nil, fmt.Errorf("role %s has no version after %d", role, d.version)
		}
	}
	return versions, nil
}

// refused turns the verdict of the proof before writing into an error about the repository: nothing was written.
func refused(err error) error {
	if e, ok := errors.AsType[*UntrustedError](err); ok {
		return &RepositoryError{Kind: ErrRepository, What: "role " + e.Role, Detail: "endpoints would refuse what was to be signed: " + plain(e),
			Remedy: "nothing was changed; check the clock and the keys, and try again"}
	}
	return err
}

// write puts new documents in place. A crash before the last rename leaves files that no timestamp names; after
// it the new state is complete.
func (r *Repository) write(s *set, roles []string) error {
	dir := r.public("metadata")
	put := func(role, name string) error {
		return r.f.replace(filepath.Join(r.dir, "tmp"), filepath.Join(dir, name), bytes.NewReader(s.raw[role]), 0o644)
	}
	for _, role := range roles {
		if role == RoleTimestamp {
			continue
		}
		if err := put(role, fmt.Sprintf("%d.%s.json", s.doc(role).version, role)); err != nil {
			return err
		}
	}
	if err := r.f.syncDir(dir); err != nil {
		return err
	}
	if !slices.Contains(roles, RoleTimestamp) {
		return nil
	}
	if err := put(RoleTimestamp, "timestamp.json"); err != nil {
		return err
	}
	return r.f.syncDir(dir)
}

// A Renewed is a role that was signed anew.
type Renewed struct {
	Role    string
	Version uint64
	Expires time.Time
}

// Renew signs anew every online role that has less than a third of its life left, and what vouches for it. It changes no target
// and needs no offline key. Nothing due: nil, and nothing is written. Where a role needs keys of another host, what can be signed here is,
// and the rest waits for [Repository.Sign]: the error then matches [ErrPending], beside what was renewed. Other errors as [Repository.Commit].
func (r *Repository) Renew(now time.Time) ([]Renewed, error) {
	s, end, err := r.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	if err := s.signable(now); err != nil {
		return nil, err
	}
	roles := s.due(now, RoleDatabase, RoleRestrictions, RoleSnapshot, RoleTimestamp)
	if len(roles) == 0 {
		return nil, nil
	}
	online, err := loadKeys(filepath.Join(r.keys, "online"))
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(roles, func(role string) bool {
		a, _ := s.authorityOf(role)
		return online.count(a) > 0 && online.count(a) < a.threshold
	}) {
		next, err := r.resign(s, roles, now)
		if err != nil {
			return nil, err
		}
		return next.renewed(roles), nil
	}
	return r.renewWithOthers(s, roles, online, now)
}

// renewWithOthers renews timestamp, which this host may sign alone, so that clients go on for its life; the other roles
// that are due become a pending change, unless one waits already.
func (r *Repository) renewWithOthers(s *set, roles []string, online keyring, now time.Time) (done []Renewed, err error) {
	if a, _ := s.authorityOf(RoleTimestamp); online.count(a) >= a.threshold && s.doc(RoleTimestamp).expires.Sub(now) < renewBelow(RoleTimestamp) {
		if s, err = r.resign(s, []string{RoleTimestamp}, now); err != nil {
			return nil, err
		}
		done = s.renewed([]string{RoleTimestamp})
	}
	was, err := r.readPending(s)
	if err != nil {
		return done, err
	}
	if was != nil {
		if c, err := r.ceremony(s, was, online, now); err == nil && c.allFollow() == nil {
			return done, r.lacking(c)
		}
	}
	c, err := r.prepare(s, s, ChangeRenewal, "renewal of "+strings.Join(slices.DeleteFunc(slices.Clone(roles), func(role string) bool {
		return role == RoleTimestamp
	}), ", "), roles, online, now)
	if err != nil {
		return done, err
	}
	return done, r.settle(c)
}

// due lists the roles that have less than a third of their life left, and those above them: a document that is signed anew changes its
// hash, which snapshot names, whose own hash timestamp names.
func (s *set) due(now time.Time, roles ...string) []string {
	var due []string
	above := s.torn
	for _, role := range roles {
		if s.doc(role).expires.Sub(now) < renewBelow(role) || s.lost && role == RoleTargets || above && (role == RoleSnapshot || role == RoleTimestamp) {
			due = append(due, role)
			above = above || role != RoleRoot
		}
	}
	return due
}

func (s *set) renewed(roles []string) []Renewed {
	var done []Renewed
	for _, role := range roles {
		done = append(done, Renewed{role, s.doc(role).version, s.doc(role).expires})
	}
	return done
}

// A RoleStatus is the state of one role of a repository.
type RoleStatus struct {
	Role      string
	Version   uint64
	Expires   time.Time
	Expired   bool
	RenewDue  bool // less than a third of its life is left
	Bytes     int  // of its metadata file
	Targets   int  // that it names
	Threshold int
	Keys      []string // ids of the keys that may sign
	KeysHere  int      // how many of them have their private key in keys/online; 0 for offline roles
	Online    bool
}

// A RepositoryStatus is what [Repository.Status] tells.
type RepositoryStatus struct {
	RootFingerprint string
	SignedAt        time.Time
	Expires         time.Time // when clients begin to refuse: the earliest expiry of all roles
	Roles           []RoleStatus
}

// Status tells versions, expiries, sizes and keys. It changes nothing and needs no key.
func (r *Repository) Status(now time.Time) (RepositoryStatus, error) {
	s, err := r.load()
	if err != nil {
		return RepositoryStatus{}, err
	}
	online, err := loadKeys(filepath.Join(r.keys, "online"))
	if err != nil {
		return RepositoryStatus{}, err
	}
	st := RepositoryStatus{RootFingerprint: r.rootID, SignedAt: s.docs[RoleTimestamp].signedAt}
	st.Expires, _ = s.expires()
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		d := s.doc(role)
		a, _ := s.authorityOf(role)
		rs := RoleStatus{Role: role, Version: d.version, Expires: d.expires, Expired: now.After(d.expires),
			RenewDue: d.expires.Sub(now) < renewBelow(role), Bytes: len(s.raw[role]), Targets: len(d.targets),
			Threshold: a.threshold, Keys: a.keyids, Online: role != RoleRoot && role != RoleTargets}
		if rs.Online {
			for _, id := range a.keyids {
				if _, ok := online[id]; ok {
					rs.KeysHere++
				}
			}
		}
		st.Roles = append(st.Roles, rs)
	}
	return st, nil
}
