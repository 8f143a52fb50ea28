package dbformat_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"example.org/avdb/dbformat"
	"example.org/avdb/fixtures"
)

// The sections that the vectors of blocks belong to.
var (
	prefixSection  = &dbformat.SectionHeader{ID: dbformat.ClassHash.Section(dbformat.SHA256), P: 12, B: 2, K: 1}
	tailSection    = &dbformat.SectionHeader{ID: dbformat.ClassHash.Section(dbformat.MD5), P: 28, B: 2}
	recordSection  = &dbformat.SectionHeader{ID: dbformat.ClassWhole.Section(dbformat.MD5), B: 1}
	patternSection = &dbformat.SectionHeader{ID: dbformat.ClassPattern.Section(dbformat.SHA256), B: 1}
)

// decoders says how each kind of vector is read. The digest is that of the result, "" where it has none.
var decoders = map[string]func(testing.TB, []byte) (digest string, err error){
	"header": func(t testing.TB, b []byte) (string, error) {
		h, err := dbformat.ParseHeader(b)
		if err == nil && !bytes.Equal(h.Encode(), b) {
			t.Errorf("encodes to %x, read from %x", h.Encode(), b)
		}
		if err != nil && h != nil {
			t.Error("an error and a header")
		}
		return "", err
	},
	"prefix":   decodePrefix,
	"tail":     decodeTail,
	"record":   decodeRecord,
	"pattern":  decodePattern,
	"ignore":   func(t testing.TB, b []byte) (string, error) { return "", decodeIgnore(t, b) },
	"selftest": func(t testing.TB, b []byte) (string, error) { return "", decodeSelfTest(t, b) },
	"bundle-light": func(t testing.TB, b []byte) (string, error) {
		return decodeBundle(t, b, dbformat.Light)
	},
	"bundle-rest": func(t testing.TB, b []byte) (string, error) {
		return decodeBundle(t, b, dbformat.Rest)
	},
	"delta-light":        decodeDelta("delta-light"),
	"delta-rest":         decodeDelta("delta-rest"),
	"delta-light-placed": decodeDelta("delta-light-placed"),
	"delta-rest-placed":  decodeDelta("delta-rest-placed"),
}

// A world is what deltas are applied to: the layers that the golden bundles carry.
type world struct {
	light1, light2, rest1   *dbformat.MemLayer
	delta                   []byte // from light1 to light2
	placedLight, placedRest *dbformat.MemLayer
}

// deltaKinds are the kinds of vectors that are deltas.
var deltaKinds = []string{"delta-light", "delta-rest", "delta-light-placed", "delta-rest-placed"}

// apply applies a delta of a kind of vectors to the layers that it is for.
func (w world) apply(kind string, r io.Reader, sink dbformat.Sink) (*dbformat.Header, error) {
	switch kind {
	case "delta-light":
		return dbformat.ApplyLightDelta(w.light1, r, sink)
	case "delta-rest":
		return dbformat.ApplyRestDelta(w.light1, w.light2, w.rest1, bytes.NewReader(w.delta), r, sink)
	case "delta-light-placed":
		return dbformat.ApplyLightDelta(w.placedLight, r, sink)
	}
	return dbformat.ApplyRestDelta(w.placedLight, w.placedLight, w.placedRest, nil, r, sink)
}

// decodeDelta is the decoder of a kind of deltas.
func decodeDelta(kind string) func(testing.TB, []byte) (string, error) {
	return func(t testing.TB, b []byte) (string, error) {
		w := goldenWorld(t)
		return decodeLayer(t, func(sink dbformat.Sink) (*dbformat.Header, error) { return w.apply(kind, bytes.NewReader(b), sink) })
	}
}

func goldenWorld(t testing.TB) world {
	t.Helper()
	w := world{delta: fixtures.VectorNamed(t, "delta-light", "release_1_to_2").Data}
	w.light1 = readBundle(t, fixtures.VectorNamed(t, "bundle-light", "release_1").Data, dbformat.Light)
	w.rest1 = readBundle(t, fixtures.VectorNamed(t, "bundle-rest", "release_1").Data, dbformat.Rest)
	w.placedLight = readBundle(t, fixtures.VectorNamed(t, "bundle-light", "placed").Data, dbformat.Light)
	w.placedRest = readBundle(t, fixtures.VectorNamed(t, "bundle-rest", "placed").Data, dbformat.Rest)
	var sink dbformat.MemSink
	h, err := dbformat.ApplyLightDelta(w.light1, bytes.NewReader(w.delta), &sink)
	if err != nil {
		t.Fatal(err)
	}
	if w.light2, err = sink.Layer(h); err != nil {
		t.Fatal(err)
	}
	return w
}

