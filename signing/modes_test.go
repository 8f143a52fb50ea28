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

// Guard: openOwn opens without blocking. A FIFO in the trust folder does not make anyone wait.
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
	if err := InitTrust(dir, firstRoot(t, r), false); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, "roots": 0o700, "tmp": 0o700, "roots/1.root.json": 0o600} {
		if s, err := os.Stat(filepath.Join(dir, name)); err != nil || s.Mode().Perm() != want {
			t.Errorf("%q has mode %v, %v; want %o", name, s.Mode().Perm(), err, want)
		}
	}
}

// Guard: O_NOFOLLOW. A link in the trust folder leads nowhere: neither to a good document elsewhere nor to a secret, of which no
// error says a word.
func TestLinkInTheTrustFolderIsNotFollowed(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	publish(t, r, 1, day0)
	for _, file := range []string{filepath.Join("roots", "1.root.json"), floorsFile, verifiedFile} {
		for what, content := range map[string][]byte{"its own content": nil, "a secret": []byte(`{"hunter2":"hunter2"}`)} {
			tr := newTrust(t, r)
			refresh(t, tr, serve(r), day0)
			name, elsewhere := filepath.Join(tr.dir, file), filepath.Join(t.TempDir(), "elsewhere")
			if err := os.Rename(name, elsewhere); err != nil {
				t.Fatal(err)
			}
			if content != nil {
				if err := os.WriteFile(elsewhere, content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(elsewhere, name); err != nil {
				t.Fatal(err)
			}
			_, err := tr.Stored()
			wantDamage(t, err, name, "is a symbolic link")
			_, err = tr.Refresh(t.Context(), serve(r), RefreshOptions{Now: day0})
			wantDamage(t, err, name, "is a symbolic link")
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s at %s: the error tells what it leads to: %v", what, file, err)
			}
			if err := initTrust(tr.dir, firstRoot(t, newRepository(t, RepositoryOptions{Rand: &stream{seed: 5}})), true, noSync); err != nil {
				t.Errorf("%s at %s: the trust cannot be replaced: %v", what, file, err)
			}
		}
	}
}

// Guard: O_NONBLOCK. A FIFO in the place of the only root makes nobody wait for its writer.
func TestFIFOInThePlaceOfTheRoot(t *testing.T) {
	r := newRepository(t, RepositoryOptions{})
	tr := newTrust(t, r)
	name := tr.rootName(1)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := tr.Refresh(t.Context(), serve(r), RefreshOptions{Now: day0})
	wantDamage(t, err, name, "is not a regular file")
}
