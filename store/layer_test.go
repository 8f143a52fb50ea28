package store

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	bolt "go.etcd.io/bbolt"
)

func newMemoryStore(t testing.TB) *Store {
	t.Helper()
	s, err := Create(memoryDir(t), Options{Now: func() time.Time { return day(100) }})
	must(t, err)
	lock, err := s.Lock()
	must(t, err)
	t.Cleanup(func() { lock.Unlock() })
	return s
}

// requireError tests kind and text of an error of this package.
func requireError(t testing.TB, err, kind error, text string) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok || !errors.Is(err, kind) || !strings.Contains(err.Error(), text) {
		t.Fatalf("error is %v, want a *Error that matches %q and says %q", err, kind, text)
	}
	return e
}

// TestFlippedBits: whatever bit of a generation's files is flipped, reading gives the right content or damage,
// never other content and never a crash.
func TestFlippedBits(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 150, 1)
	must(t, install(s, r, dbformat.VariantFull))
	layer := func(m *dbformat.MemLayer) (string, func() error) {
		h := m.Header()
		path := s.layerPath(h.Digest())
		return path, func() error {
			f, err := s.OpenLayer(h.Digest(), h.Layer)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := f.Verify(nil); err != nil {
				return err
			}
			requireLayer(t, f, m)
			return nil
		}
	}
	flipAndCut(t, s.currentPath(), 0, func() error {
		c, err := s.Current()
		if want := r.generation(dbformat.VariantFull); err == nil && (c.Version != 1 || !c.SameContent(&want)) {
			t.Fatalf("CURRENT is silently wrong: %+v", c)
		}
		return err
	})
	for _, m := range []*dbformat.MemLayer{r.light, r.rest} {
		path, read := layer(m)
		flipAndCut(t, path, len(m.Header().Encode())+int(m.Header().Bytes()), read)
	}
	requireCurrent(t, s, r, dbformat.VariantFull)
}

// flipAndCut flips a bit of each third byte of a file, and cuts it at each 512 bytes. read must say that the file is damaged, or
// find it as it was.
//
// At least the flips in the bytes that mean something must be noticed; the others are in pages that are free or not full.
func flipAndCut(t *testing.T, path string, meaningful int, read func() error) {
	t.Helper()
	whole, err := os.ReadFile(path)
	must(t, err)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	noticed := func(at int) bool {
		err := read()
		if err != nil && (!errors.Is(err, ErrDamaged) || !errors.Is(err, ErrStorage)) {
			t.Fatalf("%s at %d: %v, want ErrDamaged", filepath.Base(path), at, err)
		}
		return err != nil
	}
	flips, found := 0, 0
	for i := 0; i < len(whole); i += 3 {
		_, err := f.WriteAt([]byte{whole[i] ^ 1<<(i/3%8)}, int64(i))
		must(t, err)
		flips++
		if noticed(i) {
			found++
		}
		_, err = f.WriteAt(whole[i:i+1], int64(i))
		must(t, err)
	}
	for n := 0; n < len(whole); n += 512 {
		must(t, f.Truncate(int64(n)))
		if !noticed(n) {
			t.Errorf("%s cut to %d bytes is accepted", filepath.Base(path), n)
		}
		_, err := f.WriteAt(whole[n:], int64(n))
		must(t, err)
	}
	t.Logf("%.12s: %d of %d flips noticed", filepath.Base(path), found, flips)
	if found < meaningful/3 {
		t.Errorf("only %d flips noticed, %d bytes mean something", found, meaningful)
	}
}

func TestDamageIsNoticedAtFirstTouch(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 5000, 1)
	must(t, install(s, r, dbformat.VariantFull))
	d := r.rest.Header().Digest()
	f, err := s.OpenLayer(d, dbformat.Rest)
	must(t, err)
	block, err := f.Block(0, 1)
	must(t, err)
	whole, err := os.ReadFile(f.Path())
	must(t, err)
	at := strings.Index(string(whole), string(block))
	f.Close()
	whole[at+len(block)-1] ^= 0x10
	must(t, os.WriteFile(s.layerPath(d), whole, 0o644))

	f, err = s.OpenLayer(d, dbformat.Rest)
	must(t, err)
	defer f.Close()
	for i := range f.Header().Sections[0].Blocks {
		_, err := f.Block(0, i)
		if i == 1 {
			requireError(t, err, ErrDamaged, "block hash/sha256 1 differs")
		} else {
			must(t, err)
		}
	}
	report, err := s.Verify(false, nil)
	requireError(t, err, ErrStorage, "block hash/sha256 1 differs")
	if bad := report.Layers[1]; bad.OK || bad.Digest != d || bad.Layer != "rest" || bad.Blocks != 1 || report.OK || !report.Layers[0].OK {
		t.Errorf("report is %+v, want rest damaged after one block", report)
	}
}

