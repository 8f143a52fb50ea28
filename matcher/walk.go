package matcher

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"os"
)

// An entry is one thing that a walk came to: a file to scan, or a place that could
// not be read.
type entry struct {
	path   string
	follow bool // a symbolic link is followed: the path was asked for by name
	err    error
}

// walk visits the files under roots in a stable order: roots as they come, folders by the byte order
// of their names, folders before what is in them. Symbolic links and everything else
// that is neither file nor folder are followed or reported when they are roots and passed over
// when they are found inside a folder. It holds the names of one folder a level, no more. It ends
// early when visit returns false or ctx is done.
func walk(ctx context.Context, roots iter.Seq[string], visit func(entry) bool) {
	for root := range roots {
		if ctx.Err() != nil {
			return
		}
		fi, err := os.Stat(root)
		switch {
		case err != nil:
			err = fmt.Errorf("cannot scan: %w", err)
		case fi.IsDir():
			if !walkFolder(ctx, root, visit) {
				return
			}
			continue
		case !fi.Mode().IsRegular():
			err = notRegular(root, fi.Mode())
		}
		if !visit(entry{path: root, follow: true, err: err}) {
			return
		}
	}
}

// walkFolder visits what is in a folder. A folder that cannot be read to its end is
// an entry with an error, followed by what could be read.
func walkFolder(ctx context.Context, folder string, visit func(entry) bool) bool {
	if ctx.Err() != nil {
		return false
	}
	list, err := os.ReadDir(folder)
	if err != nil && !visit(entry{path: folder, err: fmt.Errorf("cannot list the folder: %w", err)}) {
		return false
	}
	for _, e := range list {
		path := join(folder, e.Name())
		switch {
		case e.IsDir():
			if !walkFolder(ctx, path, visit) {
				return false
			}
		case e.Type().IsRegular():
			if !visit(entry{path: path}) {
				return false
			}
		}
	}
	return true
}

// join puts a name behind a folder. filepath.Join would also resolve "..", and so
// name another place when the part before it is a symbolic link.
func join(folder, name string) string {
	if os.IsPathSeparator(folder[len(folder)-1]) {
		return folder + name
	}
	return folder + string(os.PathSeparator) + name
}

// notRegular says what else a path is.
func notRegular(path string, m fs.FileMode) error {
	kind := "a special file"
	switch {
	case m.IsDir():
		kind = "a folder"
	case m&fs.ModeNamedPipe != 0:
		kind = "a FIFO"
	case m&fs.ModeSocket != 0:
		kind = "a socket"
	case m&fs.ModeDevice != 0:
		kind = "a device"
	}
	return fmt.Errorf("%s is %s: only regular files and folders can be scanned", path, kind)
}
