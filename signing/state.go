package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"example.org/avdb/dbformat"
)

// state is what a trust folder says, everything in it proved again.
type state struct {
	root     []byte
	rootDoc  *document
	stored   *set // nil if absent or not verifiable
	storedAs []byte
	floors   *floors
	onDisk   *floors // what floors.json holds, nil if absent or damaged
	notes    []Note
}

func (s *state) note(code, format string, args ...any) {
	s.notes = append(s.notes, Note{code, fmt.Sprintf(format, args...)})
}

// read loads and proves the folder. Damaged files count as absent and are noted, but without any good root
// there is no trust, and a folder or a link in the place of a file is for its owner to take away.
func (t *Trust) read() (*state, error) {
	if err := t.checkFolders(); err != nil {
		return nil, err
	}
	s := &state{}
	if err := t.readRoot(s); err != nil {
		return nil, err
	}
	err := t.readStored(s)
	if errors.Is(err, ErrStorage) {
		return nil, err
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.note(NoteStoreUnreadable, "%s: %s", filepath.Join(t.dir, verifiedFile), plain(err))
	}
	return s, t.readFloors(s)
}

// readRoot finds the newest stored root that is good: signed by its own keys and by those of the root before it, if that one
// can be read. A damaged newest root is fetched again, verified from the one before it.
func (t *Trust) readRoot(s *state) error {
	versions, err := t.rootVersions()
	if err != nil {
		return err
	}
	why := fmt.Errorf("%s: %w; install the repository's root first", t.dir, ErrNoTrust)
	for i := len(versions) - 1; i >= 0; i-- {
		b, err := readOwn(t.rootName(versions[i]), MaxRoot)
		if err == nil {
			var d *document
			if d, err = verifyRoot(t.rootBefore(versions, i), b); err == nil && d.version == versions[i] {
				s.root, s.rootDoc = b, d
				return nil
			}
			if err == nil {
				err = fmt.Errorf("holds root %d", d.version)
			}
		}
		why = t.rootDamaged(versions[i], err)
		s.note(NoteRootUnreadable, "%s: %s", t.rootName(versions[i]), plain(err))
	}
	return why
}

func (t *Trust) rootBefore(versions []uint64, i int) []byte {
	if i == 0 || versions[i-1] != versions[i]-1 {
		return nil
	}
	b, err := readOwn(t.rootName(versions[i-1]), MaxRoot)
	if err != nil {
		return nil
	}
	if _, err := parseDocument(RoleRoot, b); err != nil {
		return nil
	}
	return b
}

// storedSet is verified.json: one file, so that a reader sees one whole set.
type storedSet struct {
	Schema    int               `json:"schema"` // 1
	Documents map[string]string `json:"documents"`
}

func encodeStored(s *set) []byte {
	out := storedSet{Schema: 1, Documents: map[string]string{}}
	for _, role := range setRoles {
		out.Documents[role] = string(s.raw[role])
	}
	b, err := json.MarshalIndent(out, "", " ")
	if err != nil {
		panic(err) // no type in it can fail
	}
	return append(b, '\n')
}

func (t *Trust) readStored(s *state) error {
	name := filepath.Join(t.dir, verifiedFile)
	b, err := readOwn(name, maxVerified)
	if inTheWay(err) {
		return damaged(name, adviceRemove, err)
	}
	if err != nil {
		return err
	}
	var in storedSet
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	if in.Schema != 1 {
		return fmt.Errorf("schema %d, want 1", in.Schema)
	}
	raw := map[string][]byte{}
	for role, text := range in.Documents {
		raw[role] = []byte(text)
	}
	if s.stored, err = verifySet(s.root, raw, time.Time{}); err != nil {
		return err
	}
	s.storedAs = b
	return nil
}

// readFloors joins floors.json and what the stored set proves: the higher counts, so that putting back one of them
// changes nothing.
func (t *Trust) readFloors(s *state) error {
	name := filepath.Join(t.dir, floorsFile)
	b, err := readOwn(name, MaxFloors)
	if inTheWay(err) {
		return damaged(name, adviceRemove, err)
	}
	if err == nil {
		s.onDisk, err = parseFloors(b)
	}
	lost := err != nil && (s.stored != nil || !errors.Is(err, fs.ErrNotExist))
	if lost {
		s.note(NoteFloorsLost, "%s: %s", name, plain(err))
	}
	s.floors = newFloors()
	if s.onDisk != nil {
		s.floors = s.onDisk.clone()
	}
	if s.stored == nil {
		return nil
	}
	proved, err := s.stored.numbers()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(proved)) {
		role := floorNames[name]
		a, _ := s.stored.authorityOf(role)
		have := s.floors.Floors[name]
		if role == RoleRoot && have.Value >= proved[name].Value {
			continue // roots come one by one: their numbers never start again
		}
		if have.credible(a) && (name == floorSigned || have.Value >= proved[name].Value) {
			continue
		}
		if have.Value >= proved[name].Value && s.ahead(role) {
			continue
		}
		if s.onDisk != nil && have.Value < proved[name].Value {
			s.note(NoteFloorsBehind, "%s has %s %d, the stored set %d", floorsFile, name, have.Value, proved[name].Value)
		}
		s.floors.Floors[name] = proved[name]
	}
	if set, named := s.stored.docs[RoleRestrictions].targets[dbformat.RestrictionsTarget]; lost && named {
		// The epoch is not known, but that there was a set: without floors it must not go unnoticed that it is gone.
		s.floors.set(floorEpoch, floor{Value: 1, SHA256: set.SHA256.String(), Keys: proved[RoleRestrictions].Keys})
	}
	return nil
}

