package store

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"example.org/avdb/ksn/protocol"
	"example.org/avdb/osfile"
)

// cache.db may be lost at any time and never says anything that must be believed: what is wrong with it empties it.
//
// That is why it is not synced. A process that dies leaves it whole, as the system keeps what was written. A power cut may leave any mixture of
// the pages and sectors of several transactions: then the pages are no tree and checkPages refuses them before bbolt reads on, or they are a
// tree and each value stands under its sum, or not. So a value that is visited was written under its key at some time. It may be an
// older one, one that was removed, or come from the file of another machine. Whoever reads it verifies its signature and
// its life again, as if it came from the network.
const (
	cacheBucket   = "answers 1" // key → sum of key, time and value (4 bytes, big-endian), time of expiry (Unix, 8 bytes, big-endian), value
	cacheHeader   = 8           // the time
	cachePatience = 200 * time.Millisecond
	maxCacheFile  = 256 << 20
	maxCacheLife  = 366 * 24 * time.Hour
	maxCacheBatch = 8 << 20 // bytes of values that are written in one transaction
	spareCache    = 16      // one in 16 goes when there are too many
)

// Limits of the cache. What is above [MaxCacheEntries] or [MaxCacheBytes] goes with every write, those first that expire soonest, and with
// them some more, so that not every write has to look for them.
const (
	MaxCacheEntries = 200000
	MaxCacheBytes   = 64 << 20                   // of all values
	MaxCacheKey     = 256                        // bytes
	MaxCacheValue   = protocol.MaxAnswer + 4<<10 // bytes: the longest answer, with its proof
)

// A CacheEntry is a value that is worth keeping until it expires.
type CacheEntry struct {
	Key     string    // 1 to MaxCacheKey bytes
	Value   []byte    // at most MaxCacheValue bytes
	Expires time.Time // when it is of no use any more, whole seconds; at most a year ahead
}

// ReadCache calls visit for each entry that has not expired, in the order of keys, until visit returns false. Value is visit's to keep. Each entry was
// once written, but it may be an old one, or that of another machine: the caller must verify it as if it had come from the network. A cache that is
// damaged ends there, which is no error; the next [Store.WriteCache] begins it anew.
//
// Others cannot write the cache while visit runs. If they are writing it, the error matches [ErrLocked] within a fifth of a second: go on without it.
// Other errors match [ErrStorage], and fs.ErrPermission for users who may not read cache.db.
func (s *Store) ReadCache(visit func(CacheEntry) bool) error {
	path := s.cachePath()
	if i, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) || err == nil && i.Mode().IsRegular() && i.Size() == 0 {
		return nil
	}
	db, err := openInPlace(path, bolt.Options{ReadOnly: true, Timeout: cachePatience, MaxSize: maxCacheFile})
	if err != nil {
		return unlessUnfit(path, cacheFailure(path, "cannot be opened", err))
	}
	var tx *bolt.Tx
	defer func() { closeBolt(path, db, tx) }()
	r := cacheReader{now: s.o.Now()}
	err = guardBolt(path, func() (err error) {
		if tx, err = db.Begin(false); err == nil {
			r.begin(tx)
		}
		return err
	})
	for err == nil && r.c != nil {
		// visit runs outside the guard, which would take its panics for damage.
		var some []CacheEntry
		err = guardBolt(path, func() error { some = r.next(); return nil })
		for _, e := range some {
			if !visit(e) {
				return nil
			}
		}
	}
	return unlessUnfit(path, cacheFailure(path, "cannot be read", err))
}

// A cacheReader walks the entries.
type cacheReader struct {
	now  time.Time
	c    *bolt.Cursor // nil at the end
	k, v []byte
}

func (r *cacheReader) begin(tx *bolt.Tx) {
	if b := tx.Bucket([]byte(cacheBucket)); b != nil {
		r.c = b.Cursor()
		r.k, r.v = r.c.First()
	}
}

// next copies some of the entries, about a MiB, and ends the walk behind the last or where keys do not ascend.
func (r *cacheReader) next() (some []CacheEntry) {
	for size := 0; r.k != nil && size < 1<<20; {
		if e, ok := readCacheEntry(r.k, r.v); ok && r.now.Before(e.Expires) {
			e.Value = bytes.Clone(e.Value)
			some = append(some, e)
		}
		size += len(r.v)
		before := r.k
		if r.k, r.v = r.c.Next(); bytes.Compare(before, r.k) >= 0 {
			r.k = nil
		}
	}
	if r.k == nil {
		r.c = nil
	}
	return some
}

