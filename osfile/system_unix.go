//go:build unix

package osfile

import (
	"io/fs"
	"os"
	"syscall"
)

// noWait keeps the opening of a FIFO from waiting for its other end, and that of a terminal from making it ours.
const noWait = syscall.O_NONBLOCK | syscall.O_NOCTTY

// NoFollow is for [os.OpenFile] where [OpenOwn] cannot be used: a link at the end of a path is refused with an error
// that [IsLinkError] knows, and opening a FIFO does not wait.
const NoFollow = noWait | syscall.O_NOFOLLOW

func openOwn(path string, flag int) (*os.File, error) { return os.OpenFile(path, flag|NoFollow, 0) }

// HardLinked tells whether a file has a second name, which writing to it would change as well.
func HardLinked(i fs.FileInfo) bool {
	st, ok := i.Sys().(*syscall.Stat_t)
	return ok && st.Nlink > 1
}

// OpenToAll tells whether every user may write: to a file, or to a folder in which each may also replace what others have.
func OpenToAll(i fs.FileInfo) bool {
	return i.Mode().Perm()&0o002 != 0 && (!i.IsDir() || i.Mode()&fs.ModeSticky == 0)
}

// KnownToAll tells whether every user may read a file, or do more with it: no place for a secret. A group may, since services run under one.
func KnownToAll(i fs.FileInfo) bool { return i.Mode().Perm()&0o007 != 0 }

// FreeBytes is the room that this user has on the file system of dir, which must exist, in bytes.
func FreeBytes(dir string) (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
