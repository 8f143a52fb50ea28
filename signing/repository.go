package signing

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"example.org/avdb/dbformat"
	"example.org/avdb/osfile"
)

// How long a signature counts, from the moment it is made.
const (
	LifeRoot      = 2 * 365 * 24 * time.Hour
	LifeTargets   = 365 * 24 * time.Hour
	LifeDelegated = 30 * 24 * time.Hour // database and restrictions
	LifeSnapshot  = 14 * 24 * time.Hour
	LifeTimestamp = 7 * 24 * time.Hour
)

// Life is how long a role's signature counts.
func Life(role string) time.Duration {
	switch role {
	case RoleRoot:
		return LifeRoot
	case RoleTargets:
		return LifeTargets
	case RoleSnapshot:
		return LifeSnapshot
	case RoleTimestamp:
		return LifeTimestamp
	}
	return LifeDelegated
}

// renewBelow is the share of its life below which a document is signed anew: a third.
func renewBelow(role string) time.Duration { return Life(role) / 3 }

// RepositoryOptions say how a repository is made. The zero value works.
type RepositoryOptions struct {
	Threshold int       // signatures that root and targets each need; 0 means 1
	Keys      int       // keys of root, and as many others of targets; 0 means Threshold; at most 16
	Online    int       // signatures that database, restrictions and snapshot each need: 0 or 1, or 2 for a co-signing host, whose keys are made in cosign
	KeysDir   string    // "" means keys/ in the repository's folder
	Now       time.Time // zero means the clock of this host
	Rand      io.Reader // nil means crypto/rand
}

// A Repository signs releases in a folder:
//
//	DIR/keys/offline  keys of root and targets; Commit and Renew never read them
//	DIR/keys/online   keys of database, restrictions, snapshot and timestamp
//	DIR/keys/cosign   keys for a co-signing host, if there is one: move them there
//	DIR/pending       a change that lacks signatures
//	DIR/public        what mirrors serve: metadata/ and targets/
//	DIR/tmp           files being written; what is left there is removed by the next writer
//	DIR/lock          held while something changes
//
// It is safe for use by several goroutines; several processes exclude each other by [Repository.Lock].
type Repository struct {
	dir, keys string
	f         files

	op     sync.Mutex // one Commit or Renew at a time in this process
	mu     sync.Mutex // what follows
	lock   *flock.Flock
	locks  int
	seen   map[string]uint64 // versions of the roles when the caller last read them
	rootID string
	held   bool // changes are prepared, not made visible
}

// maxOfflineKeys bounds the keys of root and of targets.
const maxOfflineKeys = 16

// CreateRepository makes a repository with new keys, empty roles and their first signatures. The folder may exist but must not
// hold a repository: [ErrExists]. A run that was killed leaves no timestamp.json; remove the folder and start again, nobody has
// trusted its root yet.
func CreateRepository(dir string, o RepositoryOptions) (*Repository, error) {
	return createRepository(dir, o, files{})
}

