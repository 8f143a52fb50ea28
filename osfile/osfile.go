// Package osfile is what this module relies on when it opens, renames and syncs files, where systems differ. What a package makes of
// its errors is its own affair.
//
// # Opening
//
// A file is opened only if it is a regular one, whatever may lie in its place, and opening never waits.
//
//	                     Linux, macOS                               Windows
//	[Open], [OpenIn]     without waiting for the other end of a     the same look: pipes and devices of
//	                     FIFO; what is open is looked at            that system are refused
//	[OpenOwn]            as well, no link at the end of the path    no such flag: the path is looked at before
//	                     (O_NOFOLLOW): there is nothing to race     and after, and must name what is open
//	link                 a symbolic link                            also a junction and any other reparse point
//	                                                                that Go does not know for a file or folder
//	[HardLinked]         known                                      not known: false
//	[PrivateCopy]        a file without a name                      none: an open file keeps its name
//
// Links in the folders above are followed; who may change those is a matter of their modes.
//
// # Renaming
//
// [Rename] puts a file in the place of another at once: a reader finds the old one or the new one. On Linux and macOS a
// file that others hold open is no obstacle. On Windows it is "in use" ([InUse]: a sharing violation, a lock violation, or access
// denied, which is what replacing an open file, or one that is about to vanish, gives): virus scanners and search indexers hold any
// file for moments, so that the rename is tried again for two seconds. Removing is not: what cannot be removed now
// waits for the next run.
//
// [Replace] does so with what a file is to hold.
//
// # Durability
//
// A file's bytes are durable after its Sync. [SyncDir] does the same for the names in a folder: after it, renames in that
// folder survive a power cut. On Linux and macOS it is fsync of the folder, and where a file system cannot do that and says so, a
// rename is as durable as it gets. On Windows nothing is done: NTFS journals names, and flushing a folder takes rights that updaters lack.
//
// # Modes
//
// [OpenToAll] and [KnownToAll] judge modes, which Windows has none of: there the answer is no.
//
// # Room and place
//
// [FreeBytes] is the room that this user has. [DiskFailed] knows what systems say when there is none. [Remote] knows network file systems by their kind on Linux, by a flag on macOS, and by
// share or drive on Windows; on other systems none.
package osfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"
)

// An IrregularError says that a path leads to a link, where none is followed, or to a folder, a FIFO, a socket or a device.
type IrregularError struct {
	Path string
	Mode fs.FileMode // the type bits of what is there
}

func (e *IrregularError) Error() string {
	if IsLink(e.Mode) {
		return e.Path + " is a symbolic link"
	}
	return e.Path + " is no regular file"
}

// Open opens the regular file that path leads to for reading; links are followed. If something else is there, the error is
// an [*IrregularError]; other errors are those of the system.
func Open(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|noWait, 0)
	return regular(path, f, irregularity(path, err, os.Stat))
}

// OpenIn is [Open] for a name inside root: links are followed as long as they stay there.
func OpenIn(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|noWait, 0)
	return regular(name, f, irregularity(name, err, root.Stat))
}

// OpenOwn opens the regular file at path, which must exist, with flag (O_RDONLY, O_RDWR, …). A link there is an
// [*IrregularError] like anything else that is no regular file.
func OpenOwn(path string, flag int) (*os.File, error) {
	f, err := openOwn(path, flag)
	if isLinkError(err) {
		return nil, &IrregularError{path, fs.ModeSymlink}
	}
	return regular(path, f, irregularity(path, err, os.Lstat))
}

// irregularity makes an [*IrregularError] of what systems say of a socket, or of a device that nothing drives: they give no descriptor to
// look at.
func irregularity(path string, err error, look func(string) (fs.FileInfo, error)) error {
	if !errors.Is(err, syscall.ENXIO) && !errors.Is(err, syscall.EOPNOTSUPP) {
		return err
	}
	if i, e := look(path); e == nil && !i.Mode().IsRegular() {
		return &IrregularError{path, i.Mode().Type()}
	}
	return err
}

