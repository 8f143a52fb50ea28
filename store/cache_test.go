package store

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
)

// cached are n entries from the first on, of many lengths; round makes their values others.
func cached(first, n, round int) (list []CacheEntry) {
	for i := first; i < first+n; i++ {
		rng := rand.New(rand.NewPCG(uint64(i), uint64(round)))
		v := fmt.Appendf(nil, "%d/%d:", i, round)
		for range rng.IntN(60) {
			v = append(v, byte(rng.Uint32()))
		}
		if i%50 == 7 {
			v = append(v, make([]byte, 9000)...)
		}
		list = append(list, CacheEntry{fmt.Sprintf("file-sha256/24/%06x", i*7919%(1<<24)), v, day(101).Add(time.Duration(i) * time.Minute)})
	}
	return list
}

// readAll gives what a cache holds.
func readAll(t testing.TB, s *Store) map[string]CacheEntry {
	t.Helper()
	got := map[string]CacheEntry{}
	must(t, tries(func() error {
		return s.ReadCache(func(e CacheEntry) bool { got[e.Key] = e; return true })
	}))
	return got
}

func sameEntry(a, b CacheEntry) bool {
	return a.Key == b.Key && bytes.Equal(a.Value, b.Value) && a.Expires.Equal(b.Expires)
}

func requireCache(t testing.TB, s *Store, want ...CacheEntry) {
	t.Helper()
	got := readAll(t, s)
	if len(got) != len(want) {
		t.Fatalf("the cache holds %d entries, want %d", len(got), len(want))
	}
	for _, e := range want {
		if !sameEntry(got[e.Key], e) {
			t.Fatalf("%s is %+v, want %+v", e.Key, got[e.Key], e)
		}
	}
}

func TestCache(t *testing.T) {
	s := newMemoryStore(t)
	requireCache(t, s)
	must(t, s.WriteCache(nil, nil))
	if _, err := os.Lstat(s.cachePath()); err == nil {
		t.Error("nothing to write made a cache")
	}
	list := cached(0, 300, 0)
	must(t, s.WriteCache(list, nil))
	requireCache(t, s, list...)
	changed := cached(0, 1, 1)
	must(t, s.WriteCache(changed, []string{list[1].Key, "never there", changed[0].Key})) // removes first
	requireCache(t, s, append(changed, list[2:]...)...)
	seen, before := 0, ""
	must(t, s.ReadCache(func(e CacheEntry) bool {
		if e.Key <= before {
			t.Errorf("%s after %s", e.Key, before)
		}
		before = e.Key
		seen++
		return seen < 5
	}))
	if seen != 5 {
		t.Errorf("visited %d after the fifth said no", seen)
	}
	must(t, s.ClearCache())
	must(t, s.ClearCache())
	requireCache(t, s)
	must(t, s.WriteCache(list, nil))
	requireCache(t, s, list...)
}

// A value is the visitor's: it can be changed and outlives the cache. A visitor that panics is no damage, and frees the file.
func TestCacheVisitors(t *testing.T) {
	s := newMemoryStore(t)
	list := cached(0, 10, 0)
	must(t, s.WriteCache(list, nil))
	var kept CacheEntry
	must(t, s.ReadCache(func(e CacheEntry) bool { e.Value[0] ^= 0xff; kept = e; return true }))
	must(t, s.ClearCache())
	kept.Value[0] ^= 0xff
	must(t, s.WriteCache(list, nil))
	if !sameEntry(kept, readAll(t, s)[kept.Key]) {
		t.Errorf("kept is %+v", kept)
	}
	func() {
		defer func() {
			if recover() != "mine" {
				t.Error("the panic did not come through")
			}
		}()
		_ = s.ReadCache(func(CacheEntry) bool { panic("mine") })
	}()
	must(t, s.WriteCache(nil, []string{list[0].Key}))
	requireCache(t, s, list[1:]...)
}

func TestCacheForgetsWhatExpired(t *testing.T) {
	now := day(100)
	s, err := Create(filepath.Join(memoryDir(t), "state"), Options{Now: func() time.Time { return now }})
	must(t, err)
	at := func(key string, d time.Duration) CacheEntry { return CacheEntry{key, []byte("v"), day(100).Add(d)} }
	long := at("long", 200*time.Hour)
	must(t, s.WriteCache([]CacheEntry{at("second", time.Second), at("hour", time.Hour), long, at("past", -1), at("now", 0), at("never", 2*maxCacheLife), {Key: "zero"}}, nil))
	requireCache(t, s, at("second", time.Second), at("hour", time.Hour), long)
	now = now.Add(2 * time.Hour)
	requireCache(t, s, long) // nobody has written since
	must(t, s.WriteCache(nil, []string{"another"}))
	now = day(100)
	requireCache(t, s, long)
}

