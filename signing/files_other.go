//go:build !windows

package signing

import (
	"errors"
	"os"
	"syscall"
)

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
