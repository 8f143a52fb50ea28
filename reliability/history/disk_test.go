//go:build check

package history

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"example.org/avdb/signing"
)

// A fault says what becomes of one change to the disk, and of those after it.
type fault struct {
	how   string // "" for none
	at    int    // number of the change, from 1
	errno syscall.Errno
}

// The ways in which a change fails: "fails" without effect, "fails late" with it, "fails on" without effect and all after it
// too, "dies" and "dies late" with the process.
var faults = []string{"fails", "fails late", "fails on", "dies", "dies late"}

var errnos = []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EROFS, syscall.EACCES, syscall.EMFILE}

func (f fault) String() string {
	switch f.how {
	case "":
		return ""
	case "dies", "dies late":
		return fmt.Sprintf("change %d: %s", f.at, f.how)
	}
	return fmt.Sprintf("change %d: %s with %q", f.at, f.how, f.errno.Error())
}

// An inode is the content of one file as of its last sync; nil if there was none.
type inode struct{ synced []byte }

// A disk is a [signing.Disk] that breaks what a step asks it to break, and remembers what of each file and folder was
// synced, over a whole history: the content of a file is that of its last sync, the names of a folder are those of its last sync
// or, if the power cut comes late, the newest. Only changes that are told to it can be lost: locks, downloads and the
// inside of state.db, which bbolt syncs itself, stay as they are.
type disk struct {
	root string

	mu      sync.Mutex
	names   map[string]map[string]*inode // by folder, now
	durable map[string]map[string]*inode // at the folder's last sync
	opened  map[string]bool              // trust files that are being written: whether they were synced
	fault   fault
	count   int
	dead    bool
	fired   bool   // the fault came to pass
	died    func() // told when the process dies
	lie     func(signing.DiskCall) lieKind
	last    string // the change that the fault hit
}

// A lieKind is how a broken guard shows: the oracle must find it. See TestOracleFindsBrokenGuards.
type lieKind int

const (
	honestDisk lieKind = iota
	forgetful          // says that it has synced, and has not
	skipped            // says that it was done, and did nothing
)

// newDisk takes what is below root as durable.
func newDisk(root string) (*disk, error) {
	d := &disk{root: root, opened: map[string]bool{}}
	return d, d.reload()
}

// reload takes what is on disk as durable.
func (d *disk) reload() error {
	d.names, d.durable = map[string]map[string]*inode{}, map[string]map[string]*inode{}
	return filepath.WalkDir(d.root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			d.names[path], d.durable[path] = map[string]*inode{}, map[string]*inode{}
			return nil
		}
		if !tracked(d.root, path) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		d.set(path, b)
		return nil
	})
}

// tracked tells whether a power cut can take anything from a file: what is not told of, cannot be lost.
func tracked(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	rel = filepath.ToSlash(rel)
	return err == nil && !strings.HasPrefix(rel, "downloads/") && !strings.HasPrefix(rel, "trust/tmp/") && !strings.HasSuffix(rel, ".lock") &&
		!strings.HasPrefix(rel, "state.db")
}

// set takes a file as it is from now on as durable: nil for one that is gone.
func (d *disk) set(path string, b []byte) {
	dir, base := filepath.Dir(path), filepath.Base(path)
	if d.names[dir] == nil {
		return
	}
	if b == nil {
		delete(d.names[dir], base)
		delete(d.durable[dir], base)
		return
	}
	n := &inode{synced: b}
	d.names[dir][base], d.durable[dir][base] = n, n
}

// begin is the start of a step.
func (d *disk) begin(f fault, died func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.count, d.dead, d.fired, d.died, d.last = f, 0, false, false, died, ""
	clear(d.opened)
}

// end is what came of it: whether the fault came to pass.
func (d *disk) end() (fired, dead bool, changes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fired, dead, changes = d.fired, d.dead, d.count
	d.fault, d.dead, d.died = fault{}, false, nil
	return fired, dead, changes
}

// kill has the process die now.
func (d *disk) kill() {
	d.mu.Lock()
	died := d.died
	d.dead = true
	d.mu.Unlock()
	if died != nil {
		died()
	}
	runtime.Goexit()
}

// Do makes one change.
func (d *disk) Do(c signing.DiskCall, change func() error) error {
	d.mu.Lock()
	if d.dead {
		d.mu.Unlock()
		return &fs.PathError{Op: c.Op, Path: c.Path, Err: errDead}
	}
	d.count++
	f := d.fault
	hit := f.how != "" && (d.count == f.at || d.count > f.at && f.how == "fails on")
	var err error
	if !hit || strings.HasSuffix(f.how, "late") {
		err = d.apply(c, change)
	}
	if hit && !d.fired {
		d.fired = true
		d.last = c.Op + " " + d.short(c.Path)
	}
	d.mu.Unlock()
	switch {
	case !hit:
		return err
	case strings.HasPrefix(f.how, "dies"):
		d.kill()
	}
	return errors.Join(err, &fs.PathError{Op: c.Op, Path: c.Path, Err: f.errno})
}

