package osfile

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

func TestNumbersAreThoseOfWindows(t *testing.T) {
	if accessDenied != windows.ERROR_ACCESS_DENIED || sharingViolation != windows.ERROR_SHARING_VIOLATION || lockViolation != windows.ERROR_LOCK_VIOLATION ||
		driveRemote != windows.DRIVE_REMOTE {
		t.Error("the rules have other numbers than the system")
	}
}

// hold opens a file as a scanner does that shares nothing.
func hold(t *testing.T, path string) (release func()) {
	t.Helper()
	p, err := windows.UTF16PtrFromString(path)
	must(t, err)
	h, err := windows.CreateFile(p, windows.GENERIC_READ, 0, nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	must(t, err)
	return func() { must(t, windows.CloseHandle(h)) }
}

func TestRenameWaitsForFilesInUse(t *testing.T) {
	dir := t.TempDir()
	from, to := write(t, filepath.Join(dir, "from"), "new"), write(t, filepath.Join(dir, "to"), "old")
	release := hold(t, to)
	if _, err := Open(to); !InUse(err) {
		t.Errorf("opening a file in use: %v", err)
	}
	began := time.Now()
	if err := Rename(from, to); !InUse(err) || time.Since(began) < inUseLimit/2 {
		t.Errorf("a file in use for ever: %v after %v", err, time.Since(began))
	}
	released := make(chan struct{})
	go func() { defer close(released); time.Sleep(200 * time.Millisecond); release() }()
	if err := Rename(from, to); err != nil {
		t.Errorf("a file in use for a moment: %v", err)
	}
	<-released
	if b, err := os.ReadFile(to); string(b) != "new" || err != nil {
		t.Errorf("after the rename: %q, %v", b, err)
	}
}

// Everybody may make junctions; symbolic links take a privilege.
func TestJunctionsAreLinks(t *testing.T) {
	dir := t.TempDir()
	target, junction := filepath.Join(dir, "target"), filepath.Join(dir, "junction")
	must(t, os.Mkdir(target, 0o700))
	if out, err := exec.Command("cmd", "/c", "mklink", "/J", junction, target).CombinedOutput(); err != nil {
		t.Skipf("%v: %s", err, out)
	}
	i, err := os.Lstat(junction)
	must(t, err)
	if !IsLink(i.Mode()) {
		t.Errorf("a junction has mode %v and is no link", i.Mode())
	}
	if _, err := OpenOwn(junction, os.O_RDONLY); !IsLinkError(err) {
		t.Errorf("OpenOwn of a junction: %v", err)
	}
}

func TestDevicesAreRefused(t *testing.T) {
	for _, name := range []string{"NUL", "CONIN$"} {
		f, err := Open(name)
		if err == nil {
			f.Close()
		}
		if _, ok := errors.AsType[*IrregularError](err); !ok && err == nil {
			t.Errorf("%s opens", name)
		}
	}
}
