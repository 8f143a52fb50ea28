//go:build check && linux

package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const (
	step64   = 64 << 10
	many     = 24000 // signatures: layers of some MiB
	pageSize = 4096
)

// tmpfs mounts a file system in memory of size bytes on a folder of the test.
func tmpfs(t *testing.T, size int) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=755", size)); err != nil {
		t.Skipf("tmpfs cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { must(t, syscall.Unmount(dir, syscall.MNT_DETACH)) })
	return dir
}

func resize(t *testing.T, dir string, size int) {
	t.Helper()
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", size)))
}

// TestFullDisk is row A6: a disk of every size from nothing to what the update needs, under the product's own head room and
// with next to none; and one that is filled by somebody else after the update has found room enough.
func TestFullDisk(t *testing.T) {
	needRoot(t)
	y := newTally(t, "A6 tmpfs of 0 to need in 64 KiB steps, three ways each")
	for _, name := range []string{"first install", "delta refused then bundle"} {
		t.Run(name, func(t *testing.T) {
			f := &full{t: t}
			for _, s := range scenarios {
				if s.name == name {
					f.scenario = scenarioOf(t, name, many, s.build)
				}
			}
			f.base = step64
			for _, x := range f.begin {
				f.base += (len(x.content) + 2*pageSize - 1) / pageSize * pageSize
			}
			f.sizes(y, "product", 0, 16)
			f.sizes(y, "no head room", 1, 1)
			f.filled(y)
		})
	}
}

type full struct {
	*scenario
	t    *testing.T
	base int // bytes that hold the beginning

	requested []string // layer files that the last cell asked for
}

// sizes runs the update on disks of growing size until three in a row had room.
func (f *full) sizes(y *tally, kind string, headRoom int64, nth int) {
	early, good := 0, 0
	for k := 0; good < 3; k++ {
		if k > 1000 {
			f.t.Fatal("no size is enough")
		}
		// Near both ends every size counts; between, all are alike.
		cell := fmt.Sprintf("%s %s %d KiB", f.name, kind, 64*k)
		if !y.wants(cell, k, nth) && y.chosen != "" {
			if k > 400 {
				break // one cell was asked for, and there is no such size
			}
			continue
		}
		if y.chosen == "" && k%nth != 0 {
			continue
		}
		f.origin.ForgetRequests()
		o := f.order
		o.headRoom = headRoom
		a, err := f.cell(o, f.base+k*step64, nil)
		noticed := strings.Contains(a.Error, "the update needs")
		if n := len(f.requested); err == nil && noticed && n > 0 {
			err = fmt.Errorf("the disk was found too small after %d requests for layers: %v", n, f.requested)
		}
		if noticed {
			early++
		}
		if a.Done {
			good++
		}
		y.count(f.t, cell, err)
	}
	f.t.Logf("%s: %d sizes were found too small before a byte of a layer was asked for", kind, early)
	if early == 0 && y.chosen != "" && y.chosen != "all" {
		return
	}
	if early == 0 {
		f.t.Errorf("%s: no disk was found too small before the download", kind)
	}
}

// filled has room for the update until it fetches, then for k steps only.
func (f *full) filled(y *tally) {
	late := 0
	for k := range 48 {
		cell := fmt.Sprintf("%s filled to %d KiB", f.name, 64*k)
		if !y.wants(cell, k, 2) {
			continue
		}
		a, err := f.cell(f.order, f.base+64<<20, func(dir string) error { return fillUp(dir, k*step64) })
		if a.Code == 15 {
			late++
		}
		y.count(f.t, cell, err)
	}
	f.t.Logf("filled: %d runs met the full disk on the way", late)
	if late == 0 && (y.chosen == "" || y.chosen == "all") {
		f.t.Error("no run met a full disk on the way")
	}
}

// fillUp leaves that many bytes free.
func fillUp(dir string, left int) error {
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return err
	}
	n := int(st.Bavail)*int(st.Bsize) - left
	file, err := os.Create(filepath.Join(dir, "others"))
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = file.Write(make([]byte, max(n, 0)))
	return err
}

// cell runs the order on a disk of size bytes; meanwhile is called before the first download, if not nil.
func (f *full) cell(o order, size int, meanwhile func(dir string) error) (a answer, err error) {
	dir := tmpfs(f.t, size)
	if err := f.begin.writeTo(dir); err != nil {
		return a, fmt.Errorf("the beginning does not fit: %w", err)
	}
	var failed error
	o.State = stateIn(dir)
	o.step = func(name string) {
		if name == "fetch" && meanwhile != nil {
			failed = meanwhile(dir)
			meanwhile = nil
		}
	}
	a = o.carryOut()
	f.requested = f.origin.LayerRequests()
	switch {
	case failed != nil:
		return a, failed
	case a.Panic != "":
		return a, errors.New(a.Panic)
	case a.Code != 0 && a.Code != 15:
		return a, fmt.Errorf("exit code %d, want 15: %s", a.Code, a.Error)
	}
	if _, err := f.inspect(f.t, o.State); err != nil {
		return a, fmt.Errorf("exit code %d, on the full disk: %w", a.Code, err)
	}
	_ = os.Remove(filepath.Join(dir, "others"))
	resize(f.t, dir, size+64<<20)
	if err := f.judgeIn(f.t, o.State, a.Done); err != nil {
		return a, fmt.Errorf("exit code %d (%s), with room again: %w", a.Code, a.Error, err)
	}
	return a, nil
}