// TestUpdateHealsDamage: installing again replaces a damaged layer file and a damaged CURRENT.
func TestUpdateHealsDamage(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 100, 1)
	must(t, install(s, r, dbformat.VariantFull))
	must(t, os.Truncate(s.layerPath(r.rest.Header().Digest()), 4096))
	must(t, os.WriteFile(s.currentPath(), []byte("{"), 0o644))
	must(t, install(s, r, dbformat.VariantFull))
	requireCurrent(t, s, r, dbformat.VariantFull)
	requireNoLeftovers(t, s)
}

// TestWriterRefuses: what is not exactly the wanted layer leaves no file.
func TestWriterRefuses(t *testing.T) {
	s := newMemoryStore(t)
	r, other := newRelease(t, 1, 200, 1), newRelease(t, 1, 200, 2)
	blocks := func(w *LayerWriter, m *dbformat.MemLayer, skip int) error {
		n := 0
		for i := range m.Header().Sections {
			for j := range m.Header().Sections[i].Blocks {
				b, err := m.Block(i, j)
				must(t, err)
				if n++; n == skip {
					continue
				}
				if err := w.PutBlock(m.Header().Sections[i].ID, j, b); err != nil {
					return err
				}
			}
		}
		return nil
	}
	h := r.light.Header()
	for _, c := range []struct {
		name, text string
		kind       error
		finish     func(w *LayerWriter) error
	}{
		{"another digest", h.Digest().String(), ErrDigestMismatch, func(w *LayerWriter) error {
			must(t, blocks(w, r.light, 0))
			_, err := w.Finish(h, other.light.Header().Digest())
			return err
		}},
		{"another layer", "light layer", ErrDigestMismatch, func(w *LayerWriter) error {
			w.layer = dbformat.Rest
			must(t, blocks(w, r.light, 0))
			_, err := w.Finish(h, h.Digest())
			return err
		}},
		{"an absent block", "is absent", ErrDamaged, func(w *LayerWriter) error {
			must(t, blocks(w, r.light, 2))
			_, err := w.Finish(h, h.Digest())
			return err
		}},
		{"blocks of another layer", "", ErrDamaged, func(w *LayerWriter) error {
			must(t, blocks(w, other.light, 0))
			_, err := w.Finish(h, h.Digest())
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := tree(t, s)
			w, err := s.NewLayer(dbformat.Light)
			must(t, err)
			requireError(t, c.finish(w), c.kind, c.text)
			if after := tree(t, s); len(after) != len(before) {
				t.Errorf("files before %v, after %v", before, after)
			}
		})
	}
	w, err := s.NewLayer(dbformat.Light)
	must(t, err)
	defer w.Abort()
	must(t, w.PutBlock(0x0103, 1, []byte("b")))
	if err := w.PutBlock(0x0103, 1, []byte("b")); err == nil {
		t.Error("a block was taken twice")
	}
	if _, err := w.Finish(h, h.Digest()); err == nil {
		t.Error("a layer was finished after an error")
	}
}

// TestPairsBelongTogether: a rest layer is refused beside any light layer but its own.
func TestPairsBelongTogether(t *testing.T) {
	s := newMemoryStore(t)
	one, two := newRelease(t, 1, 100, 1), newRelease(t, 2, 100, 2)
	must(t, install(s, one, dbformat.VariantFull))
	_, err := writeLayer(s, two.light)
	must(t, err)
	mixed := &release{light: two.light, rest: one.rest, version: 2}
	requireError(t, s.makeCurrent(mixed.generation(dbformat.VariantFull), 1), ErrDigestMismatch, "does not belong to the light layer")
	requireCurrent(t, s, one, dbformat.VariantFull)
}

// TestCyclicPage: bbolt would recurse until the process dies; whoever looks for a block goes the way to it first, and Verify walks all pages.
func TestCyclicPage(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 8000, 1)
	_, err := writeLayer(s, r.rest)
	must(t, err)
	path := s.layerPath(r.rest.Header().Digest())
	b, err := os.ReadFile(path)
	must(t, err)
	cut := 0
	for page := range len(b) / boltPageSize {
		p := b[page*boltPageSize:]
		if p[8] == boltBranch && p[9] == 0 && p[0] == byte(page) {
			copy(p[boltHeader+8:boltHeader+16], p[:8]) // its first child is itself
			cut++
		}
	}
	if cut == 0 {
		t.Fatal("the file has no branch page: make the layer larger")
	}
	must(t, os.WriteFile(path, b, 0o644))
	f, err := s.OpenLayer(r.rest.Header().Digest(), dbformat.Rest)
	must(t, err)
	defer f.Close()
	_, err = f.Block(0, 0)
	requireError(t, err, ErrDamaged, "too deep")
	requireError(t, f.Verify(nil), ErrDamaged, "used twice")
}

