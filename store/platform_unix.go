//go:build unix

package store

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// openFlags: a link at the end of a path is refused, and opening a FIFO does not wait for its writer.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

func refuseLink(string) error { return nil } // openFlags do

func isLinkError(err error) bool {
	return errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK)
}

func inUse(error) bool { return false }

// privateCopy copies f into a file that has no name any more.
func privateCopy(f *os.File) (*os.File, error) {
	c, err := os.CreateTemp("", "avdb-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(c.Name())
	if err == nil {
		_, err = io.Copy(c, f)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// links is the number of names that a file has.
func links(i fs.FileInfo) uint64 {
	if st, ok := i.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	// Some file systems cannot sync a folder and say so; there a rename is as durable as it gets.
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func freeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
