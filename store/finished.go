package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	bolt "go.etcd.io/bbolt"
)

// A finishedFile is a bbolt file that Finish has finished, mapped for reading. Opening it reads the meta pages and the page that lists its buckets. The pages
// on the way to a value are checked when it is asked for, before bbolt sees them: what opening costs does not follow what the file holds. All pages are checked by
// whole. It is safe for concurrent use.
type finishedFile struct {
	path  string
	db    *bolt.DB
	tx    *bolt.Tx // the one read transaction; values are bytes of it
	file  *os.File // that of db: here pages are read without bbolt
	meta  boltMeta
	roots map[string]uint64 // the root page of each bucket, 0 of one that lies in the page of buckets

	mu      sync.Mutex // bbolt says of a transaction that it is for one goroutine at a time
	checker pageChecker
}

// openFile opens the finished file at path.
func openFile(path string) (*finishedFile, error) {
	f, err := openFinished(path)
	if err != nil {
		return nil, err
	}
	err = guardBolt(path, func() (err error) {
		if f.tx, err = f.db.Begin(false); err != nil {
			return err
		}
		f.checker = pageChecker{r: f.file, pages: f.meta.pages}
		f.roots, err = f.checker.buckets(f.meta.root)
		return err
	})
	if err != nil {
		f.close()
		return nil, spoilt(path, err)
	}
	return f, nil
}

func (f *finishedFile) close() { closeBolt(f.path, f.db, f.tx) }

// get gives the value under a key, as bytes of the mapped file, and nil if there is none. What keeps it from being found is an error.
func (f *finishedFile) get(bucket string, key []byte) (v []byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err = guardBolt(f.path, func() error {
		root, ok := f.roots[bucket]
		if !ok {
			return nil
		}
		if root != 0 {
			if err := f.checker.way(root, key); err != nil {
				return err
			}
		}
		if b := f.tx.Bucket([]byte(bucket)); b != nil {
			v = b.Get(key)
			v = v[:len(v):len(v)]
		}
		return nil
	})
	if err != nil {
		return nil, spoilt(f.path, err)
	}
	return v, nil
}

// whole checks all pages, and then has visit called for each pair of a bucket, in the order of keys. The first error ends it.
func (f *finishedFile) whole(bucket string, visit func(key, value []byte) error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := guardBolt(f.path, func() error {
		i, err := f.file.Stat()
		if err != nil {
			return err
		}
		if err := checkPages(f.file, i.Size(), true); err != nil {
			return err
		}
		b := f.tx.Bucket([]byte(bucket))
		if b == nil {
			return nil
		}
		return b.ForEach(visit)
	})
	if err != nil {
		return spoilt(f.path, err)
	}
	return nil
}

// spoilt is what a file that is open could not be read for: damage, also where the disk says so itself. What it held is to be had anew.
func spoilt(path string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	e := damaged(path, "is damaged")
	e.Err = err
	return e
}

// buckets reads the page at the root of a finished file: a leaf with the names of its buckets, which ascend, so that bbolt finds the same ones. It gives their
// root pages.
func (c *pageChecker) buckets(root uint64) (map[string]uint64, error) {
	p, err := c.look(root)
	if err != nil {
		return nil, err
	}
	defer c.done(&p)
	if p.flags != boltLeaf {
		return nil, fmt.Errorf("page %d is no leaf", root)
	}
	le := binary.LittleEndian
	roots := map[string]uint64{}
	last := ""
	for i := range p.count {
		e, at := p.element(i)
		at += uint64(le.Uint32(e[4:]))
		key, value := uint64(le.Uint32(e[8:])), uint64(le.Uint32(e[12:]))
		if le.Uint32(e) != boltBucket || value < 16 || at+key+16 > uint64(len(p.b)) || at+key+value > p.length {
			return nil, fmt.Errorf("page %d: bucket %d is not sound", root, i)
		}
		name := string(p.b[at : at+key])
		if i > 0 && name <= last {
			return nil, fmt.Errorf("page %d: bucket %d is out of order", root, i)
		}
		last = name
		id := le.Uint64(p.b[at+key:])
		if id == 0 {
			if err := c.bucket(root, int64(root*boltPageSize+at+key), value, maxBoltLevels); err != nil {
				return nil, err
			}
		}
		roots[name] = id
	}
	return roots, nil
}

// way checks the pages on the way from a bucket's root page to the leaf that has a key if any has. bbolt goes the same way: the keys of each branch ascend, so that
// whoever searches one comes to the same child.
func (c *pageChecker) way(id uint64, key []byte) error {
	for range maxBoltDepth {
		child, err := c.step(id, key)
		if err != nil || child == 0 {
			return err
		}
		id = child
	}
	return fmt.Errorf("page %d lies too deep", id)
}

// step checks page id and gives the child that leads to key, 0 if it is a leaf.
func (c *pageChecker) step(id uint64, key []byte) (child uint64, err error) {
	p, err := c.look(id)
	if err != nil {
		return 0, err
	}
	defer c.done(&p)
	le := binary.LittleEndian
	switch p.flags {
	case boltLeaf:
		for i := range p.count {
			e, at := p.element(i)
			if le.Uint32(e) != 0 || at+uint64(le.Uint32(e[4:]))+uint64(le.Uint32(e[8:]))+uint64(le.Uint32(e[12:])) > p.length {
				return 0, fmt.Errorf("page %d: value %d lies outside", id, i)
			}
		}
		return 0, nil
	case boltBranch:
		if err := p.branch(); err != nil {
			return 0, err
		}
		var last []byte
		for i := range p.count {
			e, at := p.element(i)
			from := at + uint64(le.Uint32(e))
			to := from + uint64(le.Uint32(e[4:]))
			// Keys of finished files are short, and those of a page all lie in its beginning.
			if to > uint64(len(p.b)) || i > 0 && bytes.Compare(last, p.b[from:to]) >= 0 {
				return 0, fmt.Errorf("page %d: key %d is out of order", id, i)
			}
			last = p.b[from:to]
			if i == 0 || bytes.Compare(last, key) <= 0 {
				child = le.Uint64(e[8:])
			}
		}
		if child == 0 {
			return 0, fmt.Errorf("page %d leads to page 0", id)
		}
		return child, nil
	}
	return 0, fmt.Errorf("page %d has flags %#x", id, p.flags)
}
