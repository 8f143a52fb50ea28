package signing

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// A ceremony is a pending change on its way to enough signatures: what is public, what is to come, and the keys that are at hand.
type ceremony struct {
	s       *set     // public
	p       *pending // what is signed so far
	ring    keyring
	now     time.Time
	added   map[string][]string // by role: keys that signed in this run
	least   map[string]uint64   // by role: the lowest version that was never used
	pending bool                // p is what is kept in DIR/pending
	other   *pending            // what waits already and must not be lost, nil if nothing does
}

// next is the public state with what is pending in it. It is only proved when it is complete.
func (c *ceremony) next() *set {
	n := &set{root: c.s.root, docs: maps.Clone(c.s.docs), raw: maps.Clone(c.s.raw)}
	for role, d := range c.p.docs {
		n.raw[role] = []byte(c.p.Documents[role])
		if role == RoleRoot {
			n.root = d
		} else {
			n.docs[role] = d
		}
	}
	return n
}

// A Quorum is whose signatures a document needs, and how many of them.
type Quorum struct {
	Threshold int
	Keys      []string // ids of those that may sign
	Signed    []string // ids of those whose signature is good
}

// met tells whether there are enough.
func (q Quorum) met() bool { return len(q.Signed) >= q.Threshold }

// quorums are who must sign a role: those who may from now on, and, as clients come from the root before, those who may until now.
func (c *ceremony) quorums(role string) ([]Quorum, error) {
	n := c.next()
	sets := []*set{n}
	if c.p.has(RoleRoot) && delegatedPaths[role] == nil && (role == RoleRoot || !c.p.Lost) {
		sets = append(sets, c.s)
	}
	var list []Quorum
	for i, s := range sets {
		a, keys := s.authorityOf(role)
		if i > 0 && a.threshold == list[0].Threshold && sameKeys(a.keyids, list[0].Keys) {
			continue
		}
		q := Quorum{Threshold: a.threshold, Keys: slices.Clone(a.keyids)}
		if raw, ok := c.p.Documents[role]; ok {
			var err error
			if q.Signed, err = signedBy(role, []byte(raw), a, keys); err != nil {
				return nil, err
			}
		}
		list = append(list, q)
	}
	return list, nil
}

func sameKeys(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id string) bool { return !slices.Contains(b, id) })
}

// sign adds the signatures of the keys at hand to a role's document, and tells whether it has enough.
func (c *ceremony) sign(role string) (complete bool, err error) {
	quorums, err := c.quorums(role)
	if err != nil {
		return false, err
	}
	var good, ids []string
	var keys []ed25519.PrivateKey
	for _, q := range quorums {
		good = append(good, q.Signed...)
		for _, id := range q.Keys {
			if k, ok := c.ring[id]; ok && !slices.Contains(q.Signed, id) && !slices.Contains(ids, id) {
				ids, keys = append(ids, id), append(keys, k)
			}
		}
	}
	if len(keys) > 0 {
		raw, err := addSignatures(role, []byte(c.p.Documents[role]), good, keys)
		if err == nil {
			err = c.p.put(role, raw)
		}
		if err != nil {
			return false, err
		}
		c.added[role] = append(c.added[role], ids...)
		if quorums, err = c.quorums(role); err != nil {
			return false, err
		}
	}
	return !slices.ContainsFunc(quorums, func(q Quorum) bool { return !q.met() }), nil
}

// addSignatures signs a document as it is. Signatures that are not good are left out.
func addSignatures(role string, raw []byte, good []string, keys []ed25519.PrivateKey) (b []byte, err error) {
	err = guarded(&role, func() error {
		switch role {
		case RoleRoot:
			b, err = resign(metadata.Root(), raw, good, keys)
		case RoleTimestamp:
			b, err = resign(metadata.Timestamp(), raw, good, keys)
		case RoleSnapshot:
			b, err = resign(metadata.Snapshot(), raw, good, keys)
		default:
			b, err = resign(metadata.Targets(), raw, good, keys)
		}
		return err
	})
	return b, err
}

func resign[T metadata.Roles](m *metadata.Metadata[T], raw []byte, good []string, keys []ed25519.PrivateKey) ([]byte, error) {
	m, err := m.FromBytes(raw)
	if err != nil {
		return nil, err
	}
	m.Signatures = slices.DeleteFunc(m.Signatures, func(s metadata.Signature) bool { return !slices.Contains(good, s.KeyID) })
	return signDocument(m, keys)
}

// advance signs all that the keys at hand can sign: leaves first, snapshot when these are complete, timestamp when that is. It tells
// whether the whole is complete.
func (c *ceremony) advance() (complete bool, err error) {
	complete = true
	for _, role := range c.p.Roles {
		if !leaf(role) {
			if !complete {
				return false, nil
			}
			if made, err := c.vouch(role); err != nil || !made {
				return false, err
			}
		}
		ok, err := c.sign(role)
		if err != nil {
			return false, err
		}
		complete = complete && ok
	}
	return complete, nil
}

