package signing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// A Trust is what an endpoint believes about one repository, in a folder of its own:
//
//	roots/N.root.json  the chain of verified roots, from the one that was installed to the newest
//	verified.json      the last verified set: timestamp, snapshot, targets, database, restrictions, byte for byte
//	floors.json        what must never go back
//	tmp                files being written
//
// Methods are safe for concurrent use. Of several processes one at a time may call Refresh and Accept (the updater's lock); Stored
// may run beside them.
type Trust struct {
	dir string
	f   files

	mu      sync.Mutex
	settled map[string]bool // folders, "" and roots, whose names are durable as they are
}

const (
	verifiedFile = "verified.json"
	floorsFile   = "floors.json"
	maxVerified  = 8 << 20
)

// InitTrust makes a trust folder (0700) that believes one root. The caller has checked the root's bytes against a file or a
// fingerprint that came another way; here its shape and its signatures by its own keys are. Expiry does not count: a later root may be
// fetched. A folder that already trusts this root is left alone. One that trusts another gives [ErrOtherRoot], unless replace
// says to forget that one with all that was seen under it.
func InitTrust(dir string, root []byte, replace bool) error {
	return initTrust(dir, root, replace, files{})
}

func initTrust(dir string, root []byte, replace bool, f files) error {
	d, err := verifyRoot(nil, root)
	if err != nil {
		return err
	}
	t := &Trust{dir: dir, f: f}
	if err := t.checkFolders(); err != nil {
		return err
	}
	have, err := t.rootVersions()
	if err != nil {
		return err
	}
	if len(have) > 0 {
		old, err := readOwn(t.rootName(d.version), MaxRoot)
		if err == nil && bytes.Equal(old, root) {
			return nil
		}
		if !replace {
			return t.otherRoot(d.version, old, err)
		}
	}
	for _, sub := range []string{"", "roots", "tmp"} {
		name := filepath.Join(dir, sub)
		if err := f.mkdir(name, 0o700); err != nil {
			return storage(err)
		}
		if err := os.Chmod(name, 0o700); err != nil {
			return storage(err)
		}
	}
	if replace {
		// The roots last: until they are gone the folder trusts the old repository, after that nothing, and says so.
		old := []string{filepath.Join(dir, verifiedFile), filepath.Join(dir, floorsFile)}
		for _, v := range have {
			old = append(old, t.rootName(v))
		}
		for _, name := range old {
			if err := f.remove(name); err != nil {
				return t.blocked(name, err)
			}
		}
		if err := t.syncDirs("", "roots"); err != nil {
			return err
		}
	}
	// Floors without roots stay: if they are of this repository they count, else they are of keys that it does not know.
	if err := t.replace(t.rootName(d.version), root); err != nil {
		return err
	}
	return t.syncDirs("roots", "")
}

// otherRoot says why a root is not taken: another one is trusted, or what is there is damaged. old and err are what reading the
// root of the same version gave.
func (t *Trust) otherRoot(version uint64, old []byte, err error) error {
	if err == nil {
		_, err = verifyRoot(nil, old)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return t.rootDamaged(version, err)
	}
	if err := t.readRoot(&state{}); err != nil {
		return err
	}
	return fmt.Errorf("%s: %w; ask for it to be replaced if that is meant", t.dir, ErrOtherRoot)
}

// OpenTrust opens a trust folder; [ErrNoTrust] when [InitTrust] was not run on it.
func OpenTrust(dir string) (*Trust, error) { return OpenTrustOn(nil, dir) }

// OpenTrustOn is [OpenTrust] with a [Disk] under the folder, nil for none.
func OpenTrustOn(disk Disk, dir string) (*Trust, error) {
	t := &Trust{dir: dir, f: files{disk: disk}}
	if err := t.checkFolders(); err != nil {
		return nil, err
	}
	have, err := t.rootVersions()
	if err != nil {
		return nil, err
	}
	if len(have) == 0 {
		return nil, fmt.Errorf("%s: %w; install the repository's root first", dir, ErrNoTrust)
	}
	return t, nil
}

func (t *Trust) rootName(version uint64) string {
	return filepath.Join(t.dir, "roots", fmt.Sprintf("%d.root.json", version))
}

