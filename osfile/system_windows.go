package osfile

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

const noWait = 0

// NoFollow is for [os.OpenFile] where [OpenOwn] cannot be used: on Windows nothing, so that the path has to be looked at first.
const NoFollow = 0

func openOwn(path string, flag int) (*os.File, error) {
	return openBetweenLooks(path, func() (*os.File, error) { return os.OpenFile(path, flag, 0) })
}

// HardLinked tells whether a file has a second name. It is not known here.
func HardLinked(fs.FileInfo) bool { return false }

// OpenToAll tells whether every user may write. It is not known here, where rights are inherited from the folder above.
func OpenToAll(fs.FileInfo) bool { return false }

// KnownToAll tells whether every user may read a file, or do more with it: not known here.
func KnownToAll(fs.FileInfo) bool { return false }

// FreeBytes is the room that this user has on the file system of dir, which must exist, in bytes.
func FreeBytes(dir string) (int64, error) {
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

// Remote tells whether dir, an absolute path, is on a network file system, and of which kind.
func Remote(dir string) (kind string, remote bool) {
	volume := filepath.VolumeName(dir)
	p, err := windows.UTF16PtrFromString(volume + `\`)
	if err != nil {
		return "", false
	}
	return remoteVolume(volume, windows.GetDriveType(p))
}
