package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"example.org/avdb/dbformat"
)

// somePieces are a short one and n-1 long ones.
func somePieces(n int) [][]byte {
	pieces := [][]byte{[]byte("a header of odd length")}
	for i := 1; i < n; i++ {
		pieces = append(pieces, bytes.Repeat([]byte{byte(i), byte(i >> 8), 7, 9}, 16<<10))
	}
	return pieces
}

func TestIndexRoundTrip(t *testing.T) {
	s := newMemoryStore(t)
	for _, n := range []int{1, 2, 3, 4, 5, 6, 70, 131} {
		key := fmt.Sprintf("test-%d", n)
		pieces := somePieces(n)
		must(t, s.PutIndex(key, slices.Values(pieces)))
		f, err := s.OpenIndex(key)
		must(t, err)
		if f.Pieces() != n {
			t.Fatalf("%d pieces, want %d", f.Pieces(), n)
		}
		for i := range pieces {
			p, err := f.Piece(i)
			must(t, err)
			if !bytes.Equal(p, pieces[i]) {
				t.Errorf("piece %d of %d differs", i, n)
			}
			if at := uintptr(unsafe.Pointer(&p[0])) % lineSize; at != 0 && i > 0 { // lines are in the long ones
				t.Errorf("piece %d of %d lies %d bytes behind a boundary of %d", i, n, at, lineSize)
			}
		}
		if _, err := f.Piece(n); err == nil {
			t.Errorf("there is a piece %d of %d", n, n)
		}
		must(t, f.Close())
	}
	for _, name := range tree(t, s) {
		if strings.HasSuffix(name, tempSuffix) {
			t.Errorf("leftover %s", name)
		}
	}
}

// TestLongPiecesLieInOneGo: what a matcher maps as a whole is one slice of the file, on a boundary, beside short pieces and long ones.
func TestLongPiecesLieInOneGo(t *testing.T) {
	s := newMemoryStore(t)
	long := bytes.Repeat([]byte("a piece of some MiB."), batchBytes/8)
	for _, pieces := range [][][]byte{{[]byte("short"), long}, {[]byte("short"), []byte("another"), long}, {long}, {[]byte("short"), long, long[1:], []byte("short")}} {
		must(t, s.PutIndex("k", slices.Values(pieces)))
		fi, err := os.Stat(s.indexPath("k"))
		must(t, err)
		f, err := s.OpenIndex("k")
		must(t, err)
		size := int64(0)
		for i := range pieces {
			p, err := f.Piece(i)
			must(t, err)
			if !bytes.Equal(p, pieces[i]) {
				t.Errorf("piece %d of %d differs", i, len(pieces))
			}
			size += int64(len(p))
			if at := uintptr(unsafe.Pointer(&p[0])) % lineSize; at != 0 {
				t.Errorf("piece %d of %d lies %d bytes behind a boundary of %d", i, len(pieces), at, lineSize)
			}
		}
		if fi.Size() > size+1<<20 {
			t.Errorf("the file has %d bytes for %d", fi.Size(), size)
		}
		must(t, f.Close())
	}
}

// TestDamagedIndexIsAbsent: whatever byte of an index differs, a piece is right or ErrNoIndex.
func TestDamagedIndexIsAbsent(t *testing.T) {
	s := newMemoryStore(t)
	pieces := [][]byte{[]byte("short"), bytes.Repeat([]byte("0123456789abcdef"), 1200), bytes.Repeat([]byte("x"), 700)}
	must(t, s.PutIndex("k", slices.Values(pieces)))
	whole, err := os.ReadFile(s.indexPath("k"))
	must(t, err)
	f, err := os.OpenFile(s.indexPath("k"), os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	noticed := 0
	check := func(at int) {
		x, err := s.OpenIndex("k")
		if err == nil {
			defer x.Close()
			for i := range pieces {
				var p []byte
				if p, err = x.Piece(i); err != nil {
					break
				}
				if !bytes.Equal(p, pieces[i]) {
					t.Fatalf("at %d: piece %d is silently wrong", at, i)
				}
			}
		}
		if err != nil {
			noticed++
			if !errors.Is(err, ErrNoIndex) {
				t.Fatalf("at %d: %v", at, err)
			}
		}
	}
	for i := 0; i < len(whole); i += 3 {
		_, err := f.WriteAt([]byte{whole[i] ^ 1<<(i/3%8)}, int64(i))
		must(t, err)
		check(i)
		_, err = f.WriteAt(whole[i:i+1], int64(i))
		must(t, err)
	}
	if noticed < len(whole)/3/4 {
		t.Errorf("%d flips noticed only", noticed)
	}
	before := noticed
	for n := 0; n < len(whole); n += 512 {
		must(t, f.Truncate(int64(n)))
		check(n)
		_, err := f.WriteAt(whole[n:], int64(n))
		must(t, err)
	}
	if cuts := (len(whole) + 511) / 512; noticed-before != cuts {
		t.Errorf("%d of %d cut files noticed", noticed-before, cuts)
	}
}

func TestIndexRefusals(t *testing.T) {
	s := newMemoryStore(t)
	_, err := s.OpenIndex("none")
	requireError(t, err, ErrNoIndex, "cannot be used")
	for _, key := range []string{"", "../x", "A", "a/b", "a\\b", "a b", strings.Repeat("a", 201), "CON:", "x\x00"} {
		if err := s.PutIndex(key, slices.Values(somePieces(1))); err == nil {
			t.Errorf("key %q was taken", key)
		}
		if _, err := s.OpenIndex(key); err == nil {
			t.Errorf("key %q was opened", key)
		}
	}
	for _, pieces := range [][][]byte{{{}}, {make([]byte, MaxPiece+1)}} {
		if err := s.PutIndex("k", slices.Values(pieces)); err == nil {
			t.Errorf("a piece of %d bytes was taken", len(pieces[0]))
		}
	}
	must(t, s.PutIndex("empty", slices.Values([][]byte{})))
	f, err := s.OpenIndex("empty")
	must(t, err)
	f.Close()
}

// TestIndexGoesWithItsLayers: Clean keeps an index as long as a kept generation has all layers that it names.
func TestIndexGoesWithItsLayers(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 100, 1)
	must(t, install(s, r, dbformat.VariantFull))
	light, rest, other := r.light.Header().Digest().String(), r.rest.Header().Digest().String(), strings.Repeat("ab", 32)
	kept := []string{"cl64-" + light, light + "-" + rest, "plain"}
	for _, key := range append(kept, "cl64-"+other, light+"-"+other) {
		must(t, s.PutIndex(key, slices.Values(somePieces(2))))
	}
	must(t, s.Clean())
	for _, key := range kept {
		f, err := s.OpenIndex(key)
		must(t, err)
		f.Close()
	}
	for _, key := range []string{"cl64-" + other, light + "-" + other} {
		if _, err := s.OpenIndex(key); !errors.Is(err, ErrNoIndex) {
			t.Errorf("index %s is still there", key)
		}
	}
}

// TestIndexInTheMakingStays: Clean leaves the temporary file of a process that is still writing.
func TestIndexInTheMakingStays(t *testing.T) {
	s := newMemoryStore(t)
	must(t, s.PutIndex("k", func(yield func([]byte) bool) {
		yield([]byte("one"))
		must(t, s.Clean())
		yield([]byte("two"))
	}))
	f, err := s.OpenIndex("k")
	must(t, err)
	f.Close()
}
