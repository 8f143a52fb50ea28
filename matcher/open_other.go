//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package matcher

import (
	"fmt"
	"os"
)

// openFile opens for reading. Where opening cannot be told to leave symbolic links alone, the
// entry is looked at first; what is open is looked at again by the caller.
func openFile(path string, follow bool) (*os.File, error) {
	if !follow {
		fi, err := os.Lstat(path)
		if err != nil {
			return nil, err
		}
		if !fi.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is no regular file any more: %w", path, ErrChanged)
		}
	}
	return os.Open(path)
}