// regular closes what turns out to be something else.
func regular(path string, f *os.File, err error) (*os.File, error) {
	if err != nil {
		return nil, err
	}
	i, err := f.Stat()
	if err == nil && !i.Mode().IsRegular() {
		err = &IrregularError{path, i.Mode().Type()}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// IsLink tells whether m is the mode, as os.Lstat gives it, of what this package calls a link.
func IsLink(m fs.FileMode) bool { return m&(fs.ModeSymlink|fs.ModeIrregular) != 0 }

// IsLinkError tells whether err says that a link was in the way: of [OpenOwn], or of opening with [NoFollow].
func IsLinkError(err error) bool {
	e, ok := errors.AsType[*IrregularError](err)
	return ok && IsLink(e.Mode) || isLinkError(err)
}

// isLinkError knows what O_NOFOLLOW gives: ELOOP, on FreeBSD EMLINK.
func isLinkError(err error) bool {
	return errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK)
}

// Rename is os.Rename that waits up to two seconds for others to let go of a file in use.
func Rename(from, to string) error {
	return retry(func() error { return os.Rename(from, to) }, InUse, time.Now, time.Sleep)
}

// A Step makes one change to the disk by calling do, or fails in its place, so that tests can end a replacement before and after each of its changes.
// op is create, write, sync, rename or remove; path is what it is about, from what a rename takes there.
type Step func(op, path, from string, do func() error) error

// Replace makes path hold exactly what r yields, with this mode whatever the umask: a new file, which create makes on the same file system, is written,
// synced and renamed. So a crash leaves the old file or the new one, and perhaps a stray one under the name that create gave it; an
// error leaves the old file, and removes what it can. The new name is durable once [SyncDir] has synced its folder, and not to be built on before. step may be nil.
func Replace(path string, create func() (*os.File, error), r io.Reader, mode fs.FileMode, step Step) error {
	if step == nil {
		step = func(_, _, _ string, do func() error) error { return do() }
	}
	var f *os.File
	err := step("create", path, "", func() (err error) {
		if f, err = create(); err != nil {
			return err
		}
		return f.Chmod(mode)
	})
	if f == nil {
		return err
	}
	if err == nil {
		err = step("write", path, "", func() error { _, err := io.Copy(f, r); return err })
	}
	if err == nil {
		// Without this sync a power cut after the rename could leave an empty file under path.
		err = step("sync", path, "", f.Sync)
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		// The moment of change: a crash before it leaves the old file, after it the new one.
		err = step("rename", path, f.Name(), func() error { return Rename(f.Name(), path) })
	}
	if err != nil {
		// A rename that failed and took effect has left no file to remove; path is the new one, which is as good.
		_ = step("remove", f.Name(), "", func() error { return os.Remove(f.Name()) })
	}
	return err
}

// InUse tells whether err says that another process holds a file at the moment, in a way that others cannot get round.
func InUse(err error) bool { return runtime.GOOS == "windows" && windowsInUse(err) }

// DiskFailed tells whether err is about a disk that is full, not writable or broken, and not about whoever may do what there.
func DiskFailed(err error) bool {
	if runtime.GOOS == "windows" {
		return windowsDiskFailed(err)
	}
	n, ok := errors.AsType[syscall.Errno](err)
	return ok && slices.Contains([]syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG, syscall.EROFS, syscall.EIO}, n)
}

// inUseLimit bounds the wait for a file in use.
const inUseLimit = 2 * time.Second

// retry calls f, with growing pauses, until it succeeds, fails in another way than again knows, or [inUseLimit] is over. The
// last error is returned.
func retry(f func() error, again func(error) bool, now func() time.Time, sleep func(time.Duration)) error {
	end := now().Add(inUseLimit)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		err := f()
		if err == nil || !again(err) || !now().Add(pause).Before(end) {
			return err
		}
		sleep(pause)
	}
}

// SyncDir makes the names in the folder at path durable.
func SyncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// PrivateCopy copies what is left to read of f into a file that has no name, so that nobody else can open or lock it. The caller
// closes both.
func PrivateCopy(f *os.File) (*os.File, error) {
	if runtime.GOOS == "windows" {
		return nil, &fs.PathError{Op: "open", Path: f.Name(), Err: lockViolation}
	}
	c, err := os.CreateTemp("", "avdb-")
	if err != nil {
		return nil, err
	}
	err = os.Remove(c.Name())
	if err == nil {
		_, err = io.Copy(c, f)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}