var errDead = errors.New("the process is dead")

// short is a path without what is random in it.
func (d *disk) short(path string) string {
	rel, err := filepath.Rel(d.root, path)
	if err != nil {
		return path
	}
	rel = filepath.ToSlash(rel)
	if i := strings.LastIndex(rel, "/new-"); i >= 0 {
		return rel[:i] + "/new-*"
	}
	return rel
}

// apply makes a change and keeps account of it.
func (d *disk) apply(c signing.DiskCall, change func() error) error {
	lie := honestDisk
	if d.lie != nil {
		lie = d.lie(c)
	}
	if lie == skipped {
		if c.Op == "rename" {
			return os.Remove(c.From) // as if it had never been written
		}
		return nil
	}
	if err := change(); err != nil {
		return err
	}
	if lie == forgetful {
		return nil
	}
	return d.record(c)
}

func (d *disk) record(c signing.DiskCall) error {
	dir, base := filepath.Dir(c.Path), filepath.Base(c.Path)
	trust := strings.HasPrefix(c.Path, filepath.Join(d.root, "trust"))
	if d.names[dir] == nil {
		d.names[dir], d.durable[dir] = map[string]*inode{}, map[string]*inode{}
	}
	switch {
	case c.Op == "mkdir":
		d.names[c.Path], d.durable[c.Path] = map[string]*inode{}, map[string]*inode{}
	case c.Op == "syncdir":
		d.durable[c.Path] = maps.Clone(d.names[c.Path])
	case c.Op == "remove":
		delete(d.names[dir], base)
	case !tracked(d.root, c.Path):
	case trust && (c.Op == "create" || c.Op == "sync"):
		d.opened[c.Path] = c.Op == "sync"
	case trust && c.Op == "rename":
		n := &inode{}
		if d.opened[c.Path] {
			b, err := os.ReadFile(c.Path)
			if err != nil {
				return err
			}
			n.synced = b
		}
		d.names[dir][base] = n
	case c.Op == "create":
		d.names[dir][base] = &inode{}
	case c.Op == "sync", c.Op == "finish":
		b, err := os.ReadFile(c.Path)
		if err != nil {
			return err
		}
		d.names[dir][base].synced = b
	case c.Op == "rename":
		from := d.names[filepath.Dir(c.From)]
		d.names[dir][base] = from[filepath.Base(c.From)]
		delete(from, filepath.Base(c.From))
	}
	return nil
}

// survives tells why a file would not be what it is now after a power cut at this instant; "" if it would.
func (d *disk) survives(path string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	now, err := os.ReadFile(path)
	if err != nil {
		return fmt.Sprintf("%s: %v", d.short(path), err)
	}
	n := d.durable[filepath.Dir(path)][filepath.Base(path)]
	switch {
	case n == nil:
		return d.short(path) + " has no synced name"
	case n.synced == nil:
		return d.short(path) + " was not synced"
	case !bytes.Equal(n.synced, now):
		return d.short(path) + " was synced with another content"
	}
	return ""
}

// synced is what a file would certainly be after a power cut at this instant; nil if nothing is certain.
func (d *disk) synced(path string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.durable[filepath.Dir(path)][filepath.Base(path)]; n != nil {
		return n.synced
	}
	return nil
}

// cut makes the folder as a power cut leaves it: of each folder the names of its last sync or the newest ones, by chance.
func (d *disk) cut(seed uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := rand.New(rand.NewPCG(seed, 1))
	for _, dir := range slices.Sorted(maps.Keys(d.names)) {
		left := d.durable[dir]
		if r.IntN(2) == 0 {
			left = d.names[dir]
		}
		if err := d.restore(dir, left, r); err != nil {
			return err
		}
	}
	return d.reload()
}

func (d *disk) restore(dir string, left map[string]*inode, r *rand.Rand) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !e.Type().IsRegular() || left[e.Name()] != nil || !tracked(d.root, path) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		path := filepath.Join(dir, name)
		b := left[name].synced
		if b == nil { // never synced: empty, or as long as it was written with nothing in it
			b = make([]byte, r.IntN(2)*5000)
		}
		if now, err := os.ReadFile(path); err == nil && bytes.Equal(now, b) {
			continue
		}
		// Under a new name: whoever had the old file open when the power went keeps what he had.
		if err := os.WriteFile(path+".left", b, 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".left", path); err != nil {
			return err
		}
	}
	return nil
}