// vouch makes the document of snapshot or timestamp over what is complete, if no host has made it, or if what was made does not
// follow any more. It needs a key of the role: false without one.
func (c *ceremony) vouch(role string) (bool, error) {
	n := c.next()
	d := &document{role: role, version: c.least[role], expires: c.now.Add(Life(role)), signedAt: c.now}
	if role == RoleSnapshot {
		d.meta = n.metaOf(RoleTargets, RoleDatabase, RoleRestrictions)
	} else {
		d.meta = n.metaOf(RoleSnapshot)
	}
	if was := c.p.docs[role]; was != nil && maps.Equal(was.meta, d.meta) && c.follows(role) == nil &&
		was.expires.Sub(c.now) > renewBelow(role) {
		return true, nil
	}
	c.p.drop(role)
	quorums, err := c.quorums(role)
	if err != nil {
		return false, err
	}
	for _, id := range quorums[0].Keys {
		if k, ok := c.ring[id]; ok {
			raw, err := encode(d, []ed25519.PrivateKey{k})
			if err == nil {
				err = c.p.put(role, raw)
			}
			c.added[role] = append(c.added[role], id)
			return true, err
		}
	}
	return false, nil
}

// follows tells why a pending document cannot follow the one that is public, nil if it can.
func (c *ceremony) follows(role string) error {
	d, was := c.p.docs[role], c.s.doc(role)
	if c.p.Documents[role] == string(c.s.raw[role]) {
		return nil // made visible by a run that was killed
	}
	outdated := func(format string, args ...any) error {
		return &RepositoryError{Kind: ErrChanged, What: "pending " + c.p.What, Detail: fmt.Sprintf(format, args...),
			Remedy: "what is published stays as it is; prepare the change again, or drop it with \"avdb repo sign --drop\""}
	}
	life := Life(role)
	switch {
	case d.version <= was.version || d.version < c.least[role]:
		return outdated("%s has version %d, and %d was signed meanwhile", role, d.version, max(was.version, c.least[role]-1))
	case role == RoleRoot && d.version != was.version+1:
		// Clients take roots one by one. A later one that was signed today would count once its turn comes.
		return outdated("root has version %d after %d", d.version, was.version)
	case d.version-was.version > maxStep:
		return outdated("%s version %d is more than 2^32 above version %d", role, d.version, was.version)
	case !c.now.Before(d.expires):
		return outdated("%s version %d expired at %s", role, d.version, d.expires.Format(time.RFC3339))
	case role == RoleTimestamp && (d.signedAt.Add(clockTolerance).Before(was.signedAt) || d.signedAt.After(c.now.Add(clockTolerance))):
		return outdated("timestamp version %d was signed at %s, the one before at %s", d.version, d.signedAt.Format(time.RFC3339), was.signedAt.Format(time.RFC3339))
	case d.expires.After(c.now.Add(life + clockTolerance)):
		return outdated("%s version %d expires at %s, later than its life of %d days allows", role, d.version,
			d.expires.Format(time.RFC3339), int(life.Hours()/24))
	}
	return nil
}

// says tells whether what waits would make next of the public state, and nothing else. Nothing in it is trusted: keys that are asked
// for one change must not sign another that somebody put there under its name. What is due for renewal already does not count either.
func (c *ceremony) says(next *set, kind ChangeKind, roles []string) bool {
	if c.p.Kind != kind || c.p.Lost || !slices.Equal(c.p.Roles, newPending(kind, "", c.p.Since, roles).Roles) {
		return false
	}
	for _, role := range c.p.Roles {
		if !leaf(role) {
			continue
		}
		d := *next.doc(role)
		d.version, d.expires = c.p.docs[role].version, c.p.docs[role].expires
		want, err := encode(&d, nil)
		if err != nil || d.expires.Sub(c.now) < renewBelow(role) {
			return false
		}
		// Byte for byte, so that no field that this version does not know is signed with it.
		if have, err := addSignatures(role, []byte(c.p.Documents[role]), nil, nil); err != nil || !bytes.Equal(have, want) {
			return false
		}
	}
	return true
}

// allFollow tells why a leaf cannot follow. Snapshot and timestamp are made anew where they do not.
func (c *ceremony) allFollow() error {
	for _, role := range c.p.Roles {
		if leaf(role) {
			if err := c.follows(role); err != nil {
				return err
			}
		}
	}
	return nil
}

// check proves what can be proved before a key signs: that the documents follow those that are public and live no longer than they
// may, that the files that they name are there with the bytes that they say, and that release and epoch go forward.
func (r *Repository) check(c *ceremony) error {
	if err := c.allFollow(); err != nil {
		return err
	}
	for _, role := range []string{RoleTargets, RoleDatabase, RoleRestrictions} {
		if d := c.p.docs[role]; d != nil {
			for _, t := range sortedTargets(d.targets) {
				if err := r.proveTarget(t); err != nil {
					return err
				}
			}
		}
	}
	return r.checkContent(c, c.next())
}

