package signing

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

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
