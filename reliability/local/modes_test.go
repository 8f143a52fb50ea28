//go:build check && linux

package local

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestModesWhateverTheUmask: the database and the state folder are readable by all, the rest by the owner only.
func TestModesWhateverTheUmask(t *testing.T) {
	for _, umask := range []string{"000", "022", "077"} {
		t.Run("umask "+umask, func(t *testing.T) {
			w := newWorld(t)
			w.own()
			dir := filepath.Join(w.home, "fresh")
			for _, args := range [][]string{
				{"--state", dir, "init", "--root", copyRoot(t, w), "--source", w.URL()},
				{"--state", dir, "update"},
			} {
				if r := execute(t, 2*time.Minute, nobody, umask, args...); r.code != 0 {
					t.Fatalf("%v: exit %d\n%s", args, r.code, r.stderr)
				}
			}
			err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				i, err := d.Info()
				if err != nil {
					return err
				}
				rel, _ := filepath.Rel(dir, name)
				if got, want := i.Mode().Perm(), modeOf(rel, d.IsDir()); got != want {
					t.Errorf("%s has mode %o, want %o", rel, got, want)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	summary(t, "F modes: 3 umasks")
}

// modeOf is what DESIGN and docs/format/store.md say of a path below the state folder.
func modeOf(rel string, dir bool) fs.FileMode {
	public := rel == "." || rel == "db" || strings.HasPrefix(rel, "db/") || rel == "ksn" || strings.HasPrefix(rel, "ksn/")
	switch {
	case public && dir:
		return 0o755
	case public:
		return 0o644
	case dir:
		return 0o700
	}
	return 0o600
}

func copyRoot(t *testing.T, w *world) string {
	t.Helper()
	b, err := os.ReadFile(w.RootFile())
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(w.home, "root.json")
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestReadersWithoutRights: another user, and the owner of a folder that cannot be written, read what is installed.
func TestReadersWithoutRights(t *testing.T) {
	w := newWorld(t)
	w.own()
	sample := filepath.Join(w.home, "sample")
	if err := os.WriteFile(sample, []byte("sample 7"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(sample, 0o644); err != nil {
		t.Fatal(err)
	}
	readers := []struct {
		name string
		uid  int
		lock bool   // take all rights to write away first
		set  string // what vouches for the restriction set
	}{{"another user", stranger, false, "not proved"}, {"a folder that nobody may write", nobody, true, "named by the signed metadata"}}
	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			if r.lock {
				err := filepath.WalkDir(w.e.Dir, func(name string, d fs.DirEntry, err error) error {
					if err != nil {
						return err
					}
					i, err := d.Info()
					if err != nil {
						return err
					}
					return os.Chmod(name, i.Mode().Perm()&^0o222)
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []struct {
				code int
				out  string
				args []string
			}{
				{1, "Test.sample.7 FOUND", []string{"scan", sample}},
				{0, "release 1", []string{"status"}},
				{0, "KSN: Disabled", []string{"ksn", "status"}},
				{0, r.set, []string{"verify"}},
				{0, "epoch 1", []string{"ksn", "restrictions", "list"}},
			} {
				got := execute(t, 2*time.Minute, r.uid, "", append([]string{"--state", w.e.Dir}, c.args...)...)
				if got.code != c.code || !strings.Contains(got.stdout, c.out) {
					t.Errorf("%v: exit %d, want %d\n%s%s", c.args, got.code, c.code, got.stdout, got.stderr)
				}
			}
			if got := execute(t, 2*time.Minute, r.uid, "", "--state", w.e.Dir, "update"); got.code != 15 {
				t.Errorf("update without the right to write: exit %d, want 15\n%s", got.code, got.stderr)
			}
		})
	}
	// The owner of the settings who may not read the trust folder is no other user: somebody closed it, and nothing is proved.
	if err := os.Chmod(filepath.Join(w.e.Dir, "trust"), 0); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify"}, {"status"}, {"ksn", "restrictions", "list"}} {
		if got := execute(t, 2*time.Minute, nobody, "", append([]string{"--state", w.e.Dir}, args...)...); got.code != 15 {
			t.Errorf("%v with a closed trust folder: exit %d, want 15\n%s%s", args, got.code, got.stdout, got.stderr)
		}
	}
	summary(t, "F readers without rights: %d", len(readers))
}
