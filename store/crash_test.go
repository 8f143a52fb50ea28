package store

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestOrderOfWrites holds the order of write, sync, rename and sync-folder: a missing sync is a line in a
// diff.
func TestOrderOfWrites(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	rec := &recordFiles{dir: dir}
	var out strings.Builder
	step := func(title string, f func() error) {
		rec.lines = nil
		must(t, f())
		fmt.Fprintf(&out, "# %s\n%s\n\n", title, strings.Join(rec.lines, "\n"))
	}
	var s *Store
	step("create", func() (err error) {
		s, err = Create(dir, Options{Now: func() time.Time { return day(100) }, files: rec})
		return err
	})
	lock, err := s.Lock()
	must(t, err)
	defer lock.Unlock()
	var names []string
	releases := []*release{nil, newRelease(t, 1, 300, 1), newRelease(t, 2, 301, 2), newRelease(t, 3, 302, 3)}
	for i, r := range releases[1:] {
		names = append(names, r.light.Header().Digest().String(), fmt.Sprintf("LIGHT%d", i+1),
			r.rest.Header().Digest().String(), fmt.Sprintf("REST%d", i+1))
	}
	rec.names = strings.NewReplacer(names...)
	for i := range 3 {
		step(fmt.Sprintf("install release %d", i+1), func() error { return install(s, releases[i+1], dbformat.VariantFull) })
	}
	step("switch to light", func() error { return install(s, releases[3], dbformat.VariantLight) })
	step("roll back", func() error { _, err := s.Rollback(false); return err })
	step("put restrictions", func() error { return s.PutRestrictions([]byte("{}"), 1) })
	step("replace restrictions", func() error { return s.ReplaceRestrictions([]byte("{}"), 1) })
	step("remove restrictions", func() error { return s.RemoveRestrictions() })
	step("change settings", func() error {
		return s.UpdateSettings(func(v *Settings) error { v.CloudMode = true; return nil })
	})
	step("put an index", func() error { return s.PutIndex("x-1", func(yield func([]byte) bool) { yield([]byte("piece")) }) })
	step("clean", func() error { return s.Clean() })
	step("put a network", func() error { return s.PutNetwork("private", []byte("{}")) })
	step("remove a network", func() error { return s.RemoveNetwork("private") })
	step("change overrides", func() error {
		return s.UpdateOverrides(func([]Override) ([]Override, error) { return []Override{override(1)}, nil })
	})
	step("remember", func() error {
		var v map[string]int
		return s.UpdateKSN(&v, func(bool) error { v = map[string]int{"a": 1}; return nil })
	})
	step("write the cache", func() error { return s.WriteCache([]CacheEntry{{"k", []byte("v"), day(101)}}, nil) })
	step("clear the cache", func() error { return s.ClearCache() })

	golden := filepath.Join("testdata", "order.txt")
	if *update {
		must(t, os.MkdirAll("testdata", 0o755))
		must(t, os.WriteFile(golden, []byte(out.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	must(t, err)
	if out.String() != string(want) {
		t.Errorf("order of changes differs from %s; if that is meant, run go test ./store -run TestOrderOfWrites -update\n%s", golden, out.String())
	}
}

// A scenario is a change of the current generation that can be broken at each of its calls.
type scenario struct {
	name    string
	prepare func(s *Store) error
	change  func(s *Store) error
	old     *release // nil for none
	oldKind dbformat.Variant
	new     *release
	newKind dbformat.Variant
}

// installs is the preparation or the change that installs releases one after the other.
func installs(v dbformat.Variant, releases ...*release) func(s *Store) error {
	return func(s *Store) error {
		for _, r := range releases {
			if err := install(s, r, v); err != nil {
				return err
			}
		}
		return nil
	}
}

func rollback(s *Store) error {
	if err := s.Clean(); err != nil {
		return err
	}
	if c, err := s.Current(); err != nil || c.RolledBack != nil {
		return err // done already
	}
	_, err := s.Rollback(false)
	return err
}

// TestEveryCallFails breaks each call of a change in four ways: it fails without effect, it fails although it took
// effect, and the process dies before or after it. Each time the store opens with exactly the old or the new
// generation, the same change then works, and no file is left over.
func TestEveryCallFails(t *testing.T) {
	one, two := newRelease(t, 1, 300, 1), newRelease(t, 2, 301, 2)
	full, light := dbformat.VariantFull, dbformat.VariantLight
	for _, sc := range []scenario{
		{"first install", installs(full), installs(full, one), nil, "", one, full},
		{"update", installs(full, one), installs(full, two), one, full, two, full},
		{"update that drops a generation", installs(full, newRelease(t, 1, 299, 3), one.at(2)), installs(full, two.at(3)), one.at(2), full, two.at(3), full},
		{"full to light", installs(full, one), installs(light, one), one, full, one, light},
		{"light to full", installs(light, one), installs(full, one), one, light, one, full},
		{"same content again", installs(full, one), installs(full, one.at(2)), one, full, one.at(2), full},
		{"rollback", installs(full, one, two), rollback, two, full, one, full},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			calls := breakAt(t, sc, fault{at: 1 << 30})
			if calls < 5 {
				t.Fatalf("the change made %d calls only", calls)
			}
			for n := range calls {
				for _, f := range []fault{{n, false, false}, {n, true, false}, {n, false, true}, {n, true, true}} {
					breakAt(t, sc, f)
				}
			}
			t.Logf("%d calls, %d cells", calls, 4*calls)
		})
	}
}

// breakAt runs a scenario in a new folder with one fault and tells how many calls the change made.
func breakAt(t *testing.T, sc scenario, f fault) int {
	t.Helper()
	dir := memoryDir(t)
	defer os.RemoveAll(dir)
	o := Options{Now: func() time.Time { return day(100) }}
	s, err := Create(dir, o)
	must(t, err)
	locked(t, s, func() { must(t, sc.prepare(s)) })
	files := &faultFiles{fault: f}
	o.files = files
	broken, err := Open(dir, o)
	must(t, err)
	var failure error
	locked(t, broken, func() { failure = sc.change(broken) })

	s, err = Open(dir, Options{Now: o.Now})
	must(t, err)
	c, err := s.Current()
	isNew := err == nil && c.Version == sc.new.version && c.Variant() == sc.newKind
	switch {
	case isNew:
		requireCurrent(t, s, sc.new, sc.newKind)
	case failure == nil:
		t.Fatalf("%+v: no error, and yet the new generation is not current", f)
	case sc.old == nil && !errors.Is(err, ErrNoDatabase):
		t.Fatalf("%+v: Current gives %v, want ErrNoDatabase", f, err)
	case sc.old != nil:
		requireCurrent(t, s, sc.old, sc.oldKind)
	}
	if failure != nil && !errors.Is(failure, ErrStorage) {
		t.Errorf("%+v: %v does not match ErrStorage", f, failure)
	}
	locked(t, s, func() {
		must(t, sc.change(s))
		requireCurrent(t, s, sc.new, sc.newKind)
		requireNoLeftovers(t, s)
	})
	return files.calls
}

// TestFailedWriteLeavesNothing: a process that goes on after a failure removes its own temporary file.
func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := memoryDir(t)
	_, err := Create(dir, Options{})
	must(t, err)
	for n := 1; n <= 5; n++ { // create is call 0; write, sync, close, rename, sync-folder
		s, err := Open(dir, Options{files: &faultFiles{fault: fault{at: n}}})
		must(t, err)
		err = s.UpdateSettings(func(v *Settings) error { v.Scan.Jobs++; return nil })
		requireError(t, err, ErrStorage, "input/output error")
		for _, name := range tree(t, s) {
			if strings.HasSuffix(name, tempSuffix) {
				t.Errorf("call %d fails: %s is left over", n, name)
			}
		}
		v, err := s.Settings()
		must(t, err)
		if want := n / 5; v.Scan.Jobs != want { // a rename that cannot be synced has happened
			t.Errorf("call %d fails: %d jobs, want %d", n, v.Scan.Jobs, want)
		}
	}
}

func locked(t *testing.T, s *Store, f func()) {
	t.Helper()
	lock, err := s.Lock()
	must(t, err)
	defer lock.Unlock()
	f()
}

// memoryDir is a new folder, in memory where there is such a place: these tests sync thousands of times.
func memoryDir(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if i, err := os.Stat(parent); err != nil || !i.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "avdb-store-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// parentFiles cannot make the names in one folder durable.
type parentFiles struct {
	osFiles
	parent string
	err    error
}

func (f *parentFiles) SyncDir(path string) error {
	if path == f.parent {
		return f.err
	}
	return f.osFiles.SyncDir(path)
}

// Where the parent of the state folder may not be opened, it is somebody else's, and nothing of ours is to be made durable there. One that was opened and
// refuses the sync, with whatever error, keeps nothing of what was made in it: that is never passed over.
func TestCreateInAParentThatCannotBeSynced(t *testing.T) {
	for _, c := range []struct {
		op   string
		err  error
		want bool
	}{
		{"open", fs.ErrPermission, true}, {"sync", fs.ErrPermission, false}, {"sync", syscall.EACCES, false}, {"sync", syscall.EIO, false}, {"open", syscall.EIO, false},
	} {
		parent := t.TempDir()
		dir := filepath.Join(parent, "state")
		_, err := Create(dir, Options{files: &parentFiles{parent: parent, err: errors.Join(&fs.PathError{Op: c.op, Path: parent, Err: c.err}, nil)}})
		if (err == nil) != c.want || err != nil && !errors.Is(err, ErrStorage) {
			t.Errorf("%s: %v: %v", c.op, c.err, err)
		}
	}
}
