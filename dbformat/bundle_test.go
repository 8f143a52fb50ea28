package dbformat_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"example.org/avdb/dbformat"
)

func bundle(t testing.TB, l dbformat.LayerReader) []byte {
	t.Helper()
	var w bytes.Buffer
	if err := dbformat.WriteBundle(&w, l); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func readBundle(t testing.TB, b []byte, want dbformat.Layer) *dbformat.MemLayer {
	t.Helper()
	var sink dbformat.MemSink
	h, err := dbformat.ReadBundle(bytes.NewReader(b), want, &sink)
	if err != nil {
		t.Fatal(err)
	}
	l, err := sink.Layer(h)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestBundleCarriesTheLayer(t *testing.T) {
	for _, c := range []*dbformat.Content{{}, sample(1, 1), sample(15000, 2), {Ignore: []string{"a"}}} {
		for _, l := range both(t, c) {
			got := readBundle(t, bundle(t, l), l.Header().Layer)
			if got.Header().Digest() != l.Header().Digest() {
				t.Fatal("digest differs")
			}
		}
	}
}

func TestBundleIsReadInAnyPieces(t *testing.T) {
	for _, l := range both(t, sample(100, 3)) {
		b := bundle(t, l)
		h, err := dbformat.ReadBundle(iotest.OneByteReader(bytes.NewReader(b)), l.Header().Layer, &dbformat.MemSink{})
		if err != nil || h.Digest() != l.Header().Digest() {
			t.Fatalf("ReadBundle = %v", err)
		}
	}
}

func TestBundleTruncatedAnywhereIsRefused(t *testing.T) {
	for _, l := range both(t, sample(30, 4)) {
		b := bundle(t, l)
		for n := 0; n < len(b); n += cutStep {
			h, err := dbformat.ReadBundle(bytes.NewReader(b[:n]), l.Header().Layer, &dbformat.MemSink{})
			if !errors.Is(err, dbformat.ErrCorrupt) || h != nil {
				t.Fatalf("first %d of %d bytes: %v", n, len(b), err)
			}
		}
	}
}

func TestBundleWithAnyBitFlippedNeverGivesTheLayer(t *testing.T) {
	for _, l := range both(t, sample(8, 5)) {
		b := bundle(t, l)
		want := l.Header().Digest()
		for i := 0; i < len(b)*8; i += flipStep {
			b[i/8] ^= 1 << (i % 8)
			h, err := dbformat.ReadBundle(bytes.NewReader(b), l.Header().Layer, &dbformat.MemSink{})
			if err != nil && h != nil {
				t.Fatal("an error and a header")
			}
			if err == nil && h.Digest() == want {
				t.Fatalf("bit %d of byte %d does not matter", i%8, i/8)
			}
			b[i/8] ^= 1 << (i % 8)
		}
	}
}

func TestBundleRefuses(t *testing.T) {
	light := both(t, sample(10, 6))[0]
	good := bundle(t, light)
	change := func(off int, v byte) []byte {
		b := bytes.Clone(good)
		b[off] = v
		return b
	}
	for name, tc := range map[string]struct {
		b      []byte
		want   dbformat.Layer
		is     error
		offset int64
	}{
		"empty":          {nil, dbformat.Light, dbformat.ErrCorrupt, 0},
		"magic":          {change(0, 'B'), dbformat.Light, dbformat.ErrCorrupt, 0},
		"kind":           {change(4, 'H'), dbformat.Light, dbformat.ErrCorrupt, 4},
		"newer version":  {change(5, 2), dbformat.Light, dbformat.ErrVersion, -1},
		"other layer":    {good, dbformat.Rest, dbformat.ErrCorrupt, 6},
		"unknown layer":  {change(6, 3), dbformat.Light, dbformat.ErrCorrupt, 6},
		"trailing byte":  {append(bytes.Clone(good), 0), dbformat.Light, dbformat.ErrCorrupt, int64(len(good))},
		"two bundles":    {append(bytes.Clone(good), good...), dbformat.Light, dbformat.ErrCorrupt, int64(len(good))},
		"bad trailer":    {change(len(good)-1, 'X'), dbformat.Light, dbformat.ErrCorrupt, -2},
		"rows too many":  {change(13, 0xff), dbformat.Light, dbformat.ErrCorrupt, -2},
		"more rows":      {change(20, good[20]+1), dbformat.Light, dbformat.ErrCorrupt, -2},
		"many sections":  {change(7, 255), dbformat.Light, dbformat.ErrCorrupt, 7},
		"fewer sections": {change(7, good[7]-1), dbformat.Light, dbformat.ErrCorrupt, -2},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := dbformat.ReadBundle(bytes.NewReader(tc.b), tc.want, &dbformat.MemSink{})
			if !errors.Is(err, tc.is) || h != nil {
				t.Fatalf("ReadBundle = %v, want %v", err, tc.is)
			}
			var fe *dbformat.FormatError
			if errors.As(err, &fe) && tc.offset != -2 && fe.Offset != tc.offset {
				t.Fatalf("%v: offset %d, want %d", err, fe.Offset, tc.offset)
			}
		})
	}
}

