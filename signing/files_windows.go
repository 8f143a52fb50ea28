package signing

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const (
	errSharingViolation syscall.Errno = 32
	errLockViolation    syscall.Errno = 33
)

const openFlags = 0

// refuseLink looks before the file is opened, as no flag refuses links here. Only who may write to the trust folder could
// change what the path leads to in between.
func refuseLink(name string) error {
	s, err := os.Lstat(name)
	if err == nil && s.Mode()&(fs.ModeSymlink|fs.ModeIrregular) != 0 {
		err = errLink
	}
	return err
}

func isLinkError(err error) bool { return err == errLink }

func sharingViolation(err error) bool {
	return errors.Is(err, errSharingViolation) || errors.Is(err, errLockViolation) || errors.Is(err, syscall.ERROR_ACCESS_DENIED)
}

// syncFolder does nothing: Windows journals renames and cannot sync a folder.
func syncFolder(string) error { return nil }
