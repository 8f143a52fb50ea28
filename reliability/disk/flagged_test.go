//go:build check && linux

package disk

import (
	"cmp"
	"os"
	"os/exec"
	"path"
	"strings"
	"testing"

	"example.org/avdb/fixtures"
)

// lies are syncs that a disk says to have done and does not. Each must be flagged in the scenario "delta": without that sync the
// old generation comes back after "done", or what is left is neither.
var lies = []struct {
	name   string
	syncOf func(path string) bool
}{
	{"the folder of CURRENT", func(p string) bool { return p == "state/db" }},
	{"the folder of layers", func(p string) bool { return p == "state/db/layers" }},
	{"CURRENT", func(p string) bool { return strings.HasPrefix(p, "state/db/CURRENT.") }},
	{"a layer", func(p string) bool { return path.Dir(p) == "state/db/layers" }},
	{"the folder of floors", func(p string) bool { return p == "state/trust" }},
	{"floors, set and roots", func(p string) bool { return path.Dir(p) == "state/trust/tmp" }},
}

// TestOracleFlagsADiskThatLies: a sync that had no effect is found out by the same cells that find nothing otherwise.
func TestOracleFlagsADiskThatLies(t *testing.T) {
	m := mount(t)
	for _, s := range scenarios {
		if s.name != "delta" {
			continue
		}
		b := &bench{scenario: newScenario(t, s.name, s.build), m: m}
		for _, lie := range lies {
			dropped, flagged, first := 0, 0, error(nil)
			list := b.moments(t, func(c call) bool {
				is := c.op == "sync" && lie.syncOf(c.path)
				if is {
					dropped++
				}
				return is
			})
			for _, x := range list {
				if err := b.judge(t, x.left, x.claimed); err != nil {
					flagged++
					if first == nil {
						first = err
					}
				}
			}
			t.Logf("sync of %s dropped %d times: %d of %d cells broken, the first: %.200v", lie.name, dropped, flagged, len(list), first)
			if dropped == 0 || flagged == 0 {
				t.Errorf("a disk that drops the sync of %s (%d times) is not flagged", lie.name, dropped)
			}
		}
	}
}

// TestImagesFlagADiskThatLies: on real file systems without any sync the old generation comes back after "done", and with
// the journal alone names are there whose content is not.
func TestImagesFlagADiskThatLies(t *testing.T) {
	m := mount(t)
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			d := newLoopDisk(t, k)
			d.lie = func(call) bool { return true }
			for _, s := range scenarios {
				if s.name != "delta" {
					continue
				}
				b := &bench{scenario: newScenario(t, s.name, s.build), m: m}
				list := b.calls(t)
				for _, journal := range []bool{false, true} {
					cells, flagged, first := 0, 0, error(nil)
					d.moments(b, list, journal, func(_ string, n int) bool { return n%8 == 0 || n == len(list) }, func(cell string, err error) {
						cells++
						if err != nil {
							flagged++
							first = cmp.Or(first, err)
						}
					})
					t.Logf("journal %t: %d of %d cells broken, the first: %.200v", journal, flagged, cells, first)
					if !journal && flagged == 0 {
						t.Error("a disk that drops every sync is not flagged")
					}
				}
			}
		})
	}
}

// weakened are products in which one thing that makes them durable was taken out, with what stands behind it, and the row that must
// fail then.
var weakened = []struct {
	name        string
	test, cells string
	edits       []fixtures.Edit
}{
	{"CURRENT and settings are not synced before the rename", "TestPowerCut", "all", []fixtures.Edit{
		{"store/store.go", "\t\terr = f.Sync()", "\t\terr = nil"}}},
	{"their folder is not synced after the rename", "TestPowerCut", "all", []fixtures.Edit{
		{"store/store.go", "if err := s.files.SyncDir(filepath.Dir(path)); err != nil {", "if err := error(nil); err != nil {"}}},
	{"layers of a dead run are not synced when they are used", "TestKilled", "all", []fixtures.Edit{
		{"store/activate.go", "if err := s.syncLayers(); err != nil {", "if err := error(nil); err != nil {"},
		{"store/clean.go", "if err := s.syncLayers(); err != nil {", "if err := error(nil); err != nil {"}}},
	{"layers are not synced", "TestPowerCut", "all", []fixtures.Edit{
		{"store/bolt.go", "\t\terr = b.file.Sync()", "\t\terr = nil"}}},
	{"CURRENT is written under its own name", "TestTornWrites", "all", []fixtures.Edit{
		{"store/store.go", "\ttemp, err := s.tempPath(path)", "\ttemp, err := path, s.files.Remove(path)"}}},
	{"floors are not synced before the rename", "TestPowerCut", "all", []fixtures.Edit{
		{"osfile/osfile.go", `err = step("sync", path, "", f.Sync)`, "err = nil"}}},
	{"a failed write is not noticed", "TestFailingCalls", "delta * ENOSPC", []fixtures.Edit{
		{"store/store.go", "\t_, err = f.Write(b)", "\t_, _ = f.Write(b)"}}},
	{"the old CURRENT is removed first", "TestKilled", "all", []fixtures.Edit{
		{"store/store.go", "\tf, err := s.files.Create(temp, mode)", "\t_ = s.files.Remove(path)\n\tf, err := s.files.Create(temp, mode)"}}},
}

// TestRowsFlagWeakenedProducts builds each of them beside the real one and runs the row: it must find broken cells.
func TestRowsFlagWeakenedProducts(t *testing.T) {
	mount(t) // or skip
	for i, w := range weakened {
		if i%2 == 1 && os.Getenv("AVDB_CELLS") != "all" {
			continue // building them is most of what this costs
		}
		t.Run(strings.ReplaceAll(w.name, " ", "_"), func(t *testing.T) {
			cmd := exec.Command("go", "test", "-tags=check", "-vet=off", "-count=1", "-timeout=30m", "-overlay="+fixtures.Overlay(t, w.edits...), "-v",
				"-run=^"+w.test+"$/^scenarios$/^delta$", ".")
			cmd.Env = append(os.Environ(), "AVDB_CELLS="+w.cells, "TMPDIR="+t.TempDir())
			out, err := cmd.CombinedOutput()
			_, line, found := strings.Cut(string(out), ": A")
			line, _, _ = strings.Cut(line, "\n")
			switch {
			case err == nil:
				t.Errorf("%s does not notice it", w.test)
			case !strings.Contains(string(out), "again: AVDB_CELLS="):
				t.Errorf("the row could not be run:\n%.3000s", out)
			case found:
				t.Logf("A%.300s", line)
			}
		})
	}
}
