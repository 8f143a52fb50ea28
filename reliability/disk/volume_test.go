//go:build check && linux

package disk

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"syscall"
)

// A volume is a file system in memory that knows, beside what it holds, what a power cut would leave of it. Nodes are numbered once
// and never again, so that no cache of the kernel takes one for another.
type volume struct {
	mu    sync.Mutex
	nodes map[uint64]*node
	last  uint64
	top   *node
}

// A node is a file or a folder. Slices and maps in it are replaced and never changed, so that a tree can keep them.
type node struct {
	id    uint64
	dir   bool
	mode  uint32
	cell  *cell  // nil at the top of the volume
	name  string // the last one, for messages
	links int

	content []byte
	synced  []byte   // content at the last sync
	since   []change // what was done to content after it

	names  map[string]*node
	kept   map[string]*node // names at the last sync
	newest []entry          // what was done to names after it
}

// A change is a write of data, or a truncation to length if data is nil.
type change struct {
	at, length int64
	data       []byte
}

// An entry is a change of a folder: to appears as node n and from goes; one of them may be "".
type entry struct {
	from, to string
	n        *node
}

// A cell is one folder at the top of a volume in which one run of an endpoint happens.
type cell struct {
	top   *node
	calls int  // that change something, so far
	dead  bool // nothing changes any more

	// decide is asked before each call, under the volume's lock. Nil for an honest disk.
	decide func(x *cell, c call) verdict
}

// A call is one that changes something.
type call struct {
	n        int    // from 0
	op, path string // path below the cell
	to       string // of a rename
	node     uint64
	at       int64
	data     []byte // of a write
	size     int64  // of a truncation
	mode     uint32
}

func (c call) String() string {
	s := fmt.Sprintf("%d %s %s", c.n, c.op, c.path)
	if c.to != "" {
		s += " to " + c.to
	}
	if c.op == "write" {
		s += fmt.Sprintf(" %d+%d", c.at, len(c.data))
	}
	return s
}

// A verdict says what becomes of a call. The zero value loses it in silence.
type verdict struct {
	apply bool
	half  bool          // of a write only the first half is applied
	errno syscall.Errno // what the caller is told, 0 for success
}

var honest = verdict{apply: true}

func newVolume() *volume {
	v := &volume{nodes: map[uint64]*node{}}
	v.top = v.add(nil, true, 0o755)
	return v
}

func (v *volume) add(c *cell, dir bool, mode uint32) *node {
	v.last++
	n := &node{id: v.last, dir: dir, mode: mode, cell: c, links: 1}
	if dir {
		n.names, n.kept = map[string]*node{}, map[string]*node{}
	}
	v.nodes[n.id] = n
	return n
}

// begin makes a cell with a tree that is durable.
func (v *volume) begin(name string, t tree, decide func(*cell, call) verdict) *cell {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := &cell{decide: decide}
	c.top = v.add(c, true, 0o755)
	made := map[string]*node{".": c.top}
	for _, p := range slices.Sorted(maps.Keys(t)) {
		if p == "." {
			continue
		}
		f := t[p]
		n := v.add(c, f.dir, f.mode)
		n.content, n.synced, n.name = f.content, f.content, p
		dir := made[path.Dir(p)]
		dir.names = with(dir.names, path.Base(p), n)
		dir.kept = dir.names
		made[p] = n
	}
	v.top.names = with(v.top.names, name, c.top)
	return c
}

// end forgets a cell.
func (v *volume) end(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c := v.top.names[name].cell
	v.top.names = with(v.top.names, name, nil)
	for id, n := range v.nodes {
		if n.cell == c {
			delete(v.nodes, id)
		}
	}
}

// with is m with a name changed, or removed if n is nil; m stays as it is.
func with(m map[string]*node, name string, n *node) map[string]*node {
	m = maps.Clone(m)
	delete(m, name)
	if n != nil {
		m[name] = n
	}
	return m
}

// do carries out a call that changes something, as the cell's plan decides. apply does it; half says that only the
// first half of a write counts.
func (v *volume) do(n *node, c call, apply func(half bool)) syscall.Errno {
	x := n.cell
	if x == nil {
		return syscall.EPERM
	}
	if x.dead {
		return syscall.EIO
	}
	c.n, c.node = x.calls, n.id
	if c.path == "" {
		c.path = n.name
	}
	x.calls++
	what := honest
	if x.decide != nil {
		what = x.decide(x, c)
	}
	if what.apply {
		apply(what.half)
	}
	return what.errno
}

func (v *volume) write(n *node, at int64, data []byte) syscall.Errno {
	data = bytes.Clone(data)
	return v.do(n, call{op: "write", at: at, data: data}, func(half bool) {
		if half {
			data = data[:len(data)/2]
		}
		n.change(change{at: at, data: data})
	})
}

func (v *volume) truncate(n *node, size int64) syscall.Errno {
	return v.do(n, call{op: "truncate", size: size}, func(bool) { n.change(change{length: size}) })
}

func (n *node) change(c change) {
	n.content = c.after(n.content)
	n.since = append(n.since[:len(n.since):len(n.since)], c)
}

// after is a file's content after the change.
func (c change) after(b []byte) []byte {
	size := max(int64(len(b)), c.at+int64(len(c.data)))
	if c.data == nil {
		size = c.length
	}
	out := make([]byte, size)
	copy(out, b)
	copy(out[min(c.at, size):], c.data)
	return out
}