func TestReaderErrorIsNotCorruption(t *testing.T) {
	broken := errors.New("broken pipe")
	b := bundle(t, both(t, sample(10, 7))[0])
	_, err := dbformat.ReadBundle(io.MultiReader(bytes.NewReader(b[:100]), iotest.ErrReader(broken)), dbformat.Light, &dbformat.MemSink{})
	if !errors.Is(err, broken) || errors.Is(err, dbformat.ErrCorrupt) {
		t.Fatalf("ReadBundle = %v, want the reader's error", err)
	}
}

type failingSink struct{ err error }

func (f failingSink) PutBlock(dbformat.SectionID, int, []byte) error { return f.err }

func TestSinkErrorIsGivenBack(t *testing.T) {
	full := errors.New("disk full")
	b := bundle(t, both(t, sample(10, 7))[0])
	if _, err := dbformat.ReadBundle(bytes.NewReader(b), dbformat.Light, failingSink{full}); !errors.Is(err, full) {
		t.Fatalf("ReadBundle = %v, want the sink's error", err)
	}
}

// Any one frame can be fetched and decoded without the others.
func TestFramesAreIndependent(t *testing.T) {
	for _, l := range both(t, sample(25000, 8)) {
		b := bundle(t, l)
		x, err := dbformat.ReadBundleIndex(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if len(x.Frames) < 3 {
			t.Fatalf("%d frames: the sample is too small to show anything", len(x.Frames))
		}
		for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(x.Frames)) {
			f := x.Frames[i]
			check := &leafCheck{t: t, h: l.Header()}
			if err := x.DecodeFrame(i, b[f.Offset:f.Offset+f.Length], check); err != nil {
				t.Fatal(err)
			}
			if check.n != f.Blocks {
				t.Fatalf("frame %d gave %d blocks, want %d", i, check.n, f.Blocks)
			}
			if x.Find(x.Sections[f.Section].ID, f.First+f.Blocks-1) != i {
				t.Fatalf("Find does not give frame %d for its last block", i)
			}
		}
		if _, err := dbformat.ReadBundleIndex(bytes.NewReader(b[:len(b)-1]), int64(len(b))-1); !errors.Is(err, dbformat.ErrCorrupt) {
			t.Fatalf("truncated: %v", err)
		}
	}
}

// leafCheck compares the blocks that it receives with the leaves of a header.
type leafCheck struct {
	t testing.TB
	h *dbformat.Header
	n int
}

func (c *leafCheck) PutBlock(id dbformat.SectionID, i int, b []byte) error {
	c.n++
	_, s, _ := c.h.Section(id)
	if dbformat.BlockDigest(c.h.Layer, id, i, b) != s.Blocks[i].Digest {
		c.t.Fatalf("block %s %d has another digest than its leaf", id, i)
	}
	return nil
}
