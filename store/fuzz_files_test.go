package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"example.org/avdb/dbformat"
)

// edit applies the input to a file: each four bytes are a place (three bytes) and a new value.
func edit(whole, edits []byte) []byte {
	b := bytes.Clone(whole)
	for ; len(edits) >= 4; edits = edits[4:] {
		b[(int(edits[0])<<16|int(edits[1])<<8|int(edits[2]))%len(b)] = edits[3]
	}
	return b
}

// place is one edit.
func place(at int, v byte) []byte { return []byte{byte(at >> 16), byte(at >> 8), byte(at), v} }

// fileSeeds damage what opening reads: headers and elements of every page, keys, formats, both meta pages with a checksum that
// fits again.
func fileSeeds(whole []byte) (all [][]byte) {
	all = append(all, nil)
	for page := 0; page*boltPageSize < len(whole); page++ {
		start := page * boltPageSize
		if head := whole[start:][:boltHeader]; binary.LittleEndian.Uint64(head) != uint64(page) { // the rest of a longer one
			continue
		}
		for _, off := range []int{0, 8, 10, 12, 16, 20, 24, 28, 32, 33, 40} {
			for _, v := range []byte{0, 1, 2, 4, 0x10, 0xff} {
				all = append(all, place(start+off, v))
			}
		}
		all = append(all, slices.Concat(place(start+10, 0xff), place(start+11, 0xff)))
	}
	for _, text := range []string{metaBucket, blocksBucket, piecesBucket, headerKey, formatKey, tableKey, layerFormat, indexFormat, "AVDB"} {
		for at := 0; ; {
			i := bytes.Index(whole[at:], []byte(text))
			if i < 0 {
				break
			}
			at += i
			for j := range 24 {
				if at+j < len(whole) {
					all = append(all, place(at+j, whole[at+j]^1))
				}
			}
			at++
		}
	}
	le := binary.LittleEndian
	for _, c := range []struct {
		field int
		value uint64
	}{{0, 1}, {8, 512}, {16, 0}, {16, 1}, {16, 2}, {16, 1 << 40}, {32, 0}, {32, 2}, {32, 3}, {32, 1 << 40}, {40, 0}, {40, 3}, {40, 1 << 20}, {48, 1 << 40}} {
		var edits []byte
		for page := range 2 {
			m := bytes.Clone(whole[page*boltPageSize+boltHeader:][:boltMetaSum+8])
			le.PutUint64(m[c.field:], c.value)
			h := fnv.New64a()
			h.Write(m[:boltMetaSum])
			le.PutUint64(m[boltMetaSum:], h.Sum64())
			for i, v := range m {
				if at := page*boltPageSize + boltHeader + i; whole[at] != v {
					edits = append(edits, place(at, v)...)
				}
			}
			all = append(all, bytes.Clone(edits))
		}
	}
	return all
}

// FuzzLayerFile changes bytes of a layer file: it reads as it was, or as damage.
func FuzzLayerFile(f *testing.F) {
	s := newMemoryStore(f)
	r := newRelease(f, 1, 300, 1)
	_, err := writeLayer(s, r.rest)
	must(f, err)
	d := r.rest.Header().Digest()
	whole, err := os.ReadFile(s.layerPath(d))
	must(f, err)
	for _, b := range fileSeeds(whole) {
		f.Add(b)
	}
	f.Add([]byte{0, 48, 8, 1, 0, 48, 10, 2, 0, 48, 40, 3})
	path := filepath.Join(f.TempDir(), "layer.db")
	f.Fuzz(func(t *testing.T, edits []byte) {
		must(t, os.WriteFile(path, edit(whole, edits), 0o600))
		file, err := openLayer(path, d, dbformat.Rest)
		if err == nil {
			defer file.Close()
			if err = file.Verify(nil); err == nil {
				requireLayer(t, file, r.rest)
				if _, err := file.Block(0, 1<<20); err == nil || file.Digest() != d {
					t.Fatal("there is a block that cannot be")
				}
				return
			}
		}
		if !errors.Is(err, ErrDamaged) {
			t.Fatalf("%v, want ErrDamaged", err)
		}
	})
}

// FuzzIndexFile changes bytes of an index whose pages are a tree of several levels: each piece reads as it was, or as none.
func FuzzIndexFile(f *testing.F) {
	s := newMemoryStore(f)
	var pieces [][]byte
	for i := range 20 {
		pieces = append(pieces, bytes.Repeat([]byte{byte(i), 3}, 10+i*40))
	}
	const key = "fuzz"
	must(f, s.PutIndex(key, slices.Values(pieces)))
	path := s.indexPath(key)
	whole, err := os.ReadFile(path)
	must(f, err)
	for _, b := range fileSeeds(whole) {
		f.Add(b)
	}
	f.Add(place(bytes.Index(whole, pieces[7]), 9))
	f.Fuzz(func(t *testing.T, edits []byte) {
		must(t, os.WriteFile(path, edit(whole, edits), 0o600))
		file, err := s.OpenIndex(key)
		if err != nil {
			if file != nil || !errors.Is(err, ErrNoIndex) {
				t.Fatalf("%v, want ErrNoIndex", err)
			}
			return
		}
		defer file.Close()
		if _, err := file.Piece(file.Pieces()); err == nil {
			t.Fatal("there is a piece behind the last")
		}
		for i := range file.Pieces() {
			p, err := file.Piece(i)
			if err == nil && (i >= len(pieces) || !bytes.Equal(p, pieces[i])) {
				t.Fatalf("piece %d is silently another", i)
			}
			if err != nil && !errors.Is(err, ErrNoIndex) {
				t.Fatalf("%v, want ErrNoIndex", err)
			}
		}
	})
}

// FuzzCacheFile changes bytes of cache.db: what is visited was written, nothing is an error, and the cache can be written.
func FuzzCacheFile(f *testing.F) {
	s := newMemoryStore(f)
	list, legal := cached(0, 80, 0), map[string][]CacheEntry{}
	record(legal, list)
	must(f, s.WriteCache(list, nil))
	whole, err := os.ReadFile(s.cachePath())
	must(f, err)
	for _, b := range fileSeeds(whole) {
		f.Add(b)
	}
	f.Add(place(bytes.Index(whole, list[3].Value), 9))
	f.Add(slices.Concat(place(2, 0x30), place(14*boltPageSize+23, 0x60))) // a tree that bbolt reads and that was not the one that was checked
	f.Fuzz(func(t *testing.T, edits []byte) {
		must(t, os.WriteFile(s.cachePath(), edit(whole, edits), 0o600))
		requireLegal(t, s, "edited", legal)
		requireWritable(t, s, "edited", legal)
	})
}
