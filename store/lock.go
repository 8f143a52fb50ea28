package store

import (
	"errors"
	"io/fs"
	"os"
	"time"

	"github.com/gofrs/flock"

	"example.org/avdb/osfile"
)

// A Lock is the right to change what is in db. The operating system takes it back when the process ends,
// however that happens.
type Lock struct {
	s *Store
	f *flock.Flock
}

// Lock takes the update lock, at once or not at all: the error matches [ErrLocked] if another process, or
// this one, holds it. Reading never needs it. [ErrStorage] if a folder of the layout is a link or no folder at all.
func (s *Store) Lock() (*Lock, error) {
	if err := s.checkFolders(); err != nil {
		return nil, err
	}
	path := s.lockPath()
	f, ok, err := tryLock(path)
	if err != nil {
		return nil, lockFailure(path, err)
	}
	if !ok {
		return nil, &Error{Kind: ErrLocked, Path: path, What: "another update is running", Remedy: "wait for it, then try again"}
	}
	l := &Lock{s: s, f: f}
	s.locked.Store(l)
	return l, nil
}

// Unlock gives the lock back. It may be called again.
func (l *Lock) Unlock() error {
	l.s.locked.CompareAndSwap(l, nil)
	return l.f.Unlock()
}

func lockFailure(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Kind: ErrStorage, Path: path, What: "its folder does not exist", Err: err, Remedy: "run init first"}
	}
	return failed(path, "cannot be locked", err)
}

// needLock is an error of the program, not of its environment.
func (s *Store) needLock() error {
	if s.locked.Load() == nil {
		return errors.New("store: the caller does not hold the update lock")
	}
	return nil
}

// tryLock makes the lock file if it is missing, and never follows a link to another.
func tryLock(path string) (*flock.Flock, bool, error) {
	if i, err := os.Lstat(path); err == nil && !i.Mode().IsRegular() {
		return nil, false, &Error{Kind: ErrStorage, Path: path, What: "is not a regular file", Remedy: "remove it"}
	}
	f := flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDONLY|osfile.NoFollow), flock.SetPermissions(modeSecret))
	ok, err := f.TryLock()
	if osfile.IsLinkError(err) {
		err = notRegular(path, "is a symbolic link")
	}
	return f, ok, err
}

// waitLock is tryLock until limit is over; for locks that are held for moments only.
func waitLock(path string, limit time.Duration) (*flock.Flock, error) {
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		f, ok, err := tryLock(path)
		if err != nil {
			return nil, lockFailure(path, err)
		}
		if ok {
			return f, nil
		}
		if !time.Now().Before(end) {
			return nil, &Error{Kind: ErrLocked, Path: path, What: "is held by another process", Remedy: "try again"}
		}
	}
}
