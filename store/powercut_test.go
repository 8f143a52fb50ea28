package store

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// lossyFiles remembers what of each file and folder was synced, so that a test can make the folder as a
// power cut may leave it: the content of a file is that of its last sync, and the names in each folder are
// those of its last sync or the newest, independently of other folders. After the last call it is dead.
type lossyFiles struct {
	osFiles
	root    string
	left    int                       // calls until the cut
	names   map[string]map[string]int // folder → name → file, now
	durable map[string]map[string]int // the same at the folder's last sync
	content map[int][]byte            // of each file at its last sync; nil: never synced
	next    int
}

var errCut = &fs.PathError{Op: "cut", Path: "test", Err: errors.New("power cut")}

// newLossy takes what is below root as durable.
func newLossy(t *testing.T, root string, left int) *lossyFiles {
	l := &lossyFiles{root: root, left: left, names: map[string]map[string]int{}, content: map[int][]byte{}}
	must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		if d.IsDir() {
			l.names[path] = map[string]int{}
			return nil
		}
		b, err := os.ReadFile(path)
		must(t, err)
		l.add(path, b)
		return nil
	}))
	l.durable = map[string]map[string]int{}
	for dir, names := range l.names {
		l.durable[dir] = maps.Clone(names)
	}
	return l
}

func (l *lossyFiles) add(path string, content []byte) int {
	l.next++
	l.names[filepath.Dir(path)][filepath.Base(path)] = l.next
	l.content[l.next] = content
	return l.next
}

func (l *lossyFiles) dead() bool {
	if l.left == 0 {
		return true
	}
	l.left--
	return false
}

func (l *lossyFiles) Create(path string, mode fs.FileMode) (newFile, error) {
	if l.dead() {
		return nil, errCut
	}
	f, err := l.osFiles.Create(path, mode)
	if err != nil {
		return nil, err
	}
	return &lossyFile{newFile: f, l: l, path: path, id: l.add(path, nil)}, nil
}

func (l *lossyFiles) CreateBolt(path string, mode fs.FileMode) (newBolt, error) {
	if l.dead() {
		return nil, errCut
	}
	f, err := l.osFiles.CreateBolt(path, mode)
	if err != nil {
		return nil, err
	}
	return &lossyBolt{newBolt: f, l: l, path: path, id: l.add(path, nil)}, nil
}

func (l *lossyFiles) Rename(from, to string) error {
	if l.dead() {
		return errCut
	}
	l.names[filepath.Dir(to)][filepath.Base(to)] = l.names[filepath.Dir(from)][filepath.Base(from)]
	delete(l.names[filepath.Dir(from)], filepath.Base(from))
	return l.osFiles.Rename(from, to)
}

func (l *lossyFiles) Remove(path string) error {
	if l.dead() {
		return errCut
	}
	delete(l.names[filepath.Dir(path)], filepath.Base(path))
	return l.osFiles.Remove(path)
}

func (l *lossyFiles) SyncDir(path string) error {
	if l.dead() {
		return errCut
	}
	l.durable[path] = maps.Clone(l.names[path])
	return nil
}

// Transaction is durable when it is done, as bbolt syncs, but for the cache, which it does not.
func (l *lossyFiles) Transaction(path string, change func() error) error {
	if l.dead() {
		return errCut
	}
	err := change()
	if filepath.Base(path) == "cache.db" {
		return err
	}
	return errors.Join(err, l.synced(path, l.names[filepath.Dir(path)][filepath.Base(path)]))
}

func (l *lossyFiles) synced(path string, id int) (err error) {
	l.content[id], err = os.ReadFile(path)
	return err
}

type lossyFile struct {
	newFile
	l    *lossyFiles
	path string
	id   int
}

func (f *lossyFile) Write(b []byte) (int, error) {
	if f.l.dead() {
		return 0, errCut
	}
	return f.newFile.Write(b)
}

func (f *lossyFile) Sync() error {
	if f.l.dead() {
		return errCut
	}
	return f.l.synced(f.path, f.id)
}

type lossyBolt struct {
	newBolt
	l    *lossyFiles
	path string
	id   int
}

func (f *lossyBolt) Commit(p []pair) error {
	if f.l.dead() {
		return errCut
	}
	return f.newBolt.Commit(p)
}

func (f *lossyBolt) Finish() error {
	if f.l.dead() {
		return errCut
	}
	return errors.Join(f.newBolt.Finish(), f.l.synced(f.path, f.id))
}

