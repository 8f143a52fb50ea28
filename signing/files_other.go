//go:build unix

package signing

import (
	"errors"
	"os"
	"syscall"
)

// openFlags: a link at the end of a path is refused, and opening a FIFO does not wait for its writer.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

func refuseLink(string) error { return nil } // openFlags do

func isLinkError(err error) bool {
	return errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK)
}

func sharingViolation(error) bool { return false }

func syncFolder(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	err = d.Sync()
	// Some network and FUSE file systems cannot sync a folder and say so; there is nothing more to do there.
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
