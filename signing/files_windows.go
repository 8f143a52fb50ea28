package signing

import (
	"errors"
	"os"
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

// lockFile opens the file without sharing it, which ends with the process, whatever ends it.
func lockFile(name string) (*os.File, error) {
	p, err := syscall.UTF16PtrFromString(name)
	if err != nil {
		return nil, err
	}
	h, err := syscall.CreateFile(p, syscall.GENERIC_READ|syscall.GENERIC_WRITE, 0, nil, syscall.OPEN_ALWAYS, syscall.FILE_ATTRIBUTE_NORMAL, 0)
	if errors.Is(err, errSharingViolation) {
		return nil, ErrBusy
	}
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(h), name), nil
}