// after makes the folder as the cut left it; ahead says whose newest names reached the disk though they
// were not synced.
func (l *lossyFiles) after(t *testing.T, dir string, ahead func(folder string) bool) {
	t.Helper()
	for folder := range l.durable {
		rel, _ := filepath.Rel(l.root, folder)
		must(t, os.MkdirAll(filepath.Join(dir, rel), 0o755))
	}
	for folder := range l.durable {
		rel, _ := filepath.Rel(l.root, folder)
		names := l.durable[folder]
		if ahead(rel) {
			names = l.names[folder]
		}
		for name, id := range names {
			must(t, os.WriteFile(filepath.Join(dir, rel, name), l.content[id], 0o644))
		}
	}
}

// TestPowerCut cuts the power before each call of a change and after the last: what is left is the old or the
// new generation, the new one if the change had said that it is done, and the next run ends in the new one.
func TestPowerCut(t *testing.T) {
	one, two := newRelease(t, 1, 300, 1), newRelease(t, 2, 301, 2)
	full, light := dbformat.VariantFull, dbformat.VariantLight
	made := newMemoryStore(t)
	must(t, install(made, two, full))
	for _, sc := range []scenario{
		{"first install", installs(full), installs(full, one), nil, "", one, full},
		{"update", installs(full, one), installs(full, two), one, full, two, full},
		{"update that drops a generation", installs(full, newRelease(t, 1, 299, 3), one.at(2)), installs(full, two.at(3)), one.at(2), full, two.at(3), full},
		{"full to light", installs(full, one), installs(light, one), one, full, one, light},
		{"rollback", installs(full, one, two), rollback, two, full, one, full},
		{"layers that a dead run renamed and did not sync", installs(full, one), func(s *Store) error {
			for _, m := range []*dbformat.MemLayer{two.light, two.rest} {
				path := s.layerPath(m.Header().Digest())
				b, err := os.ReadFile(filepath.Join(made.dir, "db", "layers", filepath.Base(path)))
				must(t, err)
				if err := renameOnly(s, path, b); err != nil {
					return err
				}
			}
			if err := s.makeCurrent(two.generation(full), 1); err != nil {
				return err
			}
			return s.Clean()
		}, one, full, two, full},
		{"a CURRENT that a dead run renamed and did not sync", installs(full, newRelease(t, 1, 299, 3), one.at(2), two.at(3)), func(s *Store) error {
			c := Current{Generation: one.at(2).generation(full)}
			c.Installed = day(1)
			b, err := encodeCurrent(&c)
			must(t, err)
			if err := renameOnly(s, s.currentPath(), b); err != nil {
				return err
			}
			return s.Clean()
		}, two.at(3), full, one.at(2), full},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			for n := 0; !cutAt(t, sc, n); n++ {
				if n > 100 {
					t.Fatal("the change does not end")
				}
			}
		})
	}
}

// renameOnly does what a run that died before the last step of replacing a file has done.
func renameOnly(s *Store, path string, b []byte) error {
	temp, err := s.tempPath(path)
	if err != nil {
		return err
	}
	f, err := s.files.Create(temp, modeFile)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return s.files.Rename(temp, path)
}

// cutAt runs a scenario with a power cut after n calls and tells whether the change was done by then.
func cutAt(t *testing.T, sc scenario, n int) bool {
	t.Helper()
	dir := memoryDir(t)
	defer os.RemoveAll(dir)
	o := Options{Now: func() time.Time { return day(100) }}
	s, err := Create(dir, o)
	must(t, err)
	locked(t, s, func() { must(t, sc.prepare(s)) })
	lossy := newLossy(t, dir, n)
	broken, err := Open(dir, Options{Now: o.Now, files: lossy})
	must(t, err)
	var failure error
	locked(t, broken, func() { failure = sc.change(broken) })
	for i, ahead := range []func(string) bool{
		func(string) bool { return false },
		func(string) bool { return true },
		func(folder string) bool { return folder == "db" },
		func(folder string) bool { return folder == "db/layers" },
	} {
		left := memoryDir(t)
		lossy.after(t, left, ahead)
		s, err := Open(left, o)
		must(t, err)
		c, err := s.Current()
		isNew := err == nil && c.Version == sc.new.version && c.Variant() == sc.newKind
		switch {
		case isNew:
			requireCurrent(t, s, sc.new, sc.newKind)
		case failure == nil:
			t.Fatalf("cut after %d calls, way %d: the change said that it is done, and it is not there: %v", n, i, err)
		case sc.old == nil && !errors.Is(err, ErrNoDatabase):
			t.Fatalf("cut after %d calls, way %d: %v, want ErrNoDatabase", n, i, err)
		case sc.old != nil:
			must(t, err)
			requireCurrent(t, s, sc.old, sc.oldKind)
		}
		locked(t, s, func() {
			must(t, sc.change(s))
			requireCurrent(t, s, sc.new, sc.newKind)
			requireNoLeftovers(t, s)
		})
		os.RemoveAll(left)
	}
	return failure == nil && lossy.left > 0
}
