package store

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// recordFiles writes one line for each change, then makes it. Commits of bbolt files are numbered as one change each.
type recordFiles struct {
	osFiles
	dir   string
	lines []string
	names *strings.Replacer // digests by what they are
}

func (r *recordFiles) add(op, path string, more ...any) {
	name, _ := filepath.Rel(r.dir, path)
	name = tempName.ReplaceAllString(filepath.ToSlash(name), ".*.tmp")
	if r.names != nil {
		name = r.names.Replace(name)
	}
	r.lines = append(r.lines, strings.TrimSpace(fmt.Sprintln(append([]any{op, name}, more...)...)))
}

func (r *recordFiles) Mkdir(path string, mode fs.FileMode) error {
	r.add("mkdir", path, fmt.Sprintf("%04o", mode))
	return r.osFiles.Mkdir(path, mode)
}

func (r *recordFiles) Chmod(path string, mode fs.FileMode) error {
	r.add("chmod", path, fmt.Sprintf("%04o", mode))
	return r.osFiles.Chmod(path, mode)
}

func (r *recordFiles) Create(path string, mode fs.FileMode) (newFile, error) {
	r.add("create", path, fmt.Sprintf("%04o", mode))
	f, err := r.osFiles.Create(path, mode)
	return &recordFile{newFile: f, r: r, path: path}, err
}

func (r *recordFiles) CreateBolt(path string, mode fs.FileMode) (newBolt, error) {
	r.add("create", path, fmt.Sprintf("%04o", mode))
	f, err := r.osFiles.CreateBolt(path, mode)
	return &recordBolt{newBolt: f, r: r, path: path}, err
}

func (r *recordFiles) Rename(from, to string) error {
	name, _ := filepath.Rel(filepath.Dir(from), to)
	if r.names != nil {
		name = r.names.Replace(name)
	}
	r.add("rename", from, "to", name)
	return r.osFiles.Rename(from, to)
}

func (r *recordFiles) SyncDir(path string) error {
	r.add("sync-folder", path)
	return r.osFiles.SyncDir(path)
}

func (r *recordFiles) Remove(path string) error {
	r.add("remove", path)
	return r.osFiles.Remove(path)
}

func (r *recordFiles) Transaction(path string, change func() error) error {
	r.add("transaction", path)
	return r.osFiles.Transaction(path, change)
}

type recordFile struct {
	newFile
	r    *recordFiles
	path string
}

func (f *recordFile) Write(b []byte) (int, error) {
	f.r.add("write", f.path)
	return f.newFile.Write(b)
}
func (f *recordFile) Sync() error { f.r.add("sync", f.path); return f.newFile.Sync() }

type recordBolt struct {
	newBolt
	r    *recordFiles
	path string
}

func (f *recordBolt) Commit(p []pair) error { f.r.add("write", f.path); return f.newBolt.Commit(p) }
func (f *recordBolt) Finish() error         { f.r.add("sync", f.path); return f.newBolt.Finish() }

// A fault says what becomes of call number at (from 0), and of those after it.
type fault struct {
	at      int
	effect  bool // the call takes effect, and yet fails
	forever bool // every later call fails without effect: the process is dead
}

var errFault = &fs.PathError{Op: "fault", Path: "test", Err: syscall.EIO}

// faultFiles makes one call fail. It counts the calls of the files that it makes, too.
type faultFiles struct {
	osFiles
	fault fault
	calls int
}

func (f *faultFiles) do(call func() error) error {
	n := f.calls
	f.calls++
	switch {
	case n < f.fault.at || n > f.fault.at && !f.fault.forever:
		return call()
	case n == f.fault.at && f.fault.effect:
		return errors.Join(call(), errFault)
	}
	return errFault
}

func (f *faultFiles) Mkdir(path string, mode fs.FileMode) error {
	return f.do(func() error { return f.osFiles.Mkdir(path, mode) })
}

func (f *faultFiles) Chmod(path string, mode fs.FileMode) error {
	return f.do(func() error { return f.osFiles.Chmod(path, mode) })
}

func (f *faultFiles) Create(path string, mode fs.FileMode) (newFile, error) {
	var n newFile
	err := f.do(func() (err error) { n, err = f.osFiles.Create(path, mode); return err })
	if err != nil {
		if n != nil {
			n.Close()
		}
		return nil, err
	}
	return &faultFile{newFile: n, f: f}, nil
}

func (f *faultFiles) CreateBolt(path string, mode fs.FileMode) (newBolt, error) {
	var n newBolt
	err := f.do(func() (err error) { n, err = f.osFiles.CreateBolt(path, mode); return err })
	if err != nil {
		if n != nil {
			n.Close()
		}
		return nil, err
	}
	return &faultBolt{newBolt: n, f: f}, nil
}

func (f *faultFiles) Rename(from, to string) error {
	return f.do(func() error { return f.osFiles.Rename(from, to) })
}

func (f *faultFiles) SyncDir(path string) error {
	return f.do(func() error { return f.osFiles.SyncDir(path) })
}

func (f *faultFiles) Remove(path string) error {
	return f.do(func() error { return f.osFiles.Remove(path) })
}

func (f *faultFiles) Transaction(path string, change func() error) error {
	return f.do(func() error { return f.osFiles.Transaction(path, change) })
}

type faultFile struct {
	newFile
	f *faultFiles
}

// Write without effect writes half: a torn write.
func (f *faultFile) Write(b []byte) (n int, err error) {
	err = f.f.do(func() (err error) { n, err = f.newFile.Write(b); return err })
	if err != nil && n == 0 {
		f.newFile.Write(b[:len(b)/2])
	}
	return n, err
}

func (f *faultFile) Sync() error { return f.f.do(f.newFile.Sync) }

func (f *faultFile) Close() error {
	return errors.Join(f.newFile.Close(), f.f.do(func() error { return nil }))
}

type faultBolt struct {
	newBolt
	f *faultFiles
}

func (f *faultBolt) Commit(p []pair) error {
	return f.f.do(func() error { return f.newBolt.Commit(p) })
}

func (f *faultBolt) Finish() error { return f.f.do(f.newBolt.Finish) }

func (f *faultBolt) Close() error {
	return errors.Join(f.newBolt.Close(), f.f.do(func() error { return nil }))
}
