//go:build check && linux

package disk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"example.org/avdb/fixtures"
)

// A kind of file system that power cuts are shown on, with how to make and mount a small one.
type kind struct {
	name  string
	size  int64
	mkfs  []string
	mount string
}

var kinds = []kind{
	// No commit by the clock: what is on the image is what was synced, unless the test asks for the journal.
	{"ext4", 16 << 20, []string{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"}, "loop,commit=3600"},
	{"xfs", 32 << 20, []string{"mkfs.xfs", "-q", "-f", "--unsupported"}, "loop,nouuid"}, // of so small a size
}

// TestPowerCutOnImages is row A4 on real file systems: the calls of a scenario are made again on an image file, which is copied
// before each of them and after the end, as it is and once the journal was written; each copy is mounted and looked at.
func TestPowerCutOnImages(t *testing.T) {
	m := mount(t)
	y := newTally(t, "A4 images before each call and after the end, ext4 and xfs, journal written or not")
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			d := newLoopDisk(t, k)
			for _, s := range scenarios {
				b := &bench{scenario: newScenario(t, s.name, s.build), m: m}
				list := b.calls(t)
				for _, journal := range []bool{false, true} {
					d.replay(b, list, journal, y)
				}
			}
		})
	}
}

// A loopDisk makes power cuts on one kind of file system.
type loopDisk struct {
	t       *testing.T
	kind    string
	options string
	empty   []byte          // an image after mkfs
	lie     func(call) bool // tells which syncs are left out, nil for none
	seed    maphash.Seed
}

// newLoopDisk skips the test where there is no such file system.
func newLoopDisk(t *testing.T, k kind) *loopDisk {
	t.Helper()
	if _, err := exec.LookPath(k.mkfs[0]); err != nil {
		t.Skipf("%s is not installed", k.mkfs[0])
	}
	empty := filepath.Join(fixtures.MemoryDir(t), "image")
	must(t, os.WriteFile(empty, nil, 0o600))
	must(t, os.Truncate(empty, k.size))
	if out, err := exec.Command(k.mkfs[0], append(k.mkfs[1:], empty)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", k.mkfs[0], err, out)
	}
	d := &loopDisk{t: t, options: k.mount, kind: k.name, seed: maphash.MakeSeed()}
	unmount, err := d.mount(empty, d.folder())
	if err != nil {
		t.Skipf("%s on a loop device cannot be mounted here: %v", k.name, err)
	}
	unmount()
	d.empty, err = os.ReadFile(empty)
	must(t, err)
	return d
}

func (d *loopDisk) folder() string { return d.t.TempDir() }

// mount gives an image a place in the tree.
func (d *loopDisk) mount(image, dir string) (unmount func(), err error) {
	if out, err := exec.Command("mount", "-t", d.kind, "-o", d.options, image, dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("mount: %w: %s", err, out)
	}
	return func() {
		err := syscall.Unmount(dir, 0)
		// A process that is just being started by another test has our open files until it runs its own program.
		for range 100 {
			if !errors.Is(err, syscall.EBUSY) {
				break
			}
			time.Sleep(20 * time.Millisecond)
			err = syscall.Unmount(dir, 0)
		}
		if err != nil {
			d.t.Error(err)
			_ = syscall.Unmount(dir, syscall.MNT_DETACH)
		}
	}, nil
}

// replay makes the calls again on a new image and judges a copy of it before each, and after the end.
func (d *loopDisk) replay(b *bench, list []call, journal bool, y *tally) {
	d.t.Helper()
	last := len(list)
	d.moments(b, list, journal, func(cell string, n int) bool { return y.wants(cell, n, 16) || n == last && y.chosen == "" },
		func(cell string, err error) { y.count(d.t, cell, err) })
}