// rootVersions lists the stored roots, oldest first.
func (t *Trust) rootVersions() ([]uint64, error) {
	dir := filepath.Join(t.dir, "roots")
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, storage(err)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, damaged(dir, adviceAway, err)
	}
	var versions []uint64
	for _, e := range entries {
		n, ok := strings.CutSuffix(e.Name(), ".root.json")
		if v, err := strconv.ParseUint(n, 10, 53); ok && err == nil && v > 0 && strconv.FormatUint(v, 10) == n {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

func (t *Trust) replace(name string, b []byte) error {
	if err := t.f.mkdir(filepath.Join(t.dir, "tmp"), 0o700); err != nil {
		return storage(err)
	}
	dir, err := filepath.Rel(t.dir, filepath.Dir(name))
	if err != nil {
		return storage(err)
	}
	delete(t.settled, strings.TrimPrefix(dir, "."))
	return t.blocked(name, t.f.replace(filepath.Join(t.dir, "tmp"), name, bytes.NewReader(b), 0o600))
}

// blocked is an error about replacing or removing a file: the folder in its place, if that is why, else what the system said.
func (t *Trust) blocked(name string, err error) error {
	if err == nil {
		return nil
	}
	if s, e := os.Lstat(name); e == nil && s.IsDir() {
		advice := adviceRemove
		if filepath.Dir(name) != filepath.Clean(t.dir) {
			advice = adviceAway
		}
		return damaged(name, advice, errFolder)
	}
	return storage(err)
}

// rootDamaged is the error about a stored root that is not what was stored.
func (t *Trust) rootDamaged(version uint64, why error) error {
	name := t.rootName(version)
	switch {
	case errors.Is(why, fs.ErrPermission):
		return storage(why)
	case errors.Is(why, errFolder):
		return damaged(name, adviceAway, why)
	}
	return damaged(name, adviceRoot, why)
}

func (t *Trust) syncDirs(names ...string) error {
	for _, name := range names {
		if err := t.f.syncDir(filepath.Join(t.dir, name)); err != nil {
			return storage(err)
		}
	}
	return nil
}

// storage marks an error of the disk.
func storage(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", ErrStorage, err)
}

// A Note is something that an operator should know and that did not keep a refresh from succeeding. Code is stable.
type Note struct {
	Code string // one of the Note constants
	Text string
}

// The codes of notes.
const (
	NoteClockBehind     = "clock_behind"      // this device's clock is a day or more behind what was signed already
	NoteSignedInFuture  = "signed_in_future"  // the newest signature is a day or more ahead of this device's clock
	NoteRootUnreadable  = "root_unreadable"   // a stored root is damaged; it is fetched again
	NoteStoreUnreadable = "stored_unreadable" // the stored set is damaged; it is fetched again
	NoteFloorsLost      = "floors_lost"       // floors.json is missing or damaged; it was rebuilt from the stored set, if there is one
	NoteFloorsBehind    = "floors_behind"     // floors.json is older than the stored set: somebody put it back
	NoteExpired         = "expired"           // timestamp or snapshot is expired and believed, as [RefreshOptions] allow
	NoteNotKept         = "not_kept"          // what was verified could not be stored; only where [RefreshOptions] say Look
	NoteFloorReset      = "floor_reset"       // a root or targets took keys away; what they had vouched for counts no longer
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

// checkFolders refuses a link, or what else is no folder, in the place of a folder: what is written below it would land in a folder that
// is not ours.
func (t *Trust) checkFolders() error {
	for sub, advice := range map[string]string{"": adviceFolder, "roots": adviceFolder, "tmp": "move it away and update again, which makes the folder anew"} {
		name := filepath.Join(t.dir, sub)
		i, err := os.Lstat(name)
		switch {
		case err != nil: // for its reader to tell
		case osfile.IsLink(i.Mode()):
			return damaged(name, advice, errLink)
		case !i.IsDir():
			return damaged(name, advice, errNoFolder)
		}
	}
	return nil
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

// Stored reads back the last verified set without asking anyone: every signature is proved again from the stored root,
// expiry is told and not enforced. [ErrNothingStored] before the first refresh; [ErrUntrusted] when the set is damaged or its
// keys were taken away meanwhile: refresh; [ErrStorage] when the folder must be repaired first.
func (t *Trust) Stored() (*Verified, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.readProved()
	switch {
	case s == nil:
		return nil, err
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w; refresh from a source first", t.dir, ErrNothingStored)
	case errors.Is(err, ErrUntrusted), errors.Is(err, ErrStorage):
		return nil, err
	case err != nil:
		return nil, &UntrustedError{Role: "stored set", Reason: ReasonMalformed, Detail: err.Error(), Remedy: "refresh from a source", Err: err}
	}
	if err := t.readFloors(s); err != nil {
		return nil, err
	}
	return &Verified{set: s.stored, floors: s.floors, notes: s.notes}, nil
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

// Accept raises the floor that a release or a restriction set stands for: from then on, an older one is refused. It is called once the
// release or set is in use, and is durable when it returns.
//
// The set first, its floor after it: a crash between leaves a set that the stored metadata name beside the floor of the one before, so that
// [RestrictionProof] proves it by the metadata and the next update raises the floor. The other way round the floor would name a set that is not
// there, and nothing would be asked until an update could fetch it.
func (t *Trust) Accept(a Accepted) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, err := t.read()
	if err != nil {
		return err
	}
	n := a.number()
	if n.value == 0 {
		return nil
	}
	if err := s.floors.judge(n.name, n.value, n.authority); err != nil {
		return err
	}
	s.floors.set(n.name, floor{Value: n.value, SHA256: n.sha256, Keys: n.keys})
	return t.saveFloors(s)
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