// decodeLayer runs a decoder and demands that its result is a layer: a header that is read back as it was written,
// with blocks that are canonical.
func decodeLayer(t testing.TB, decode func(dbformat.Sink) (*dbformat.Header, error)) (string, error) {
	t.Helper()
	var sink dbformat.MemSink
	h, err := decode(&sink)
	if err != nil {
		if h != nil {
			t.Error("an error and a header")
		}
		return "", err
	}
	b := h.Encode()
	again, err := dbformat.ParseHeader(b)
	if err != nil || again.Digest() != h.Digest() {
		t.Fatalf("the header is not read back: %v", err)
	}
	l, err := sink.Layer(h)
	if err != nil {
		t.Fatal(err)
	}
	for i := range h.Sections {
		s := &h.Sections[i]
		for j := range s.Blocks {
			data, err := l.Block(i, j)
			if err != nil {
				t.Fatal(err)
			}
			if err := checkBlock(t, h.Layer, s, j, data); err != nil {
				t.Fatalf("%s %d: %v", s.ID, j, err)
			}
		}
	}
	return h.Digest().String(), nil
}

// checkBlock parses a block and checks its rows.
func checkBlock(t testing.TB, l dbformat.Layer, s *dbformat.SectionHeader, j int, data []byte) error {
	switch {
	case s.ID.Split() && l == dbformat.Light:
		b, err := dbformat.ParsePrefixBlock(data, s, j)
		if err != nil {
			return err
		}
		return b.Check(s.ID)
	case s.ID.Split():
		b, err := dbformat.ParseTailBlock(data, s, j)
		if err != nil {
			return err
		}
		return b.Check()
	case s.ID.OfPatterns():
		b, err := dbformat.ParsePatternBlock(data, s, j)
		if err != nil {
			return err
		}
		return b.Check()
	case s.ID.Rows():
		b, err := dbformat.ParseRecordBlock(data, s, j)
		if err != nil {
			return err
		}
		return b.Check()
	case s.ID.Class() == dbformat.ClassIgnore:
		return decodeIgnore(t, data)
	}
	return decodeSelfTest(t, data)
}

func decodeBundle(t testing.TB, b []byte, want dbformat.Layer) (string, error) {
	t.Helper()
	digest, err := decodeLayer(t, func(sink dbformat.Sink) (*dbformat.Header, error) {
		return dbformat.ReadBundle(bytes.NewReader(b), want, sink)
	})
	if err == nil {
		if _, err := dbformat.ReadBundleIndex(bytes.NewReader(b), int64(len(b))); err != nil {
			t.Errorf("it is read as a whole, its index is not: %v", err)
		}
		if err := dbformat.Describe(io.Discard, bytes.NewReader(b), int64(len(b))); err != nil {
			t.Errorf("it is read, but not described: %v", err)
		}
	}
	return digest, err
}

func decodePrefix(t testing.TB, b []byte) (string, error) {
	v, err := dbformat.ParsePrefixBlock(b, prefixSection, 1)
	if err == nil {
		err = v.Check(prefixSection.ID)
	}
	if err == nil {
		prev := uint64(0)
		for _, p := range v.AppendPrefixes(nil) {
			if p < prev || p>>11 != 1 {
				t.Errorf("prefix %x after %x", p, prev)
			}
			prev = p
		}
		if got := dbformat.EncodePrefixBlock(v); !bytes.Equal(got, b) {
			t.Errorf("encodes to %x, read from %x", got, b)
		}
	}
	return "", err
}

func decodeTail(t testing.TB, b []byte) (string, error) {
	v, err := dbformat.ParseTailBlock(b, tailSection, 2)
	if err == nil {
		err = v.Check()
	}
	if err == nil {
		for i := range v.Rows() {
			var h [32]byte
			v.Hash(i, &h)
			if row := v.Find(i, i+1, h[:16], max(v.Size(i), 1)); row != i || len(v.Name(i)) > dbformat.MaxName {
				t.Errorf("row %d is found at %d", i, row)
			}
		}
		if got := dbformat.EncodeTailBlock(v); !bytes.Equal(got, b) {
			t.Errorf("encodes to %x, read from %x", got, b)
		}
	}
	return "", err
}

func decodeRecord(t testing.TB, b []byte) (string, error) {
	v, err := dbformat.ParseRecordBlock(b, recordSection, 1)
	if err == nil {
		err = v.Check()
	}
	if err == nil {
		for i := range v.Rows() {
			var h [32]byte
			v.Hash(i, &h)
			if first, end := v.Find(h[:16]); i < first || i >= end {
				t.Errorf("row %d is not among %d to %d", i, first, end)
			}
		}
	}
	return "", err
}

