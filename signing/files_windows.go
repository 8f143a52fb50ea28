package signing

import (
	"errors"
	"syscall"
)

const (
	errSharingViolation syscall.Errno = 32
	errLockViolation    syscall.Errno = 33
)

func sharingViolation(err error) bool {
	return errors.Is(err, errSharingViolation) || errors.Is(err, errLockViolation) || errors.Is(err, syscall.ERROR_ACCESS_DENIED)
}

// syncFolder does nothing: Windows journals renames and cannot sync a folder.
func syncFolder(string) error { return nil }
