package signing

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// HoldBack makes later calls of AddTarget and Commit prepare a change instead of making it visible: its files go to DIR/pending until
// [Repository.Sign] has collected the signatures that it needs. It is for releases that a co-signing host has to sign too.
func (r *Repository) HoldBack() { r.hold(true) }

func (r *Repository) hold(held bool) (was bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, r.held = r.held, held
	return was
}

func (r *Repository) holdsBack() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.held
}

// prepare makes a change, signed by the keys at hand. Each leaf needs one of them: it shows who prepared it.
func (r *Repository) prepare(s, next *set, kind ChangeKind, what string, roles []string, ring keyring, now time.Time) (*ceremony, error) {
	was, err := r.readPending(s)
	if err != nil {
		return nil, err
	}
	p := newPending(kind, what, dbformat.At(now), roles)
	c, err := r.ceremony(s, p, ring, now)
	if err != nil {
		return nil, err
	}
	if r.mustStay(s, was, p, now) {
		c.other = was
	}
	for _, role := range p.Roles {
		if !leaf(role) {
			continue
		}
		d := *next.doc(role)
		d.version, d.expires = c.least[role], c.now.Add(Life(role))
		if used := was.used(s, role); role != RoleRoot && used >= d.version {
			d.version = used + 1 // two documents of one number must never both be signed; roots have no other number
		}
		var keys []ed25519.PrivateKey
		for _, s := range []*set{next, s} {
			a, _ := s.authorityOf(role)
			for _, id := range a.keyids {
				if k, ok := ring[id]; ok && len(keys) == 0 {
					keys = append(keys, k)
				}
			}
		}
		if len(keys) == 0 {
			a, _ := next.authorityOf(role)
			_, err := ring.pick(role, a, r.keys)
			return nil, err
		}
		raw, err := encode(&d, keys)
		if err == nil {
			err = p.put(role, raw)
		}
		if err != nil {
			return nil, refused(err)
		}
	}
	for _, role := range p.Roles {
		if leaf(role) {
			if _, err := c.sign(role); err != nil {
				return nil, refused(err)
			}
		}
	}
	return c, nil
}

// mustStay tells whether what waits already must not be lost to p. A release may take the place of a release, a change of its own
// when it is made again, anything that of a renewal, and of what is outdated.
func (r *Repository) mustStay(s *set, was, p *pending, now time.Time) bool {
	if was == nil || was.What == p.What || was.Kind == ChangeRenewal || was.Kind == ChangeRelease && p.Kind == ChangeRelease {
		return false
	}
	c, err := r.ceremony(s, was, nil, now)
	return err == nil && c.allFollow() == nil
}

