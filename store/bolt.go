package store

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"example.org/avdb/osfile"
)

// boltTimeout bounds the wait for another process's lock on a bbolt file that is written.
const boltTimeout = 2 * time.Second

// CreateBolt makes a bbolt file that Finish makes durable as a whole: until then nothing is
// synced, and nobody but the writer knows the name.
func (osFiles) CreateBolt(path string, mode fs.FileMode) (newBolt, error) {
	f, err := createExclusive(path, mode)
	if err != nil {
		return nil, err
	}
	b := &osBolt{path: path, file: f}
	err = guardBolt(path, func() (err error) {
		b.db, err = bolt.Open(path, mode, &bolt.Options{
			Timeout:      boltTimeout,
			NoSync:       true,
			NoGrowSync:   true,
			FreelistType: bolt.FreelistMapType,
			PageSize:     boltPageSize,
			NoStatistics: true,
			OpenFile: func(path string, flag int, _ fs.FileMode) (*os.File, error) {
				return openRegular(path, flag&^os.O_CREATE)
			},
		})
		return err
	})
	if err != nil {
		f.Close()
		os.Remove(path)
		return nil, err
	}
	return b, nil
}

type osBolt struct {
	path string
	file *os.File // kept from before the first write, so that a sync of it reports each write that failed
	db   *bolt.DB
}

func (b *osBolt) Commit(pairs []pair) error {
	return guardBolt(b.path, func() error {
		return b.db.Update(func(tx *bolt.Tx) error {
			for _, p := range pairs {
				bucket, err := tx.CreateBucketIfNotExists([]byte(p.bucket))
				if err != nil {
					return err
				}
				bucket.FillPercent = 1 // keys ascend: no page is written to again
				if err := bucket.Put(p.key, p.value); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func (b *osBolt) Finish() error {
	var size int64
	err := guardBolt(b.path, func() error {
		// bbolt grows files in steps; the number of pages in use says where this one ends.
		if err := b.db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil }); err != nil {
			return err
		}
		return b.db.Close()
	})
	if err == nil {
		b.db = nil
		err = b.file.Truncate(size)
	}
	if err == nil {
		err = b.file.Sync()
	}
	return err
}

func (b *osBolt) Close() error {
	var err error
	if b.db != nil {
		err = guardBolt(b.path, b.db.Close)
		b.db = nil
	}
	if e := b.file.Close(); err == nil {
		err = e
	}
	return err
}

// openFinished opens a bbolt file that Finish has finished, for reading: as many processes as like may have it
// open. The meta pages are checked before bbolt sees them, and all that may be done with db until more is checked is to begin a transaction. It never
// waits. Nobody of ours locks such a file against readers, but every user who may read it can: then a private copy is read, which nobody else can lock.
func openFinished(path string) (*finishedFile, error) {
	open := func() (*os.File, error) { return openRegular(path, os.O_RDONLY) }
	f, err := openReadOnly(path, open)
	if errors.Is(err, bolterrors.ErrTimeout) {
		f, err = openReadOnly(path, func() (*os.File, error) {
			f, err := open()
			if err != nil {
				return nil, err
			}
			defer f.Close()
			return osfile.PrivateCopy(f)
		})
	}
	return f, err
}

func openReadOnly(path string, open func() (*os.File, error)) (*finishedFile, error) {
	f := &finishedFile{path: path}
	err := guardBolt(path, func() (err error) {
		f.db, err = bolt.Open(path, 0, &bolt.Options{
			Timeout:      time.Millisecond, // below bbolt's pause between two tries: one try
			ReadOnly:     true,
			FreelistType: bolt.FreelistMapType,
			NoStatistics: true,
			OpenFile: func(string, int, fs.FileMode) (*os.File, error) {
				var err error
				if f.file, err = open(); err != nil {
					return nil, err
				}
				if f.meta, err = checkFile(path, f.file); err != nil {
					f.file.Close()
					return nil, err
				}
				return f.file, nil
			},
		})
		return err
	})
	if err != nil {
		if f.file != nil {
			f.file.Close() // bbolt has closed it already, unless it panicked
		}
		return nil, err
	}
	return f, nil
}

func checkFile(path string, f *os.File) (boltMeta, error) {
	i, err := f.Stat()
	if err != nil {
		return boltMeta{}, err
	}
	m, err := checkMetas(f, i.Size(), true)
	if err != nil {
		e := damaged(path, "is damaged")
		e.Err = err
		return m, e
	}
	return m, nil
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

// batch collects pairs for a newBolt so that a commit writes about batchBytes at once and memory stays bounded.
type batch struct {
	b     newBolt
	pairs []pair
	arena []byte // keys and values of pairs; never grown while pairs point into it
}

const batchBytes = 4 << 20

// put copies key and value. A value larger than a batch is committed with what follows it: a commit of its own would write it twice, since
// bbolt writes the last page of a bucket anew for each key behind it.
func (b *batch) put(bucket string, key, value []byte) error {
	need := len(key) + len(value)
	if need > batchBytes {
		b.pairs = append(b.pairs, pair{bucket, bytes.Clone(key), bytes.Clone(value)})
		return nil
	}
	if len(b.arena)+need > cap(b.arena) {
		if len(b.arena) > 0 {
			if err := b.flush(); err != nil {
				return err
			}
		}
		if need > cap(b.arena) {
			b.arena = make([]byte, 0, batchBytes)
		}
	}
	at := len(b.arena)
	b.arena = append(append(b.arena, key...), value...)
	b.pairs = append(b.pairs, pair{bucket, b.arena[at : at+len(key) : at+len(key)], b.arena[at+len(key) : at+need : at+need]})
	return nil
}

func (b *batch) flush() error {
	if len(b.pairs) == 0 {
		return nil
	}
	err := b.b.Commit(b.pairs)
	b.pairs, b.arena = b.pairs[:0], b.arena[:0]
	return err
}
