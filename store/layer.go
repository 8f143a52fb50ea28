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
	bolt "go.etcd.io/bbolt"
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
	db     *bolt.DB
	tx     *bolt.Tx // the one read transaction; blocks are its bytes
	blocks [][][]byte
	proved [][]atomic.Uint32 // a bit for each block that was compared with its leaf
	holds  atomic.Int64
}

var _ dbformat.LayerReader = (*LayerFile)(nil)

// OpenLayer opens the layer file with digest d. The header with its leaf table is proved against d, and every
// block is found; the blocks themselves are proved one by one at the first touch. The error matches
// fs.ErrNotExist too if there is no such file (read CURRENT again: it may just have been replaced), and
// [ErrDamaged] if it is missing or not what it should be.
func (s *Store) OpenLayer(d dbformat.Digest, l dbformat.Layer) (*LayerFile, error) {
	return openLayer(s.layerPath(d), d, l)
}

func openLayer(path string, d dbformat.Digest, l dbformat.Layer) (*LayerFile, error) {
	db, err := openFinished(path)
	if errors.Is(err, fs.ErrNotExist) {
		e := damaged(path, "is missing")
		e.Err = err
		return nil, e
	}
	if err != nil {
		return nil, openFailure(path, err)
	}
	f := &LayerFile{path: path, digest: d, db: db}
	f.holds.Store(1)
	err = guardBolt(path, func() error {
		if f.tx, err = db.Begin(false); err != nil {
			return err
		}
		return f.load(d, l)
	})
	if err != nil {
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
	e := damaged(path, "is damaged")
	e.Err = err
	return e
}

// load reads header and block table.
func (f *LayerFile) load(d dbformat.Digest, l dbformat.Layer) error {
	meta, blocks := f.tx.Bucket([]byte(metaBucket)), f.tx.Bucket([]byte(blocksBucket))
	if meta == nil {
		return damaged(f.path, "is unfinished: it has no header")
	}
	if v := meta.Get([]byte(formatKey)); string(v) != layerFormat {
		return damaged(f.path, "has format %.40q, want %q", v, layerFormat)
	}
	h, err := dbformat.ParseHeader(bytes.Clone(meta.Get([]byte(headerKey))))
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
	var c *bolt.Cursor
	var k, v []byte
	if blocks != nil { // a layer without sections has no blocks
		c = blocks.Cursor()
		k, v = c.First()
	}
	for i := range h.Sections {
		s := &h.Sections[i]
		table := make([][]byte, len(s.Blocks))
		for j := range table {
			if !bytes.Equal(k, blockKey(s.ID, j)) {
				return damaged(f.path, "block %s %d is absent", s.ID, j)
			}
			if len(v) != int(s.Blocks[j].Bytes) {
				return damaged(f.path, "block %s %d has %d bytes, want %d", s.ID, j, len(v), s.Blocks[j].Bytes)
			}
			table[j] = v[:len(v):len(v)]
			k, v = c.Next()
		}
		f.blocks = append(f.blocks, table)
		f.proved = append(f.proved, make([]atomic.Uint32, (len(table)+31)/32))
	}
	if k != nil {
		return damaged(f.path, "holds a block %x that its header does not name", k)
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

// Block returns block i of section number section of the header. The first time in this process it is compared
// with its leaf, which reads it whole; after that the call costs nothing. An error matches [ErrDamaged]; it is never a
// miss. The caller must hold f.
func (f *LayerFile) Block(section, i int) ([]byte, error) {
	if f.holds.Load() <= 0 {
		return nil, fmt.Errorf("%s: %w", f.path, fs.ErrClosed)
	}
	if section < 0 || section >= len(f.blocks) || i < 0 || i >= len(f.blocks[section]) {
		return nil, fmt.Errorf("%s: there is no block %d in section %d", f.path, i, section)
	}
	b := f.blocks[section][i]
	if f.proved[section][i/32].Load()&(1<<(i%32)) != 0 {
		return b, nil
	}
	if err := f.prove(section, i, b); err != nil {
		return nil, err
	}
	f.proved[section][i/32].Or(1 << (i % 32))
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

// Verify compares every block with its leaf, also those that were compared before. It stops at the first error.
// progress, which may be nil, is told the bytes of each block.
func (f *LayerFile) Verify(progress func(bytes int64)) error {
	return f.verify(context.Background(), progress)
}

// verify is Verify that ends, with the cause as its error, before the block at which ctx has ended.
func (f *LayerFile) verify(ctx context.Context, progress func(bytes int64)) error {
	for i := range f.blocks {
		for j, b := range f.blocks[i] {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := f.prove(i, j, b); err != nil {
				return err
			}
			f.proved[i][j/32].Or(1 << (j % 32))
			if progress != nil {
				progress(int64(len(b)))
			}
		}
	}
	return nil
}

// Retain adds a holder and tells whether there still was one; if not, f is closed and stays so.
func (f *LayerFile) Retain() bool { return retain(&f.holds) }

// Release lets go; the last holder closes the file. Blocks must not be touched after it.
func (f *LayerFile) Release() {
	if f.holds.Add(-1) == 0 {
		closeBolt(f.path, f.db, f.tx)
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

// closeBolt closes a file that was only read: there is nothing to lose, and no error that a caller could act on.
func closeBolt(path string, db *bolt.DB, tx *bolt.Tx) {
	_ = guardBolt(path, func() error {
		if tx != nil {
			if err := tx.Rollback(); err != nil {
				return err
			}
		}
		return db.Close()
	})
}

// HasLayer tells whether there is a file for the layer. Whether it is whole, OpenLayer and Verify tell.
func (s *Store) HasLayer(d dbformat.Digest) bool {
	i, err := os.Lstat(s.layerPath(d))
	return err == nil && i.Mode().IsRegular()
}
