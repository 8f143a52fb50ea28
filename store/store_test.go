package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"example.org/avdb/dbformat"
)

// A release is what the tests install: both layers and a generation of each variant.
type release struct {
	light, rest *dbformat.MemLayer
	version     uint64
}

// newRelease builds a seeded release of n records; content depends on seed only, version is a number beside it.
func newRelease(t testing.TB, version uint64, n int, seed uint64) *release {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	records := make([]dbformat.Record, n)
	for i := range records {
		r := &records[i]
		for j := 0; j < 32; j += 8 {
			binary.LittleEndian.PutUint64(r.Hash[j:], rng.Uint64())
		}
		r.Size = rng.Uint32N(1 << 24)
		r.Name = fmt.Sprintf("Test.Family%d-%d", rng.IntN(50), rng.IntN(1e6))
	}
	c := &dbformat.Content{
		Sections: map[dbformat.SectionID][]dbformat.Record{
			dbformat.ClassHash.Section(dbformat.SHA256):  records,
			dbformat.ClassAllow.Section(dbformat.SHA256): records[:1],
		},
		Ignore:  []string{"Test.Ignored"},
		Vectors: []dbformat.Vector{{Content: []byte("benign")}},
	}
	light, rest, err := dbformat.Build(c, dbformat.ChooseParams(c, nil))
	if err != nil {
		t.Fatal(err)
	}
	return &release{light: light, rest: rest, version: version}
}

// at is the same content under another number.
func (r *release) at(version uint64) *release {
	return &release{light: r.light, rest: r.rest, version: version}
}

func (r *release) generation(v dbformat.Variant) Generation {
	g := Generation{Version: r.version, Published: day(int(r.version)), Light: refOf(r.light.Header(), r.light.Header().Digest(), r.version)}
	if v == dbformat.VariantFull {
		rest := refOf(r.rest.Header(), r.rest.Header().Digest(), r.version)
		g.Rest = &rest
	}
	return g
}

func day(n int) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, n) }

// writeLayer puts a layer into the store as an update does.
func writeLayer(s *Store, m *dbformat.MemLayer) (LayerRef, error) {
	w, err := s.NewLayer(m.Header().Layer)
	if err != nil {
		return LayerRef{}, err
	}
	defer w.Abort()
	for i := range m.Header().Sections {
		section := &m.Header().Sections[i]
		for j := range section.Blocks {
			b, err := m.Block(i, j)
			if err != nil {
				return LayerRef{}, err
			}
			if err := w.PutBlock(section.ID, j, b); err != nil {
				return LayerRef{}, err
			}
		}
	}
	return w.Finish(m.Header(), m.Header().Digest())
}

// install makes a variant of r current, as an update does: clean, write what is missing, switch.
func install(s *Store, r *release, v dbformat.Variant) error {
	g := r.generation(v)
	var wanted []dbformat.Digest
	for _, ref := range g.refs() {
		wanted = append(wanted, ref.Digest)
	}
	if err := s.Clean(wanted...); err != nil {
		return err
	}
	if _, err := writeLayer(s, r.light); err != nil {
		return err
	}
	if v == dbformat.VariantFull {
		if _, err := writeLayer(s, r.rest); err != nil {
			return err
		}
	}
	return s.makeCurrent(g, 1)
}

func newStore(t testing.TB) *Store {
	t.Helper()
	s, err := Create(filepath.Join(t.TempDir(), "state"), Options{Now: func() time.Time { return day(100) }})
	if err != nil {
		t.Fatal(err)
	}
	lock, err := s.Lock()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Unlock() })
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// requireCurrent proves that exactly this content is current: every block is read and compared.
func requireCurrent(t testing.TB, s *Store, r *release, v dbformat.Variant) Current {
	t.Helper()
	c, light, rest, err := s.OpenCurrent()
	must(t, err)
	defer light.Close()
	want := r.generation(v)
	if c.Version != want.Version || !c.SameContent(&want) || c.Variant() != v || !c.Published.Equal(want.Published) {
		t.Fatalf("current is %+v, want %+v", c.Generation, want)
	}
	requireLayer(t, light, r.light)
	if v == dbformat.VariantFull {
		defer rest.Close()
		requireLayer(t, rest, r.rest)
	} else if rest != nil {
		t.Fatal("a light generation has a rest layer")
	}
	return c
}

func requireLayer(t testing.TB, got dbformat.LayerReader, want *dbformat.MemLayer) {
	t.Helper()
	for i := range want.Header().Sections {
		for j := range want.Header().Sections[i].Blocks {
			a, err := got.Block(i, j)
			must(t, err)
			b, err := want.Block(i, j)
			must(t, err)
			if !slices.Equal(a, b) {
				t.Fatalf("block %d of section %d differs", j, i)
			}
		}
	}
}

// tree lists the files below the state folder, with temporary names shortened.
func tree(t testing.TB, s *Store) []string {
	t.Helper()
	var names []string
	must(t, filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(s.dir, path)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	}))
	return names
}

// requireNoLeftovers proves that every file has a reason: nothing temporary, no layer that no generation names.
func requireNoLeftovers(t testing.TB, s *Store) {
	t.Helper()
	c, err := s.Current()
	must(t, err)
	needed := map[string]bool{}
	for _, g := range c.generations() {
		for _, r := range g.refs() {
			needed["db/layers/"+r.Digest.String()+".db"] = true
		}
	}
	for _, name := range tree(t, s) {
		if strings.HasSuffix(name, tempSuffix) || strings.HasPrefix(name, "db/layers/") && !needed[name] {
			t.Errorf("leftover file %s", name)
		}
		delete(needed, name)
	}
	for name := range needed {
		t.Errorf("%s is missing", name)
	}
}

func TestInstallUpdateRollback(t *testing.T) {
	s := newStore(t)
	first, second := newRelease(t, 1, 500, 1), newRelease(t, 2, 501, 2)
	must(t, install(s, first, dbformat.VariantFull))
	requireCurrent(t, s, first, dbformat.VariantFull)
	must(t, install(s, second, dbformat.VariantFull))
	c := requireCurrent(t, s, second, dbformat.VariantFull)
	if c.Previous == nil || c.Previous.Version != 1 {
		t.Fatalf("previous is %+v, want release 1", c.Previous)
	}
	requireNoLeftovers(t, s)
	_, err := s.Rollback(false)
	must(t, err)
	requireCurrent(t, s, first, dbformat.VariantFull)
	requireNoLeftovers(t, s)
}