// moments is replay for cells that wants names.
func (d *loopDisk) moments(b *bench, list []call, journal bool, wants func(cell string, n int) bool, found func(cell string, err error)) {
	t := d.t
	home := fixtures.MemoryDir(t)
	image := filepath.Join(home, "image")
	must(t, os.WriteFile(image, d.empty, 0o600))
	dir := d.folder()
	unmount, err := d.mount(image, dir)
	must(t, err)
	defer unmount()
	must(t, b.begin.writeTo(dir))
	must(t, syncAll(dir))
	r := &replayer{dir: dir, open: map[string]*os.File{}, lie: d.lie}
	defer r.close()
	results := map[uint64]error{} // of images that are the same
	for n := 0; n <= len(list); n++ {
		cell := fmt.Sprintf("%s %s %d", d.kind, b.name, n)
		if journal {
			cell += " journal"
		}
		if wants(cell, n) {
			if journal {
				must(t, writeJournal(dir))
			}
			left, err := stableCopy(image)
			must(t, err)
			claimed := n == len(list)
			key := maphash.Bytes(d.seed, left)
			if claimed {
				key++
			}
			err, known := results[key]
			if !known {
				err = d.judge(b, home, left, claimed)
				results[key] = err
			}
			found(cell, err)
		}
		if n < len(list) {
			if err := r.repeat(list[n]); err != nil {
				t.Fatalf("%s: call %s cannot be made again: %v", b.name, list[n], err)
			}
		}
	}
}

// writeJournal has the file system write its journal, and no data of the files of interest: a file beside them is synced.
func writeJournal(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "other"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write([]byte("x")); err != nil {
		return err
	}
	return f.Sync()
}

// stableCopy reads an image that nobody writes to while it is read.
func stableCopy(image string) ([]byte, error) {
	before, err := os.ReadFile(image)
	for range 20 {
		if err != nil {
			return nil, err
		}
		var again []byte
		if again, err = os.ReadFile(image); err == nil && bytes.Equal(before, again) {
			return again, nil
		}
		before = again
	}
	return nil, errors.New("the image changes all the time")
}

// judge mounts a copy, which replays the journal, and looks at what is there.
func (d *loopDisk) judge(b *bench, home string, left []byte, claimed bool) error {
	image := filepath.Join(home, "copy")
	if err := os.WriteFile(image, left, 0o600); err != nil {
		return err
	}
	dir := filepath.Join(home, "mounted")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	unmount, err := d.mount(image, dir)
	if err != nil {
		return err
	}
	whole := treeOf(d.t, dir)
	unmount()
	state := tree{".": whole["."]}
	for p, f := range whole {
		if p == "state" || strings.HasPrefix(p, "state/") {
			state[p] = f
		}
	}
	return b.judge(d.t, state, claimed)
}

// A replayer makes recorded calls on another file system.
type replayer struct {
	dir  string
	open map[string]*os.File // by path; what is written to may be written again
	lie  func(call) bool
}

func (r *replayer) close() {
	for _, f := range r.open {
		f.Close()
	}
}

func (r *replayer) file(path string) (*os.File, error) {
	if f := r.open[path]; f != nil {
		return f, nil
	}
	f, err := os.OpenFile(filepath.Join(r.dir, path), os.O_RDWR, 0)
	if err == nil {
		r.open[path] = f
	}
	return f, err
}

func (r *replayer) repeat(c call) error {
	at := filepath.Join(r.dir, c.path)
	switch c.op {
	case "create":
		f, err := os.OpenFile(at, os.O_RDWR|os.O_CREATE|os.O_EXCL, os.FileMode(c.mode))
		r.open[c.path] = f
		return err
	case "mkdir":
		return os.Mkdir(at, os.FileMode(c.mode))
	case "chmod":
		return os.Chmod(at, os.FileMode(c.mode))
	case "remove":
		r.forget(c.path)
		return os.Remove(at)
	case "rename":
		r.forget(c.path)
		r.forget(c.to)
		return os.Rename(at, filepath.Join(r.dir, c.to))
	case "sync":
		if r.lie != nil && r.lie(c) {
			return nil
		}
		return syncOne(at)
	}
	f, err := r.file(c.path)
	if err != nil {
		return err
	}
	if c.op == "truncate" {
		return f.Truncate(c.size)
	}
	_, err = f.WriteAt(c.data, c.at)
	return err
}

func (r *replayer) forget(path string) {
	if f := r.open[path]; f != nil {
		f.Close()
		delete(r.open, path)
	}
}

func syncOne(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// syncAll makes everything on a file system durable.
func syncAll(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}
