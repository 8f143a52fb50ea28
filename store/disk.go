package store

import (
	"io/fs"

	"example.org/avdb/signing"
)

// diskFiles tells a [signing.Disk] of every change, and lets it decide.
type diskFiles struct {
	files
	disk signing.Disk
}

func (d diskFiles) do(op, path string, change func() error) error {
	return d.disk.Do(signing.DiskCall{Op: op, Path: path}, change)
}

func (d diskFiles) Mkdir(path string, mode fs.FileMode) error {
	return d.do("mkdir", path, func() error { return d.files.Mkdir(path, mode) })
}

func (d diskFiles) Chmod(path string, mode fs.FileMode) error {
	return d.do("chmod", path, func() error { return d.files.Chmod(path, mode) })
}

func (d diskFiles) Create(path string, mode fs.FileMode) (_ newFile, err error) {
	var f newFile
	given := false
	defer func() {
		if f != nil && !given {
			f.Close() // it was made, and the caller is told that it was not, or the disk ended his goroutine
		}
	}()
	err = d.do("create", path, func() (err error) {
		f, err = d.files.Create(path, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	given = true
	return diskFile{f, path, d}, nil
}

func (d diskFiles) CreateBolt(path string, mode fs.FileMode) (_ newBolt, err error) {
	var b newBolt
	given := false
	defer func() {
		if b != nil && !given {
			b.Close() // which lets go of its lock
		}
	}()
	err = d.do("create", path, func() (err error) {
		b, err = d.files.CreateBolt(path, mode)
		return err
	})
	if err != nil {
		return nil, err
	}
	given = true
	return diskBolt{b, path, d}, nil
}

func (d diskFiles) Rename(from, to string) error {
	return d.disk.Do(signing.DiskCall{Op: "rename", Path: to, From: from}, func() error { return d.files.Rename(from, to) })
}

func (d diskFiles) SyncDir(path string) error {
	return d.do("syncdir", path, func() error { return d.files.SyncDir(path) })
}

func (d diskFiles) Remove(path string) error {
	return d.do("remove", path, func() error { return d.files.Remove(path) })
}

func (d diskFiles) Transaction(path string, change func() error) error {
	return d.do("transaction", path, func() error { return d.files.Transaction(path, change) })
}

// A diskFile is a newFile whose changes a disk is told of. Closing, which changes nothing, takes place whatever it says.
type diskFile struct {
	newFile
	path string
	d    diskFiles
}

func (f diskFile) Write(b []byte) (n int, err error) {
	err = f.d.do("write", f.path, func() (err error) {
		n, err = f.newFile.Write(b)
		return err
	})
	return n, err
}

func (f diskFile) Sync() error { return f.d.do("sync", f.path, f.newFile.Sync) }

// A diskBolt is the same for a newBolt.
type diskBolt struct {
	newBolt
	path string
	d    diskFiles
}

func (b diskBolt) Commit(pairs []pair) error {
	return b.d.do("commit", b.path, func() error { return b.newBolt.Commit(pairs) })
}

func (b diskBolt) Finish() error { return b.d.do("finish", b.path, b.newBolt.Finish) }
