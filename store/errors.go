package store

import (
	"errors"
	"fmt"
	"io/fs"
	"runtime/debug"
)

// What a caller can react to. Errors of this package are *[Error] and match these by errors.Is.
var (
	// ErrNoDatabase: there is no current generation yet; the first update makes one.
	ErrNoDatabase = errors.New("no database")
	// ErrLocked: another process holds the lock.
	ErrLocked = errors.New("locked")
	// ErrStorage: the disk is full, not writable, or what it holds is damaged.
	ErrStorage = errors.New("storage error")
	// ErrDamaged is matched together with ErrStorage when content on disk is wrong or
	// missing. Fetching it again heals all but settings.json, overrides.json and the provider file of a private network, which no source has.
	ErrDamaged = errors.New("damaged")
	// ErrDigestMismatch: a finished layer is not the one that was wanted. Nothing on disk is
	// wrong and nothing was kept: the bytes that it was made from, or their base, are.
	ErrDigestMismatch = errors.New("digest mismatch")
	// ErrSettings: settings or overrides that this engine does not understand. Beside it, those in settings.json and overrides.json match
	// ErrStorage and ErrDamaged; those that a caller wants to put there do not.
	ErrSettings = errors.New("invalid settings")
	// ErrHeld: a hold forbids the release.
	ErrHeld = errors.New("held")
	// ErrNoPrevious: there is no earlier release to roll back to.
	ErrNoPrevious = errors.New("no previous release")
)

// An Error says what happened to which file, and what to do.
type Error struct {
	Kind    error  // one of the sentinels above
	Damaged bool   // see ErrDamaged
	Path    string // the file or folder in question
	What    string // "leaf of block hash/sha256 3 differs"
	Remedy  string // "run an update: it fetches the layer again"; may be empty
	Err     error  // the cause; may be nil
}

func (e *Error) Error() string {
	s := e.Path + ": " + e.What
	if e.Err != nil {
		s += ": " + cause(e.Err).Error()
	}
	if e.Remedy != "" {
		s += " (" + e.Remedy + ")"
	}
	return s
}

// cause drops operation and path of a path error: the message names them already.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok && err == error(p) {
		return p.Err
	}
	return err
}

// Is matches the kind, [ErrDamaged] if the content is wrong, and [ErrStorage] if it is that of settings.json or overrides.json: an
// index is built again and ails nobody.
func (e *Error) Is(target error) bool {
	return target == e.Kind || e.Damaged && (target == ErrDamaged || target == ErrStorage && e.Kind == ErrSettings)
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

const (
	remedyUpdate = "run an update, which fetches what is damaged again"
	remedyFolder = "move it away and update again, which makes the folder anew"
	remedyDisk   = "make room or make the folder writable, then update again; the database in use stays as it is"
)

// failed wraps an error of the operating system.
func failed(path, what string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	remedy := remedyDisk
	if errors.Is(err, fs.ErrNotExist) {
		remedy = ""
	}
	return &Error{Kind: ErrStorage, Path: path, What: what, Err: err, Remedy: remedy}
}

func damaged(path, format string, args ...any) *Error {
	return &Error{Kind: ErrStorage, Damaged: true, Path: path, What: fmt.Sprintf(format, args...), Remedy: remedyUpdate}
}

// Guard runs f, which reads mapped bytes of the file at path, and turns a fault (the file was cut,
// the disk cannot be read any more) into an error that matches ErrDamaged. Whatever touches bytes of a
// [LayerFile] or an [IndexFile] belongs inside one, on the goroutine that touches them: no other is
// protected. Every other panic is passed on.
func Guard(path string, f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch r := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }: // a runtime.Error with the address of a fault
			err = damaged(path, "cannot be read: fault at %#x of the mapped file", r.Addr())
		default:
			panic(r)
		}
	}()
	return f()
}

// guardBolt is Guard for calls into bbolt, which panics on pages that make no sense.
func guardBolt(path string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged(path, "cannot be read: %v", r)
		}
	}()
	return Guard(path, f)
}
