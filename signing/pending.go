package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"example.org/avdb/dbformat"
)

// What is being signed by several hosts lies beside the public tree until it has all its signatures:
//
//	DIR/pending/pending.json  the documents with the signatures they have so far
//	DIR/pending/targets       target files that are not in public/targets yet, under the same names
const (
	pendingFolder = "pending"
	pendingFile   = "pending.json"
	maxPending    = 8 << 20
	maxWhat       = 200 // bytes of what a change is called
)

// A ChangeKind is what a pending change is about.
type ChangeKind string

// The kinds.
const (
	ChangeRelease ChangeKind = "release" // targets of database or restrictions
	ChangeRenewal ChangeKind = "renewal" // nothing but expiries
	ChangeKeys    ChangeKind = "keys"    // what the offline keys say: keys, thresholds, approvals
)

// signOrder is the order in which a set is signed. The first four name no other document: all hosts may sign them in any order. Snapshot
// names their hashes, signatures included, so that it can only be made when they are complete, and timestamp after it.
var signOrder = []string{RoleRoot, RoleRestrictions, RoleDatabase, RoleTargets, RoleSnapshot, RoleTimestamp}

// leaf tells whether a role's document names no other one.
func leaf(role string) bool { return role != RoleSnapshot && role != RoleTimestamp }

// pendingJSON is pending.json.
type pendingJSON struct {
	Schema    int               `json:"schema"` // 1
	Kind      ChangeKind        `json:"kind"`
	What      string            `json:"what"`
	Since     dbformat.Time     `json:"since"`
	Lost      bool              `json:"lost,omitempty"` // the old keys of a role are lost
	Roles     []string          `json:"roles"`          // to be signed, in signOrder
	Documents map[string]string `json:"documents"`      // by role: metadata with at least one signature
}

// A pending is a change that lacks signatures. Nothing in it is trusted.
type pending struct {
	pendingJSON
	docs map[string]*document
}

func newPending(kind ChangeKind, what string, now dbformat.Time, roles []string) *pending {
	p := &pending{pendingJSON{Schema: 1, Kind: kind, What: what, Since: now, Documents: map[string]string{}}, map[string]*document{}}
	for _, role := range signOrder {
		if slices.Contains(roles, role) {
			p.Roles = append(p.Roles, role)
		}
	}
	return p
}

func (p *pending) has(role string) bool { return slices.Contains(p.Roles, role) }

// put takes a document over as signed so far.
func (p *pending) put(role string, raw []byte) error {
	d, err := parseDocument(role, raw)
	if err != nil {
		return err
	}
	p.Documents[role], p.docs[role] = string(raw), d
	return nil
}

func (p *pending) drop(role string) {
	delete(p.Documents, role)
	delete(p.docs, role)
}

// done tells whether s is what p wanted: a run that was killed made it visible.
func (p *pending) done(s *set) bool {
	for _, role := range p.Roles {
		if p.Documents[role] != string(s.raw[role]) {
			return false
		}
	}
	return true
}

// used is the version under which a key of the role has signed the document that waits, 0 if none has: a number that anybody could
// have written there uses nothing up, nor does one that endpoints would refuse.
func (p *pending) used(s *set, role string) uint64 {
	if p == nil || p.docs[role] == nil {
		return 0
	}
	v, public := p.docs[role].version, s.doc(role).version
	if v <= public || v-public >= maxStep {
		return 0
	}
	a, keys := s.authorityOf(role)
	if good, err := signedBy(role, []byte(p.Documents[role]), a, keys); err != nil || len(good) == 0 {
		return 0
	}
	return v
}

