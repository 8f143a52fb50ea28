//go:build check && linux

package disk

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// A mounted volume. Nothing of it is cached by the kernel beyond a call but the pages of open files: a call that fails and takes effect
// would leave a cache that is wrong.
type mounted struct {
	fuse.RawFileSystem
	*volume
	dir           string
	handles, runs atomic.Uint64
	lists         map[uint64][]fuse.DirEntry // by handle, under mu
}

// mount gives a volume under a folder of the test, or skips it.
func mount(t *testing.T) *mounted {
	t.Helper()
	needRoot(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skipf("no FUSE here: %v", err)
	}
	m := &mounted{RawFileSystem: fuse.NewDefaultRawFileSystem(), volume: newVolume(), dir: t.TempDir(), lists: map[uint64][]fuse.DirEntry{}}
	s, err := fuse.NewServer(m, m.dir, &fuse.MountOptions{FsName: "lossy", Name: "lossy", DirectMountStrict: true, DisableXAttrs: true,
		DisableReadDirPlus: true, MaxWrite: 1 << 20, Options: []string{"default_permissions"}})
	if err != nil {
		t.Skipf("FUSE cannot be mounted here: %v", err)
	}
	go s.Serve()
	if err := s.WaitMount(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Unmount(); err != nil {
			t.Log(err)
			_ = syscall.Unmount(m.dir, syscall.MNT_DETACH)
		}
	})
	return m
}

// needRoot skips where mounting is not allowed.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root: run this as root, as CI does")
	}
}

func (m *mounted) path(cell string) string { return filepath.Join(m.dir, cell) }

// at runs f under the lock with the node of a request.
func (m *mounted) at(id uint64, f func(n *node) syscall.Errno) fuse.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[id]
	if n == nil {
		return fuse.ENOENT
	}
	return fuse.Status(f(n))
}

func (n *node) attr(a *fuse.Attr) {
	a.Ino, a.Mode, a.Nlink, a.Blksize = n.id, n.mode|syscall.S_IFREG, uint32(n.links), 4096
	a.Size, a.Blocks = uint64(len(n.content)), uint64(len(n.content)+511)/512
	if n.dir {
		a.Mode, a.Nlink = n.mode|syscall.S_IFDIR, 2
	}
}

func (n *node) entry(out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.id, 1
	n.attr(&out.Attr)
}

func (m *mounted) Lookup(_ <-chan struct{}, h *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	return m.at(h.NodeId, func(n *node) syscall.Errno {
		c := n.names[name]
		if c == nil {
			return syscall.ENOENT
		}
		c.entry(out)
		return 0
	})
}

func (m *mounted) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	return m.at(in.NodeId, func(n *node) syscall.Errno { n.attr(&out.Attr); return 0 })
}

func (m *mounted) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	return m.at(in.NodeId, func(n *node) (errno syscall.Errno) {
		if size, ok := in.GetSize(); ok {
			errno = m.truncate(n, int64(size))
		}
		if mode, ok := in.GetMode(); ok && errno == 0 {
			errno = m.chmod(n, mode)
		}
		n.attr(&out.Attr)
		return errno
	})
}

func (m *mounted) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return m.make(in.NodeId, name, true, in.Mode, out)
}

func (m *mounted) make(dir uint64, name string, folder bool, mode uint32, out *fuse.EntryOut) fuse.Status {
	return m.at(dir, func(n *node) syscall.Errno {
		made, errno := m.create(n, name, folder, mode&0o7777)
		if errno == 0 {
			made.entry(out)
		}
		return errno
	})
}

func (m *mounted) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return m.make(in.NodeId, name, false, in.Mode, &out.EntryOut)
}

func (m *mounted) Open(_ <-chan struct{}, in *fuse.OpenIn, _ *fuse.OpenOut) fuse.Status {
	return m.at(in.NodeId, func(n *node) syscall.Errno {
		if in.Flags&syscall.O_TRUNC != 0 {
			return m.truncate(n, 0)
		}
		return 0
	})
}

func (m *mounted) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (r fuse.ReadResult, st fuse.Status) {
	st = m.at(in.NodeId, func(n *node) syscall.Errno {
		from := min(in.Offset, uint64(len(n.content)))
		r = fuse.ReadResultData(n.content[from:min(from+uint64(in.Size), uint64(len(n.content)))])
		return 0
	})
	return r, st
}

func (m *mounted) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (written uint32, st fuse.Status) {
	return uint32(len(data)), m.at(in.NodeId, func(n *node) syscall.Errno { return m.volume.write(n, int64(in.Offset), data) })
}

func (m *mounted) Writev(c <-chan struct{}, in *fuse.WriteIn, data [][]byte) (written uint32, st fuse.Status) {
	return m.Write(c, in, slices.Concat(data...))
}

func (m *mounted) Unlink(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return m.at(h.NodeId, func(n *node) syscall.Errno { return m.remove(n, name, false) })
}

func (m *mounted) Rmdir(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	return m.at(h.NodeId, func(n *node) syscall.Errno { return m.remove(n, name, true) })
}

func (m *mounted) Rename(_ <-chan struct{}, in *fuse.RenameIn, from, to string) fuse.Status {
	return m.at(in.NodeId, func(n *node) syscall.Errno {
		target := m.nodes[in.Newdir]
		if target == nil || in.Flags != 0 {
			return syscall.EINVAL
		}
		return m.rename(n, from, target, to)
	})
}

func (m *mounted) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return m.at(in.NodeId, m.sync)
}

func (m *mounted) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return m.at(in.NodeId, m.sync)
}

// OpenDir takes the list of names as it is now.
func (m *mounted) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	return m.at(in.NodeId, func(n *node) syscall.Errno {
		var list []fuse.DirEntry
		for i, name := range slices.Sorted(maps.Keys(n.names)) {
			mode := uint32(syscall.S_IFREG)
			if n.names[name].dir {
				mode = syscall.S_IFDIR
			}
			list = append(list, fuse.DirEntry{Name: name, Mode: mode, Ino: n.names[name].id, Off: uint64(i + 1)})
		}
		out.Fh = m.handles.Add(1)
		m.lists[out.Fh] = list
		return 0
	})
}

func (m *mounted) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return m.at(in.NodeId, func(*node) syscall.Errno {
		list := m.lists[in.Fh]
		for _, e := range list[min(int(in.Offset), len(list)):] {
			if !out.AddDirEntry(e) {
				break
			}
		}
		return 0
	})
}

func (m *mounted) ReleaseDir(in *fuse.ReleaseIn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.lists, in.Fh)
}

func (m *mounted) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (m *mounted) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const free = 1 << 20 // blocks
	*out = fuse.StatfsOut{Blocks: free, Bfree: free, Bavail: free, Files: free, Ffree: free, Bsize: 4096, Frsize: 4096, NameLen: 255}
	return fuse.OK
}