// TestCacheIsBounded: at every time the entries that expire last are there, within both limits.
func TestCacheIsBounded(t *testing.T) {
	s := newMemoryStore(t)
	var many []CacheEntry
	for i := range MaxCacheEntries + 1 {
		many = append(many, CacheEntry{fmt.Sprintf("%06d", i*7919%1000000), []byte{1}, day(101).Add(time.Duration(i) * time.Second)})
	}
	must(t, s.WriteCache(many[1:], nil))
	if n := len(readAll(t, s)); n != MaxCacheEntries {
		t.Errorf("%d entries, want the limit", n)
	}
	must(t, s.WriteCache(many[:1], nil))
	requireCache(t, s, many[1+MaxCacheEntries/spareCache:]...)
	must(t, s.ClearCache())

	var large []CacheEntry
	for i := range 33 {
		large = append(large, CacheEntry{fmt.Sprint(i), bytes.Repeat([]byte{byte(i)}, MaxCacheValue), day(101).Add(-time.Duration(i) * time.Second)})
	}
	must(t, s.WriteCache(large[:31], nil))
	requireCache(t, s, large[:31]...)
	must(t, s.WriteCache(large[31:], nil))
	got := readAll(t, s)
	if size := len(got) * MaxCacheValue; size > MaxCacheBytes || size < MaxCacheBytes*3/4 {
		t.Errorf("%d bytes of values", size)
	}
	requireCache(t, s, large[:len(got)]...)
	for range 20 { // the file stays within its limit, too
		must(t, s.WriteCache(large, nil))
	}
	if i, err := os.Stat(s.cachePath()); err != nil || i.Size() > maxCacheFile || len(readAll(t, s)) == 0 {
		t.Errorf("cache.db has %d bytes, %v", i.Size(), err)
	}
}

// What is too long does not keep others out.
func TestCacheRefuses(t *testing.T) {
	s := newMemoryStore(t)
	good := cached(1, 1, 0)[0]
	for what, e := range map[string]CacheEntry{
		"no key":       {Value: []byte("v"), Expires: day(101)},
		"a long key":   {strings.Repeat("k", MaxCacheKey+1), []byte("v"), day(101)},
		"a long value": {"k", make([]byte, MaxCacheValue+1), day(101)},
	} {
		if err := s.WriteCache([]CacheEntry{e, good}, nil); err == nil || errors.Is(err, ErrStorage) || errors.Is(err, ErrLocked) {
			t.Errorf("%s: error is %v", what, err)
		}
		requireCache(t, s, good)
	}
}

// fastest calls f n times and gives the shortest time that it took: a slow machine makes some of them slow, a wait for somebody all.
func fastest(n int, f func()) time.Duration {
	least := time.Duration(math.MaxInt64)
	for range n {
		began := time.Now()
		f()
		least = min(least, time.Since(began))
	}
	return least
}

// TestCacheNeverWaits: a cache that another process has open costs moments, whichever way it is used.
func TestCacheNeverWaits(t *testing.T) {
	s := newMemoryStore(t)
	list := cached(0, 10, 0)
	must(t, s.WriteCache(list, nil))
	db, err := openInPlace(s.cachePath(), bolt.Options{Timeout: time.Second})
	must(t, err)
	for what, use := range map[string]func() error{
		"reading": func() error { return s.ReadCache(func(CacheEntry) bool { t.Error("visited"); return true }) },
		"writing": func() error { return s.WriteCache(list, nil) },
	} {
		if d := fastest(10, func() { requireError(t, use(), ErrLocked, "go on without it") }); d > 750*time.Millisecond {
			t.Errorf("%s: being refused takes %v", what, d)
		}
	}
	must(t, db.Close())
	requireCache(t, s, list...)
	// Readers are not in each other's way.
	must(t, s.ReadCache(func(CacheEntry) bool { requireCache(t, s, list...); return false }))
}