// WriteCache removes entries by their keys, then puts others, in transactions that are not synced. Entries that have expired go, and beyond
// the limits those that expire soonest; so does, at once, an entry that expires more than a year ahead. Entries that are too long are left out,
// the others are put, and the error, which is no [Error], is about the first.
//
// A damaged cache is begun anew with these entries, which is no error; the history then has an event "cache_recreated". If another process has the
// cache open, the error matches [ErrLocked] within a fifth of a second: try later, or never. Other errors match [ErrStorage].
func (s *Store) WriteCache(put []CacheEntry, remove []string) error {
	var refused error
	fit := make([]CacheEntry, 0, len(put))
	for _, e := range put {
		if e.Key != "" && len(e.Key) <= MaxCacheKey && len(e.Value) <= MaxCacheValue {
			fit = append(fit, e)
		} else if refused == nil {
			refused = fmt.Errorf("store: %d bytes under %.100q cannot be cached, the limit is %d", len(e.Value), e.Key, MaxCacheValue)
		}
	}
	if len(fit) == 0 && len(remove) == 0 {
		return refused
	}
	// In order, each goes behind the one before: bbolt moves all that stand behind an entry on its page.
	slices.SortStableFunc(fit, func(x, y CacheEntry) int { return cmp.Compare(x.Key, y.Key) })
	path := s.cachePath()
	err := s.tryWriteCache(path, fit, remove)
	if err == nil {
		return refused
	}
	if unlessUnfit(path, err) != nil {
		return err
	}
	note := Event{Kind: "cache_recreated", Error: err.Error()}
	lost := !errors.Is(err, fs.ErrNotExist) && !tornBeginning(path)
	// A crash here leaves no cache.db: the next write begins one.
	if e := s.removeCache(path); e != nil {
		return e
	}
	if err := s.tryWriteCache(path, fit, remove); err != nil {
		return err
	}
	if lost {
		_ = s.AppendHistory(note) // what was lost is lost, with a note or without
	}
	return refused
}

func (s *Store) tryWriteCache(path string, put []CacheEntry, remove []string) error {
	// A crash here leaves an empty file, which readers take for none.
	f, err := s.files.Create(path, modeSecret)
	if err == nil {
		err = f.Close()
	} else if errors.Is(err, fs.ErrExist) {
		err = nil
	}
	if err != nil {
		return failed(path, "cannot be made", err)
	}
	db, err := openInPlace(path, bolt.Options{Timeout: cachePatience, MaxSize: maxCacheFile, NoSync: true, NoGrowSync: true})
	if err != nil {
		return cacheFailure(path, "cannot be opened", err)
	}
	defer closeState(path, db)
	for more := true; more; more = len(put) > 0 {
		n := cacheBatch(put)
		err := s.files.Transaction(path, func() error {
			return guardBolt(path, func() error {
				return db.Update(func(tx *bolt.Tx) error { return s.changeCache(tx, put[:n], remove) })
			})
		})
		if err != nil {
			return cacheFailure(path, "cannot be written", err)
		}
		put, remove = put[n:], nil
	}
	return nil
}

// cacheBatch is how many of the entries go into one transaction, which holds them in memory until its end.
func cacheBatch(put []CacheEntry) int {
	size := 0
	for i := range put {
		if size += len(put[i].Value); i > 0 && size > maxCacheBatch || i == 4096 {
			return i
		}
	}
	return len(put)
}

func (s *Store) changeCache(tx *bolt.Tx, put []CacheEntry, remove []string) error {
	b, err := tx.CreateBucketIfNotExists([]byte(cacheBucket))
	if err != nil {
		return err
	}
	for _, k := range remove {
		if err := b.Delete([]byte(k)); err != nil {
			return err
		}
	}
	for i := range put {
		k := []byte(put[i].Key)
		if err := b.Put(k, sealCacheEntry(k, &put[i])); err != nil {
			return err
		}
	}
	return s.trimCache(b)
}

