package matcher

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"example.org/avdb/dbformat"
	"example.org/avdb/store"
)

// Opening reads next to nothing of a set. One that is damaged anywhere is replaced by one in memory before the first object is matched, and told; a matcher that looks again
// stores it anew.
func TestADamagedSetIsReplacedBeforeItIsUsed(t *testing.T) {
	d, _, path, set := deviceWithSet(t)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(whole, set)
	for _, to := range []int{len(set) / 3, len(set) / 2, len(set) - 1} {
		b := bytes.Clone(whole)
		b[at+to] ^= 1
		if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o644)); err != nil {
			t.Fatal(err)
		}
		m := openMatcher(t, d, Options{}, time.Hour)
		if m.now.Load().engine.bodies.proved.Load() || m.Err() != nil {
			t.Fatalf("byte %d: it was read when it was opened: %v", to, m.Err())
		}
		const content = "here in light it is first-one"
		if r := m.ScanBytes(t.Context(), []byte(content)); r.Name != "In.Light.one" || r.Err != nil || !errors.Is(m.Err(), store.ErrNoIndex) {
			t.Errorf("byte %d: %+v, Err %v; want the damage", to, r, m.Err())
		}
		if err := m.Refresh(t.Context()); err != nil || m.Err() != nil || !m.now.Load().engine.bodies.proved.Load() {
			t.Errorf("byte %d: not healed: %v, %v", to, err, m.Err())
		}
		if again, err := os.ReadFile(path); err != nil || !bytes.Contains(again, set) {
			t.Errorf("byte %d: the set is not stored anew, %v", to, err)
		}
	}
}

// Of the lists of sizes opening reads the lengths, and a scan what it looks at. Where that is damaged a file of any size may be listed: it is hashed and found, and the
// damage is told.
func TestADamagedListOfSizesHidesNoFile(t *testing.T) {
	content := []byte("a file that is listed with its size")
	sum := sha256.Sum256(content)
	d, c := benchDevice(t, 1)
	var records []dbformat.Record
	rng := rand.New(rand.NewPCG(5, 6))
	for size := range uint32(70_000) { // more than four cuts of the stored lists
		r := dbformat.Record{Size: 2 + 2*size, Name: "Other"} // the file's own is odd
		randomHash(rng, r.Hash[:])
		records = append(records, r)
	}
	listed := dbformat.Record{Size: uint32(len(content)), Name: "Listed"}
	copy(listed.Hash[:], sum[:])
	c.Sections[dbformat.ClassHash.Section(dbformat.SHA256)] = append(records, listed)
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		t.Fatal(err)
	}
	g := d.install(t, 1, light, rest)
	if err := prepareIndex(d, g); err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenIndex(generationKey(&g))
	if err != nil {
		t.Fatal(err)
	}
	sizes, err := f.Piece(genSizes)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, f.Path(), sizes) // the middle, where each search begins
	f.Close()
	m := openMatcher(t, d, Options{}, time.Hour)
	if err := m.Err(); err != nil {
		t.Fatalf("it was read when it was opened: %v", err)
	}
	if r := m.ScanBytes(t.Context(), content); r.Name != "Listed" || r.Err != nil || !errors.Is(m.Err(), store.ErrNoIndex) {
		t.Errorf("%+v, Err %v; want that it is listed, and the damage", r, m.Err())
	}
	if err := m.Refresh(t.Context()); err != nil || m.Err() != nil {
		t.Errorf("not healed: %v, %v", err, m.Err())
	}
	if r := m.ScanBytes(t.Context(), content); r.Name != "Listed" || r.Err != nil || m.Err() != nil {
		t.Errorf("%+v, Err %v", r, m.Err())
	}
}

// Whoever gives up while the set is looked at says nothing of it: neither that it is good nor that it is lost.
func TestASetIsLookedAtNoLongerThanAnybodyWaits(t *testing.T) {
	d, _, _, _ := deviceWithSet(t)
	m := openMatcher(t, d, Options{}, time.Hour)
	b := m.now.Load().engine.bodies
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.get(ctx); !errors.Is(err, context.Canceled) || b.proved.Load() || b.lost.Load() != nil || b.rotten.Load() != nil {
		t.Errorf("%v, proved %t, lost %v, rotten %v", err, b.proved.Load(), b.lost.Load(), b.rotten.Load())
	}
	if r := m.ScanBytes(t.Context(), []byte("here in light it is first-one")); r.Name != "In.Light.one" || r.Err != nil || m.Err() != nil || !b.proved.Load() {
		t.Errorf("%+v, Err %v", r, m.Err())
	}
}

// Where the layer is damaged as well there is no set: each object says what is wrong with the database, and nothing is compiled again for each of them.
func TestASetThatCannotBeMadeAnewIsToldByEachObject(t *testing.T) {
	d, g, path, set := deviceWithSet(t)
	spoil(t, path, set)
	layer, err := d.OpenLayer(g.Rest.Digest, dbformat.Rest)
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(layer.Header().Sections, func(s dbformat.SectionHeader) bool { return s.ID.OfPatterns() })
	block, err := layer.Block(at, 0)
	if err != nil {
		t.Fatal(err)
	}
	spoil(t, layer.Path(), block)
	layer.Close()
	m := openMatcher(t, d, Options{}, time.Hour)
	var first error
	for range 3 {
		r := m.ScanBytes(t.Context(), []byte("here in light it is first-one"))
		if !errors.Is(r.Err, store.ErrDamaged) || r.Verdict == Clean {
			t.Fatalf("%+v, want that the layer is damaged", r)
		}
		if err := *m.now.Load().engine.bodies.lost.Load(); first == nil {
			first = err
		} else if err != first {
			t.Errorf("it was tried again: %v", err)
		}
	}
}

// deviceWithSet has a generation with patterns whose index is stored: in the file of that path, with that set.
func deviceWithSet(t *testing.T) (d *device, g store.Generation, path string, set []byte) {
	t.Helper()
	d = newDevice(t)
	light, rest := indexed("one").build(t)
	g = d.install(t, 1, light, rest)
	if err := prepareIndex(d, g); err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenIndex(generationKey(&g))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if set, err = f.Piece(genSet); err != nil {
		t.Fatal(err)
	}
	return d, g, f.Path(), bytes.Clone(set)
}

// spoil changes a byte in the middle of the part of a file.
func spoil(t *testing.T, path string, part []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Clone(b)
	b[bytes.Index(b, part)+len(part)/2] ^= 1
	if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o644)); err != nil {
		t.Fatal(err)
	}
}