// TestCacheOfManyWriters: several processes (several stores stand for them) that write, read and clear at once see whole values only.
func TestCacheOfManyWriters(t *testing.T) {
	s := newMemoryStore(t)
	list := cached(0, 80, 0)
	legal := map[string]CacheEntry{}
	for _, e := range list {
		legal[e.Key] = e
	}
	var wg sync.WaitGroup
	run := func(clear bool) {
		for i := range 4 {
			wg.Go(func() {
				s, err := Open(s.dir, s.o)
				if err != nil {
					t.Error(err)
					return
				}
				for j := range 5 {
					mine := list[20*i+4*j:][:4]
					err := tries(func() error { return s.WriteCache(mine, nil) })
					err2 := tries(func() error {
						return s.ReadCache(func(e CacheEntry) bool {
							if !sameEntry(e, legal[e.Key]) {
								t.Errorf("read %+v", e)
							}
							return true
						})
					})
					if clear && j == 3 {
						err = errors.Join(err, s.ClearCache())
					}
					if err := errors.Join(err, err2); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
	}
	run(false)
	requireCache(t, s, list...)
	run(true)
	must(t, s.WriteCache(list, nil))
	requireCache(t, s, list...)
	if events, err := s.History(0); err != nil || len(events) > 0 {
		t.Errorf("it was taken for damage: %+v, %v", events, err)
	}
}

// requireLegal reads a cache that may be damaged: no error, no value that was never written under its key, no key out of order or twice.
func requireLegal(t *testing.T, s *Store, what string, legal map[string][]CacheEntry) int {
	t.Helper()
	n, before := 0, ""
	err := s.ReadCache(func(e CacheEntry) bool {
		if e.Key <= before {
			t.Fatalf("%s: %.100q after %.100q", what, e.Key, before)
		}
		n, before = n+1, e.Key
		for _, l := range legal[e.Key] {
			if sameEntry(e, l) {
				return true
			}
		}
		t.Fatalf("%s: %.100q reads as %.100q, expires %v", what, e.Key, e.Value, e.Expires)
		return false
	})
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return n
}

// requireWritable writes to a cache that may be damaged and reads that again. Damage that does not show before a write may show after it, and then
// the cache is empty; the next write heals it. It tells whether that was so.
func requireWritable(t *testing.T, s *Store, what string, legal map[string][]CacheEntry) (late bool) {
	t.Helper()
	e := CacheEntry{"new", []byte("value"), day(101)}
	legal["new"] = []CacheEntry{e}
	defer delete(legal, "new")
	for {
		if err := s.WriteCache([]CacheEntry{e}, nil); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		n := requireLegal(t, s, what, legal)
		if n > 0 && sameEntry(readAll(t, s)["new"], e) {
			return late
		}
		if late || n > 0 {
			t.Fatalf("%s: what was written is not among %d entries", what, n)
		}
		late = true
	}
}

func record(legal map[string][]CacheEntry, list []CacheEntry) {
	for _, e := range list {
		legal[e.Key] = append(legal[e.Key], e)
	}
}

// TestFlippedBitsOfCache: whatever bit of cache.db is flipped, each value reads as it was or not at all, nothing panics, and
// the cache can be written.
func TestFlippedBitsOfCache(t *testing.T) {
	s := newMemoryStore(t)
	list, legal := cached(0, 200, 0), map[string][]CacheEntry{}
	record(legal, list)
	must(t, s.WriteCache(list[:100], nil))
	must(t, s.WriteCache(list[100:], []string{list[50].Key}))
	whole, err := os.ReadFile(s.cachePath())
	must(t, err)
	flips, lost, began, late := 0, 0, 0, 0
	for i := range whole {
		begins := i%boltPageSize < 56
		if !begins && i%31 != 0 {
			continue
		}
		b := bytes.Clone(whole)
		b[i] ^= 1 << (i / 31 % 8)
		must(t, os.WriteFile(s.cachePath(), b, 0o600))
		what := fmt.Sprintf("flip at %d", i)
		flips++
		if requireLegal(t, s, what, legal) < len(list)-1 {
			lost++
		}
		if begins || i%5 == 0 {
			if requireWritable(t, s, what, legal) {
				late++
			}
			if len(readAll(t, s)) == 1 {
				began++
			}
		}
	}
	if flips < 2000 || lost < 100 || began < 20 {
		t.Errorf("the flips miss the interesting places: %d, %d lost entries, %d lost all", flips, lost, began)
	}
	t.Logf("%d flips of %d bytes: %d lost entries, %d lost all, %d of them after a write", flips, len(whole), lost, began, late)
}

// TestDamagedCacheIsEmpty: whatever lies in the place of cache.db is no error to readers, and a writer begins it anew and says so in the history.
func TestDamagedCacheIsEmpty(t *testing.T) {
	s := newMemoryStore(t)
	list, legal := cached(0, 100, 0), map[string][]CacheEntry{}
	record(legal, list)
	must(t, s.WriteCache(list, nil))
	whole, err := os.ReadFile(s.cachePath())
	must(t, err)
	events := 0
	for _, c := range []struct {
		what string
		b    []byte
		note bool
	}{
		{"empty", nil, false},
		{"a torn beginning", whole[:3*boltPageSize], false},
		{"cut", whole[:len(whole)-boltPageSize], true},
		{"zeros", make([]byte, len(whole)), true},
		{"garbage", bytes.Repeat([]byte("garbage!"), 4096), true},
		{"one page", whole[:boltPageSize], false},
	} {
		must(t, os.WriteFile(s.cachePath(), c.b, 0o600))
		if n := requireLegal(t, s, c.what, legal); n > 0 {
			t.Errorf("%s: %d entries", c.what, n)
		}
		if b, err := os.ReadFile(s.cachePath()); err != nil || !bytes.Equal(b, c.b) {
			t.Errorf("%s: reading changed the file", c.what)
		}
		requireWritable(t, s, c.what, legal)
		if c.note {
			events++
		}
	}
	must(t, os.Truncate(s.cachePath(), maxCacheFile+1))
	requireLegal(t, s, "too long", legal)
	requireWritable(t, s, "too long", legal)
	got, err := s.History(0)
	must(t, err)
	if len(got) != events+1 || got[0].Kind != "cache_recreated" || !strings.Contains(got[0].Error, "268435457 bytes") {
		t.Errorf("%d events, want %d: %+v", len(got), events+1, got)
	}
	must(t, os.Remove(s.cachePath()))
	must(t, os.MkdirAll(filepath.Join(s.cachePath(), "theirs"), 0o755))
	requireLegal(t, s, "a folder", legal)
	requireError(t, s.WriteCache(list, nil), ErrStorage, "cannot be removed")
}

// TestCacheAfterPowerCut: the cache is not synced, so a cut leaves each sector as any of the last transactions wrote it, and any length. Whatever the mixture, a value
// reads as one that was once written under its key, and the cache can be written.
func TestCacheAfterPowerCut(t *testing.T) {
	s := newMemoryStore(t)
	legal := map[string][]CacheEntry{}
	var states [][]byte
	for round := range 12 {
		list := cached(round*13%60, 60, round)
		record(legal, list)
		must(t, s.WriteCache(list, []string{list[round].Key, list[2*round].Key}))
		b, err := os.ReadFile(s.cachePath())
		must(t, err)
		states = append(states, b)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	read, none := 0, 0
	for n := range 600 {
		what := fmt.Sprintf("mixture %d", n)
		must(t, os.WriteFile(s.cachePath(), mixture(rng, states, []int{512, boltPageSize}[n%2]), 0o600))
		if requireLegal(t, s, what, legal) > 0 {
			read++
		} else {
			none++
		}
		requireWritable(t, s, what, legal)
	}
	if read < 100 || none < 100 {
		t.Errorf("%d mixtures were read, %d were empty: the interesting ones are missing", read, none)
	}
	t.Logf("600 mixtures: %d were read, %d were empty", read, none)
}

// mixture is one of the states of a file, in which sectors are as up to four states before it had them, cut at times.
func mixture(rng *rand.Rand, states [][]byte, sector int) []byte {
	newest := 1 + rng.IntN(len(states)-1)
	oldest := max(0, newest-1-rng.IntN(4))
	b := bytes.Clone(states[newest])
	late := rng.IntN(100) // percent of sectors that did not reach the disk
	for at := 0; at < len(b); at += sector {
		if rng.IntN(100) >= late {
			continue
		}
		to := b[at:min(at+sector, len(b))]
		clear(to)
		if from := states[oldest+rng.IntN(newest-oldest+1)]; at < len(from) {
			copy(to, from[at:])
		}
	}
	if rng.IntN(4) == 0 {
		b = b[:rng.IntN(len(b))]
	}
	return b
}

// A value belongs to one key, of one length, and to its time.
func TestSumsUnderKeys(t *testing.T) {
	sealed := sealUnder([]byte("key"), []byte("value"))
	if b, ok := unsealUnder([]byte("key"), sealed); !ok || string(b) != "value" {
		t.Errorf("%q, %v", b, ok)
	}
	moved := append(bytes.Clone(sealed[:4]), "yvalue"...) // the bytes of the key and the value, cut in another place
	for key, v := range map[string][]byte{"ke": moved, "kex": sealed, "": sealed, "key": sealed[:4], "keyv": append(bytes.Clone(sealed[:4]), "alue"...)} {
		if b, ok := unsealUnder([]byte(key), v); ok {
			t.Errorf("under %q stands %q", key, b)
		}
	}
	for n := range 4 {
		if _, ok := unsealUnder(nil, make([]byte, n)); ok {
			t.Errorf("%d bytes are a value", n)
		}
	}
}