func parsePending(b []byte) (*pending, error) {
	p := &pending{docs: map[string]*document{}}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p.pendingJSON); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the document")
	}
	if p.Schema != 1 {
		return nil, fmt.Errorf("schema %d, want 1", p.Schema)
	}
	if !slices.Contains([]ChangeKind{ChangeRelease, ChangeRenewal, ChangeKeys}, p.Kind) {
		return nil, fmt.Errorf("kind %.32q", p.Kind)
	}
	if len(p.Roles) == 0 || !slices.Equal(newPending(p.Kind, "", p.Since, p.Roles).Roles, p.Roles) {
		return nil, fmt.Errorf("roles %.200q", p.Roles)
	}
	if strings.ContainsFunc(p.What, func(r rune) bool { return r < ' ' || r > '~' }) || len(p.What) > maxWhat {
		return nil, fmt.Errorf("what is %.32q…, want at most %d printable characters", p.What, maxWhat)
	}
	if offline := p.has(RoleRoot) || p.has(RoleTargets); offline != (p.Kind == ChangeKeys) {
		return nil, fmt.Errorf("a change of kind %s with the roles %q", p.Kind, p.Roles) // offline keys must know what they are asked for
	}
	for role := range p.Documents {
		if !p.has(role) {
			return nil, fmt.Errorf("a document of role %.32q, which is not in roles", role)
		}
	}
	for _, role := range p.Roles {
		raw, ok := p.Documents[role]
		if !ok && leaf(role) {
			return nil, fmt.Errorf("no document of role %s", role)
		}
		if !ok {
			continue
		}
		if err := p.put(role, []byte(raw)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (r *Repository) pending(elem ...string) string {
	return filepath.Join(append([]string{r.dir, pendingFolder}, elem...)...)
}

// heldTarget is where a target's bytes lie until they are made visible.
func (r *Repository) heldTarget(t Target) string {
	return r.pending("targets", filepath.FromSlash(t.Name()))
}

// anyTarget is where a target's bytes lie now: held back, or in the public tree.
func (r *Repository) anyTarget(t Target) string {
	if name := r.heldTarget(t); fileExists(name) {
		return name
	}
	return r.TargetFile(t)
}

// addedTarget is where a commit of now finds a target's bytes. What is only held back does not count for one that is visible at once: no
// client would find it.
func (r *Repository) addedTarget(t Target) string {
	if r.holdsBack() {
		return r.anyTarget(t)
	}
	return r.TargetFile(t)
}

func fileExists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}

// readPending gives what is pending, nil if nothing is. s is the public state.
func (r *Repository) readPending(s *set) (*pending, error) {
	name := r.pending(pendingFile)
	b, err := readLimited(name, maxPending)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var p *pending
	if err == nil {
		p, err = parsePending(b)
	}
	if err != nil {
		return nil, &RepositoryError{Kind: ErrRepository, What: name, Detail: plain(err),
			Remedy: "what is published is not concerned; drop what is pending with \"avdb repo sign --drop\" and prepare it again"}
	}
	if p.done(s) {
		return nil, nil
	}
	return p, nil
}

// savePending makes p what is pending. A crash before the rename leaves what was pending before; after it, files of targets
// that nothing names any more, which the next change removes.
func (r *Repository) savePending(p *pending) error {
	for _, name := range []string{r.pending(), r.pending("targets")} {
		if err := r.f.mkdir(name, 0o700); err != nil {
			return err
		}
	}
	b, err := json.MarshalIndent(p.pendingJSON, "", " ")
	if err != nil {
		return err
	}
	if len(b) >= maxPending {
		return fmt.Errorf("%s would have %d bytes, more than %d", pendingFile, len(b), maxPending)
	}
	if err := r.f.replace(filepath.Join(r.dir, "tmp"), r.pending(pendingFile), bytes.NewReader(append(b, '\n')), 0o600); err != nil {
		return err
	}
	if err := r.f.syncDir(r.pending()); err != nil {
		return err
	}
	return r.f.syncDir(r.dir)
}

// sweepPending removes target files that are held back and that keep does not name.
func (r *Repository) sweepPending(keep *pending) error {
	wanted := map[string]bool{}
	if keep != nil {
		for _, d := range keep.docs {
			for _, t := range d.targets {
				wanted[r.heldTarget(t)] = true
			}
		}
	}
	var unwanted []string
	err := filepath.WalkDir(r.pending("targets"), func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !wanted[name] {
			unwanted = append(unwanted, name)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	for _, name := range unwanted {
		if err == nil {
			err = r.f.remove(name)
		}
	}
	return err
}

// removePending forgets what is pending: first the file that counts, then what it named.
func (r *Repository) removePending() error {
	if fileExists(r.pending(pendingFile)) {
		if err := r.f.remove(r.pending(pendingFile)); err != nil {
			return err
		}
		if err := r.f.syncDir(r.pending()); err != nil {
			return err
		}
	}
	return r.sweepPending(nil)
}

// DropPending gives up a change that lacks signatures. What is published stays. Nothing pending is no error.
func (r *Repository) DropPending() error {
	r.op.Lock()
	defer r.op.Unlock()
	unlock, err := r.Lock()
	if err != nil {
		return err
	}
	defer unlock()
	return r.removePending()
}
