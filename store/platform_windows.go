package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

const openFlags = 0

// refuseLink looks before opening: there is no flag for it. Only users who may write to the state folder could
// put a link between the look and the opening.
func refuseLink(path string) error {
	i, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if i.Mode()&(fs.ModeSymlink|fs.ModeIrregular) != 0 {
		return notRegular(path, "is a link")
	}
	return nil
}

func isLinkError(error) bool { return false }

// inUse tells whether another process holds the file for the moment. Access denied is what renaming over,
// or removing, a file gives that is open or about to vanish.
func inUse(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION) ||
		errors.Is(err, windows.ERROR_ACCESS_DENIED)
}

// privateCopy: a file that is open keeps its name here, so that there is no private one.
func privateCopy(f *os.File) (*os.File, error) {
	return nil, &fs.PathError{Op: "open", Path: f.Name(), Err: windows.ERROR_LOCK_VIOLATION}
}

func links(fs.FileInfo) uint64 { return 1 }

// syncDir: NTFS journals names, and a folder cannot be flushed without rights that updaters lack.
func syncDir(string) error { return nil }

func freeBytes(dir string) (int64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, err
	}
	return int64(min(free, 1<<62)), nil
}

func remoteFileSystem(dir string) (string, bool) {
	volume := filepath.VolumeName(dir)
	if strings.HasPrefix(volume, `\\`) && !strings.HasPrefix(volume, `\\?\`) && !strings.HasPrefix(volume, `\\.\`) {
		return "share " + volume, true
	}
	p, err := windows.UTF16PtrFromString(volume + `\`)
	if err != nil {
		return "", false
	}
	return "network drive " + volume, windows.GetDriveType(p) == windows.DRIVE_REMOTE
}
