package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"example.org/avdb/dbformat"
	bolterrors "go.etcd.io/bbolt/errors"
)

// What a layer file holds (docs/format/store.md).
const (
	metaBucket   = "meta"
	blocksBucket = "blocks"
	headerKey    = "header"
	formatKey    = "format"
	layerFormat  = "avdb layer 1"
)

// blockKey is the place of a block: section id and index, so that bbolt's order is that of the layer.
func blockKey(id dbformat.SectionID, i int) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(nil, uint16(id)), uint32(i))
}

func (s *Store) layerPath(d dbformat.Digest) string {
	return filepath.Join(s.layersDir(), d.String()+".db")
}

// A LayerFile is a layer on disk, mapped into memory. It implements dbformat.LayerReader and is safe for
// concurrent use. Its blocks are bytes of the mapped file: they are valid until the last holder lets go
// of it, and code that reads them belongs inside [Guard].
//
// Whoever opened it holds it; [LayerFile.Retain] adds a holder, [LayerFile.Release] (or Close) lets
// go. A matcher retains the layers for the time of a scan: then it may be closed and replaced meanwhile.
type LayerFile struct {
	path   string
	header *dbformat.Header
	digest dbformat.Digest
	file   *finishedFile
	blocks [][]atomic.Pointer[[]byte] // each as soon as it was found and compared with its leaf
	holds  atomic.Int64
}

var _ dbformat.LayerReader = (*LayerFile)(nil)

// OpenLayer opens the layer file with digest d. The header with its leaf table is proved against d. The
// blocks are found and proved one by one at the first touch: what opening costs follows the header alone. The error matches
// fs.ErrNotExist too if there is no such file (read CURRENT again: it may just have been replaced), and
// [ErrDamaged] if it is missing or not what it should be.
func (s *Store) OpenLayer(d dbformat.Digest, l dbformat.Layer) (*LayerFile, error) {
	return openLayer(s.layerPath(d), d, l)
}

func openLayer(path string, d dbformat.Digest, l dbformat.Layer) (*LayerFile, error) {
	file, err := openFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		e := damaged(path, "is missing")
		e.Err = err
		return nil, e
	}
	if err != nil {
		return nil, openFailure(path, err)
	}
	f := &LayerFile{path: path, digest: d, file: file}
	f.holds.Store(1)
	if err := Guard(path, func() error { return f.load(d, l) }); err != nil {
		f.Release()
		return nil, openFailure(path, err)
	}
	return f, nil
}

// openFailure is what opening a finished file gives: an error of the operating system as it is, everything else is
// damage.
func openFailure(path string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	_, isPath := errors.AsType[*fs.PathError](err)
	_, isErrno := errors.AsType[syscall.Errno](err)
	if isPath || isErrno {
		return failed(path, "cannot be opened", err)
	}
	if errors.Is(err, bolterrors.ErrTimeout) { // of state.db
		return &Error{Kind: ErrStorage, Path: path, What: "is locked by another process", Err: err, Remedy: "try again"}
	}
	return spoilt(path, err)
}

// load reads the header.
func (f *LayerFile) load(d dbformat.Digest, l dbformat.Layer) error {
	v, err := f.file.get(metaBucket, []byte(formatKey))
	if err != nil {
		return err
	}
	if v == nil {
		return damaged(f.path, "is unfinished: it has no header")
	}
	if string(v) != layerFormat {
		return damaged(f.path, "has format %.40q, want %q", v, layerFormat)
	}
	if v, err = f.file.get(metaBucket, []byte(headerKey)); err != nil {
		return err
	}
	h, err := dbformat.ParseHeader(v)
	if err != nil {
		return err
	}
	if h.Layer != l {
		return damaged(f.path, "is a %s layer, want %s", h.Layer, l)
	}
	if got := h.Digest(); got != d {
		return damaged(f.path, "its header has the digest %s", got)
	}
	f.header = h
	f.blocks = make([][]atomic.Pointer[[]byte], len(h.Sections))
	for i := range h.Sections {
		f.blocks[i] = make([]atomic.Pointer[[]byte], len(h.Sections[i].Blocks))
	}
	return nil
}

// Path is the file's name, for [Guard] and for messages.
func (f *LayerFile) Path() string { return f.path }

// Header is the layer's header; it must not be changed.
func (f *LayerFile) Header() *dbformat.Header { return f.header }

// Digest is the digest that the header was proved against.
func (f *LayerFile) Digest() dbformat.Digest { return f.digest }

// Ref describes the layer for a [Generation]; since is the lowest release that has this digest.
func (f *LayerFile) Ref(since uint64) LayerRef { return refOf(f.header, f.digest, since) }