// checkContent proves that release and epoch go forward, that none gets another content under its number, where nobody would look for
// one, and that a change about something else leaves both alone.
func (r *Repository) checkContent(c *ceremony, n *set) error {
	bad := func(format string, args ...any) error {
		return &RepositoryError{Kind: ErrChanged, What: "pending " + c.p.What, Detail: fmt.Sprintf(format, args...),
			Remedy: "nothing was signed; find out who prepared it, and drop it with \"avdb repo sign --drop\""}
	}
	for _, role := range []string{RoleDatabase, RoleRestrictions} {
		if c.p.Kind != ChangeRelease && !maps.Equal(c.s.docs[role].targets, n.docs[role].targets) {
			return bad("names other files of %s, and is no release", role)
		}
	}
	was, err := r.content(c.s)
	if err != nil {
		return err
	}
	is, err := r.content(n)
	if err != nil {
		return err
	}
	same := func(role, path string) bool { return c.s.docs[role].targets[path] == n.docs[role].targets[path] }
	switch {
	case is.version() < was.version() || is.epoch() < was.epoch():
		return bad("release %d and restriction epoch %d, after release %d and epoch %d", is.version(), is.epoch(), was.version(), was.epoch())
	case is.version() == was.version() && !same(RoleDatabase, dbformat.ReleaseTarget):
		return bad("release %d is published with another content", is.version())
	case is.epoch() == was.epoch() && !same(RoleRestrictions, dbformat.RestrictionsTarget):
		return bad("restriction epoch %d is published with another content", is.epoch())
	}
	return nil
}

// proveTarget reads a target's file, held back or public.
func (r *Repository) proveTarget(t Target) error {
	name := r.anyTarget(t)
	bad := func(err error, detail string) error {
		return &RepositoryError{Kind: ErrTarget, What: "target " + t.Path, Detail: detail, Err: err,
			Remedy: "nothing was signed; restore " + name + " or prepare the change again"}
	}
	f, err := osfile.Open(name)
	if _, ok := errors.AsType[*osfile.IrregularError](err); ok {
		return bad(nil, "is not a regular file")
	} else if err != nil {
		return bad(err, "")
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(f, t.Length+1))
	if err != nil {
		return bad(err, "")
	}
	if n != t.Length || !bytes.Equal(h.Sum(nil), t.SHA256[:]) {
		return bad(nil, "its file has not the length and hash that are to be signed")
	}
	return nil
}

// A content is what a set's release record and restriction set say; nil where there is none.
type content struct {
	release *dbformat.ReleaseRecord
	set     *dbformat.RestrictionSet
}

func (c content) version() uint64 {
	if c.release == nil {
		return 0
	}
	return c.release.Version()
}

func (c content) epoch() uint64 {
	if c.set == nil {
		return 0
	}
	return c.set.Epoch
}

func (r *Repository) content(s *set) (c content, err error) {
	read := func(role, path string, limit int64, parse func([]byte) error) error {
		t, ok := s.docs[role].targets[path]
		if !ok {
			return nil
		}
		name := r.anyTarget(t)
		b, err := readLimited(name, limit)
		if err == nil && (int64(len(b)) != t.Length || sha256.Sum256(b) != [32]byte(t.SHA256)) {
			err = fmt.Errorf("is not what was signed")
		}
		if err == nil {
			err = parse(b)
		}
		if err != nil {
			return &RepositoryError{Kind: ErrRepository, What: name, Detail: plain(err), Remedy: "restore the file from a mirror"}
		}
		return nil
	}
	err = read(RoleDatabase, dbformat.ReleaseTarget, dbformat.MaxReleaseRecord, func(b []byte) (err error) {
		c.release, err = dbformat.ParseReleaseRecord(b)
		return err
	})
	if err == nil {
		err = read(RoleRestrictions, dbformat.RestrictionsTarget, dbformat.MaxRestrictionSet, func(b []byte) (err error) {
			c.set, err = dbformat.ParseRestrictionSet(b)
			return err
		})
	}
	return c, err
}

// ceremony is what goes on around a pending change.
func (r *Repository) ceremony(s *set, p *pending, ring keyring, now time.Time) (*ceremony, error) {
	c := &ceremony{s: s, p: p, ring: ring, now: dbformat.At(now).Time, added: map[string][]string{}}
	var err error
	if c.least, err = r.nextVersions(s, p.Roles); err != nil {
		return nil, err
	}
	for _, role := range p.Roles {
		// A file that a killed run wrote for this very change does not use its number up.
		if d := p.docs[role]; d != nil && d.version == c.least[role]-1 && d.version > s.doc(role).version {
			b, err := readLimited(r.public("metadata", fmt.Sprintf("%d.%s.json", d.version, role)), limitOf(role))
			if err == nil && string(b) == p.Documents[role] {
				c.least[role] = d.version
			}
		}
	}
	return c, nil
}
