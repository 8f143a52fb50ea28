package signing

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"example.org/avdb/osfile"
)

// files does every change to a disk that this package makes, each primitive step by way of the [Disk], if there is one.
type files struct {
	disk Disk
}

func (f files) step(op, name string, do func() error) error {
	return f.do(DiskCall{Op: op, Path: name}, do)
}

func (f files) do(c DiskCall, do func() error) error {
	if f.disk == nil {
		return do()
	}
	return f.disk.Do(c, do)
}

// mkdir makes a folder and sets its mode whatever the umask; one that exists keeps its mode.
func (f files) mkdir(name string, mode fs.FileMode) error {
	if s, err := os.Stat(name); err == nil && s.IsDir() {
		return nil
	}
	return f.step("mkdir", name, func() error {
		if err := os.MkdirAll(name, mode); err != nil {
			return err
		}
		return os.Chmod(name, mode)
	})
}

// replace makes name hold exactly what r yields, durably up to the folder entry, which [files.syncDir] completes:
// a crash leaves the old file or the new one, and at most a stray file in tmp, on the same file system, which the next refresh, or the next
// publishing run, removes. A power cut may still bring the old file back until the caller has synced the folder: before that it must not
// build on the new one.
func (f files) replace(tmp, name string, r io.Reader, mode fs.FileMode) error {
	err := osfile.Replace(name, func() (*os.File, error) { return os.CreateTemp(tmp, "new-*") }, r, mode, func(op, path, from string, do func() error) error {
		return f.do(DiskCall{Op: op, Path: path, From: from}, do)
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// syncDir makes the renames into a folder durable.
func (f files) syncDir(name string) error {
	return f.step("syncdir", name, func() error { return osfile.SyncDir(name) })
}

func (f files) remove(name string) error {
	return f.step("remove", name, func() error {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

// clean removes what killed processes left in a folder of temporary files.
func (f files) clean(tmp string) error {
	left, err := os.ReadDir(tmp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range left {
		if err := f.remove(filepath.Join(tmp, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// readLimited reads a file of at most limit bytes; a longer one is an error, never cut.
func readLimited(name string, limit int64) ([]byte, error) {
	file, err := osfile.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return b, err
}
