package store

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"example.org/avdb/osfile"
	"example.org/avdb/signing"
)

// Options are what a store takes from outside; the zero value works.
type Options struct {
	Now  func() time.Time // nil means time.Now
	Rand io.Reader        // names of temporary files, the install id; nil means crypto/rand

	// Disk stands between the store and each change of the state folder, that of the trust folder included ([Store.OpenTrust]). It
	// is for tests of this and other packages that break writes; nil for none. Locks, and what the updater downloads, do not go through it.
	Disk signing.Disk

	files files // nil means the operating system
}

// A Store is a state folder. It holds nothing open between calls and is safe for concurrent use.
type Store struct {
	dir    string
	o      Options
	files  files
	locked atomic.Pointer[Lock]
}

const (
	modeFolder  fs.FileMode = 0o755
	modeFile    fs.FileMode = 0o644
	modePrivate fs.FileMode = 0o700
	modeSecret  fs.FileMode = 0o600
)

// Open gives the store in dir. It makes nothing, takes no lock and does not look whether dir exists: that is an
// error of the call that needs it ([ErrNoDatabase] from [Store.Current]). It refuses a dir on a network file
// system, where neither locks nor mapped files can be relied on.
func Open(dir string, o Options) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, failed(dir, "has no absolute path", err)
	}
	if kind, remote := osfile.Remote(existing(abs)); remote {
		return nil, &Error{Kind: ErrStorage, Path: abs, What: "is on a network file system (" + kind + ")",
			Remedy: "choose a folder on a local disk with --state"}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	s := &Store{dir: abs, o: o, files: o.files}
	if s.files == nil {
		s.files = osFiles{}
	}
	if o.Disk != nil {
		s.files = diskFiles{s.files, o.Disk}
	}
	return s, nil
}

// existing is the nearest folder at or above path that exists.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || filepath.Dir(path) == path {
			return path
		}
		path = filepath.Dir(path)
	}
}

// Create is Open, and makes what is missing of the layout, with the modes of the package comment
// whatever the umask, and the settings with a new install id. A dir that exists keeps its mode; owner-only folders that
// are open to others are closed to them.
func Create(dir string, o Options) (*Store, error) {
	s, err := Open(dir, o)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(s.dir), 0o755); err != nil {
		return nil, failed(filepath.Dir(s.dir), "cannot be made", err)
	}
	if _, err := os.Stat(s.dir); errors.Is(err, fs.ErrNotExist) {
		// A crash from here on leaves folders that the next Create completes.
		if err := s.files.Mkdir(s.dir, modeFolder); err != nil {
			return nil, failed(s.dir, "cannot be made", err)
		}
	}
	// Also where the folder was there: a Create that died after it had made it may not have come to this. A parent that this user
	// may not open was not made by a run of this user that died; one that was opened has to take the sync, whatever the error.
	if err := s.files.SyncDir(filepath.Dir(s.dir)); err != nil && !mayNotOpen(err) {
		return nil, failed(filepath.Dir(s.dir), "cannot be synced", err)
	}
	if err := s.makeFolders(s.folders()); err != nil {
		return nil, err
	}
	if err := s.checkFolders(); err != nil {
		return nil, err
	}
	if err := s.createSettings(); err != nil {
		return nil, err
	}
	return s, nil
}

// mayNotOpen tells whether err is that this user may not open something.
func mayNotOpen(err error) bool {
	e, ok := errors.AsType[*fs.PathError](err)
	return ok && e.Op == "open" && errors.Is(e, fs.ErrPermission)
}

// MakeFolders makes the folders of the layout again that somebody removed, as [Create] made them, but for the trust folder: what
// is lost there no update brings back. What stands in the place of a folder is refused by [Store.Lock]. The caller must hold the
// update lock.
func (s *Store) MakeFolders() error {
	if err := s.needLock(); err != nil {
		return err
	}
	return s.makeFolders(slices.DeleteFunc(s.folders(), func(f layoutFolder) bool { return f.path == s.TrustDir() }))
}

func (s *Store) makeFolders(list []layoutFolder) error {
	for _, f := range list {
		if err := s.folder(f.path, f.mode); err != nil {
			return err
		}
	}
	// Also where nothing was missing: a run that died may have made a folder and not have come to this.
	for _, dir := range []string{s.dbDir(), s.dir} {
		if err := s.files.SyncDir(dir); err != nil {
			return failed(dir, "cannot be synced", err)
		}
	}
	return nil
}

// A layoutFolder is a folder of the layout, and its mode.
type layoutFolder struct {
	path string
	mode fs.FileMode
}

// folders are those of the layout, each after the one that it is in.
func (s *Store) folders() []layoutFolder {
	return []layoutFolder{
		{s.dbDir(), modeFolder}, {s.layersDir(), modeFolder}, {s.indexDir(), modeFolder},
		{s.TrustDir(), modePrivate}, {s.DownloadsDir(), modePrivate}, {s.ksnDir(), modeFolder},
	}
}

