//go:build check

package damage_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"example.org/avdb/store"
)

// A pair is a key of a bucket with its value.
type pair struct {
	bucket, key, value []byte
}

// pairs reads a file of the store with bbolt itself.
func pairs(t *testing.T, path string) (all []pair) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bolt.Tx) error {
		return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
			return b.ForEach(func(k, v []byte) error {
				all = append(all, pair{bytes.Clone(name), bytes.Clone(k), bytes.Clone(v)})
				return nil
			})
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// rewrite makes a file of the pairs whose pages are all sound, of the length that a finished file has.
func rewrite(t *testing.T, path string, all []pair) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: 4096, NoSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, p := range all {
			b, err := tx.CreateBucketIfNotExists(p.bucket)
			if err != nil {
				return err
			}
			b.FillPercent = 1
			if err := b.Put(p.key, p.value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	if err := db.View(func(tx *bolt.Tx) error { size = tx.Size(); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
}

// verified is what a verification comes to.
func (g *generation) verified() (outcome, string) {
	s, err := store.Open(g.dir, store.Options{})
	if err == nil {
		_, err = s.Verify(false, nil)
	}
	switch {
	case err == nil:
		return right, ""
	case errors.Is(err, store.ErrStorage) && errors.Is(err, store.ErrDamaged):
		return noticed, err.Error()
	}
	return unknown, err.Error()
}

// TestA8AbsentBlocks takes blocks out of files whose pages are otherwise as sound as bbolt makes them: an absent block is
// damage, never a miss. So is one in another's place, one too many, or one of another length. What no look-up reads (the vectors, which an
// update asks for) a verification notices.
func TestA8AbsentBlocks(t *testing.T) {
	g := newGeneration(t, records/4)
	m := &matrix{t: t}
	start := time.Now()
	for _, f := range g.files {
		all := pairs(t, f.path)
		try := func(changed []pair, what string, i int, must bool) {
			t.Helper()
			rewrite(t, f.path, changed)
			o, why := contained(func() (outcome, string) {
				r, o, why := g.open()
				if r == nil {
					return o, why
				}
				defer r.close()
				o = r.everyBlock(g)
				return o, r.why
			})
			if must && f.name != "index" && o == right {
				o, why = g.verified()
			}
			m.counts[o]++
			if o >= unknown || o == right && must && f.name != "index" {
				t.Errorf("%s, pair %d (%x) %s: %s: %s", f.name, i, all[i].key, what, o, why)
			}
		}
		try(all, "as it is", 0, false)
		if m.counts[right]--; m.counts[right] < 0 {
			t.Fatalf("%s written again with bbolt is not accepted: the test cannot tell", f.name)
		}
		for i := range all {
			with := func(changed ...pair) []pair {
				return append(append(append([]pair{}, all[:i]...), changed...), all[i+1:]...)
			}
			p := all[i]
			try(with(), "absent", i, true)
			if len(p.value) == 0 {
				continue
			}
			try(with(pair{p.bucket, p.key, p.value[:len(p.value)-1]}), "a byte short", i, true)
			try(with(pair{p.bucket, p.key, append(bytes.Clone(p.value), 0)}), "a byte long", i, true)
			try(with(pair{p.bucket, p.key, nil}), "empty", i, true)
			if i+1 < len(all) && bytes.Equal(all[i+1].bucket, p.bucket) && !bytes.Equal(all[i+1].value, p.value) {
				swapped := append([]pair{}, all...)
				swapped[i].value, swapped[i+1].value = all[i+1].value, p.value
				try(swapped, "in the place of the next", i, true)
			}
		}
		try(append(append([]pair{}, all...), pair{all[0].bucket, append(bytes.Clone(all[0].key), 1), []byte("more")}), "one too many", 0, false)
		if err := f.heal(); err != nil {
			t.Fatal(err)
		}
		leftovers, err := filepath.Glob(filepath.Join(filepath.Dir(f.path), "*"))
		if err != nil || len(leftovers) > 2 {
			t.Errorf("%q are left, %v", leftovers, err)
		}
	}
	t.Logf("A8 absent, short, long and exchanged blocks: %d cells, %d noticed, %d silent wrong verdicts, %d crashes (%s)",
		m.cells(), m.counts[noticed], m.counts[silent], m.counts[crashed], time.Since(start).Round(time.Second))
}