// ahead tells whether floors.json was saved under a later root or targets than the one here that says who signs for role: a run
// died before it had stored that. Floors whose keys are unknown here may be those of its new keys, and stay until it is fetched again.
func (s *state) ahead(role string) bool {
	if s.onDisk == nil {
		return false
	}
	if delegatedPaths[role] != nil && s.onDisk.Floors[RoleTargets].Value > s.stored.docs[RoleTargets].version {
		return true
	}
	return s.onDisk.Floors[RoleRoot].Value > s.rootDoc.version
}

// numbers are the floors that a verified set proves: the version of each role and the time of the timestamp.
func (s *set) numbers() (map[string]floor, error) {
	m := map[string]floor{}
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		d := s.doc(role)
		a, keys := s.authorityOf(role)
		good, err := signedBy(role, s.raw[role], a, keys)
		if err != nil {
			return nil, err
		}
		m[role] = floor{Value: d.version, Keys: good}
		if role == RoleTimestamp {
			m[floorSigned] = floor{Value: uint64(max(d.signedAt.Unix(), 1)), Keys: good}
		}
	}
	return m, nil
}

// readProved reads root and set. Without a root there is no state; without a set that it proves there is an error beside it.
func (t *Trust) readProved() (s *state, err error) {
	// A refresh in another process may put a new root in place before the new set: look again.
	for wait := time.Millisecond; wait < 100*time.Millisecond; wait *= 4 {
		s = &state{}
		if err = t.readRoot(s); err != nil {
			return nil, err
		}
		if err = t.readStored(s); err == nil || errors.Is(err, fs.ErrNotExist) {
			break
		}
		time.Sleep(wait)
	}
	return s, err
}

func (t *Trust) saveFloors(s *state) error {
	if s.onDisk != nil && s.onDisk.equal(s.floors) {
		return t.settle()
	}
	if err := t.replace(filepath.Join(t.dir, floorsFile), s.floors.encode()); err != nil {
		return err
	}
	s.onDisk = s.floors.clone()
	return t.settle()
}

// settle makes what is in the folder durable, also what a run renamed that died before it could sync: without that, a power cut
// could still take back what this run found in place and builds on.
func (t *Trust) settle() error {
	for _, dir := range []string{"roots", ""} {
		if t.settled[dir] {
			continue
		}
		if err := t.syncDirs(dir); err != nil {
			return err
		}
		if t.settled == nil {
			t.settled = map[string]bool{}
		}
		t.settled[dir] = true
	}
	return nil
}

// save keeps what was verified: floors first, so that a crash leaves floors that are too high for the set on disk, never too
// low; the next refresh fetches the set again.
func (t *Trust) save(s *state, roots map[uint64][]byte, verified *set) error {
	if err := t.f.clean(filepath.Join(t.dir, "tmp")); err != nil {
		return storage(err)
	}
	if err := t.saveFloors(s); err != nil {
		return err
	}
	// A crash among the roots leaves the chain up to one of them: the next refresh goes on from there. They are durable before
	// the set that needs them: settle.
	for _, v := range slices.Sorted(maps.Keys(roots)) {
		if err := t.replace(t.rootName(v), roots[v]); err != nil {
			return err
		}
	}
	if err := t.settle(); err != nil {
		return err
	}
	if verified == nil {
		return nil
	}
	b := encodeStored(verified)
	if bytes.Equal(b, s.storedAs) {
		return nil
	}
	if err := t.replace(filepath.Join(t.dir, verifiedFile), b); err != nil {
		return err
	}
	return t.settle()
}

// referenceTime is the moment at which expiry is judged: now, or the newest signed time when the clock says it is earlier, so that
// a clock set back does not revive what has expired.
func (s *state) referenceTime(root *document, now time.Time) time.Time {
	v, ok := s.floors.Floors[floorSigned]
	if !ok || !v.credible(root.roles[RoleTimestamp]) {
		return now
	}
	newest := time.Unix(int64(v.Value), 0)
	if now.Add(clockTolerance).Before(newest) {
		return newest
	}
	return now
}

// engineEpoch is before any release that this engine can meet: a clock that says less is wrong.
var engineEpoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// signedFloor is how far a signed time raises its floor. A clock that may be right bounds it: a publisher that once signed in the
// future must not lock its clients out until then.
func signedFloor(signedAt, reference, now time.Time) time.Time {
	if now.Before(engineEpoch) || reference.After(now) {
		return signedAt
	}
	if limit := now.Add(clockTolerance); signedAt.After(limit) {
		return limit
	}
	return signedAt
}