// checkFolders refuses what stands in the place of a folder of the layout, above all a link: it would have us write, and remove
// what looks like a leftover, in a folder that is not ours. One that is missing is for [Store.MakeFolders].
//
// A folder in which every user may replace files, or settings and overrides that every user may write, are refused too: whoever wants would
// decide what this device believes, and with it what it finds.
func (s *Store) checkFolders() error {
	if i, err := os.Stat(s.dir); err == nil && osfile.OpenToAll(i) {
		return openToAll(s.dir)
	}
	for _, path := range []string{s.settingsPath(), s.overridesPath()} {
		if err := refuseOpenToAll(path); err != nil {
			return err
		}
	}
	for _, f := range s.folders() {
		i, err := os.Lstat(f.path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return failed(f.path, "cannot be looked at", err)
		case !i.IsDir():
			remedy := remedyFolder
			if f.path == s.TrustDir() {
				remedy = "move it away, then restore the folder from a copy, or run avdb init with the root that you trust"
			}
			return &Error{Kind: ErrStorage, Path: f.path, What: "is not a folder", Remedy: remedy}
		case osfile.OpenToAll(i):
			return openToAll(f.path)
		}
	}
	return nil
}

// refuseOpenToAll is about a file that decides what is found. One that is missing is fine.
func refuseOpenToAll(path string) error {
	if i, err := os.Lstat(path); err == nil && i.Mode().IsRegular() && osfile.OpenToAll(i) {
		return openToAll(path)
	}
	return nil
}

func openToAll(path string) error {
	return &Error{Kind: ErrStorage, Path: path, What: "can be written by every user of this machine",
		Remedy: "make sure that what is in it is yours, then chmod o-w it"}
}

func (s *Store) folder(path string, mode fs.FileMode) error {
	i, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := s.files.Mkdir(path, mode); err != nil && !errors.Is(err, fs.ErrExist) {
			return failed(path, "cannot be made", err)
		}
		return nil
	case err != nil:
		return failed(path, "cannot be looked at", err)
	case !i.IsDir():
		return &Error{Kind: ErrStorage, Path: path, What: "is not a folder", Remedy: "move it away"}
	case mode == modePrivate && i.Mode().Perm()&0o077 != 0:
		if err := s.files.Chmod(path, mode); err != nil {
			return failed(path, "is open to other users and cannot be closed", err)
		}
	}
	return nil
}

// Dir is the state folder, absolute.
func (s *Store) Dir() string { return s.dir }

// TrustDir is the folder of package signing: no cache, never wiped.
func (s *Store) TrustDir() string { return filepath.Join(s.dir, "trust") }

// OpenTrust opens the trust folder. Errors are those of signing.OpenTrust.
func (s *Store) OpenTrust() (*signing.Trust, error) {
	return signing.OpenTrustOn(s.o.Disk, s.TrustDir())
}

// DownloadsDir is the folder of the updater's partial files.
func (s *Store) DownloadsDir() string { return filepath.Join(s.dir, "downloads") }

func (s *Store) dbDir() string            { return filepath.Join(s.dir, "db") }
func (s *Store) ksnDir() string           { return filepath.Join(s.dir, "ksn") }
func (s *Store) layersDir() string        { return filepath.Join(s.dir, "db", "layers") }
func (s *Store) indexDir() string         { return filepath.Join(s.dir, "db", "index") }
func (s *Store) currentPath() string      { return filepath.Join(s.dir, "db", "CURRENT") }
func (s *Store) restrictionsPath() string { return filepath.Join(s.dir, "db", "restrictions.json") }
func (s *Store) settingsPath() string     { return filepath.Join(s.dir, "settings.json") }
func (s *Store) settingsLock() string     { return filepath.Join(s.dir, "settings.lock") }
func (s *Store) overridesPath() string    { return filepath.Join(s.dir, "overrides.json") }
func (s *Store) statePath() string        { return filepath.Join(s.dir, "state.db") }
func (s *Store) cachePath() string        { return filepath.Join(s.dir, "cache.db") }
func (s *Store) lockPath() string         { return filepath.Join(s.dir, "update.lock") }

// FreeBytes is the room that this user has on the file system of the state folder, in bytes.
func (s *Store) FreeBytes() (int64, error) {
	dir := existing(s.dir)
	n, err := osfile.FreeBytes(dir)
	if err != nil {
		return 0, failed(dir, "free space cannot be read", err)
	}
	return n, nil
}

const tempSuffix = ".tmp"

// tempPath is a new name beside path.
func (s *Store) tempPath(path string) (string, error) {
	var b [8]byte
	if _, err := io.ReadFull(s.o.Rand, b[:]); err != nil {
		return "", failed(path, "no random name", err)
	}
	return path + "." + hex.EncodeToString(b[:]) + tempSuffix, nil
}

// replace puts b in the place of path so that a reader, also after a power cut, sees the old file or the new
// one.
func (s *Store) replace(path string, b []byte, mode fs.FileMode) (err error) {
	temp, err := s.tempPath(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			s.files.Remove(temp) // best effort: Clean removes it otherwise
		}
	}()
	// A crash up to the rename leaves path as it was and a temporary file, which Clean removes.
	f, err := s.files.Create(temp, mode)
	if err != nil {
		return failed(temp, "cannot be made", err)
	}
	_, err = f.Write(b)
	if err == nil {
		// Without this sync a power cut after the rename could leave an empty file under path.
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return failed(temp, "cannot be written", err)
	}
	// The rename is the moment of change: a crash before it leaves the old file, after it the new one.
	if err := s.files.Rename(temp, path); err != nil {
		return failed(path, "cannot be replaced", err)
	}
	// A power cut before this sync may bring the old file back: the caller must not say "done", nor
	// remove anything that the old file needs, before it.
	if err := s.files.SyncDir(filepath.Dir(path)); err != nil {
		return failed(filepath.Dir(path), "cannot be synced", err)
	}
	return nil
}