// publish proves what is complete as clients would, and makes it visible: files of targets, documents, timestamp, root. A crash before
// the timestamp is renamed leaves the public state of before, and what is pending complete: the next Sign goes on.
func (r *Repository) publish(c *ceremony) error {
	n := c.next()
	signed, err := verifySet(n.raw[RoleRoot], n.raw, c.now)
	if err != nil {
		return refused(err)
	}
	newRoot := c.p.has(RoleRoot)
	if newRoot {
		if _, err := verifyRoot(c.s.raw[RoleRoot], n.raw[RoleRoot]); err != nil {
			return refused(err)
		}
		if _, err := verifySet(c.s.raw[RoleRoot], n.raw, time.Time{}); err != nil && !c.p.Lost {
			return refused(err)
		}
	}
	if c.pending {
		if err := r.savePending(c.p); err != nil {
			return err
		}
	}
	folders := map[string]bool{}
	for _, role := range []string{RoleTargets, RoleDatabase, RoleRestrictions} {
		if c.p.docs[role] == nil {
			continue
		}
		for _, t := range sortedTargets(n.docs[role].targets) {
			from, to := r.heldTarget(t), r.TargetFile(t)
			folders[filepath.Dir(to)] = true
			if !fileExists(from) {
				continue
			}
			if err := r.f.mkdir(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			if err := r.f.do(DiskCall{Op: "rename", Path: to, From: from}, func() error { return osfile.Rename(from, to) }); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		if err := r.f.syncDir(name); err != nil {
			return err
		}
	}
	roles := slices.DeleteFunc(slices.Clone(c.p.Roles), func(role string) bool { return role == RoleRoot })
	if newRoot && c.p.Lost {
		roles = append(roles, RoleRoot) // the last one before timestamp
	}
	if err := r.write(signed, roles); err != nil {
		return err
	}
	if newRoot && !c.p.Lost {
		if err := r.write(signed, []string{RoleRoot}); err != nil {
			return err
		}
	}
	// From here on the change is visible; what is left is removed by the next run if not by this one.
	if c.pending {
		if err := r.removePending(); err != nil {
			return err
		}
	}
	r.prune(signed)
	r.note(signed)
	return nil
}

// settle makes a prepared change visible if the keys at hand complete it, else it keeps it for other hosts to sign: [ErrPending].
func (r *Repository) settle(c *ceremony) error {
	complete, err := c.advance()
	if err != nil {
		return refused(err)
	}
	if complete {
		return r.publish(c)
	}
	if c.other != nil {
		return c.other.inTheWay()
	}
	if err := r.keep(c); err != nil {
		return err
	}
	return r.lacking(c)
}

// lacking is the error of a change that is pending.
func (r *Repository) lacking(c *ceremony) error {
	p, err := r.describe(c)
	if err != nil {
		return err
	}
	return &RepositoryError{Kind: ErrPending, What: c.p.What, Detail: p.Lacks(), Remedy: "run \"avdb repo sign\" where the other keys are"}
}

// inTheWay is the error of a change that would take the place of p.
func (p *pending) inTheWay() error {
	return &RepositoryError{Kind: ErrOtherPending, What: p.What, Remedy: "what is published stays as it is; have the other change signed with " +
		"\"avdb repo sign\", or drop it with \"avdb repo sign --drop\""}
}

// keep makes a change what is pending, in the place of what was.
func (r *Repository) keep(c *ceremony) error {
	if err := r.savePending(c.p); err != nil {
		return err
	}
	return r.sweepPending(c.p)
}

// change has offline roles signed as next says, and what vouches for them. It goes on with the same change where that waits already;
// what only bears its name is replaced.
func (r *Repository) change(s, next *set, kind ChangeKind, what string, roles []string, now time.Time) error {
	ring, err := r.allKeys()
	if err != nil {
		return err
	}
	if was, err := r.readPending(s); err == nil && was != nil && was.What == what {
		if c, err := r.ceremony(s, was, ring, now); err == nil && c.says(next, kind, roles) && r.check(c) == nil {
			c.pending = true
			return r.settle(c)
		}
	}
	c, err := r.prepare(s, next, kind, what, roles, ring, now)
	if err != nil {
		return err
	}
	return r.settle(c)
}

// A PendingRole is one document of a pending change.
type PendingRole struct {
	Role    string
	Version uint64    // 0 while it cannot be made: snapshot and timestamp come last
	Expires time.Time // zero likewise
	Quorums []Quorum  // all must be met: those who may sign from now on, and for new keys those who may until now
	Added   []string  // ids of the keys that signed in this run
}

// A Pending is a change that is not visible yet.
type Pending struct {
	Kind         ChangeKind
	What         string // "release 7", "new keys of timestamp", …
	Since        time.Time
	Roles        []PendingRole
	Release      *dbformat.Release // of a release: the new one, else nil
	Restrictions uint64            // epoch of a new restriction set, 0 for none
	Targets      int               // files that the release names
	Bytes        int64             // of them
	Changes      []string          // what the offline keys would say anew, a line each
	Outdated     string            // why it can never be completed, "" if it can
	Visible      bool              // it has all signatures and was made visible
}

// describe tells what a pending change says and what it lacks.
func (r *Repository) describe(c *ceremony) (*Pending, error) {
	p := &Pending{Kind: c.p.Kind, What: c.p.What, Since: c.p.Since.Time}
	for _, role := range c.p.Roles {
		pr := PendingRole{Role: role, Added: c.added[role]}
		if d := c.p.docs[role]; d != nil {
			pr.Version, pr.Expires = d.version, d.expires
		}
		var err error
		if pr.Quorums, err = c.quorums(role); err != nil {
			return nil, err
		}
		p.Roles = append(p.Roles, pr)
	}
	n := c.next()
	if c.p.docs[RoleDatabase] != nil || c.p.docs[RoleRestrictions] != nil {
		was, err := r.content(c.s)
		if err != nil {
			return nil, err
		}
		is, err := r.content(n)
		if err != nil {
			return nil, err
		}
		if is.version() > was.version() {
			p.Release = &is.release.Stable
		}
		if is.release != nil && is.release.Candidate != nil {
			p.Changes = append(p.Changes, fmt.Sprintf("release %d is a candidate for %d of 10000 endpoints", is.version(), is.release.Candidate.ShareBP))
		}
		if is.epoch() > was.epoch() {
			p.Restrictions = is.epoch()
		}
	}
	if d := c.p.docs[RoleDatabase]; d != nil {
		for _, t := range d.targets {
			p.Targets, p.Bytes = p.Targets+1, p.Bytes+t.Length
		}
	}
	p.Changes = append(p.Changes, differences(c.s, n)...)
	if c.p.Lost {
		p.Changes = append(p.Changes, "the old keys are lost and do not sign this change")
	}
	return p, nil
}

// differences lists what root and targets of n say otherwise than those of s. It leaves nothing out that a key could be made to sign.
func differences(s, n *set) []string {
	var lines []string
	line := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	// each compares two lists of names.
	each := func(was, is []string, more, less string) {
		for _, v := range is {
			if !slices.Contains(was, v) {
				line(more, v)
			}
		}
		for _, v := range was {
			if !slices.Contains(is, v) {
				line(less, v)
			}
		}
	}
	was, is := s.docs[RoleTargets], n.docs[RoleTargets]
	for _, d := range []struct {
		was, is *document
		roles   []string
	}{
		{s.root, n.root, []string{RoleRoot, RoleTimestamp, RoleSnapshot, RoleTargets}},
		{was, is, slices.Sorted(maps.Keys(joined(was.roles, is.roles)))},
	} {
		for _, role := range d.roles {
			w, i := d.was.roles[role], d.is.roles[role]
			if w.threshold != i.threshold {
				line("%s needs %d signatures, until now %d", role, i.threshold, w.threshold)
			}
			each(w.keyids, i.keyids, role+" may be signed by the new key %s", role+" may not be signed any more by key %s")
			each(w.paths, i.paths, role+" may name %s", role+" may not name %s any more")
		}
	}
	each(paths(was), paths(is), "targets names %s", "targets does not name %s any more")
	each(versions(was.approved), versions(is.approved), "release %s may exceed the guards", "release %s may not exceed the guards any more")
	return lines
}

func joined(a, b map[string]authority) map[string]authority {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}

// paths are the targets of a document with what they are.
func paths(d *document) []string {
	var list []string
	for _, t := range sortedTargets(d.targets) {
		list = append(list, fmt.Sprintf("%s (%d bytes, SHA-256 %s)", t.Path, t.Length, t.SHA256))
	}
	return list
}

func versions(list []uint64) []string {
	var s []string
	for _, v := range list {
		s = append(s, strconv.FormatUint(v, 10))
	}
	return s
}

// Pending tells what waits for signatures, nil if nothing does. It changes nothing and needs no key.
func (r *Repository) Pending(now time.Time) (*Pending, error) {
	s, err := r.load()
	if err != nil {
		return nil, err
	}
	p, err := r.readPending(s)
	if err != nil || p == nil {
		return nil, err
	}
	c, err := r.ceremony(s, p, nil, now)
	if err != nil {
		return nil, err
	}
	if e, ok := errors.AsType[*RepositoryError](c.allFollow()); ok {
		return &Pending{Kind: p.Kind, What: p.What, Since: p.Since.Time, Outdated: e.Detail}, nil
	}
	return r.describe(c)
}

// Sign adds the signatures of the keys at hand to what is pending, after proving that it follows what is public, that it lives no longer
// than it may, and that the files that it names are there. When it has all signatures, it is made visible, the timestamp last. A run
// that was killed is gone on with. [Repository.Pending] shows beforehand what is to be signed.
//
// Errors match [ErrNothingPending], [ErrNoKey] when no key at hand may sign any of it, [ErrChanged] when something was signed
// meanwhile that it does not follow, [ErrTarget] for files that are not what is to be signed, [ErrClock], [ErrBusy].
func (r *Repository) Sign(now time.Time) (*Pending, error) {
	s, end, err := r.begin()
	if err != nil {
		return nil, err
	}
	defer end()
	p, err := r.readPending(s)
	if err != nil {
		return nil, err
	}
	if p == nil {
		if err := r.removePending(); err != nil {
			return nil, err
		}
		return nil, &RepositoryError{Kind: ErrNothingPending, What: r.dir, Remedy: "prepare a release with \"avdb repo publish --unsigned\""}
	}
	if err := s.clock(now); err != nil {
		return nil, err
	}
	ring, err := r.allKeys()
	if err != nil {
		return nil, err
	}
	c, err := r.ceremony(s, p, ring, now)
	if err != nil {
		return nil, err
	}
	c.pending = true
	if err := r.check(c); err != nil {
		return nil, err
	}
	complete, err := c.advance()
	if err != nil {
		return nil, refused(err)
	}
	if !complete && !c.usable() {
		done, err := r.describe(c)
		if err != nil {
			return nil, err
		}
		return nil, &RepositoryError{Kind: ErrNoKey, What: r.keys, Detail: "no key there may sign what is pending: " + done.Lacks(),
			Remedy: "name the folder of this host's keys with --keys"}
	}
	done, err := r.describe(c)
	if err != nil {
		return nil, err
	}
	if complete {
		if err := r.publish(c); err != nil {
			return nil, err
		}
		done.Visible = true
		return done, nil
	}
	if len(c.added) == 0 {
		return done, nil
	}
	return done, r.savePending(c.p)
}

// usable tells whether a key at hand may sign anything of what is pending.
func (c *ceremony) usable() bool {
	for _, role := range c.p.Roles {
		quorums, err := c.quorums(role)
		if err != nil {
			return false
		}
		for _, q := range quorums {
			if slices.ContainsFunc(q.Keys, func(id string) bool { return c.ring[id] != nil }) {
				return true
			}
		}
	}
	return false
}

// Lacks says which signatures are missing next, "" if none is. Snapshot and timestamp come after the other roles.
func (p *Pending) Lacks() string {
	var lacks []string
	for _, role := range p.Roles {
		if !leaf(role.Role) && len(lacks) > 0 {
			break
		}
		for _, q := range role.Quorums {
			if !q.met() {
				missing := slices.DeleteFunc(slices.Clone(q.Keys), func(id string) bool { return slices.Contains(q.Signed, id) })
				lacks = append(lacks, fmt.Sprintf("%s has %d of %d signatures, keys %s have not signed", role.Role, len(q.Signed), q.Threshold,
					strings.Join(shortIDs(missing), " ")))
			}
		}
	}
	return strings.Join(lacks, "; ")
}