func refOf(h *dbformat.Header, d dbformat.Digest, since uint64) LayerRef {
	return LayerRef{Digest: d, Since: since, Records: h.Records(), Bytes: h.Bytes()}
}

// Block returns block i of section number section of the header. The first time in this process it is found in the file and compared
// with its leaf, which reads it whole; after that the call costs nothing. A block that is absent, or not what its leaf says, is an error that matches
// [ErrDamaged]; it is never a miss. The caller must hold f.
func (f *LayerFile) Block(section, i int) ([]byte, error) {
	if f.holds.Load() <= 0 {
		return nil, fmt.Errorf("%s: %w", f.path, fs.ErrClosed)
	}
	if section < 0 || section >= len(f.blocks) || i < 0 || i >= len(f.blocks[section]) {
		return nil, fmt.Errorf("%s: there is no block %d in section %d", f.path, i, section)
	}
	if b := f.blocks[section][i].Load(); b != nil {
		return *b, nil
	}
	return f.touch(section, i)
}

// touch finds and proves a block, whether or not that was done before.
func (f *LayerFile) touch(section, i int) ([]byte, error) {
	s := &f.header.Sections[section]
	b, err := f.file.get(blocksBucket, blockKey(s.ID, i))
	switch {
	case err != nil:
		return nil, err
	case b == nil:
		return nil, damaged(f.path, "block %s %d is absent", s.ID, i)
	case len(b) != int(s.Blocks[i].Bytes):
		return nil, damaged(f.path, "block %s %d has %d bytes, want %d", s.ID, i, len(b), s.Blocks[i].Bytes)
	}
	if err := f.prove(section, i, b); err != nil {
		return nil, err
	}
	f.blocks[section][i].CompareAndSwap(nil, &b)
	return b, nil
}

func (f *LayerFile) prove(section, i int, b []byte) error {
	s := &f.header.Sections[section]
	return Guard(f.path, func() error {
		if dbformat.BlockDigest(f.header.Layer, s.ID, i, b) != s.Blocks[i].Digest {
			return damaged(f.path, "block %s %d differs from its leaf", s.ID, i)
		}
		return nil
	})
}

// Verify checks all pages of the file, that it holds the blocks of the header and none besides, and compares every block with its leaf, also those
// that were compared before. It stops at the first error. progress, which may be nil, is told the bytes of each block.
func (f *LayerFile) Verify(progress func(bytes int64)) error {
	return f.verify(context.Background(), progress)
}

// verify is Verify that ends, with the cause as its error, before the block at which ctx has ended.
func (f *LayerFile) verify(ctx context.Context, progress func(bytes int64)) error {
	if err := f.complete(); err != nil {
		return err
	}
	for i := range f.blocks {
		for j := range f.blocks[i] {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			b, err := f.touch(i, j)
			if err != nil {
				return err
			}
			if progress != nil {
				progress(int64(len(b)))
			}
		}
	}
	return nil
}

// complete checks all pages, and that the file holds no other blocks than those of the header. That the last ones are there is for touch to say.
func (f *LayerFile) complete() error {
	section, i := 0, 0
	return f.file.whole(blocksBucket, func(k, _ []byte) error {
		for section < len(f.blocks) && i == len(f.blocks[section]) {
			section, i = section+1, 0
		}
		if section == len(f.blocks) {
			return damaged(f.path, "holds a block %x that its header does not name", k)
		}
		id := f.header.Sections[section].ID
		switch bytes.Compare(k, blockKey(id, i)) {
		case -1:
			return damaged(f.path, "holds a block %x that its header does not name", k)
		case 1:
			return damaged(f.path, "block %s %d is absent", id, i)
		}
		i++
		return nil
	})
}

// Retain adds a holder and tells whether there still was one; if not, f is closed and stays so.
func (f *LayerFile) Retain() bool { return retain(&f.holds) }

// Release lets go; the last holder closes the file. Blocks must not be touched after it.
func (f *LayerFile) Release() {
	if f.holds.Add(-1) == 0 {
		f.file.close()
	}
}

// Close is Release, for whoever opened the file. It never waits: the file stays open for the other holders.
func (f *LayerFile) Close() error {
	f.Release()
	return nil
}

func retain(holds *atomic.Int64) bool {
	for {
		n := holds.Load()
		if n <= 0 {
			return false
		}
		if holds.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// HasLayer tells whether there is a file for the layer. Whether it is whole, OpenLayer and Verify tell.
func (s *Store) HasLayer(d dbformat.Digest) bool {
	i, err := os.Lstat(s.layerPath(d))
	return err == nil && i.Mode().IsRegular()
}
