package matcher

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

func TestIndexIsStoredUsedAndTheSame(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	g := d.install(t, 1, light, rest)
	if err := prepareIndex(d, g); err != nil {
		t.Fatal(err)
	}
	names := d.indexes(t)
	if len(names) != 2 || !strings.Contains(names[0], "cl64-1-"+g.Light.Digest.String()+".idx") || !strings.Contains(names[1], generationKey(&g)+".idx") {
		t.Fatalf("index files %q", names)
	}
	f, err := d.OpenIndex(indexKey(g.Light.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	e, err := OpenGeneration(light, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if f.Pieces() != len(e.index.pieces)+1 {
		t.Fatalf("%d pieces, want %d", f.Pieces(), len(e.index.pieces)+1)
	}
	for i := range e.index.pieces {
		if b, err := f.Piece(i + 1); err != nil || !bytes.Equal(b, *e.index.pieces[i].Load()) {
			t.Fatalf("piece %d differs from the one made from the light layer alone, %v", i, err)
		}
	}
	m := openMatcher(t, d, Options{}, time.Hour)
	if m.now.Load().index == nil || nameOf(t, m, "one") != "Test.one" {
		t.Fatal("the stored index is not in use")
	}
	if m := openMatcher(t, noIndex{d}, Options{}, time.Hour); m.now.Load().index == nil {
		t.Fatal("a store that cannot be written cannot be read either")
	}
}

// Whatever is wrong with a stored index, it is made anew, and no record is missed meanwhile.
func TestDamagedIndexHeals(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, d *device, key string, pieces [][]byte){
		"missing": func(*testing.T, *device, string, [][]byte) {},
		"of another version": func(t *testing.T, d *device, key string, pieces [][]byte) {
			pieces[0][8]++
			put(t, d, key, pieces)
		},
		"of another layer": func(t *testing.T, d *device, key string, pieces [][]byte) {
			pieces[0][16]++
			put(t, d, key, pieces)
		},
		"a piece short": func(t *testing.T, d *device, key string, pieces [][]byte) { put(t, d, key, pieces[:len(pieces)-1]) },
		"a short piece": func(t *testing.T, d *device, key string, pieces [][]byte) {
			last := len(pieces) - 1
			pieces[last] = pieces[last][:lineSize]
			put(t, d, key, pieces)
		},
		"a flipped bit": func(t *testing.T, d *device, key string, pieces [][]byte) {
			put(t, d, key, pieces)
			path := d.indexes(t)[0]
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(b, pieces[1][:2*lineSize])
			if at < 0 {
				t.Fatal("the piece is not in the file")
			}
			b[at+lineSize+7] ^= 1
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDevice(t)
			light, rest := release(t, "one")
			g := d.install(t, 1, light, rest)
			spoil(t, d, indexKey(g.Light.Digest), pieces(t, light, g.Light.Digest))
			m := openMatcher(t, d, Options{}, -1)
			for i := range 500 {
				if nameOf(t, m, fmt.Sprint("other", i, "one")) != "Test.Other" {
					t.Fatalf("record %d is missed", i)
				}
			}
			if err := m.Refresh(t.Context()); err != nil || m.now.Load().index == nil {
				t.Fatalf("not healed: %v", err)
			}
			if nameOf(t, m, "one") != "Test.one" || m.Err() != nil {
				t.Fatalf("after healing: %v", m.Err())
			}
			f, err := d.OpenIndex(indexKey(g.Light.Digest))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			for i, want := range pieces(t, light, g.Light.Digest) {
				if b, err := f.Piece(i); err != nil || !bytes.Equal(b, want) {
					t.Fatalf("after healing piece %d is still wrong, %v", i, err)
				}
			}
		})
	}
}

func pieces(t *testing.T, light *dbformat.MemLayer, digest dbformat.Digest) [][]byte {
	t.Helper()
	e, lines, err := newEngine(light, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	all, err := buildLines(e.sections, lines)
	if err != nil {
		t.Fatal(err)
	}
	return append([][]byte{indexHeader(digest, e.sections, lines)}, cutPieces(all)...)
}

func put(t *testing.T, d *device, key string, pieces [][]byte) {
	t.Helper()
	if err := d.PutIndex(key, slices.Values(pieces)); err != nil {
		t.Fatal(err)
	}
}

// spoilBlock flips a bit of a block in a layer's file.
func spoilBlock(t *testing.T, path string, m *dbformat.MemLayer, section int) {
	t.Helper()
	block, err := m.Block(section, 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(b, block)
	if at < 0 {
		t.Fatal("the block is not in the file")
	}
	b[at+len(block)/2] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Damage is never "clean": a prefix whose rest cannot be read stays suspected and says why, and
// an update that brings the file back heals a matcher that has long been running.
func TestDamagedLayers(t *testing.T) {
	d := newDevice(t)
	light, rest := release(t, "one")
	g := d.install(t, 1, light, rest)
	path := d.file(*g.Rest)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	spoilBlock(t, path, rest, 0)
	m := openMatcher(t, d, Options{}, time.Hour)
	r := listed(dbformat.SHA256, "one", true, "")
	got, err := m.Lookup(dbformat.SHA256, r.Hash[:], 3)
	if got.Verdict != Suspected || !errors.Is(err, store.ErrDamaged) || got.Err != err || got.SHA256 == "" {
		t.Fatalf("got %+v, %v; want suspected and damage", got, err)
	}
	if !errors.Is(m.Err(), store.ErrDamaged) {
		t.Fatalf("Err is %v, want the damage", m.Err())
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, whole, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := m.Refresh(t.Context()); err != nil || nameOf(t, m, "one") != "Test.one" || m.Err() != nil {
		t.Fatalf("not healed: %v", err)
	}

	// The index is there by now, so that opening reads no block of light.
	spoilBlock(t, d.file(g.Light), light, 0)
	m = openMatcher(t, d, Options{}, time.Hour)
	got, err = m.Lookup(dbformat.SHA256, r.Hash[:], 3)
	if got.Verdict != Failed || !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("with a damaged light block: %+v, %v", got, err)
	}
	file := write(t, filepath.Join(t.TempDir(), "one"), "one")
	if got := m.ScanFile(t.Context(), file); got.Verdict != Failed || !errors.Is(got.Err, store.ErrStorage) || got.Error == "" {
		t.Fatalf("a file with a damaged light block: %+v", got)
	}
}

// A mapped file that is cut while it is in use faults. That must be an error of the look-up.
func TestFaultsAreErrors(t *testing.T) {
	if runtime.GOOS == "windows" {
		return // a mapped file cannot be cut there
	}
	for name, pick := range map[string]func(d *device, g store.Generation) string{
		"light": func(d *device, g store.Generation) string { return d.file(g.Light) },
		"rest":  func(d *device, g store.Generation) string { return d.file(*g.Rest) },
		"index": func(d *device, g store.Generation) string {
			return filepath.Join(d.Dir(), "db", "index", indexKey(g.Light.Digest)+".idx")
		},
	} {
		for _, warm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/warm=%t", name, warm), func(t *testing.T) {
				d := newDevice(t)
				light, rest := release(t, "one")
				g := d.install(t, 1, light, rest)
				m := openMatcher(t, d, Options{}, time.Hour)
				if warm {
					nameOf(t, m, "one")
				}
				if err := os.Truncate(pick(d, g), 0); err != nil {
					t.Fatal(err)
				}
				r := listed(dbformat.SHA256, "one", true, "")
				got, err := m.Lookup(dbformat.SHA256, r.Hash[:], 3)
				switch {
				case got.Verdict == Clean:
					t.Fatalf("a fault became %+v", got)
				case name == "index" && !warm: // the layers themselves are whole
					if err != nil || got.Verdict != Malicious || m.Err() == nil {
						t.Fatalf("got %+v, %v, Err %v; want malicious without the index", got, err, m.Err())
					}
				case !errors.Is(err, store.ErrStorage) || !errors.Is(m.Err(), store.ErrStorage):
					t.Fatalf("got %+v, %v; want ErrStorage", got, err)
				}
			})
		}
	}
}