// trimCache removes what has expired, and what is beyond the limits.
func (s *Store) trimCache(b *bolt.Bucket) error {
	now := s.o.Now()
	alive := func(v []byte) bool {
		e, ok := cacheExpiry(v)
		return ok && now.Before(e) && !e.After(now.Add(maxCacheLife))
	}
	var gone [][]byte
	var before []byte
	count, size := 0, 0
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if before != nil && bytes.Compare(before, k) >= 0 {
			return errors.New("keys do not ascend")
		}
		before = k
		if alive(v) {
			count, size = count+1, size+len(v)-4-cacheHeader
		} else {
			gone = append(gone, bytes.Clone(k))
		}
	}
	if count > MaxCacheEntries || size > MaxCacheBytes {
		gone = append(gone, soonest(b, alive, count-MaxCacheEntries+MaxCacheEntries/spareCache, size-MaxCacheBytes+MaxCacheBytes/spareCache)...)
	}
	for _, k := range gone {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// soonest finds the keys of at least this many entries and bytes of values: of those that alive lets pass, the ones that expire soonest.
func soonest(b *bolt.Bucket, alive func(v []byte) bool, entries, size int) (keys [][]byte) {
	type entry struct {
		key     []byte
		expires time.Time
		size    int
	}
	var all []entry
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if alive(v) {
			e, _ := cacheExpiry(v)
			all = append(all, entry{bytes.Clone(k), e, len(v) - 4 - cacheHeader})
		}
	}
	slices.SortStableFunc(all, func(x, y entry) int { return x.expires.Compare(y.expires) })
	for _, e := range all {
		if entries <= 0 && size <= 0 {
			break
		}
		keys = append(keys, e.key)
		entries, size = entries-1, size-e.size
	}
	return keys
}

// ClearCache removes the cache, durably. Others that have it open may begin another.
func (s *Store) ClearCache() error {
	if err := s.removeCache(s.cachePath()); err != nil {
		return err
	}
	if err := s.files.SyncDir(s.dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed(s.dir, "cannot be synced", err)
	}
	return nil
}

// removeCache removes whatever is in the place of cache.db.
func (s *Store) removeCache(path string) error {
	err := s.files.Remove(path)
	switch {
	case err == nil:
		return nil
	case osfile.InUse(err):
		return cacheLocked(path, err)
	}
	return failed(path, "cannot be removed", err)
}

// cacheFailure calls an error what it is: of the operating system, of another process, or damage.
func cacheFailure(path, what string, err error) error {
	_, known := errors.AsType[*Error](err)
	_, isPath := errors.AsType[*fs.PathError](err)
	_, isErrno := errors.AsType[syscall.Errno](err)
	switch {
	case err == nil || known:
		return err
	case isPath || isErrno:
		return failed(path, what, err)
	case errors.Is(err, bolterrors.ErrTimeout):
		return cacheLocked(path, err)
	}
	e := damaged(path, "is damaged")
	e.Err, e.Remedy = err, ""
	return e
}

func cacheLocked(path string, err error) error {
	return &Error{Kind: ErrLocked, Path: path, What: "is in use by another process", Err: err, Remedy: "go on without it"}
}

// unlessUnfit is nil if the error comes from what lies in the place of cache.db and is then to be removed, or from nothing being there, and err
// otherwise.
func unlessUnfit(path string, err error) error {
	i, e := os.Lstat(path)
	switch {
	case err == nil, errors.Is(err, ErrDamaged), errors.Is(err, fs.ErrNotExist):
		return nil
	case e == nil && (!i.Mode().IsRegular() || osfile.HardLinked(i)):
		return nil
	}
	return err
}

func sealCacheEntry(k []byte, e *CacheEntry) []byte {
	b := make([]byte, 0, cacheHeader+len(e.Value))
	b = binary.BigEndian.AppendUint64(b, uint64(e.Expires.Unix()))
	return sealUnder(k, append(b, e.Value...))
}

// readCacheEntry tells whether v was sealed under k; Value is part of v.
func readCacheEntry(k, v []byte) (CacheEntry, bool) {
	if len(k) > MaxCacheKey || len(v) < 4+cacheHeader || len(v) > 4+cacheHeader+MaxCacheValue {
		return CacheEntry{}, false
	}
	b, ok := unsealUnder(k, v)
	if !ok {
		return CacheEntry{}, false
	}
	expires, _ := cacheExpiry(v)
	return CacheEntry{string(k), b[cacheHeader:], expires}, true
}

// cacheExpiry reads the time without a look at the sum.
func cacheExpiry(v []byte) (time.Time, bool) {
	if len(v) < 4+cacheHeader {
		return time.Time{}, false
	}
	return time.Unix(int64(binary.BigEndian.Uint64(v[4:])), 0).UTC(), true
}
