package dbformat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"testing"

	"example.org/avdb/dbformat"
)

var errDisk = errors.New("input/output error")

// brokenLayer gives another layer's blocks until left of them were read, then errDisk.
type brokenLayer struct {
	dbformat.LayerReader
	left *int
}

func (b brokenLayer) Block(section, i int) ([]byte, error) {
	if *b.left--; *b.left < 0 {
		return nil, errDisk
	}
	return b.LayerReader.Block(section, i)
}

// brokenSink takes left blocks, then fails.
type brokenSink struct{ left *int }

func (b brokenSink) PutBlock(dbformat.SectionID, int, []byte) error {
	if *b.left--; *b.left < 0 {
		return errDisk
	}
	return nil
}

// jobs are all that reads layers or writes blocks; each wraps what it reads by layer and ends in sink.
func jobs(r [3]release, light, rest []byte, layer func(dbformat.LayerReader) dbformat.LayerReader, sink dbformat.Sink) map[string]func() error {
	return map[string]func() error{
		"WriteBundle": func() error { return dbformat.WriteBundle(&bytes.Buffer{}, layer(r[0].rest)) },
		"MakeLightDelta": func() error {
			_, err := dbformat.MakeLightDelta(layer(r[0].light), layer(r[1].light))
			return err
		},
		"MakeRestDelta": func() error {
			_, err := dbformat.MakeRestDelta(layer(r[0].light), layer(r[1].light), layer(r[0].rest), layer(r[1].rest))
			return err
		},
		"ApplyLightDelta": func() error {
			_, err := dbformat.ApplyLightDelta(layer(r[0].light), bytes.NewReader(light), sink)
			return err
		},
		"ApplyRestDelta": func() error {
			_, err := dbformat.ApplyRestDelta(layer(r[0].light), layer(r[1].light), layer(r[0].rest), bytes.NewReader(light), bytes.NewReader(rest), sink)
			return err
		},
	}
}

// Whichever read or write fails, its error comes back as it is and is not taken for damage of the input.
func TestEveryFailingReadAndWriteIsReported(t *testing.T) {
	r, light, rest := threeReleases(t)
	same := func(l dbformat.LayerReader) dbformat.LayerReader { return l }
	left := 0
	run := func(kind string, all map[string]func() error) {
		for name, job := range all {
			fails := 0
			for n := 0; ; n += 1 + n/dense {
				left = n
				err := job()
				if err == nil {
					break
				}
				if !errors.Is(err, errDisk) || errors.Is(err, dbformat.ErrCorrupt) {
					t.Fatalf("%s: %s %d fails: %v", name, kind, n, err)
				}
				fails++
			}
			if fails == 0 && (kind == "read" || name[:5] == "Apply") {
				t.Errorf("%s has no %s that could fail", name, kind)
			}
		}
	}
	run("read", jobs(r, light, rest, func(l dbformat.LayerReader) dbformat.LayerReader { return brokenLayer{l, &left} }, nowhere{}))
	run("write", jobs(r, light, rest, same, brokenSink{&left}))
}

// flippedLayer gives a layer's blocks with one bit of one of them flipped, as a disk does that nobody checks.
type flippedLayer struct {
	dbformat.LayerReader
	section, block, bit int
}

func (f flippedLayer) Block(section, i int) ([]byte, error) {
	b, err := f.LayerReader.Block(section, i)
	if err != nil || section != f.section || i != f.block {
		return b, err
	}
	b = bytes.Clone(b)
	b[f.bit/8] ^= 1 << (f.bit % 8)
	return b, nil
}

