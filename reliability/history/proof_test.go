//go:build check

package history

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"example.org/avdb/fixtures"
	"example.org/avdb/signing"
)

// guards are promises that a disk, a store or a trust folder could break. Each is broken in a way that leaves every call as it was and
// lets it say that all is well; the oracle must find it, by the invariant named, within so many histories.
var guards = []struct {
	name   string
	want   string // the invariant, or several
	within int    // histories
	breaks func(d *device)
}{
	{"files are not synced", "I2", 10, lying(forgetful, func(c signing.DiskCall, rel string) bool {
		return (c.Op == "sync" || c.Op == "finish") && !strings.HasPrefix(rel, "db/index/")
	})},
	{"layer files are not synced", "I2", 10, lying(forgetful, func(c signing.DiskCall, rel string) bool {
		return c.Op == "finish" && strings.HasPrefix(rel, "db/layers/")
	})},
	{"the folder of layers is not synced", "I2", 10, lying(forgetful, func(c signing.DiskCall, rel string) bool { return c.Op == "syncdir" && rel == "db/layers" })},
	{"the folder of CURRENT is not synced", "I2", 10, lying(forgetful, func(c signing.DiskCall, rel string) bool { return c.Op == "syncdir" && rel == "db" })},
	{"the trust folder is not synced", "I2", 10, lying(forgetful, func(c signing.DiskCall, rel string) bool { return c.Op == "syncdir" && rel == "trust" })},
	{"CURRENT is not replaced", "I2 I3", 10, lying(skipped, func(c signing.DiskCall, rel string) bool { return c.Op == "rename" && rel == "db/CURRENT" })},
	{"floors are not saved", "I2 I4", 10, lying(skipped, func(c signing.DiskCall, rel string) bool { return c.Op == "rename" && rel == "trust/floors.json" })},
	{"new roots are not saved", "I4", 10, lying(skipped, func(c signing.DiskCall, rel string) bool {
		return c.Op == "rename" && strings.HasPrefix(rel, "trust/roots/")
	})},
	{"the folder of roots is not synced", "I2", 10, lying(forgetful, func(c signing.DiskCall, rel string) bool { return c.Op == "syncdir" && rel == "trust/roots" })},
	{"the stored set is not saved", "I2", 10, lying(skipped, func(c signing.DiskCall, rel string) bool { return c.Op == "rename" && rel == "trust/verified.json" })},
	{"restriction sets are not saved", "I2 I4", 20, lying(skipped, func(c signing.DiskCall, rel string) bool { return c.Op == "rename" && rel == "db/restrictions.json" })},
	{"leftovers are not removed", "I8", 20, lying(skipped, func(c signing.DiskCall, rel string) bool { return c.Op == "remove" })},
	{"trust forgets between two runs", "I4", 20, func(d *device) {
		d.sabot = func(d *device) { forget(d, "trust/floors.json", "trust/verified.json") }
	}},
	{"restrictions are forgotten between two runs", "I4", 20, func(d *device) {
		d.sabot = func(d *device) { forget(d, "db/restrictions.json") }
	}},
	{"a layer loses a bit behind the engine's back", "I1", 20, func(d *device) {
		d.sabot = func(d *device) {
			if name := d.fileNamed("layer", 0); name != "" {
				d.must(d.damage("flip", name, 1<<13))
			}
		}
	}},
}

// lying has the disk lie about some calls.
func lying(kind lieKind, about func(c signing.DiskCall, rel string) bool) func(d *device) {
	return func(d *device) {
		d.disk.lie = func(c signing.DiskCall) lieKind {
			rel, err := filepath.Rel(d.dir, c.Path)
			if err == nil && about(c, filepath.ToSlash(rel)) {
				return kind
			}
			return honestDisk
		}
	}
}

func forget(d *device, names ...string) {
	for _, name := range names {
		d.must(d.put(name, nil))
	}
}

func (d *device) must(err error) {
	if err != nil {
		d.violation("the test itself: %v", err)
	}
}

// The oracle can fail: with any of the guards broken, some history finds it.
func TestOracleFindsBrokenGuards(t *testing.T) {
	g := newGraph(t)
	dir := fixtures.MemoryDir(t)
	for _, guard := range guards {
		t.Run(guard.name, func(t *testing.T) {
			for seed := 1; seed <= guard.within; seed++ {
				r := play(g, dir, newHistory(uint64(seed), len(g.trees)), guard.breaks)
				if r.violation == "" {
					continue
				}
				_, what, _ := strings.Cut(r.violation, ": ")
				found, _, _ := strings.Cut(what, ":")
				if !strings.Contains(guard.want, found) {
					t.Errorf("seed %d finds %s, want one of %s", seed, r.violation, guard.want)
				}
				t.Logf("found by history %d of at most %d: %s", seed, guard.within, r.violation)
				return
			}
			t.Errorf("%d histories do not notice", guard.within)
		})
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("histories left %d folders: %v", len(left), err)
	}
}
