package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"

	"example.org/avdb/osfile"
	"example.org/avdb/signing"
	"example.org/avdb/store"
)

// The names of the layout.
const (
	privateDir   = ".mirror"
	metadataDir  = "metadata"
	targetsDir   = "targets"
	timestamp    = "timestamp.json"
	stateFile    = "state.json"
	maxStateFile = 64 << 20
)

// A folder is a mirror on disk. Every change to it that matters after a crash goes through the disk.
type folder struct {
	dir  string
	disk signing.Disk // nil for none
}

// file is the path of a name of ours, slash-separated, below DIR.
func (f folder) file(name string) string { return filepath.Join(f.dir, filepath.FromSlash(name)) }

func (f folder) private(elem ...string) string {
	return filepath.Join(append([]string{f.dir, privateDir}, elem...)...)
}

func (f folder) do(c signing.DiskCall, change func() error) error {
	if f.disk == nil {
		return change()
	}
	return f.disk.Do(c, change)
}

// open makes what is missing of the layout, takes the lock, and removes what dead runs left in tmp.
func (f folder) open() (unlock func(), err error) {
	for _, d := range []struct {
		name string
		mode fs.FileMode
	}{
		{f.dir, 0o755}, {f.private(), 0o700}, {f.private("downloads"), 0o700}, {f.private("tmp"), 0o700},
		{f.file(metadataDir), 0o755}, {f.file(targetsDir), 0o755},
	} {
		if err := f.mkdir(d.name, d.mode); err != nil {
			return nil, err
		}
	}
	if err := f.syncDir(f.dir); err != nil {
		return nil, err
	}
	if unlock, err = f.lock(); err != nil {
		return nil, err
	}
	left, err := os.ReadDir(f.private("tmp"))
	for _, e := range left {
		if err == nil {
			err = f.remove(f.private("tmp", e.Name()))
		}
	}
	if err != nil {
		unlock()
		return nil, failed(f.private("tmp"), "cannot be tidied up", err)
	}
	return unlock, nil
}

// lock keeps other runs away until unlock is called.
func (f folder) lock() (unlock func(), err error) {
	name := f.private("lock")
	l := flock.New(name, flock.SetFlag(os.O_CREATE|os.O_RDONLY|osfile.NoFollow), flock.SetPermissions(0o600))
	ok, err := l.TryLock() // ends with the process, whatever ends it
	if err != nil {
		return nil, failed(name, "cannot be locked", err)
	}
	if !ok {
		return nil, &store.Error{Kind: store.ErrLocked, Path: name, What: "another run is at work on this mirror", Remedy: "wait for it, then try again"}
	}
	return func() { l.Unlock() }, nil
}

// mkdir makes a folder. A link in its place is followed if it leads to one: only .mirror and what is below it must be our own.
func (f folder) mkdir(name string, mode fs.FileMode) error {
	look := os.Stat
	if mode == 0o700 {
		look = os.Lstat
	}
	switch s, err := look(name); {
	case err == nil && s.IsDir():
		return nil
	case err == nil:
		return &store.Error{Kind: store.ErrStorage, Path: name, What: "is no folder", Remedy: "move it away, then try again"}
	}
	err := f.do(signing.DiskCall{Op: "mkdir", Path: name}, func() error {
		if err := os.MkdirAll(name, mode); err != nil {
			return err
		}
		return os.Chmod(name, mode)
	})
	if err != nil {
		return failed(name, "cannot be made", err)
	}
	return nil
}

// replace makes name, below DIR, hold what r yields. It is durable once its folder is synced.
func (f folder) replace(name string, r io.Reader, mode fs.FileMode) error {
	path := f.file(name)
	create := func() (*os.File, error) { return os.CreateTemp(f.private("tmp"), "new-*") }
	err := osfile.Replace(path, create, r, mode, func(op, path, from string, do func() error) error {
		return f.do(signing.DiskCall{Op: op, Path: path, From: from}, do)
	})
	if err == nil || errors.Is(err, signing.ErrUntrusted) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err // of what was to be written
	}
	return failed(path, "cannot be written", err)
}

func (f folder) syncDir(path string) error {
	if err := f.do(signing.DiskCall{Op: "syncdir", Path: path}, func() error { return osfile.SyncDir(path) }); err != nil {
		return failed(path, "cannot be synced", err)
	}
	return nil
}

func (f folder) remove(path string) error {
	err := f.do(signing.DiskCall{Op: "remove", Path: path}, func() error { return os.Remove(path) })
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(path, "cannot be removed", err)
	}
	return nil
}

// read gives a file of at most limit bytes; a longer one is an error, never cut, and links are not followed.
func (f folder) read(path string, limit int64) ([]byte, error) {
	file, err := osfile.OpenOwn(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return b, err
}

// failed is a failure of this machine's disk.
func failed(path, what string, err error) error {
	if e, ok := errors.AsType[*store.Error](err); ok {
		return e
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		if !strings.HasPrefix(filepath.Base(p.Path), "new-") { // a temporary name says nothing
			path = p.Path
		}
		err = p.Err
	}
	return &store.Error{Kind: store.ErrStorage, Path: path, What: what, Err: err,
		Remedy: "make room or make the folder writable, then try again; what the mirror serves is whole"}
}