func createRepository(dir string, o RepositoryOptions, f files) (*Repository, error) {
	o.Threshold = max(o.Threshold, 1)
	if o.Keys == 0 {
		o.Keys = o.Threshold
	}
	if o.Keys < o.Threshold || o.Keys > maxOfflineKeys {
		return nil, fmt.Errorf("%d keys with threshold %d: want at least the threshold and at most %d", o.Keys, o.Threshold, maxOfflineKeys)
	}
	if o.Online = max(o.Online, 1); o.Online > 2 {
		return nil, fmt.Errorf("online threshold %d: want 1, or 2 for a co-signing host", o.Online)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	r := &Repository{dir: dir, keys: o.KeysDir, f: f}
	if r.keys == "" {
		r.keys = filepath.Join(dir, "keys")
	}
	for _, name := range []string{filepath.Join(dir, "public"), filepath.Join(r.keys, "offline"), filepath.Join(r.keys, "online"), filepath.Join(r.keys, "cosign")} {
		if left, err := os.ReadDir(name); err == nil && len(left) > 0 {
			return nil, r.exists(name)
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := r.makeFolders(o.Online > 1); err != nil {
		return nil, err
	}
	unlock, err := r.Lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	first, err := r.firstSet(o)
	if err != nil {
		return nil, err
	}
	if err := r.write(first, append([]string{RoleRoot}, setRoles...)); err != nil {
		return nil, err
	}
	return openRepository(dir, o.KeysDir, f)
}

// exists is the error about a folder in which something lies: a repository, or one whose creation was interrupted, since the
// timestamp is what is written last.
func (r *Repository) exists(name string) error {
	e := &RepositoryError{Kind: ErrExists, What: name, Remedy: "use it, name another folder, or remove it if its creation was interrupted"}
	if fileExists(r.public("metadata")) && fileExists(r.public("targets")) && !fileExists(r.public("metadata", "timestamp.json")) {
		e.Detail, e.Remedy = "its creation was interrupted", fmt.Sprintf("nobody trusts its root yet: remove %s and %s, then create it again", r.public(), r.keys)
	}
	return e
}

func (r *Repository) makeFolders(cosign bool) error {
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{
		{r.dir, 0o755}, {filepath.Join(r.dir, "tmp"), 0o700},
		{r.keys, 0o700}, {filepath.Join(r.keys, "offline"), 0o700}, {filepath.Join(r.keys, "online"), 0o700},
		{r.public(), 0o755}, {r.public("metadata"), 0o755}, {r.public("targets"), 0o755},
		{r.public("targets", "light"), 0o755}, {r.public("targets", "rest"), 0o755}, {r.public("targets", "restrictions"), 0o755},
	} {
		if err := r.f.mkdir(d.name, d.mode); err != nil {
			return err
		}
	}
	if cosign {
		if err := r.f.mkdir(filepath.Join(r.keys, "cosign"), 0o700); err != nil {
			return err
		}
	}
	for _, name := range []string{r.dir, r.keys, r.public(), r.public("targets")} {
		if err := r.f.syncDir(name); err != nil {
			return err
		}
	}
	return nil
}

// firstSet makes all keys and signs version 1 of every role.
func (r *Repository) firstSet(o RepositoryOptions) (*set, error) {
	b := &builder{now: dbformat.At(o.Now).Time, rings: keyring{}}
	root, targets := newRootDoc(), newTargetsDoc(RoleTargets)
	for _, role := range []string{RoleRoot, RoleTargets, RoleDatabase, RoleRestrictions, RoleSnapshot, RoleTimestamp} {
		n, a := 1, authority{threshold: 1}
		switch role {
		case RoleRoot, RoleTargets:
			n, a.threshold = o.Keys, o.Threshold
		case RoleDatabase, RoleRestrictions, RoleSnapshot:
			n, a.threshold = o.Online, o.Online
		}
		delegated := delegatedPaths[role] != nil
		table := root.keys
		if delegated {
			table = targets.keys
			a.paths = slices.Clone(delegatedPaths[role])
		}
		for i := range n {
			k, err := newKey(o.Rand)
			if err != nil {
				return nil, err
			}
			if _, err := r.f.saveKey(filepath.Join(r.keys, keyFolder(role, i, a.threshold)), role, k); err != nil {
				return nil, err
			}
			public := publicHex(k)
			id := keyID(public)
			b.rings[id] = k
			table[id] = public
			a.keyids = append(a.keyids, id)
		}
		if delegated {
			targets.roles[role] = a
		} else {
			root.roles[role] = a
		}
	}
	folders := []string{"offline", "online"}
	if o.Online > 1 {
		folders = append(folders, "cosign")
	}
	for _, folder := range folders {
		if err := r.f.syncDir(filepath.Join(r.keys, folder)); err != nil {
			return nil, err
		}
	}
	s := &set{root: root, raw: map[string][]byte{}, docs: map[string]*document{
		RoleTargets: targets, RoleDatabase: newTargetsDoc(RoleDatabase), RoleRestrictions: newTargetsDoc(RoleRestrictions),
		RoleSnapshot: {role: RoleSnapshot}, RoleTimestamp: {role: RoleTimestamp},
	}}
	versions := map[string]uint64{}
	for _, role := range append([]string{RoleRoot}, setRoles...) {
		versions[role] = 1
	}
	return b.sign(s, versions, r.keys)
}

// OpenRepository opens a repository for reading and signing. keysDir "" means keys/ in the folder. Keys are read when
// something is signed, those in offline never.
func OpenRepository(dir, keysDir string) (*Repository, error) {
	return openRepository(dir, keysDir, files{})
}

func openRepository(dir, keysDir string, f files) (*Repository, error) {
	if keysDir == "" {
		keysDir = filepath.Join(dir, "keys")
	}
	r := &Repository{dir: dir, keys: keysDir, f: f}
	first, err := readLimited(r.public("metadata", "1.root.json"), MaxRoot)
	if err != nil {
		return nil, &RepositoryError{Kind: ErrRepository, What: dir, Err: err, Remedy: "create a repository there first"}
	}
	r.rootID = fmt.Sprintf("%x", sha256.Sum256(first))
	s, err := r.load()
	if err != nil {
		return nil, err
	}
	r.note(s)
	return r, nil
}

// PublicDir is the folder that mirrors serve.
func (r *Repository) PublicDir() string { return r.public() }

// TargetFile is where a target's bytes lie in the public tree.
func (r *Repository) TargetFile(t Target) string {
	return r.public("targets", filepath.FromSlash(t.Name()))
}

func (r *Repository) public(elem ...string) string {
	return filepath.Join(append([]string{r.dir, "public"}, elem...)...)
}

// RootFingerprint is the SHA-256 in hex of the bytes of metadata/1.root.json: what an endpoint is told out of band.
func (r *Repository) RootFingerprint() string { return r.rootID }

// Lock keeps other processes from publishing until unlock is called: what the caller reads after it stays true until it
// commits. [ErrBusy] at once when it is held. AddTarget, Commit and Renew take it themselves if the caller does not hold
// it; nested calls are counted.
func (r *Repository) Lock() (unlock func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locks == 0 {
		name := filepath.Join(r.dir, "lock")
		l := flock.New(name, flock.SetPermissions(0o600)) // ends with the process, whatever ends it
		if ok, err := l.TryLock(); err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		} else if !ok {
			return nil, &RepositoryError{Kind: ErrBusy, What: name, Remedy: "wait for it to end"}
		}
		r.lock = l
		if err := r.f.clean(filepath.Join(r.dir, "tmp")); err != nil {
			r.lock.Close()
			return nil, err
		}
	}
	r.locks++
	return sync.OnceFunc(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.locks--; r.locks == 0 {
			r.lock.Close()
		}
	}), nil
}

// begin takes the locks of one change, until end is called, and reads the state that it starts from.
func (r *Repository) begin() (s *set, end func(), err error) {
	r.op.Lock()
	unlock, err := r.Lock()
	if err != nil {
		r.op.Unlock()
		return nil, nil, err
	}
	end = func() { unlock(); r.op.Unlock() }
	if s, err = r.load(); err != nil {
		end()
		return nil, nil, err
	}
	return s, end, nil
}

func (r *Repository) note(s *set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = map[string]uint64{}
	for role, d := range s.docs {
		r.seen[role] = d.version
	}
}

// Targets lists what a role signs now, by path. Roles: [RoleDatabase], [RoleRestrictions], [RoleTargets].
func (r *Repository) Targets(role string) ([]Target, error) {
	s, err := r.load()
	if err != nil {
		return nil, err
	}
	d := s.docs[role]
	if d == nil || d.targets == nil {
		return nil, fmt.Errorf("role %q has no targets", role)
	}
	r.note(s)
	return sortedTargets(d.targets), nil
}

// AddTarget copies a file to the place below public/targets that its hash and path give. The file is synced; its folder is
// by the Commit that names it. Until then no client sees it. A file that is there already is replaced by equal bytes.
func (r *Repository) AddTarget(path, file string) (Target, error) {
	in, err := osfile.Open(file)
	if err != nil {
		return Target{}, err
	}
	defer in.Close()
	h := sha256.New()
	n, err := io.Copy(h, in)
	if err != nil {
		return Target{}, fmt.Errorf("read %s: %w", file, err)
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return Target{}, err
	}
	return r.add(Target{Path: path, Length: n, SHA256: dbformat.Digest(h.Sum(nil))}, in)
}

// AddTargetBytes is [Repository.AddTarget] for content in memory.
func (r *Repository) AddTargetBytes(path string, b []byte) (Target, error) {
	return r.add(Target{Path: path, Length: int64(len(b)), SHA256: sha256.Sum256(b)}, bytes.NewReader(b))
}

func (r *Repository) add(t Target, in io.Reader) (Target, error) {
	if err := CheckTargetPath(t.Path); err != nil {
		return Target{}, err
	}
	unlock, err := r.Lock()
	if err != nil {
		return Target{}, err
	}
	defer unlock()
	name, mode := r.TargetFile(t), fs.FileMode(0o755)
	if r.holdsBack() {
		name, mode = r.heldTarget(t), 0o700
	}
	if err := r.f.mkdir(filepath.Dir(name), mode); err != nil {
		return Target{}, err
	}
	if err := r.f.replace(filepath.Join(r.dir, "tmp"), name, &exactly{t: t, r: in, h: sha256.New()}, 0o644); err != nil {
		return Target{}, err
	}
	return t, nil
}

// exactly yields a target's bytes and fails at their end if they are others: a file that changes while it is copied never gets
// the name of what it was.
type exactly struct {
	t Target
	r io.Reader
	h hash.Hash
	n int64
}

func (e *exactly) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	e.h.Write(b[:n])
	e.n += int64(n)
	if e.n > e.t.Length || err == io.EOF && dbformat.Digest(e.h.Sum(nil)) != e.t.SHA256 {
		return 0, &RepositoryError{Kind: ErrTarget, What: "target " + e.t.Path, Detail: "its file changed while it was read", Remedy: "add it again"}
	}
	return n, err
}

