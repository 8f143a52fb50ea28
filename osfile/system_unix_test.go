//go:build unix

package osfile

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Whatever lies in the place of a file: nothing waits, nothing irregular is handed out, and a file of ours is never reached by a link.
func TestWhatLiesInThePlaceOfAFile(t *testing.T) {
	plant := map[string]func(path, victim string) error{
		"a file":      func(path, _ string) error { return os.WriteFile(path, nil, 0o600) },
		"a hard link": func(path, victim string) error { return os.Link(victim, path) },
		"a link":      func(path, victim string) error { return os.Symlink(filepath.Base(victim), path) },
		"a link to a link": func(path, victim string) error {
			return errors.Join(os.Symlink(filepath.Base(victim), path+".2"), os.Symlink("path.2", path))
		},
		"a dangling link":  func(path, _ string) error { return os.Symlink("none", path) },
		"a link to itself": func(path, _ string) error { return os.Symlink("path", path) },
		"a link to a FIFO": func(path, _ string) error {
			return errors.Join(syscall.Mkfifo(path+".fifo", 0o600), os.Symlink("path.fifo", path))
		},
		"a link out of there": func(path, _ string) error { return os.Symlink("../outside", path) },
		"a link to a device":  func(path, _ string) error { return os.Symlink("/dev/zero", path) },
		"a FIFO":              func(path, _ string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder":            func(path, _ string) error { return os.Mkdir(path, 0o700) },
		"a link to a folder":  func(path, _ string) error { return os.Symlink(".", path) },
		"a socket": func(path, _ string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
			if err != nil {
				return err
			}
			l.SetUnlinkOnClose(false)
			return l.Close()
		},
	}
	const (
		opens     = "opens"
		link      = "link"      // IsLinkError
		irregular = "irregular" // IrregularError, not of a link
		system    = "system"    // an error of the system
	)
	want := map[string]map[string]string{ // Open, OpenIn, OpenOwn
		"a file":              {"Open": opens, "OpenIn": opens, "OpenOwn": opens},
		"a hard link":         {"Open": opens, "OpenIn": opens, "OpenOwn": opens},
		"a link":              {"Open": opens, "OpenIn": opens, "OpenOwn": link},
		"a link to a link":    {"Open": opens, "OpenIn": opens, "OpenOwn": link},
		"a dangling link":     {"Open": system, "OpenIn": system, "OpenOwn": link},
		"a link to itself":    {"Open": link, "OpenIn": link, "OpenOwn": link},
		"a link to a FIFO":    {"Open": irregular, "OpenIn": irregular, "OpenOwn": link},
		"a link out of there": {"Open": opens, "OpenIn": system, "OpenOwn": link},
		"a link to a device":  {"Open": irregular, "OpenIn": system, "OpenOwn": link},
		"a FIFO":              {"Open": irregular, "OpenIn": irregular, "OpenOwn": irregular},
		"a folder":            {"Open": irregular, "OpenIn": irregular, "OpenOwn": irregular},
		"a link to a folder":  {"Open": irregular, "OpenIn": irregular, "OpenOwn": link},
		"a socket":            {"Open": irregular, "OpenIn": irregular, "OpenOwn": irregular},
	}
	for what, put := range plant {
		t.Run(what, func(t *testing.T) {
			top, err := os.MkdirTemp("", "o") // short: the path of a socket has about a hundred bytes
			must(t, err)
			defer os.RemoveAll(top)
			dir := filepath.Join(top, "dir")
			must(t, os.Mkdir(dir, 0o700))
			victim := write(t, filepath.Join(dir, "victim"), "theirs")
			write(t, filepath.Join(top, "outside"), "theirs")
			if err := put(filepath.Join(dir, "path"), victim); err != nil {
				t.Skip(err)
			}
			for how, open := range openers {
				got := make(chan string, 1)
				go func() {
					f, err := open(dir, "path")
					e, isIrregular := errors.AsType[*IrregularError](err)
					switch {
					case err == nil:
						f.Close()
						got <- opens
					case IsLinkError(err):
						got <- link
					case isIrregular:
						if e.Mode.IsRegular() || e.Path == "" {
							t.Errorf("%s: mode %v, path %q", how, e.Mode, e.Path)
						}
						got <- irregular
					default:
						got <- system
					}
				}()
				select {
				case g := <-got:
					if g != want[what][how] {
						t.Errorf("%s: %s, want %s", how, g, want[what][how])
					}
				case <-time.After(time.Minute):
					t.Fatalf("%s waits", how)
				}
			}
		})
	}
}

// A path that changes all the time between a file and a link to somebody else's never gives away the latter.
func TestOpenOwnHasNoRace(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "path"), write(t, filepath.Join(dir, "victim"), "theirs")
	write(t, path, "ours")
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			os.Remove(path + ".new")
			err := os.Symlink(victim, path+".new")
			if err == nil {
				err = os.Rename(path+".new", path)
			}
			if err == nil {
				err = os.WriteFile(path+".new", []byte("ours"), 0o600)
			}
			if err == nil {
				err = os.Rename(path+".new", path)
			}
			if err != nil {
				done <- err
				return
			}
		}
	}()
	files, links := 0, 0
	for end := time.Now().Add(10 * time.Second); (files < 200 || links < 200) && time.Now().Before(end); {
		f, err := OpenOwn(path, os.O_RDONLY)
		if err != nil {
			if !IsLinkError(err) {
				t.Fatal(err)
			}
			links++
			continue
		}
		b, err := io.ReadAll(f)
		f.Close()
		if err != nil || string(b) != "ours" {
			t.Fatalf("read %q, %v", b, err)
		}
		files++
	}
	close(stop)
	must(t, <-done)
	if files == 0 || links == 0 {
		t.Errorf("saw %d files and %d links: nothing was raced", files, links)
	}
}

func TestDevicesAreRefused(t *testing.T) {
	for how, err := range map[string]error{"Open": second(Open("/dev/zero")), "OpenOwn": second(OpenOwn("/dev/zero", os.O_RDWR))} {
		if e, ok := errors.AsType[*IrregularError](err); !ok || e.Mode&fs.ModeDevice == 0 || e.Path != "/dev/zero" {
			t.Errorf("%s of a device: %v", how, err)
		}
	}
}

func second(_ *os.File, err error) error { return err }

func TestHardLinked(t *testing.T) {
	path := write(t, filepath.Join(t.TempDir(), "file"), "text")
	look := func() fs.FileInfo { i, err := os.Lstat(path); must(t, err); return i }
	if HardLinked(look()) {
		t.Error("a file with one name has two")
	}
	must(t, os.Link(path, path+".2"))
	if !HardLinked(look()) {
		t.Error("the second name is not seen")
	}
}

// On Linux and macOS a file that somebody holds open is no obstacle.
func TestRenameOverAnOpenFile(t *testing.T) {
	dir := t.TempDir()
	from, to := write(t, filepath.Join(dir, "from"), "new"), write(t, filepath.Join(dir, "to"), "old")
	f, err := Open(to)
	must(t, err)
	defer f.Close()
	must(t, Rename(from, to))
	if b, err := io.ReadAll(f); string(b) != "old" || err != nil {
		t.Errorf("the open file now holds %q, %v", b, err)
	}
}
