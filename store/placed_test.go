package store

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"example.org/avdb/dbformat"
)

// newPlacedRelease is a release with hashes of sections of PE files and with patterns, in both layers; the version says which ones.
func newPlacedRelease(t testing.TB, version uint64, n int) *release {
	t.Helper()
	sections, patterns := dbformat.ClassPESection.Section(dbformat.SHA256), dbformat.ClassPattern.Section(dbformat.SHA256)
	record := func(i int) dbformat.Record {
		r := dbformat.Record{Size: uint32(512 * i), Name: fmt.Sprintf("Test.Section-%d", i)}
		r.Hash[0], r.Hash[1] = byte(37*i), byte(i)
		return r
	}
	c := &dbformat.Content{
		Sections: map[dbformat.SectionID][]dbformat.Record{
			dbformat.ClassHash.Section(dbformat.SHA256): {record(1), record(2)},
			sections: nil,
		},
		RestSections: map[dbformat.SectionID][]dbformat.Record{sections: nil},
		Patterns:     map[dbformat.SectionID][]dbformat.PatternRecord{patterns: nil},
		RestPatterns: map[dbformat.SectionID][]dbformat.PatternRecord{patterns: nil},
	}
	for i := int(version); i < n; i++ {
		p := dbformat.PatternRecord{Name: fmt.Sprintf("Test.Pattern-%d", i), Pattern: bytes.Repeat([]byte{byte(i), 0x90}, 1+i%40)}
		if i%3 == 0 {
			c.Patterns[patterns] = append(c.Patterns[patterns], p)
			c.Sections[sections] = append(c.Sections[sections], record(i))
		} else {
			c.RestPatterns[patterns] = append(c.RestPatterns[patterns], p)
			c.RestSections[sections] = append(c.RestSections[sections], record(i))
		}
	}
	p := dbformat.ChooseParams(c, nil)
	p.Cuts[patterns] = dbformat.CutParams{B: 2}
	light, rest, err := dbformat.Build(c, p)
	must(t, err)
	return &release{light: light, rest: rest, version: version}
}

// A generation with sections that only a later engine matches is stored, proved, updated by delta and kept as any other: nothing here looks at
// what a section says.
func TestPlacedSectionsAreStored(t *testing.T) {
	s := newMemoryStore(t)
	one, two := newPlacedRelease(t, 1, 90), newPlacedRelease(t, 2, 100)
	must(t, install(s, one, dbformat.VariantFull))
	requireCurrent(t, s, one, dbformat.VariantFull)
	_, light, rest, err := s.OpenCurrent()
	must(t, err)
	lightDelta, err := dbformat.MakeLightDelta(one.light, two.light)
	must(t, err)
	restDelta, err := dbformat.MakeRestDelta(one.light, two.light, one.rest, two.rest)
	must(t, err)
	w, err := s.NewLayer(dbformat.Light)
	must(t, err)
	h, err := dbformat.ApplyLightDelta(light, bytes.NewReader(lightDelta), w)
	must(t, err)
	_, err = w.Finish(h, two.light.Header().Digest())
	must(t, err)
	w, err = s.NewLayer(dbformat.Rest)
	must(t, err)
	h, err = dbformat.ApplyRestDelta(light, two.light, rest, bytes.NewReader(lightDelta), bytes.NewReader(restDelta), w)
	must(t, err)
	_, err = w.Finish(h, two.rest.Header().Digest())
	must(t, err)
	must(t, light.Close())
	must(t, rest.Close())
	must(t, s.makeCurrent(two.generation(dbformat.VariantFull), 1))
	report, err := s.Verify(true, nil)
	must(t, err)
	if len(report.Layers) != 4 || slices.ContainsFunc(report.Layers, func(l LayerReport) bool { return !l.OK }) {
		t.Errorf("verified: %+v, want four whole layers", report)
	}
	requireCurrent(t, s, two, dbformat.VariantFull)
	must(t, s.makeCurrent(two.generation(dbformat.VariantLight), 1))
	requireCurrent(t, s, two, dbformat.VariantLight)
}

// Whatever bit of a layer file with such sections is flipped, reading gives the right content or damage.
func TestFlippedBitsOfPlacedSections(t *testing.T) {
	s := newMemoryStore(t)
	r := newPlacedRelease(t, 1, 20)
	must(t, install(s, r, dbformat.VariantFull))
	for _, m := range []*dbformat.MemLayer{r.light, r.rest} {
		h := m.Header()
		flipAndCut(t, s.layerPath(h.Digest()), len(h.Encode())+int(h.Bytes()), func() error {
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
		})
	}
}

// A rest layer whose tails belong to another light layer is refused, whatever else stands in it.
func TestPlacedSectionsPairWithNoOther(t *testing.T) {
	s := newMemoryStore(t)
	one, other := newPlacedRelease(t, 1, 20), newRelease(t, 1, 20, 1)
	must(t, install(s, one, dbformat.VariantFull))
	mixed := &release{light: other.light, rest: one.rest, version: 2}
	if err := install(s, mixed, dbformat.VariantFull); !errors.Is(err, ErrDigestMismatch) {
		t.Errorf("install = %v, want ErrDigestMismatch", err)
	}
	requireCurrent(t, s, one, dbformat.VariantFull)
}