func TestMissingLayer(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 100, 1)
	must(t, install(s, r, dbformat.VariantFull))
	must(t, os.Remove(s.layerPath(r.light.Header().Digest())))
	_, _, _, err := s.OpenCurrent()
	e := requireError(t, err, ErrDamaged, "is missing")
	if !errors.Is(err, fs.ErrNotExist) || e.Path != s.layerPath(r.light.Header().Digest()) || e.Remedy == "" {
		t.Errorf("error is %+v", e)
	}
	if s.HasLayer(r.light.Header().Digest()) || !s.HasLayer(r.rest.Header().Digest()) {
		t.Error("HasLayer is wrong")
	}
}

// TestHeldLayerOutlivesClose: a scan that holds a layer goes on after it was closed and its file removed.
func TestHeldLayerOutlivesClose(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 3000, 1)
	_, err := writeLayer(s, r.rest)
	must(t, err)
	f, err := s.OpenLayer(r.rest.Header().Digest(), dbformat.Rest)
	must(t, err)
	if !f.Retain() {
		t.Fatal("an open file cannot be held")
	}
	must(t, f.Close())
	requireLayer(t, f, r.rest)
	f.Release()
	if f.Retain() {
		t.Error("a closed file can be held again")
	}
	if _, err := f.Block(0, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Block of a closed file gives %v", err)
	}
}

// TestReadersDuringSwaps: readers without a lock always see one whole generation while an updater replaces it.
func TestReadersDuringSwaps(t *testing.T) {
	s := newMemoryStore(t)
	a, b := newRelease(t, 1, 200, 1), newRelease(t, 1, 200, 2)
	must(t, install(s, a, dbformat.VariantFull))
	var stop atomic.Bool
	var reads atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				c, light, rest, err := s.OpenCurrent()
				if err != nil {
					t.Errorf("reader: %v", err)
					return
				}
				want := a
				if c.Light.Digest == b.light.Header().Digest() {
					want = b
				}
				if light.Digest() != c.Light.Digest || rest.Digest() != c.Rest.Digest || rest.Digest() != want.rest.Header().Digest() {
					t.Error("reader: a mixed generation")
				}
				for _, f := range []*LayerFile{light, rest} {
					if err := f.Verify(nil); err != nil {
						t.Errorf("reader: %v", err)
					}
					f.Close()
				}
				reads.Add(1)
			}
		})
	}
	swaps := 60
	for i := range swaps {
		next := []*release{b, a}[i%2].at(uint64(i + 2))
		// Nothing is kept: the files of the generation before are removed under the readers.
		_, err := writeLayer(s, next.light)
		must(t, err)
		_, err = writeLayer(s, next.rest)
		must(t, err)
		must(t, s.makeCurrent(next.generation(dbformat.VariantFull), 0))
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d reads during %d swaps", reads.Load(), swaps)
	requireNoLeftovers(t, s)
}

// TestConcurrentFirstTouch: many goroutines may touch the same blocks of one file first.
func TestConcurrentFirstTouch(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 8000, 1)
	_, err := writeLayer(s, r.rest)
	must(t, err)
	f, err := s.OpenLayer(r.rest.Header().Digest(), dbformat.Rest)
	must(t, err)
	defer f.Close()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range f.Header().Sections[0].Blocks {
				if _, err := f.Block(0, i); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// TestFaultBecomesError: a file that is cut while it is mapped ends a read with an error, not the process.
func TestFaultBecomesError(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 8000, 1)
	_, err := writeLayer(s, r.rest)
	must(t, err)
	d := r.rest.Header().Digest()
	f, err := s.OpenLayer(d, dbformat.Rest)
	must(t, err)
	defer f.Close()
	last := len(f.Header().Sections[0].Blocks) - 1
	touched, err := f.Block(0, 0)
	must(t, err)
	if err := os.Truncate(s.layerPath(d), 0); err != nil {
		t.Skipf("a mapped file cannot be cut here: %v", err)
	}
	_, err = f.Block(0, last)
	requireError(t, err, ErrDamaged, "EOF")
	err = Guard(f.Path(), func() error {
		if touched[0] == touched[1] {
			return nil
		}
		return nil
	})
	requireError(t, err, ErrDamaged, "fault")
}

func TestGuardPassesOtherPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a panic of the program was swallowed")
		}
	}()
	var m map[string]int
	_ = Guard("x", func() error { m["a"] = 1; return nil })
}

// TestUnfinishedFile: a file whose last transaction is missing is damage, not an older state.
func TestUnfinishedFile(t *testing.T) {
	s := newMemoryStore(t)
	r := newRelease(t, 1, 100, 1)
	_, err := writeLayer(s, r.light)
	must(t, err)
	d := r.light.Header().Digest()
	must(t, os.Chmod(s.layerPath(d), 0o644))
	db, err := bolt.Open(s.layerPath(d), 0o644, nil)
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte(metaBucket)).Delete([]byte(headerKey)) }))
	must(t, db.Close())
	_, err = s.OpenLayer(d, dbformat.Light)
	requireError(t, err, ErrDamaged, "")
	if strings.Contains(err.Error(), "panic") {
		t.Error(err)
	}
}
