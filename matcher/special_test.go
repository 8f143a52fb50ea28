//go:build linux || darwin

package matcher

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"example.org/avdb/dbformat"
)

// A FIFO must neither block a scan nor be read; nor must anything else that is no file.
func TestSpecialFilesAreNeverRead(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for r := range scanAll(t, e, ScanOptions{}, dir) {
		t.Errorf("inside a folder: %+v", r)
	}
	for path, kind := range map[string]string{fifo: "a FIFO", os.DevNull: "a device", dir: "a folder"} {
		if r := e.ScanFile(t.Context(), path); r.Verdict != Failed || !strings.Contains(r.Error, kind) || !strings.Contains(r.Error, path) {
			t.Errorf("%s: %+v; want an error that names %s", path, r, kind)
		}
	}
	for r := range scanAll(t, e, ScanOptions{}, fifo) {
		if r.Verdict != Failed || !strings.Contains(r.Error, "a FIFO") {
			t.Errorf("named: %+v", r)
		}
	}
}

func TestFoldersThatCannotBeListed(t *testing.T) {
	e := full(t, Options{}, sections{"hash/sha256": {listed(dbformat.SHA256, "bad", true, "Test.Bad")}})
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a", "bad"), "bad")
	write(t, filepath.Join(dir, "b"), "bad")
	closed := filepath.Join(dir, "a")
	if err := os.Chmod(closed, 0); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(closed, 0o700)
	var failed, found int
	for r := range scanAll(t, e, ScanOptions{}, dir) {
		switch {
		case r.Verdict == Failed && r.Path == closed:
			failed++
		case r.Verdict == Malicious:
			found++
		}
	}
	if os.Geteuid() == 0 { // root may list everything
		if failed != 0 || found != 2 {
			t.Fatalf("as root: %d errors, %d found; want 0 and 2", failed, found)
		}
	} else if failed != 1 || found != 1 {
		t.Fatalf("%d errors, %d found; want 1 and 1", failed, found)
	}
}
