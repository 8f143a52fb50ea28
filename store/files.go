package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"example.org/avdb/osfile"
)

// files is every way in which the store changes the disk, so that tests can record the order of
// changes and make each one fail. Reading does not go through it.
type files interface {
	Mkdir(path string, mode fs.FileMode) error // with exactly this mode; fs.ErrExist if it is there
	Chmod(path string, mode fs.FileMode) error
	Create(path string, mode fs.FileMode) (newFile, error)     // a file that was not there, with exactly this mode
	CreateBolt(path string, mode fs.FileMode) (newBolt, error) // the same as a bbolt file
	Rename(from, to string) error
	SyncDir(path string) error
	Remove(path string) error // nil if it is not there

	// Transaction is a change of the bbolt file at path, which change makes, and syncs unless it is the cache.
	Transaction(path string, change func() error) error
}

// A newFile is being written.
type newFile interface {
	io.Writer
	Sync() error
	Close() error
}

// A newBolt is a bbolt file that is being written, by one goroutine.
type newBolt interface {
	// Commit adds pairs, in ascending order of their keys within a bucket. It copies nothing that it
	// needs after it has returned.
	Commit(pairs []pair) error
	// Finish writes the rest, cuts the file to its size and syncs it. After it there is only Close.
	Finish() error
	Close() error
}

type pair struct {
	bucket     string
	key, value []byte
}

// osFiles are the files of the operating system.
type osFiles struct{}

func (osFiles) Mkdir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode) // the umask took bits away
}

func (osFiles) Chmod(path string, mode fs.FileMode) error { return os.Chmod(path, mode) }

func (osFiles) Create(path string, mode fs.FileMode) (newFile, error) {
	f, err := createExclusive(path, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// createExclusive makes a file that was not there: O_EXCL follows no link.
func createExclusive(path string, mode fs.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(mode); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return f, nil
}

func (osFiles) Rename(from, to string) error {
	return osfile.Rename(from, to)
}

func (osFiles) SyncDir(path string) error { return osfile.SyncDir(path) }

// Remove does not try again: what is in use now is left for the next run.
func (osFiles) Remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (osFiles) Transaction(_ string, change func() error) error { return change() }

// openRegular opens a file of ours for reading or writing: never a link, a folder, a device or a
// FIFO (on which opening could wait for ever).
func openRegular(path string, flag int) (*os.File, error) {
	f, err := osfile.OpenOwn(path, flag)
	if osfile.IsLinkError(err) {
		return nil, notRegular(path, "is a symbolic link")
	}
	if _, ok := errors.AsType[*osfile.IrregularError](err); ok {
		return nil, notRegular(path, "is not a regular file")
	}
	return f, err
}

func notRegular(path, what string) error {
	return &Error{Kind: ErrStorage, Path: path, What: what, Remedy: "remove it and update again"}
}

// readFile reads a small file of ours whole. Errors of the operating system are as they are.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, &Error{Kind: ErrStorage, Damaged: true, Path: path, What: fmt.Sprintf("has more than %d bytes", limit),
			Remedy: "remove it and update again"}
	}
	return b, nil
}