// decodePattern builds the section again from what it reads, its block being the first of two.
func decodePattern(t testing.TB, b []byte) (string, error) {
	v, err := dbformat.ParsePatternBlock(b, patternSection, 0)
	if err == nil {
		err = v.Check()
	}
	if err != nil || v.Rows() == 0 {
		return "", err
	}
	var rows []dbformat.PatternRecord
	for name, pattern := range v.All() {
		rows = append(rows, dbformat.PatternRecord{Name: string(name), Pattern: bytes.Clone(pattern)})
	}
	c := &dbformat.Content{Patterns: map[dbformat.SectionID][]dbformat.PatternRecord{patterns: rows}}
	light, _ := build(t, c, dbformat.Params{Cuts: map[dbformat.SectionID]dbformat.CutParams{patterns: {B: 1}}})
	if got, err := light.Block(0, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("encodes to %x, read from %x", got, b)
	}
	return "", nil
}

// decodeIgnore and decodeSelfTest build the section again from what they read.
func decodeIgnore(t testing.TB, b []byte) error {
	names, err := dbformat.IgnoreNames(b)
	if err != nil {
		if names != nil {
			t.Error("an error and names")
		}
		return err
	}
	return sameBlock(t, &dbformat.Content{Ignore: names}, b)
}

func decodeSelfTest(t testing.TB, b []byte) error {
	vectors, err := dbformat.Vectors(b)
	if err != nil {
		if vectors != nil {
			t.Error("an error and vectors")
		}
		return err
	}
	return sameBlock(t, &dbformat.Content{Vectors: vectors}, b)
}

func sameBlock(t testing.TB, c *dbformat.Content, b []byte) error {
	light, _ := build(t, c, dbformat.Params{})
	if got, err := light.Block(0, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("encodes to %x, read from %x", got, b)
	}
	return nil
}

// Every vector has the outcome that it says.
func TestVectors(t *testing.T) {
	for _, kind := range fixtures.VectorKinds(t) {
		decode, ok := decoders[kind]
		if !ok {
			t.Errorf("nobody reads vectors of kind %s", kind)
			continue
		}
		for _, v := range fixtures.Vectors(t, kind) {
			t.Run(kind+"/"+v.Name, func(t *testing.T) {
				digest, err := decode(t, v.Data)
				checkOutcome(t, v, digest, err)
			})
		}
	}
}

// Whatever byte of a good bundle or delta is changed, and to whatever: its layer does not come of it.
func TestGoodFilesWithAnyByteChanged(t *testing.T) {
	w := goldenWorld(t)
	cells := 0
	files := map[string]func(b io.Reader) (*dbformat.Header, error){
		"bundle-light": func(b io.Reader) (*dbformat.Header, error) { return dbformat.ReadBundle(b, dbformat.Light, nowhere{}) },
		"bundle-rest":  func(b io.Reader) (*dbformat.Header, error) { return dbformat.ReadBundle(b, dbformat.Rest, nowhere{}) },
	}
	for _, kind := range deltaKinds {
		files[kind] = func(b io.Reader) (*dbformat.Header, error) { return w.apply(kind, b, nowhere{}) }
	}
	for kind, decode := range files {
		for _, v := range fixtures.Vectors(t, kind) {
			if v.Expect != "ok" {
				continue
			}
			b := bytes.Clone(v.Data)
			right, err := decode(bytes.NewReader(b))
			if err != nil {
				t.Fatalf("%s/%s: %v", kind, v.Name, err)
			}
			for i := range b {
				for by := 1; by < 256; by += valueStep {
					b[i] ^= byte(by)
					if h, err := decode(bytes.NewReader(b)); err == nil && h.Digest() == right.Digest() {
						t.Errorf("%s/%s: byte %d may be %#x instead of %#x", kind, v.Name, i, b[i], v.Data[i])
					}
					b[i] = v.Data[i]
					cells++
				}
			}
		}
	}
	t.Logf("%d changed bytes", cells)
}

func checkOutcome(t *testing.T, v fixtures.Vector, digest string, err error) {
	t.Helper()
	switch v.Expect {
	case "ok":
		if err != nil || v.Digest != "" && digest != v.Digest {
			t.Fatalf("%s: %v, digest %q, want %q", v.Why, err, digest, v.Digest)
		}
	case "version":
		if !errors.Is(err, dbformat.ErrVersion) || errors.Is(err, dbformat.ErrCorrupt) {
			t.Fatalf("%s: %v", v.Why, err)
		}
	case "corrupt":
		var fe *dbformat.FormatError
		if !errors.As(err, &fe) || fe.What == "" || fe.Reason == "" {
			t.Fatalf("%s: %v, want a FormatError", v.Why, err)
		}
		if v.Offset >= 0 && fe.Offset != v.Offset {
			t.Fatalf("%s: %v: at byte %d, want %d", v.Why, err, fe.Offset, v.Offset)
		}
	}
}
