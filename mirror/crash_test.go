package mirror_test

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/mirror"
	"example.org/avdb/signing"
)

var errKilled = errors.New("killed")

// A killer ends a run at its nth change to the disk: that one takes effect or not, and none after it does. At each change it lets a client look.
type killer struct {
	at      int // 0 for never
	applies bool
	n       int
	look    func()
}

func (k *killer) Do(c signing.DiskCall, change func() error) error {
	k.n++
	if k.at > 0 && k.n > k.at || k.n == k.at && !k.applies {
		return errKilled
	}
	var err error
	if c.Op != "sync" && c.Op != "syncdir" { // which only a power cut would show: TestOrderOfSync
		err = change()
	}
	if k.look != nil && (c.Op == "rename" || c.Op == "remove") {
		k.look()
	}
	if k.n == k.at {
		return errKilled
	}
	return err
}

// killEverywhere runs a sync from a copy of the mirror as it is and ends it at each of its changes. It calls check with what was left,
// and again once the next run has put it right.
func (w *world) killEverywhere(check func(at int, dir string, done bool)) {
	w.t.Helper()
	before := w.dir
	count := &killer{}
	home := w.t.TempDir()
	for at := 0; at <= count.n; at++ {
		dir := filepath.Join(home, "mirror")
		must(w.t, os.RemoveAll(dir))
		if _, err := os.Stat(before); err == nil {
			must(w.t, os.CopyFS(dir, os.DirFS(before)))
		}
		k := &killer{at: at, applies: at%2 == 0}
		if at == 0 {
			k = count
			k.look = func() { check(0, dir, false) }
		}
		c := w.config()
		c.Dir, c.Disk, c.Keep = dir, k, 1
		_, err := mirror.Sync(w.t.Context(), c)
		if (err == nil) != (at == 0) {
			w.t.Fatalf("change %d of %d: %v", at, count.n, err)
		}
		if at > 0 {
			check(at, dir, false)
			c.Disk = nil
			if _, err := mirror.Sync(w.t.Context(), c); err != nil {
				w.t.Fatalf("after change %d: %v", at, err)
			}
		}
		check(at, dir, true)
	}
	if count.n < 20 {
		w.t.Errorf("%d changes: most of them go another way", count.n)
	}
}

// A run that is killed before or after any of its changes to the disk leaves a mirror on which clients read one whole release, the old one or
// the new one; and so do clients while it runs. The next run leaves exactly what one that was not killed leaves.
func TestKillBetweenAnyTwoStepsOfSync(t *testing.T) {
	t.Parallel()
	for _, first := range []bool{true, false} {
		w := newWorld(t)
		w.publish(100)
		old := uint64(0)
		if !first {
			w.mustSync()
			old = 1
			w.publish(130)
		}
		var whole map[string][]byte
		seen := map[uint64]int{}
		w.killEverywhere(func(at int, dir string, done bool) {
			got, err := w.read(dir)
			if err != nil || got != old && got != old+1 || done && got != old+1 {
				t.Fatalf("killed at change %d, done %t: a client sees release %d, %v", at, done, got, err)
			}
			seen[got]++
			if !done {
				return
			}
			if whole == nil {
				whole = files(t, dir)
			}
			if !same(whole, files(t, dir)) {
				t.Errorf("killed at change %d: the next run leaves other files than one that was not killed", at)
			}
		})
		if seen[old] == 0 || seen[old+1] == 0 {
			t.Errorf("clients saw %v: not both sides of the change", seen)
		}
	}
}

// Each file is synced before it is renamed, each folder before the timestamp follows what lies in it, the timestamp's name before anything is removed.
func TestOrderOfSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for n := range 3 {
		w.publish(100 + 50*n)
		synced, unsynced := map[string]bool{}, map[string]bool{}
		shown, removed, listed := false, 0, false
		w.disk = diskFunc(func(c signing.DiskCall, change func() error) error {
			name := mustRel(t, w.dir, c.Path)
			served := strings.HasPrefix(name, "metadata/") || strings.HasPrefix(name, "targets/")
			switch {
			case c.Op == "sync":
				synced[name] = true
			case c.Op == "syncdir":
				delete(unsynced, name)
			case c.Op == "mkdir" && served:
				unsynced[path.Dir(name)] = true
			case c.Op == "rename" && name == ".mirror/state.json":
				listed = true
			case c.Op == "rename" && served:
				if !synced[name] || !listed {
					t.Errorf("%s is renamed into its place: synced %t, listed in the state %t", name, synced[name], listed)
				}
				if name == "metadata/timestamp.json" {
					if len(unsynced) > 0 {
						t.Errorf("the timestamp follows before %v are synced", unsynced)
					}
					shown = true
				}
				unsynced[path.Dir(name)] = true
			case c.Op == "remove" && served:
				removed++
				if !shown || len(unsynced) > 0 {
					t.Errorf("%s is removed: timestamp shown %t, not synced yet %v", name, shown, unsynced)
				}
			}
			return change()
		})
		w.mustSync(func(c *mirror.Config) { c.Keep = 1 })
		if !shown || len(unsynced) > 0 || (removed == 0) != (n == 0) {
			t.Errorf("sync %d: shown %t, not synced %v, %d removed", n, shown, unsynced, removed)
		}
	}
}

// A rotation of the keys of timestamp and snapshot that a mirror sees while the old keys sign, too, is never torn: the new root comes last.
func TestKillBetweenAnyTwoStepsOfARotation(t *testing.T) {
	t.Parallel()
	for _, role := range []string{signing.RoleTimestamp, signing.RoleSnapshot} {
		w := newWorld(t)
		w.publish(100)
		w.mustSync()
		r, err := signing.OpenRepository(w.repo, "")
		must(t, err)
		must(t, r.Rotate(role, w.now, nil))
		w.killEverywhere(func(at int, dir string, done bool) {
			if got, err := w.read(dir); err != nil || got != 1 {
				t.Fatalf("%s rotated, killed at change %d, done %t: a client sees release %d, %v", role, at, done, got, err)
			}
		})
	}
}

// A mirror that slept through two rotations shows the new roots and the new state, whole, in the end.
func TestSyncAfterASleep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(100)
	w.mustSync()
	r, err := signing.OpenRepository(w.repo, "")
	must(t, err)
	for range 2 {
		must(t, r.Rotate(signing.RoleTimestamp, w.now, nil))
		w.publish(110)
	}
	w.mustSync()
	if _, err := w.read(w.dir); err != nil {
		t.Errorf("a client that trusts the first root: %v", err)
	}
	for _, name := range []string{"1.root.json", "2.root.json", "3.root.json"} {
		if _, err := os.Stat(filepath.Join(w.dir, "metadata", name)); err != nil {
			t.Error(err)
		}
	}
}
