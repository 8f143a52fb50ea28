//go:build check && linux

package disk

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
	"example.org/avdb/matcher"
	"example.org/avdb/store"
	"example.org/avdb/updater"
)

// errLeftover marks what the oracle finds only because of files that stay.
var errLeftover = errors.New("left over")

// judge tells what is wrong with a device whose cell holds the tree, and that it heals. claimed says that the run had said "done":
// then it must be the new generation.
func (sc *scenario) judge(t *testing.T, left tree, claimed bool) error {
	sum := left.sum()
	if claimed {
		sum[0] ^= 1
	}
	sc.mu.Lock()
	err, known := sc.known[sum]
	sc.mu.Unlock()
	if known {
		return err
	}
	root, err := os.MkdirTemp("", "avdb-disk-")
	must(t, err)
	defer os.RemoveAll(root)
	if err = left.writeTo(root); err == nil {
		err = sc.judgeIn(t, stateIn(root), claimed)
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	sc.known[sum] = err
	return err
}

// judgeIn is judge for a state folder on an honest disk.
func (sc *scenario) judgeIn(t *testing.T, dir string, claimed bool) error {
	is, err := sc.inspect(t, dir)
	if err != nil {
		return err
	}
	if claimed {
		if err := sc.isDone(dir, is); err != nil {
			return fmt.Errorf("the run said that it is done, and %w", err)
		}
	}
	return sc.heals(t, dir, is)
}

// inspect proves what is installed (I1), that it detects what it should, and the floors (I4).
func (sc *scenario) inspect(t *testing.T, dir string) (is fixtures.Installed, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) && sc.old == is {
		return is, nil
	}
	device := fixtures.OpenEndpoint(t, dir, sc.clock)
	if is, err = device.Installed(); err != nil {
		return is, fmt.Errorf("what is installed: %w", err)
	}
	if is != sc.old && is != sc.new && (is != sc.partial || is == fixtures.Installed{}) {
		return is, fmt.Errorf("%s is installed, want %s or %s", is, sc.old, sc.new)
	}
	if err := sc.lookUp(device, is); err != nil {
		return is, err
	}
	floors, err := floorsOf(dir)
	if err != nil {
		return is, fmt.Errorf("floors: %w", err)
	}
	for name, was := range sc.floors {
		if floors[name] < was {
			return is, fmt.Errorf("the floor of %s went back from %d to %d", name, was, floors[name])
		}
	}
	return is, nil
}

// isDone tells what is missing to the new generation or to the floors that belong to it (I2).
func (sc *scenario) isDone(dir string, is fixtures.Installed) error {
	if is != sc.new {
		return fmt.Errorf("%s is on disk, want %s", is, sc.new)
	}
	if err := proved(dir); err != nil {
		return err
	}
	return sc.raised(dir)
}

// proved tells what is wrong with the restriction set that is in force.
func proved(dir string) error {
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		return err
	}
	_, _, err = s.ProvedRestrictions()
	return err
}

// raised tells which floor is not yet that of the new generation.
func (sc *scenario) raised(dir string) error {
	floors, err := floorsOf(dir)
	if err != nil {
		return err
	}
	for name, want := range sc.after {
		if floors[name] < want {
			return fmt.Errorf("the floor of %s is %d on disk, want %d", name, floors[name], want)
		}
	}
	return nil
}

func (sc *scenario) clock() time.Time { return sc.order.Now }

// lookUp asks for hashes that both releases have, that one of them has and that none has.
func (sc *scenario) lookUp(device *fixtures.Endpoint, is fixtures.Installed) error {
	if is == (fixtures.Installed{}) {
		return nil
	}
	m, err := matcher.Open(device.Store, matcher.Options{})
	if err != nil {
		return fmt.Errorf("matcher: %w", err)
	}
	defer m.Close()
	bad := matcher.Malicious
	if variantOf(is) == dbformat.VariantLight {
		bad = matcher.Suspected
	}
	for _, i := range []int{0, 1, 7, sc.window - 1, sc.window, sc.window + 4, sc.window + 5, 1 << 20} {
		want := matcher.Clean
		if sc.in(is.Version, i) {
			want = bad
		}
		h := sample(i)
		r, err := m.Lookup(dbformat.SHA256, h[:], 100)
		if err != nil || r.Verdict != want {
			return fmt.Errorf("sample %d is %s (%v) with %s, want %s", i, r.Verdict, err, is, want)
		}
	}
	return nil
}

// heals runs the order again without a fault (I3) and looks for what is left over (I8).
func (sc *scenario) heals(t *testing.T, dir string, is fixtures.Installed) error {
	o := sc.order
	o.State = dir
	a := o.carryOut()
	if !a.Done {
		return fmt.Errorf("with %s the next run fails: %s%s", is, a.Error, a.Panic)
	}
	then, err := sc.inspect(t, dir)
	if err != nil {
		return fmt.Errorf("with %s, after the next run: %w", is, err)
	}
	if then != sc.new {
		return fmt.Errorf("with %s the next run ends in %s, want %s", is, then, sc.new)
	}
	if got := layerBytes(a.Report); got > sc.full+sc.full/2 {
		return fmt.Errorf("with %s the next run fetches %d bytes of layers, all of them are %d", is, got, sc.full)
	}
	left, err := leftovers(fixtures.OpenEndpoint(t, dir, sc.clock))
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("with %s, after the next run (%v): %w: %v", is, a.Report, errLeftover, left)
	}
	return nil
}

func layerBytes(r *updater.Report) (n int64) {
	if r == nil {
		return 0
	}
	for _, s := range r.Steps {
		if s.Layer != "restrictions" {
			n += s.Bytes
		}
	}
	return n
}

// leftovers are the files that no state folder in good order has: anything beyond its layout.
func leftovers(device *fixtures.Endpoint) ([]string, error) {
	left, err := device.Leftovers()
	if err != nil {
		return nil, err
	}
	layout := map[string]bool{"settings.json": true, "settings.lock": true, "update.lock": true, "state.db": true, "db": true, "trust": true, "downloads": true, "ksn": true,
		"db/CURRENT": true, "db/restrictions.json": true, "db/layers": true, "db/index": true,
		"trust/roots": true, "trust/tmp": true, "trust/verified.json": true, "trust/floors.json": true}
	for _, dir := range []string{"", "db", "trust"} {
		entries, err := os.ReadDir(filepath.Join(device.Dir, dir))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if name := filepath.ToSlash(filepath.Join(dir, e.Name())); !layout[name] {
				left = append(left, name)
			}
		}
	}
	return left, nil
}

// floorsOf reads what must never go back: floors.json and the versions of the stored set, of each the higher.
func floorsOf(dir string) (map[string]uint64, error) {
	floors := map[string]uint64{}
	s, err := store.Open(dir, store.Options{})
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(s.TrustDir(), "floors.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return floors, nil
	}
	if err != nil {
		return nil, err
	}
	var f struct {
		Floors map[string]struct{ Value uint64 }
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, err
	}
	for name, v := range f.Floors {
		floors[name] = v.Value
	}
	return floors, nil
}
