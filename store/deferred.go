package store

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.org/avdb/dbformat"
	"example.org/avdb/ksn/protocol"
)

// Limits of the objects that wait for the cloud.
const (
	MaxDeferred      = 10000
	MaxDeferredPath  = 4096 // bytes
	maxDeferredBytes = 16 << 20
)

// deferredBucket: SHA-256 of key, NUL and path → sealed deferredRecord.
const deferredBucket = "deferred"

// A Deferred is an object that only the cloud can settle, and that no answer has settled yet.
type Deferred struct {
	Key     string // protocol.Key.String()
	Path    string // any bytes, at most MaxDeferredPath
	Name    string // at most dbformat.MaxName bytes, UTF-8; may be empty
	Size    int64  // bytes
	Release uint64 // that suspected it
	Since   time.Time
	Tries   int
}

// deferredRecord is its JSON. The path is base64: a name of a file need not be UTF-8, and must come back as it was.
type deferredRecord struct {
	Key     string    `json:"key"`
	Path    []byte    `json:"path"`
	Name    string    `json:"name,omitempty"`
	Size    int64     `json:"size"`
	Release uint64    `json:"release,omitempty"`
	Since   time.Time `json:"since"`
	Tries   int       `json:"tries,omitempty"`
}

func (d *Deferred) check() error {
	if _, err := protocol.ParseTypedKey(d.Key); err != nil {
		return err
	}
	switch {
	case d.Path == "" || len(d.Path) > MaxDeferredPath:
		return fmt.Errorf("the path has %d bytes, want 1 to %d", len(d.Path), MaxDeferredPath)
	case d.Name != "":
		return dbformat.CheckName(d.Name)
	}
	return nil
}

// Defer queues objects until [Store.Undefer], durably and in one transaction. One with the key and path of one that is queued takes its
// place, and its Since; a Since that is zero is now. The oldest go beyond [MaxDeferred], or 16 MiB. Objects that cannot be queued, because their
// path is longer than [MaxDeferredPath] or they are not what the fields' comments say, are left out; the others are queued, and the error
// is about the first that was not: it is no [Error].
func (s *Store) Defer(list []Deferred) error {
	var refused error
	var fit []Deferred
	for _, d := range list {
		if err := d.check(); err == nil {
			fit = append(fit, d)
		} else if refused == nil {
			refused = fmt.Errorf("store: %.200q cannot be queued: %w", d.Path, err)
		}
	}
	if len(fit) == 0 {
		return refused
	}
	// In the order of their places, each goes behind the one before: bbolt moves all that stand behind an entry on its page.
	slices.SortStableFunc(fit, func(x, y Deferred) int { return bytes.Compare(deferredKey(x.Key, x.Path), deferredKey(y.Key, y.Path)) })
	err := s.changeState(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(deferredBucket))
		if err != nil {
			return err
		}
		for _, d := range fit {
			if err := s.putDeferred(b, d); err != nil {
				return err
			}
		}
		return trimDeferred(b)
	})
	if err != nil {
		return err
	}
	return refused
}

func (s *Store) putDeferred(b *bolt.Bucket, d Deferred) error {
	k := deferredKey(d.Key, d.Path)
	if old, ok := readDeferred(k, b.Get(k)); ok {
		d.Since = old.Since
	} else if d.Since.IsZero() {
		d.Since = s.o.Now()
	}
	v, err := seal(deferredRecord{d.Key, []byte(d.Path), d.Name, d.Size, d.Release, d.Since.UTC(), d.Tries})
	if err != nil {
		return err
	}
	return b.Put(k, v)
}

// trimDeferred removes the oldest, those that cannot be read first, until the queue is within its limits.
func trimDeferred(b *bolt.Bucket) error {
	count, size := 0, 0
	if err := b.ForEach(func(k, v []byte) error {
		count, size = count+1, size+len(k)+len(v)
		return nil
	}); err != nil {
		return err
	}
	if count <= MaxDeferred && size <= maxDeferredBytes {
		return nil
	}
	type queued struct {
		key   []byte
		since time.Time
		size  int
	}
	var all []queued
	if err := b.ForEach(func(k, v []byte) error {
		d, _ := readDeferred(k, v)
		all = append(all, queued{bytes.Clone(k), d.Since, len(k) + len(v)})
		return nil
	}); err != nil {
		return err
	}
	slices.SortStableFunc(all, func(x, y queued) int { return x.since.Compare(y.since) })
	for _, q := range all {
		if count <= MaxDeferred && size <= maxDeferredBytes {
			break
		}
		if err := b.Delete(q.key); err != nil {
			return err
		}
		count, size = count-1, size-q.size
	}
	return nil
}

// DeferredObjects gives the n objects that have been queued for longest, oldest first; all if n is 0. Those that lost bits are left out. An
// error matches [ErrStorage], and fs.ErrPermission for users who may not read state.db.
func (s *Store) DeferredObjects(n int) ([]Deferred, error) {
	var list []Deferred
	err := s.viewState(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(deferredBucket))
		if b == nil {
			return nil
		}
		return b.ForEach(func(k, v []byte) error {
			if d, ok := readDeferred(k, v); ok && len(list) < MaxDeferred {
				list = append(list, d)
			}
			return nil
		})
	})
	slices.SortFunc(list, func(x, y Deferred) int {
		return cmp.Or(x.Since.Compare(y.Since), cmp.Compare(x.Key, y.Key), cmp.Compare(x.Path, y.Path))
	})
	if n > 0 && n < len(list) {
		list = slices.Clip(list[:n])
	}
	return list, err
}

// Undefer takes objects out of the queue by their Key and Path, durably and in one transaction. Those that are not queued are passed over.
func (s *Store) Undefer(list []Deferred) error {
	return s.changeState(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(deferredBucket))
		if b == nil {
			return errUnchanged
		}
		done := errUnchanged
		for _, d := range list {
			k := deferredKey(d.Key, d.Path)
			if b.Get(k) == nil {
				continue
			}
			if err := b.Delete(k); err != nil {
				return err
			}
			done = nil
		}
		return done
	})
}

func deferredKey(key, path string) []byte {
	sum := sha256.Sum256([]byte(key + "\x00" + path))
	return sum[:]
}

// readDeferred tells whether v is an object that belongs under k.
func readDeferred(k, v []byte) (Deferred, bool) {
	var r deferredRecord
	if !unseal(v, &r) || !bytes.Equal(k, deferredKey(r.Key, string(r.Path))) {
		return Deferred{}, false
	}
	return Deferred{r.Key, string(r.Path), r.Name, r.Size, r.Release, r.Since, r.Tries}, true
}