// load reads and verifies the state that timestamp.json names. Expiry does not count here.
func (r *Repository) load() (*set, error) {
	bad := func(name string, err error) error {
		e := &RepositoryError{Kind: ErrRepository, What: r.public("metadata", name), Detail: plain(err),
			Remedy: "nothing was changed; restore public/metadata from a backup or a mirror"}
		if !errors.Is(err, ErrUntrusted) {
			e.Err = err // which is no source's fault
			e.Detail = ""
		}
		return e
	}
	n, err := r.newest(RoleRoot)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%d.root.json", n)
	root, err := readLimited(r.public("metadata", name), MaxRoot)
	if err != nil {
		return nil, bad(name, err)
	}
	raw := map[string][]byte{}
	version := map[string]uint64{}
	for _, role := range setRoles {
		name := role + ".json"
		if role != RoleTimestamp {
			name = fmt.Sprintf("%d.%s.json", version[role], role)
		}
		if raw[role], err = readLimited(r.public("metadata", name), limitOf(role)); err != nil {
			return nil, bad(name, err)
		}
		d, err := parseDocument(role, raw[role])
		if err != nil {
			return nil, bad(name, err)
		}
		for role, m := range d.meta {
			version[role] = m.version
		}
	}
	s, err := verifySet(root, raw, time.Time{})
	if err != nil {
		if torn, e := r.loadTorn(n, root, raw); e == nil {
			return torn, nil
		}
		return nil, bad("", err)
	}
	return s, nil
}

