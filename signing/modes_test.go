//go:build !windows

package signing

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Whatever the umask, private keys are their owner's and public files everybody's.
func TestModes(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o027))
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	err := filepath.WalkDir(r.dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		s, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(r.dir, name)
		want := fs.FileMode(0o644)
		if d.IsDir() {
			want = 0o755
		}
		if strings.HasPrefix(rel, "keys") || rel == "tmp" || rel == "lock" {
			want &^= 0o077
		}
		if s.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", rel, s.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Guard: readLimited looks before it opens. A FIFO in the trust folder does not make anyone wait.
func TestFIFOInTheWay(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	tr := newTrust(t, r)
	for _, name := range []string{verifiedFile, floorsFile} {
		if err := syscall.Mkfifo(filepath.Join(tr.dir, name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.Stored(); err == nil {
		t.Error("a FIFO was read")
	}
	refresh(t, tr, serve(r), day0)
	if _, err := tr.Stored(); err != nil {
		t.Error(err)
	}
}

// A trust folder that somebody made open to all is closed.
func TestInitTrustClosesItsFolder(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	dir := filepath.Join(t.TempDir(), "trust")
	if err := os.MkdirAll(filepath.Join(dir, "roots"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := InitTrust(dir, firstRoot(t, r), false, day0); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, "roots": 0o700, "tmp": 0o700, "roots/1.root.json": 0o600} {
		if s, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Mode().Perm() != want {
			t.Errorf("%q has mode %v, %v; want %o", name, s.Mode().Perm(), err, want)
		}
	}
}
