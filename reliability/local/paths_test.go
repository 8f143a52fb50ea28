//go:build check && linux

package local

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"example.org/avdb/updater"
)

// A plant puts something at a path where a file of ours is, or would be. victim exists and belongs to somebody else.
type plant struct {
	kind string
	root bool // only root can
	put  func(path, victim string) error
}

var plants = []plant{
	{"symbolic link to a victim", false, func(path, victim string) error { return os.Symlink(victim, path) }},
	{"dangling symbolic link", false, func(path, victim string) error { return os.Symlink(victim+".none", path) }},
	{"hard link to a victim", false, func(path, victim string) error { return os.Link(victim, path) }},
	{"FIFO", false, func(path, _ string) error { return syscall.Mkfifo(path, 0o666) }},
	{"socket", false, func(path, _ string) error {
		dir, err := os.MkdirTemp("", "s") // the path of a socket has about a hundred bytes
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "s")})
		if err != nil {
			return err
		}
		l.SetUnlinkOnClose(false)
		return errors.Join(l.Close(), os.Rename(filepath.Join(dir, "s"), path))
	}},
	{"folder", false, func(path, _ string) error {
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(path, "x"), nil, 0o644)
	}},
	{"device", true, func(path, _ string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|3) }},
	{"file of another user", true, func(path, _ string) error {
		if err := os.WriteFile(path, []byte("of a stranger"), 0o644); err != nil {
			return err
		}
		return os.Chown(path, stranger, stranger)
	}},
	{"file without write right", false, func(path, _ string) error { return os.WriteFile(path, []byte("read only"), 0o400) }},
}

// random are names that cannot be foreseen.
var random = regexp.MustCompile(`\.[0-9a-f]{16}\.tmp$|trust/tmp/new-`)

// written lists the paths, relative to the state folder, that an update from release 1 to 2 has at any of its steps.
func written(t *testing.T) []string {
	w := newWorld(t)
	seen := map[string]bool{}
	look := func(string) {
		err := filepath.WalkDir(w.e.Dir, func(name string, _ fs.DirEntry, err error) error {
			rel, e := filepath.Rel(w.e.Dir, name)
			if err == nil && e == nil && rel != "." && !random.MatchString(rel) {
				seen[rel] = true
			}
			return nil // what goes while we look is no matter
		})
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := w.e.Update(updater.Options{}, func(c *updater.Config) {
		c.Step = look
		c.Progress = func(updater.Progress) { look("") }
	}); err != nil {
		t.Fatal(err)
	}
	look("")
	paths := slices.Sorted(maps.Keys(seen))
	for _, want := range []string{"db/CURRENT", "trust/floors.json", "trust/verified.json", "state.db", "update.lock", "downloads"} {
		if !slices.Contains(paths, want) {
			t.Fatalf("%s is not among the paths that an update was seen to use: %q", want, paths)
		}
	}
	return paths
}

// TestThingsInThePlaceOfOurFiles: 9 kinds × every path that an update uses.
func TestThingsInThePlaceOfOurFiles(t *testing.T) {
	asRoot := os.Geteuid() == 0
	cells := 0
	var refused atomic.Int64
	var paths []string
	t.Run("paths", func(t *testing.T) { paths = written(t) })
	base := newWorld(t)
	t.Run("cells", func(t *testing.T) { // ends when all cells have
		for _, rel := range paths {
			for _, p := range plants {
				if p.root && !asRoot {
					continue
				}
				cells++
				t.Run(rel+"/"+p.kind, func(t *testing.T) {
					t.Parallel()
					if base.thing(t, rel, p) != 0 {
						refused.Add(1)
					}
				})
			}
		}
	})
	if !asRoot {
		t.Log("not root: devices and files of other users were left out")
	}
	summary(t, "F things in the place of our files: %d paths, %d cells, %d refused and %d replaced or not met", len(paths), cells, refused.Load(), int64(cells)-refused.Load())
}

// thing runs one cell in a copy of the world's device and gives the exit code of the run that met the thing. The victim of a folder is a
// folder, one that anybody may write.
func (w *world) thing(t *testing.T, rel string, p plant) int {
	c := w.copy(t)
	victim := filepath.Join(c.home, "victim")
	path := filepath.Join(c.e.Dir, rel)
	inside := victim
	if i, err := os.Lstat(path); err == nil && i.IsDir() && strings.HasPrefix(p.kind, "symbolic") {
		if err := os.Mkdir(victim, 0o777); err != nil {
			t.Fatal(err)
		}
		inside = filepath.Join(victim, "inside")
	}
	content := []byte("what must not change\n")
	if err := os.WriteFile(inside, content, 0o666); err != nil {
		t.Fatal(err)
	}
	aside := filepath.Join(c.home, "aside")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	err := os.Rename(path, aside)
	was := err == nil
	c.own()
	for _, name := range []string{victim, inside} {
		if err := errors.Join(os.Chmod(name, 0o777), os.Chown(name, stranger, stranger)); err != nil && os.Geteuid() == 0 {
			t.Fatal(err)
		}
	}
	before := list(t, victim)
	if err := p.put(path, victim); err != nil {
		t.Fatal(err)
	}
	r := c.update()
	if !documented[r.code] {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
	if b, err := os.ReadFile(inside); err != nil || !bytes.Equal(b, content) {
		t.Errorf("the victim holds %q now, %v", b, err)
	}
	if after := list(t, victim); after != before {
		t.Errorf("the victim was\n%sand is\n%s", before, after)
	}
	if _, err := os.Lstat(victim + ".none"); err == nil {
		t.Error("a dangling link was followed: its target exists now")
	}
	if r.code == 0 && r.report.To != 2 {
		t.Errorf("exit 0, release %d", r.report.To)
	}
	// What was planted is taken away and what was there put back, as the message asks for.
	if i, err := os.Lstat(path); err == nil && !ours(i, p) {
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if was {
			if err := os.Rename(aside, path); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.own()
	if r := c.update(); r.code != 0 || r.report.To != 2 {
		t.Errorf("once it is gone: exit %d, release %d\n%s", r.code, r.report.To, r.stderr)
	}
	if i := c.installed(); i.Version != 2 {
		t.Errorf("installed is %v", i)
	}
	if left, err := c.e.Leftovers(); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return r.code
}

// list is what is at and below a path, with modes and owners.
func list(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err == nil {
			s := i.Sys().(*syscall.Stat_t)
			fmt.Fprintf(&b, "%s %v %d\n", name, i.Mode(), s.Uid)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// ours tells whether what is at the path now is no longer what was planted.
func ours(i fs.FileInfo, p plant) bool {
	if !i.Mode().IsRegular() {
		return false
	}
	s, ok := i.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return false
	case strings.HasPrefix(p.kind, "hard link"):
		return s.Nlink == 1
	case strings.HasPrefix(p.kind, "file of another"):
		return s.Uid != stranger
	case strings.HasPrefix(p.kind, "file without"):
		return i.Mode().Perm() != 0o400
	}
	return true
}