// loadTorn reads what a rotation without the old keys left that was killed between its root and its timestamp: documents that only the
// root before the newest vouches for. The next signature is one under the newest; where the keys of targets changed, that must be theirs.
func (r *Repository) loadTorn(n uint64, root []byte, raw map[string][]byte) (*set, error) {
	before, err := readLimited(r.public("metadata", fmt.Sprintf("%d.root.json", n-1)), MaxRoot)
	if err != nil {
		return nil, err
	}
	newest, err := verifyRoot(before, root)
	if err != nil {
		return nil, err
	}
	s, err := verifySet(before, raw, time.Time{})
	if err != nil {
		return nil, err
	}
	s.root, s.raw[RoleRoot], s.torn = newest, root, true
	a, keys := s.authorityOf(RoleTargets)
	good, err := signedBy(RoleTargets, raw[RoleTargets], a, keys)
	s.lost = len(good) < a.threshold
	return s, err
}

// newest is the highest N of the files N.ROLE.json, 0 if there is none. A killed Commit may have left some that no
// snapshot names: their numbers are not used again, because a mirror may have copied them.
func (r *Repository) newest(role string) (uint64, error) {
	versions, err := r.written(role)
	if err != nil || len(versions) == 0 {
		return 0, err
	}
	return versions[len(versions)-1], nil
}

// written lists N of the files N.ROLE.json, ascending.
func (r *Repository) written(role string) ([]uint64, error) {
	entries, err := os.ReadDir(r.public("metadata"))
	if err != nil {
		return nil, err
	}
	var versions []uint64
	for _, e := range entries {
		n, ok := strings.CutSuffix(e.Name(), "."+role+".json")
		if v, err := strconv.ParseUint(n, 10, 53); ok && err == nil {
			versions = append(versions, v)
		}
	}
	slices.Sort(versions)
	return versions, nil
}

// keptSnapshots is how many of the newest snapshots stay, with all that they name: a client or a mirror that has read
// timestamp.json finds the rest of that state until so many commits and renewals have followed.
const keptSnapshots = 16

// prune removes documents that only older snapshots name, so that the folder does not grow for ever. Roots stay, for endpoints
// walk through all of them. It comes after the timestamp of now is durable. A crash, or a failure, leaves files that nobody
// asks for, and the next commit removes them: what the caller wanted is done, so that it is no error.
func (r *Repository) prune(now *set) {
	snapshots, err := r.written(RoleSnapshot)
	if err != nil || len(snapshots) <= keptSnapshots {
		return
	}
	oldest := snapshots[len(snapshots)-keptSnapshots]
	b, err := readLimited(r.public("metadata", fmt.Sprintf("%d.snapshot.json", oldest)), MaxSnapshot)
	if err != nil {
		return
	}
	d, err := parseDocument(RoleSnapshot, b)
	if err != nil {
		return
	}
	for _, role := range []string{RoleSnapshot, RoleTargets, RoleDatabase, RoleRestrictions} {
		// Versions grow from snapshot to snapshot, so that the oldest one kept names the lowest ones that are needed.
		least := now.docs[role].version
		if role == RoleSnapshot {
			least = min(least, oldest)
		} else {
			least = min(least, d.meta[role].version)
		}
		versions, err := r.written(role)
		if err != nil {
			return
		}
		for _, v := range versions {
			if v < least && r.f.remove(r.public("metadata", fmt.Sprintf("%d.%s.json", v, role))) != nil {
				return
			}
		}
	}
}