// A flipped bit in the old layer never ends in the layer that the delta names, and never in a fault.
func TestADamagedBaseNeverGivesTheResult(t *testing.T) {
	r, light, rest := threeReleases(t)
	rng := rand.New(rand.NewPCG(7, 7))
	flip := func(l *dbformat.MemLayer) dbformat.LayerReader {
		s := rng.IntN(len(l.Header().Sections))
		b := rng.IntN(len(l.Header().Sections[s].Blocks))
		return flippedLayer{l, s, b, rng.IntN(8 * int(l.Header().Sections[s].Blocks[b].Bytes))}
	}
	for range damages {
		h, err := dbformat.ApplyLightDelta(flip(r[0].light), bytes.NewReader(light), nowhere{})
		if h != nil && err != nil || err != nil && !errors.Is(err, dbformat.ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && h.Digest() != r[1].light.Header().Digest() {
			t.Fatal("another light layer without an error")
		}
		h, err = dbformat.ApplyRestDelta(r[0].light, r[1].light, flip(r[0].rest), bytes.NewReader(light), bytes.NewReader(rest), nowhere{})
		if h != nil && err != nil || err != nil && !errors.Is(err, dbformat.ErrCorrupt) {
			t.Fatal(err)
		}
		if err == nil && h.Digest() != r[1].rest.Header().Digest() {
			t.Fatal("another rest layer without an error")
		}
	}
}

// An index with any bit flipped is refused, or what its frames give is not what the leaves say.
func TestBundleIndexWithAnyBitFlipped(t *testing.T) {
	l := both(t, sample(20, 21))[1]
	b := bundle(t, l)
	x, err := dbformat.ReadBundleIndex(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	last := x.Frames[len(x.Frames)-1]
	table := int(last.Offset + last.Length)
	for i := table * 8; i < len(b)*8; i++ {
		b[i/8] ^= 1 << (i % 8)
		if usable(t, b, l.Header()) {
			t.Errorf("bit %d of byte %d does not matter", i%8, i/8)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range table {
		if _, err := dbformat.ReadBundleIndex(bytes.NewReader(b[:n]), int64(n)); !errors.Is(err, dbformat.ErrCorrupt) {
			t.Fatalf("first %d bytes: %v", n, err)
		}
	}
}

// usable tells whether every frame of a bundle is decoded to blocks of header h.
func usable(t *testing.T, b []byte, h *dbformat.Header) bool {
	t.Helper()
	x, err := dbformat.ReadBundleIndex(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		if x != nil || !errors.Is(err, dbformat.ErrCorrupt) {
			t.Fatalf("%v: an index or an unknown error", err)
		}
		return false
	}
	for i, f := range x.Frames {
		if f.Offset+f.Length > int64(len(b)) {
			return false
		}
		if err := x.DecodeFrame(i, b[f.Offset:f.Offset+f.Length], &leafCheck{t: t, h: h}); err != nil {
			return false
		}
	}
	return true
}

// Rows that only both layers together show to be wrong are found.
func TestCheckTailsSeesWhatOneLayerCannot(t *testing.T) {
	id := dbformat.ClassHash.Section(dbformat.MD5)
	s := &dbformat.SectionHeader{ID: id, P: 8}
	light := func(prefixes ...byte) dbformat.PrefixBlock {
		b, err := dbformat.ParsePrefixBlock(append([]byte{0, 0, 0, byte(len(prefixes))}, prefixes...), s, 0)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	row := func(last byte) []byte { return append(make([]byte, 14), last) }
	rest := func(rows int, parts ...[]byte) dbformat.TailBlock {
		b := append([]byte{0, 0, 0, byte(rows), 0}, bytes.Join(parts, nil)...)
		v, err := dbformat.ParseTailBlock(b, s, 0)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	none := func(n int) []byte { return make([]byte, n) }
	for name, tc := range map[string]struct {
		light dbformat.PrefixBlock
		rest  dbformat.TailBlock
		ok    bool
	}{
		"right":          {light(1, 1), rest(2, row(1), row(2), none(2)), true},
		"other prefixes": {light(1, 2), rest(2, row(2), row(1), none(2)), true},
		"not in order":   {light(1, 1), rest(2, row(2), row(1), none(2)), false},
		"row twice":      {light(1, 1), rest(2, row(1), row(1), none(2)), false},
		"row missing":    {light(1, 1), rest(1, row(1), none(1)), false},
		"default name":   {light(0xab), rest(1, row(1), []byte{25}, []byte("Hash.MD5.ab00000000000000")), false},
		"like a default": {light(0xac), rest(1, row(1), []byte{25}, []byte("Hash.MD5.ab00000000000000")), true},
		"bad name":       {light(1), rest(1, row(1), []byte{1}, []byte("\n")), false},
	} {
		if err := dbformat.CheckTails(tc.light, 0, tc.rest); (err == nil) != tc.ok || err != nil && !errors.Is(err, dbformat.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyPairsFit(t *testing.T) {
	r, _, _ := threeReleases(t)
	light, rest := r[0].light.Header(), r[0].rest.Header()
	empty := &dbformat.Header{Layer: dbformat.Rest}
	more := &dbformat.Header{Layer: dbformat.Rest, Sections: append(append([]dbformat.SectionHeader{}, rest.Sections...), rest.Sections[0])}
	for name, p := range map[string][2]*dbformat.Header{
		"another release":    {light, r[1].rest.Header()},
		"layers exchanged":   {rest, light},
		"sections missing":   {light, empty},
		"a section too many": {light, more},
	} {
		if err := dbformat.CheckPair(p[0], p[1]); !errors.Is(err, dbformat.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := dbformat.CheckPair(light, rest); err != nil {
		t.Error(err)
	}
}

func TestMemSinkTakesOnlyTheLayerOfItsHeader(t *testing.T) {
	l := both(t, sample(5, 22))[0]
	fill := func(skip int) *dbformat.MemSink {
		var sink dbformat.MemSink
		for i, s := range l.Header().Sections {
			b, err := l.Block(i, 0)
			if err != nil {
				t.Fatal(err)
			}
			if i != skip {
				if err := sink.PutBlock(s.ID, 0, b); err != nil {
					t.Fatal(err)
				}
			}
		}
		return &sink
	}
	if _, err := fill(-1).Layer(l.Header()); err != nil {
		t.Error(err)
	}
	if _, err := fill(0).Layer(l.Header()); !errors.Is(err, dbformat.ErrCorrupt) {
		t.Errorf("a section is missing: %v", err)
	}
	other := both(t, sample(5, 23))[0]
	if _, err := fill(-1).Layer(other.Header()); !errors.Is(err, dbformat.ErrCorrupt) {
		t.Errorf("another header: %v", err)
	}
	if err := fill(-1).PutBlock(dbformat.ClassSelfTest.Section(0), 2, nil); !errors.Is(err, dbformat.ErrCorrupt) {
		t.Errorf("a block is left out: %v", err)
	}
	if _, err := l.Block(99, 0); !errors.Is(err, dbformat.ErrCorrupt) {
		t.Errorf("no such section: %v", err)
	}
}

// Words that stand in files, reports and flags are read back as what they were.
func TestWordsAreReadBack(t *testing.T) {
	for _, id := range dbformat.AllSections() {
		b, err := json.Marshal(map[dbformat.SectionID]int{id: 1})
		if err != nil {
			t.Fatal(err)
		}
		got := map[dbformat.SectionID]int{}
		if err := json.Unmarshal(b, &got); err != nil || got[id] != 1 || !bytes.Contains(b, []byte(id.String())) {
			t.Errorf("%s: %s, %v", id, b, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"hash/crc":1}`), &map[dbformat.SectionID]int{}); err == nil {
		t.Error("an unknown section is read")
	}
	for _, l := range dbformat.VariantFull.Layers() {
		if got, err := dbformat.ParseLayer(l.String()); err != nil || got != l {
			t.Errorf("%s: %v, %v", l, got, err)
		}
	}
}
