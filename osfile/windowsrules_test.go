package osfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestWindowsInUse(t *testing.T) {
	for n, want := range map[syscall.Errno]bool{
		0:   false, // NO_ERROR
		2:   false, // FILE_NOT_FOUND
		3:   false, // PATH_NOT_FOUND
		5:   true,  // ACCESS_DENIED
		17:  false, // NOT_SAME_DEVICE
		19:  false, // WRITE_PROTECT
		32:  true,  // SHARING_VIOLATION
		33:  true,  // LOCK_VIOLATION
		80:  false, // FILE_EXISTS
		112: false, // DISK_FULL
	} {
		for _, err := range []error{n, &os.LinkError{Op: "rename", Old: "a", New: "b", Err: n}, fmt.Errorf("commit: %w", &fs.PathError{Op: "remove", Path: "a", Err: n})} {
			if got := windowsInUse(err); got != want {
				t.Errorf("windowsInUse of number %d in a %T = %v", n, err, got)
			}
		}
	}
	if windowsInUse(nil) || windowsInUse(fs.ErrPermission) {
		t.Error("an error without a number is no file in use")
	}
}

// Whatever an attacker does to a path between the look, the opening and the second look, no link's target is handed out.
func TestNoLinkGetsBetweenTheLooks(t *testing.T) {
	link := func(t *testing.T, target, path string) {
		os.Remove(path)
		if err := os.Symlink(target, path); err != nil {
			t.Skip("links need a privilege here: ", err)
		}
	}
	for name, c := range map[string]struct {
		before, between, opened func(t *testing.T, path, victim string) // at the first look, before the opening, after it
		want                    func(error) bool
	}{
		"a file": {want: func(err error) bool { return err == nil }},
		"nothing": {
			before: func(t *testing.T, path, _ string) { must(t, os.Remove(path)) },
			want:   func(err error) bool { return errors.Is(err, fs.ErrNotExist) },
		},
		"a folder": {
			before: func(t *testing.T, path, _ string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) },
			want: func(err error) bool {
				e, ok := errors.AsType[*IrregularError](err)
				return ok && e.Mode == fs.ModeDir && !IsLinkError(err)
			},
		},
		"a link":               {before: func(t *testing.T, path, victim string) { link(t, victim, path) }, want: IsLinkError},
		"a dangling link":      {before: func(t *testing.T, path, victim string) { link(t, victim+".none", path) }, want: IsLinkError},
		"a link that comes":    {between: func(t *testing.T, path, victim string) { link(t, victim, path) }, want: IsLinkError},
		"a file that vanishes": {between: func(t *testing.T, path, _ string) { must(t, os.Remove(path)) }, want: func(err error) bool { return errors.Is(err, fs.ErrNotExist) }},
		"a link that comes and goes": {
			between: func(t *testing.T, path, victim string) { must(t, os.Rename(path, path+".away")); link(t, victim, path) },
			opened:  func(t *testing.T, path, _ string) { must(t, os.Rename(path+".away", path)) },
			want:    IsLinkError,
		},
		"a link to the file itself": { // follows a link, and yet gives nobody else's file
			between: func(t *testing.T, path, _ string) {
				must(t, os.Rename(path, path+".away"))
				link(t, path+".away", path)
			},
			want: IsLinkError,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path, victim := write(t, filepath.Join(dir, "path"), "ours"), write(t, filepath.Join(dir, "victim"), "theirs")
			call := func(f func(t *testing.T, path, victim string)) {
				if f != nil {
					f(t, path, victim)
				}
			}
			call(c.before)
			f, err := openBetweenLooks(path, func() (*os.File, error) {
				call(c.between)
				f, err := os.Open(path)
				call(c.opened)
				return f, err
			})
			if !c.want(err) || (f != nil) != (err == nil) {
				t.Errorf("file %v, error %v", f, err)
			}
			if f != nil {
				f.Close()
			}
		})
	}
}

func TestRemoteVolumes(t *testing.T) {
	const fixed = 3
	for _, c := range []struct {
		volume string
		drive  uint32
		kind   string
		remote bool
	}{
		{`C:`, fixed, "", false},
		{`Z:`, driveRemote, `network drive Z:`, true},
		{`\\server\share`, fixed, `share \\server\share`, true},
		{`\\?\C:`, fixed, "", false},
		{`\\?\UNC\server\share`, driveRemote, `network drive \\?\UNC\server\share`, true},
		{`\\.\C:`, fixed, "", false},
		{``, 0, "", false},
	} {
		if kind, remote := remoteVolume(c.volume, c.drive); remote != c.remote || remote && kind != c.kind {
			t.Errorf("remoteVolume(%s, %d) = %q, %v", c.volume, c.drive, kind, remote)
		}
	}
}

func TestWindowsDiskFailed(t *testing.T) {
	for n, want := range map[syscall.Errno]bool{19: true, 23: true, 39: true, 112: true, 1117: true, 1816: true, 5: false, 32: false, 2: false} {
		if got := windowsDiskFailed(fmt.Errorf("write: %w", n)); got != want {
			t.Errorf("error %d: %v, want %v", n, got, want)
		}
	}
}
