package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"testing"

	"example.org/avdb/dbformat"
)

// pagesOf gives the pages of these flags in the bytes of a file.
func pagesOf(b []byte, flags byte) (all [][]byte) {
	for id := 2; id < len(b)/boltPageSize; id++ {
		p := b[id*boltPageSize:][:boltPageSize]
		if binary.LittleEndian.Uint64(p) == uint64(id) && p[8] == flags && p[9] == 0 {
			all = append(all, p)
		}
	}
	return all
}

// TestDamagedWaysAreNoticedAtFirstTouch: whatever is wrong with the pages between the root and a block, opening does not see it, the block is damaged, not absent and
// not another one, and a verification tells.
func TestDamagedWaysAreNoticedAtFirstTouch(t *testing.T) {
	le := binary.LittleEndian
	for name, spoil := range map[string]func(branch []byte, pages int){
		"a child outside": func(p []byte, n int) { le.PutUint64(p[boltHeader+8:], uint64(n)) },
		"a meta page":     func(p []byte, _ int) { le.PutUint64(p[boltHeader+8:], 0) },
		"keys out of order": func(p []byte, _ int) {
			le.PutUint32(p[boltHeader:], le.Uint32(p[boltHeader+boltElement:])+boltElement)
		},
		"a key outside":    func(p []byte, _ int) { le.PutUint32(p[boltHeader:], 1<<30) },
		"no children":      func(p []byte, _ int) { le.PutUint16(p[10:], 0) },
		"another's number": func(p []byte, _ int) { p[0]++ },
		"of another kind":  func(p []byte, _ int) { p[8] = boltFreeList },
	} {
		t.Run(name, func(t *testing.T) {
			s := newMemoryStore(t)
			r := newRelease(t, 1, 8000, 1)
			_, err := writeLayer(s, r.rest)
			must(t, err)
			d := r.rest.Header().Digest()
			b, err := os.ReadFile(s.layerPath(d))
			must(t, err)
			branches := pagesOf(b, boltBranch)
			if len(branches) == 0 {
				t.Fatal("the file has no branch page: make the layer larger")
			}
			for _, p := range branches {
				spoil(p, len(b)/boltPageSize)
			}
			must(t, os.WriteFile(s.layerPath(d), b, 0o644))
			f, err := s.OpenLayer(d, dbformat.Rest)
			must(t, err)
			defer f.Close()
			_, err = f.Block(0, 0)
			requireError(t, err, ErrDamaged, "")
			requireError(t, f.Verify(nil), ErrDamaged, "")
		})
	}
}

// badSectors reads nothing.
type badSectors struct{ path string }

func (b badSectors) ReadAt([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: b.path, Err: syscall.EIO}
}

// TestABadSectorIsDamage: what the disk cannot read any more on the way to a block is to be had anew, like what it reads wrong, and no fault of the machine's settings.
func TestABadSectorIsDamage(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 8000, 1)
	_, err := writeLayer(s, r.rest)
	must(t, err)
	f, err := s.OpenLayer(r.rest.Header().Digest(), dbformat.Rest)
	must(t, err)
	defer f.Close()
	f.file.checker.r = badSectors{f.path}
	_, err = f.Block(0, 0)
	if e := requireError(t, err, ErrDamaged, "is damaged"); !errors.Is(err, syscall.EIO) || e.Remedy != remedyUpdate {
		t.Errorf("%v, remedy %q", err, e.Remedy)
	}
}

// TestPiecesAreProvedInCuts: a damaged cut is damage of what lies in it and of the whole piece, and of no byte elsewhere.
func TestPiecesAreProvedInCuts(t *testing.T) {
	s := newMemoryStore(t)
	long := make([]byte, 5*PieceCut/2)
	for i := range long {
		long[i] = byte(i) ^ byte(i>>8)
	}
	must(t, s.PutIndex("k", slices.Values([][]byte{[]byte("short"), long})))
	b, err := os.ReadFile(s.indexPath("k"))
	must(t, err)
	at := bytes.Index(b, long)
	b[at+PieceCut+7] ^= 1
	must(t, os.WriteFile(s.indexPath("k"), b, 0o644))
	f, err := s.OpenIndex("k")
	must(t, err)
	defer f.Close()
	p, err := f.Unproved(1)
	must(t, err)
	if len(p) != len(long) {
		t.Fatalf("%d bytes, want %d", len(p), len(long))
	}
	for range 2 { // what was proved once is so for good
		for _, c := range []struct {
			from, to int
			sound    bool
		}{{0, 0, true}, {0, PieceCut, true}, {PieceCut - 1, PieceCut + 1, false}, {PieceCut, PieceCut, true}, {2*PieceCut - 1, 2 * PieceCut, false}, {2 * PieceCut, len(long), true}, {0, len(long), false},
			{-1, 1, false}, {len(long), len(long) + 1, false}, {2, 1, false}} {
			if err := f.Prove(1, c.from, c.to); (err == nil) != c.sound || err != nil && !errors.Is(err, ErrNoIndex) {
				t.Errorf("from %d to %d: %v", c.from, c.to, err)
			}
		}
	}
	if _, err := f.Piece(1); !errors.Is(err, ErrNoIndex) {
		t.Errorf("the piece: %v", err)
	}
	if err := f.Recheck(1); !errors.Is(err, ErrNoIndex) {
		t.Errorf("checked again: %v", err)
	}
	if _, err := f.Piece(0); err != nil {
		t.Error(err)
	}
}
