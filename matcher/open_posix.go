//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package matcher

import (
	"os"
	"syscall"
)

// openFile opens for reading without ever waiting: a FIFO without a writer would block an ordinary
// open for good. The caller looks at what it has opened before it reads. With
// follow unset a symbolic link is an error, so that an entry of a folder that is swapped for one
// between the walk and here leads nowhere.
func openFile(path string, follow bool) (*os.File, error) {
	flags := os.O_RDONLY | syscall.O_NONBLOCK | syscall.O_NOCTTY
	if !follow {
		flags |= syscall.O_NOFOLLOW
	}
	return os.OpenFile(path, flags, 0)
}
