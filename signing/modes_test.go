//go:build !windows

package signing

import (
	"io/fs"
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
