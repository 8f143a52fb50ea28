package osfile

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
)

// The rules of Windows as functions of values, so that every system tests them.

// Error numbers of Windows.
const (
	accessDenied     = syscall.Errno(5)
	sharingViolation = syscall.Errno(32)
	lockViolation    = syscall.Errno(33)
	writeProtect     = syscall.Errno(19)
	crc              = syscall.Errno(23)
	handleDiskFull   = syscall.Errno(39)
	diskFull         = syscall.Errno(112)
	ioDevice         = syscall.Errno(1117)
	notEnoughQuota   = syscall.Errno(1816)
)

func windowsDiskFailed(err error) bool {
	n, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains([]syscall.Errno{writeProtect, crc, handleDiskFull, diskFull, ioDevice, notEnoughQuota}, n)
}

func windowsInUse(err error) bool {
	n, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains([]syscall.Errno{accessDenied, sharingViolation, lockViolation}, n)
}

// openBetweenLooks is for systems where opening follows links: path must be a regular file before and name what is open after.
// While a file is open here nobody can put another in its place, so that the second look fails for a link that came and stayed, or came
// and left, and for nobody's lawful rename. (Go opens without FILE_SHARE_DELETE.)
func openBetweenLooks(path string, open func() (*os.File, error)) (*os.File, error) {
	before, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, &IrregularError{path, before.Mode().Type()}
	}
	f, err := open()
	if err != nil {
		return nil, err
	}
	opened, err := f.Stat()
	if err == nil {
		var after os.FileInfo
		if after, err = os.Lstat(path); err == nil && !os.SameFile(opened, after) {
			err = &IrregularError{path, os.ModeSymlink}
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// driveRemote is DRIVE_REMOTE, what GetDriveType says of a letter that stands for a share.
const driveRemote = 4

// remoteVolume tells whether a volume is on another machine, by its name or else by its type of drive. Names that begin with
// \\?\ or \\.\ are of this machine unless their drive says otherwise.
func remoteVolume(volume string, drive uint32) (string, bool) {
	local := strings.HasPrefix(volume, `\\?\`) || strings.HasPrefix(volume, `\\.\`)
	if strings.HasPrefix(volume, `\\`) && !local {
		return "share " + volume, true
	}
	return "network drive " + volume, drive == driveRemote
}