func (v *volume) chmod(n *node, mode uint32) syscall.Errno {
	return v.do(n, call{op: "chmod", mode: mode}, func(bool) { n.mode = mode })
}

func (v *volume) sync(n *node) syscall.Errno {
	return v.do(n, call{op: "sync"}, func(bool) {
		n.synced, n.since, n.kept, n.newest = n.content, nil, n.names, nil
	})
}

func (n *node) child(name string) string { return path.Join(n.name, name) }

// create makes a file or a folder and gives it even where the caller is told that it failed.
func (v *volume) create(dir *node, name string, folder bool, mode uint32) (*node, syscall.Errno) {
	if dir.names[name] != nil {
		return nil, syscall.EEXIST
	}
	op := "create"
	if folder {
		op = "mkdir"
	}
	var made *node
	errno := v.do(dir, call{op: op, path: dir.child(name), mode: mode}, func(bool) {
		made = v.add(dir.cell, folder, mode)
		made.name = dir.child(name)
		dir.move(entry{to: name, n: made})
	})
	if made == nil && errno == 0 {
		errno = syscall.EIO
	}
	return made, errno
}

// move changes a folder's names.
func (n *node) move(e entry) {
	n.names = e.after(n.names)
	n.newest = append(n.newest[:len(n.newest):len(n.newest)], e)
}

func (e entry) after(m map[string]*node) map[string]*node {
	if e.from != "" {
		m = with(m, e.from, nil)
	}
	if e.to != "" {
		m = with(m, e.to, e.n)
	}
	return m
}

func (v *volume) remove(dir *node, name string, folder bool) syscall.Errno {
	n := dir.names[name]
	switch {
	case n == nil:
		return syscall.ENOENT
	case n.dir != folder && folder:
		return syscall.ENOTDIR
	case n.dir != folder:
		return syscall.EISDIR
	case len(n.names) > 0:
		return syscall.ENOTEMPTY
	}
	return v.do(dir, call{op: "remove", path: dir.child(name)}, func(bool) { n.links--; dir.move(entry{from: name}) })
}

func (v *volume) rename(from *node, name string, to *node, target string) syscall.Errno {
	n := from.names[name]
	if n == nil {
		return syscall.ENOENT
	}
	if over := to.names[target]; over != nil && over.dir {
		return syscall.EISDIR
	}
	return v.do(from, call{op: "rename", path: from.child(name), to: to.child(target)}, func(bool) {
		n.name = to.child(target)
		if from == to {
			from.move(entry{from: name, to: target, n: n})
			return
		}
		to.move(entry{to: target, n: n})
		from.move(entry{from: name})
	})
}

// A tree is what a cell holds at one moment, by path; "." is the cell itself.
type tree map[string]file

type file struct {
	dir     bool
	mode    uint32
	content []byte
}

// A look says what of a node counts: its names and its content.
type look struct {
	names   func(n *node) map[string]*node
	content func(n *node) []byte
}

// Three looks at a cell.
var (
	// now is what a process sees, and what stays when that process is killed.
	now = look{func(n *node) map[string]*node { return n.names }, func(n *node) []byte { return n.content }}
	// durable is the least that a power cut leaves.
	durable = look{func(n *node) map[string]*node { return n.kept }, func(n *node) []byte { return n.synced }}
	// ahead is what a power cut leaves if all names, and no content, had reached the disk unasked.
	ahead = look{func(n *node) map[string]*node { return n.names }, func(n *node) []byte { return n.synced }}
)

// mixed is what a power cut may leave: of each folder what was synced and some of the changes after it, of each file what was synced
// and any of the writes after it, each whole or up to some page.
func mixed(r *rand.Rand) look {
	names, contents := map[*node]map[string]*node{}, map[*node][]byte{}
	return look{func(n *node) map[string]*node {
		if m, ok := names[n]; ok {
			return m
		}
		m := n.kept
		for _, e := range n.newest[:r.IntN(len(n.newest)+1)] {
			m = e.after(m)
		}
		names[n] = m
		return m
	}, func(n *node) []byte {
		if b, ok := contents[n]; ok {
			return b
		}
		b := n.synced
		for _, c := range n.since {
			switch r.IntN(3) {
			case 0:
				continue
			case 1:
				if pages := len(c.data) / 4096; pages > 0 {
					c.data = c.data[:4096*r.IntN(pages+1)]
				}
			}
			b = c.after(b)
		}
		contents[n] = b
		return b
	}}
}

// take gives the tree of a cell as l sees it.
func (v *volume) take(c *cell, l look) tree {
	v.mu.Lock()
	defer v.mu.Unlock()
	return c.take(l)
}

func (c *cell) take(l look) tree {
	t := tree{}
	var walk func(p string, n *node)
	walk = func(p string, n *node) {
		if !n.dir {
			t[p] = file{mode: n.mode, content: l.content(n)}
			return
		}
		t[p] = file{dir: true, mode: n.mode}
		names := l.names(n)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			walk(path.Join(p, name), names[name])
		}
	}
	walk(".", c.top)
	return t
}

// sum tells trees apart.
func (t tree) sum() [32]byte {
	h := sha256.New()
	for _, p := range slices.Sorted(maps.Keys(t)) {
		f := t[p]
		fmt.Fprintf(h, "%q %t %o %x\n", p, f.dir, f.mode, sha256.Sum256(f.content))
	}
	return [32]byte(h.Sum(nil))
}
